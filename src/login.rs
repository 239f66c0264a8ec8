//! Which account to mount, and opening or making it.

use std::{path::Path, sync::Arc, time::SystemTime};

use peergos_fs::{
    Error,
    account::{self, Account, Step},
};
use peergos_net::{Error as NetError, Verified, embedded::EmbeddedNode};

use crate::{
    cli::MountArgs,
    failure::{Classify as _, Result, Status, fail},
    password::{self, Password},
    progress::{Progress, tell},
    state::State,
};

/// How often a person may mistype the password.
const ATTEMPTS: usize = 3;

/// Logs in to the account that `args` mean, or makes it. `verified` is the same node.
pub fn account(node: &EmbeddedNode, verified: &Arc<Verified>, args: &MountArgs, state: &State) -> Result<Account> {
    let known = node.usernames();
    let username = username(&known, args.username.as_deref(), state)?;
    if known.contains(&username) {
        return log_in(verified, &username, args.password_file.as_deref());
    }
    if !known.is_empty() {
        let question = format!("There is no account `{username}` in {}. Make it?", state.dir().display());
        if !password::can_ask() || !password::confirm(&question)? {
            return fail(Status::State, format!("no account `{username}` here, only: {}", known.join(", ")));
        }
    }
    sign_up(node, &username, args.password_file.as_deref())
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
        (None, []) => {
            fail(Status::Login, "no user name: give it with --username NAME or PEERGOS_USERNAME, or run on a terminal")
        }
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

fn sign_up(node: &EmbeddedNode, username: &str, file: Option<&Path>) -> Result<Account> {
    let password = given(file, password::ask_new_password)?;
    let mut progress = Progress::new();
    let result =
        account::sign_up(node, username, &password, "", SystemTime::now(), &mut |step| show(&mut progress, step));
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
