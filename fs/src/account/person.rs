//! Whoever waits for a login, and may be asked for a second factor (spec 01 §7).

use peergos_crypto::totp::Totp;
use peergos_net::{
    Error as NetError,
    mfa::{FactorKind, MfaMethod, MfaResponse, normalise_backup_code},
};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// What takes time when signing up or logging in, for a person who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Keys are derived from the password: half a second and 128 MiB.
    DerivingKeys,
    /// Waiting for the server.
    Asking,
}

/// A person, or whoever stands in for one.
pub trait Person {
    /// Is told what the program does now.
    fn wait_for(&mut self, step: Step);

    /// Is asked for a code of one of the factors `offered`, once more if the last one was refused; none if there is
    /// nobody to ask.
    fn code(&mut self, offered: &[MfaMethod]) -> Option<Zeroizing<String>>;
}

/// One who is told, and has no codes.
impl<F: FnMut(Step)> Person for F {
    fn wait_for(&mut self, step: Step) {
        self(step);
    }

    fn code(&mut self, _: &[MfaMethod]) -> Option<Zeroizing<String>> {
        None
    }
}

/// The answer that a typed code is: six digits are an authenticator app's, the others are backup codes.
///
/// # Errors
/// [`Error::SecondFactorRefused`] if no such factor is offered.
pub(super) fn answer(offered: &[MfaMethod], typed: &str) -> Result<MfaResponse> {
    let digits: Zeroizing<String> = Zeroizing::new(typed.chars().filter(|c| !c.is_whitespace()).collect());
    let is_totp = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
    let (kind, code) = match is_totp {
        true => (FactorKind::Totp, digits),
        false => (FactorKind::BackupCodes, normalise_backup_code(typed)),
    };
    let factor = offered.iter().find(|factor| factor.kind == kind).ok_or(Error::SecondFactorRefused)?;
    Ok(MfaResponse::code(&factor.id, &code))
}

/// The codes of a mount factor at `unix_seconds`, the likeliest first: clocks differ by a step or so.
pub(super) fn codes(factor: &Totp, unix_seconds: u64) -> [Zeroizing<String>; 3] {
    const STEP: u64 = 30;
    let times = [unix_seconds, unix_seconds.saturating_sub(STEP), unix_seconds.saturating_add(STEP)];
    times.map(|time| Zeroizing::new(factor.code(time)))
}

/// Tells refusals of a code from others; servers have only their words for it (spec 01 §7).
pub(super) fn refused(error: NetError) -> Error {
    const WORDS: [&str; 4] = ["code for credId", "credential id", "second factor", "code based credential"];
    match &error {
        NetError::Refused(reason) if WORDS.iter().any(|words| reason.contains(words)) => Error::SecondFactorRefused,
        _ => error.into(),
    }
}
