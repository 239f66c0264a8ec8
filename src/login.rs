//! Which account to open, and opening or making it.

use std::{path::Path, time::SystemTime};

use peergos_fs::{
    Error,
    account::{self, Account},
};
use peergos_net::{Error as NetError, Node};

use crate::{
    cli::MountArgs,
    failure::{Classify as _, Explain as _, Result, Status, fail},
    harden,
    keyring::Keyring,
    password::{self, Password},
    progress::tell,
    server::Connection,
    state::State,
    terminal::Terminal,
};

const NO_USERNAME: &str = "no user name: give it with --username NAME or PEERGOS_USERNAME, or run on a terminal";

/// How often a person may mistype the password.
const ATTEMPTS: usize = 3;

/// How a password was given, if it was.
pub struct Given<'a> {
    /// By a file.
    pub file: Option<&'a Path>,
    /// Where scripts may put it instead, for messages.
    pub secret: &'a harden::Secret,
}

impl Given<'_> {
    /// The password from the file, or else from a person.
    pub fn password(&self, ask: impl FnOnce() -> anyhow::Result<Password>) -> Result<Password> {
        match self.file {
            Some(file) => password::from_file(file).status(Status::Login),
            None if password::can_ask() => ask().status(Status::Login),
            None => {
                let harden::Secret { variable, option } = self.secret;
                fail(
                    Status::Login,
                    format!("no password: give it with {option} FILE or {variable}, or run on a terminal"),
                )
            }
        }
    }
}

/// Logs in to the account that `args` mean, or makes it.
pub fn account(at: &Connection, args: &MountArgs, state: &State) -> Result<Account> {
    let given = Given { file: args.password_file.as_deref(), secret: &harden::PASSWORD };
    let Some(known) = at.usernames() else {
        let username = existing(at, args.username.as_deref(), state)?;
        if at.knows(&username).status(Status::Server)? {
            return open(at, &username, &given, state);
        }
        let question = format!("The server knows no account `{username}`. Make it?");
        let wanted = args.sign_up.is_some() || (password::can_ask() && password::confirm(&question)?);
        return match wanted {
            true => sign_up(&*at.node, &username, &given, args.sign_up.as_deref().unwrap_or_default()),
            false => fail(Status::Login, format!("the server knows no account `{username}`; --sign-up makes it")),
        };
    };
    let username = match &known[..] {
        [] if args.username.is_none() && password::can_ask() => {
            tell(format_args!("There is no account in {} yet; this makes one.", state.dir().display()));
            // As all Peergos clients do.
            password::ask("Choose a user name: ")?.to_lowercase()
        }
        _ => existing(at, args.username.as_deref(), state)?,
    };
    if known.contains(&username) {
        return open(at, &username, &given, state);
    }
    if !known.is_empty() && args.sign_up.is_none() {
        let question = format!("There is no account `{username}` in {}. Make it?", state.dir().display());
        if !password::can_ask() || !password::confirm(&question)? {
            return fail(Status::State, format!("no account `{username}` here, only: {}", known.join(", ")));
        }
    }
    sign_up(&*at.node, &username, &given, args.sign_up.as_deref().unwrap_or_default())
}

/// The name of an account that is there already, as far as that can be known.
pub fn existing(at: &Connection, given: Option<&str>, state: &State) -> Result<String> {
    match (given, at.usernames().as_deref()) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, Some([only])) => Ok(only.clone()),
        (None, Some(several @ [_, ..])) => {
            fail(Status::Login, format!("several accounts: choose with --username one of {}", several.join(", ")))
        }
        (None, None) if password::can_ask() => Ok(password::ask("User name: ").status(Status::Login)?.to_lowercase()),
        (None, Some([])) if password::can_ask() => {
            fail(Status::State, format!("there is no account in {}", state.dir().display()))
        }
        _ => fail(Status::Login, NO_USERNAME),
    }
}

/// Opens an account with the login in the keyring, or else with the password.
fn open(at: &Connection, username: &str, given: &Given<'_>, state: &State) -> Result<Account> {
    if given.file.is_none()
        && let Some(account) = remembered(at, username)?
    {
        return Ok(account);
    }
    with_password(at, username, given, state)
}

/// Opens an account with the login in the keyring; none if there is none that is any good.
fn remembered(at: &Connection, username: &str) -> Result<Option<Account>> {
    let kept = match Keyring::open().and_then(|keyring| keyring.load(&at.name, username)) {
        Ok(Some(kept)) => kept,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::debug!("no login from a keyring: {error:#}");
            return Ok(None);
        }
    };
    match account::log_in_again(&at.verified, &kept, SystemTime::now(), &mut Terminal::new()) {
        Err(Error::Net(NetError::IncorrectLogin)) => {
            tell("The password was changed since this device's login was kept.")
        }
        Err(error @ (Error::SecondFactorRefused | Error::IdentityChanged)) => tell(format_args!(
            "The login that is kept for `{username}` opens nothing any more: {error}. Renew it with `peergos-mount login \
             --remember`, or remove it with `peergos-mount logout`."
        )),
        result => return result.map(Some).or_explain(|| format!("could not log in as `{username}`")),
    }
    Ok(None)
}

/// Opens an account with the password.
pub fn with_password(at: &Connection, username: &str, given: &Given<'_>, state: &State) -> Result<Account> {
    let mut attempts = if given.file.is_some() { 1 } else { ATTEMPTS };
    loop {
        let password = given.password(|| password::ask_password(&format!("Password for {username}: ")))?;
        attempts -= 1;
        let (expected, now) = (state.derivation(&at.name, username), SystemTime::now());
        let result = account::log_in(&at.verified, username, &password, expected.as_ref(), now, &mut Terminal::new());
        match result {
            Err(Error::Net(NetError::IncorrectLogin)) if attempts > 0 => tell("That is not the password."),
            Err(Error::Net(NetError::IncorrectLogin)) => {
                return fail(Status::Login, format!("wrong password for `{username}`"));
            }
            result => {
                let account = result.or_explain(|| format!("could not log in as `{username}`"))?;
                state.note_derivation(&at.name, username, &account.algorithm);
                return Ok(account);
            }
        }
    }
}

fn sign_up(node: &dyn Node, username: &str, given: &Given<'_>, token: &str) -> Result<Account> {
    let password = given.password(password::ask_new_password)?;
    let account = account::sign_up(node, username, &password, token, SystemTime::now(), &mut Terminal::new())
        .or_explain(|| format!("could not make the account `{username}`"))?;
    tell(format_args!("Made the account `{username}`."));
    Ok(account)
}
