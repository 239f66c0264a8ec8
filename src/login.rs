//! Which account to mount, and opening or making it.

use std::{path::Path, sync::Arc, time::SystemTime};

use peergos_fs::{
    Error,
    account::{self, Account, Step},
};
use peergos_net::{Error as NetError, Node, Verified};

use crate::{
    cli::MountArgs,
    failure::{Classify as _, Result, Status, fail},
    password::{self, Password},
    progress::{Progress, tell},
    server::Connection,
    state::State,
};

const NO_USERNAME: &str = "no user name: give it with --username NAME or PEERGOS_USERNAME, or run on a terminal";

/// How often a person may mistype the password.
const ATTEMPTS: usize = 3;

/// Logs in to the account that `args` mean, or makes it.
pub fn account(at: &Connection, args: &MountArgs, state: &State) -> Result<Account> {
    let file = args.password_file.as_deref();
    let Some(known) = at.usernames() else {
        let username = match &args.username {
            Some(name) => name.clone(),
            None if password::can_ask() => password::ask("User name: ").status(Status::Login)?.to_lowercase(),
            None => return fail(Status::Login, NO_USERNAME),
        };
        if at.knows(&username).status(Status::Server)? {
            return log_in(&at.verified, &username, file);
        }
        let question = format!("The server knows no account `{username}`. Make it?");
        let wanted = args.sign_up.is_some() || (password::can_ask() && password::confirm(&question)?);
        return match wanted {
            true => sign_up(&*at.node, &username, file, args.sign_up.as_deref().unwrap_or_default()),
            false => fail(Status::Login, format!("the server knows no account `{username}`; --sign-up makes it")),
        };
    };
    let username = username(&known, args.username.as_deref(), state)?;
    if known.contains(&username) {
        return log_in(&at.verified, &username, file);
    }
    if !known.is_empty() && args.sign_up.is_none() {
        let question = format!("There is no account `{username}` in {}. Make it?", state.dir().display());
        if !password::can_ask() || !password::confirm(&question)? {
            return fail(Status::State, format!("no account `{username}` here, only: {}", known.join(", ")));
        }
    }
    sign_up(&*at.node, &username, file, args.sign_up.as_deref().unwrap_or_default())
}

fn username(known: &[String], given: Option<&str>, state: &State) -> Result<String> {
    match (given, known) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, []) if password::can_ask() => {
            tell(format_args!("There is no account in {} yet; this makes one.", state.dir().display()));
            // As all Peergos clients do.
            Ok(password::ask("Choose a user name: ")?.to_lowercase())
        }
        (None, []) => fail(Status::Login, NO_USERNAME),
        (None, several) => {
            fail(Status::Login, format!("several accounts: choose with --username one of {}", several.join(", ")))
        }
    }
}

fn log_in(node: &Arc<Verified>, username: &str, file: Option<&Path>) -> Result<Account> {
    let mut attempts = if file.is_some() { 1 } else { ATTEMPTS };
    loop {
        let password = given(file, || password::ask_password(&format!("Password for {username}: ")))?;
        attempts -= 1;
        let mut progress = Progress::new();
        let result =
            account::log_in(node, username, &password, None, SystemTime::now(), &mut |step| show(&mut progress, step));
        drop(progress);
        match result {
            Err(Error::Net(NetError::IncorrectLogin)) if attempts > 0 => tell("That is not the password."),
            Err(Error::Net(NetError::IncorrectLogin)) => {
                return fail(Status::Login, format!("wrong password for `{username}`"));
            }
            result => return result.doing(Status::State, || format!("could not log in as `{username}`")),
        }
    }
}

fn sign_up(node: &dyn Node, username: &str, file: Option<&Path>, token: &str) -> Result<Account> {
    let password = given(file, password::ask_new_password)?;
    let mut progress = Progress::new();
    let result =
        account::sign_up(node, username, &password, token, SystemTime::now(), &mut |step| show(&mut progress, step));
    drop(progress);
    let account = result.doing(Status::Login, || format!("could not make the account `{username}`"))?;
    tell(format_args!("Made the account `{username}`."));
    Ok(account)
}

/// The password from the file, or else from a person.
fn given(file: Option<&Path>, ask: impl FnOnce() -> anyhow::Result<Password>) -> Result<Password> {
    match file {
        Some(file) => password::from_file(file).status(Status::Login),
        None if password::can_ask() => ask().status(Status::Login),
        None => fail(
            Status::Login,
            "no password: give it with --password-file FILE or PEERGOS_PASSWORD, or run on a terminal",
        ),
    }
}

fn show(progress: &mut Progress, step: Step) {
    progress.show(match step {
        Step::DerivingKeys => "Deriving keys from the password …",
        Step::Asking => "Asking the server …",
    });
}
