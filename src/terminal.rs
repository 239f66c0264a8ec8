//! The person at the terminal while an account is opened: told what happens, and asked for codes.

use std::env;

use peergos_fs::account::{Person, Step};
use peergos_net::mfa::{FactorKind, MfaMethod};
use zeroize::Zeroizing;

use crate::{
    password,
    progress::{Progress, tell},
};

/// Where scripts put the code of a second factor. Unlike a password it is soon worth nothing.
const CODE_VARIABLE: &str = "PEERGOS_MFA_CODE";

/// Shows progress until it is dropped.
pub struct Terminal {
    progress: Progress,
    /// A code that was given beforehand, for the first question.
    code: Option<Zeroizing<String>>,
    asked: bool,
}

impl Terminal {
    pub fn new() -> Self {
        let code = env::var(CODE_VARIABLE).ok().filter(|code| !code.is_empty()).map(Zeroizing::new);
        Self { progress: Progress::new(), code, asked: false }
    }
}

impl Person for Terminal {
    fn wait_for(&mut self, step: Step) {
        self.progress.show(match step {
            Step::DerivingKeys => "Deriving keys from the password …",
            Step::Asking => "Asking the server …",
        });
    }

    fn code(&mut self, offered: &[MfaMethod]) -> Option<Zeroizing<String>> {
        if let Some(code) = self.code.take() {
            return Some(code);
        }
        if !password::can_ask() {
            return None;
        }
        self.progress.show("");
        let question = question(offered);
        match question {
            Some(question) if self.asked => tell(format_args!("That code is not right. {question}")),
            Some(question) => tell(question),
            None => {
                tell("This account asks for a security key, which cannot be used here. Make backup codes elsewhere.");
                return None;
            }
        }
        self.asked = true;
        password::ask_password("Code: ").ok()
    }
}

/// What codes can answer; none if nothing that can be typed is offered.
fn question(offered: &[MfaMethod]) -> Option<&'static str> {
    let has = |kind| offered.iter().any(|method| method.kind == kind);
    match (has(FactorKind::Totp), has(FactorKind::BackupCodes)) {
        (true, true) => Some("This account asks for the code of your authenticator app, or a backup code."),
        (true, false) => Some("This account asks for the code of your authenticator app."),
        (false, true) => Some("This account asks for a backup code."),
        (false, false) => None,
    }
}
