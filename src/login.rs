//! Which account to open, and opening or making it.

use std::{path::Path, time::SystemTime};

use peergos_crypto::password::{LoginKeys, derive};
use peergos_fs::{
    Error,
    account::{self, Account, Remembered},
};
use peergos_net::Error as NetError;

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

/// An account that is open.
pub struct Login {
    pub account: Account,
    /// What the keyring holds of it, if that opened it.
    pub remembered: Option<Remembered>,
    /// Whether its server was out of reach, and has yet to say that the login still holds.
    pub is_untried: bool,
}

impl From<Account> for Login {
    fn from(account: Account) -> Self {
        Self { account, remembered: None, is_untried: false }
    }
}

/// Logs in to the account that `args` mean, or makes it.
pub fn account(at: &Connection, args: &MountArgs, state: &State) -> Result<Login> {
    let given = Given { file: args.account.password_file.as_deref(), secret: &harden::PASSWORD };
    let Some(known) = at.usernames() else {
        let username = existing(at, args.account.username.as_deref(), state)?;
        match at.knows(&username) {
            Ok(true) => return open(at, &username, &given, state),
            // or something else is on the way to it, such as where a network wants one to log in first
            Err(NetError::Unreachable { .. } | NetError::Tls { .. } | NetError::NotPeergos { .. })
                if state.kept_account(&at.name, &username).is_some() =>
            {
                return open(at, &username, &given, state);
            }
            known => drop(known.status(Status::Server)?),
        }
        let question = format!("The server knows no account `{username}`. Make it?");
        let wanted = args.sign_up.is_some() || (password::can_ask() && password::confirm(&question)?);
        return match wanted {
            true => sign_up(at, &username, &given, args.sign_up.as_deref().unwrap_or_default(), state),
            false => fail(Status::Login, format!("the server knows no account `{username}`; --sign-up makes it")),
        };
    };
    let username = match &known[..] {
        [] if args.account.username.is_none() && password::can_ask() => {
            tell(format_args!("There is no account in {} yet; this makes one.", state.dir().display()));
            // As all Peergos clients do.
            password::ask("Choose a user name: ")?.to_lowercase()
        }
        _ => existing(at, args.account.username.as_deref(), state)?,
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
    sign_up(at, &username, &given, args.sign_up.as_deref().unwrap_or_default(), state)
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
pub fn open(at: &Connection, username: &str, given: &Given<'_>, state: &State) -> Result<Login> {
    if given.file.is_none()
        && let Some(login) = remembered(at, username, state)?
    {
        return Ok(login);
    }
    attempt(at, username, given, state, true)
}

/// Opens an account with the login in the keyring; none if there is none that is any good.
fn remembered(at: &Connection, username: &str, state: &State) -> Result<Option<Login>> {
    let kept = match Keyring::open().and_then(|keyring| keyring.load(&at.name, username)) {
        Ok(Some(kept)) => kept,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::debug!("no login from a keyring: {error:#}");
            return Ok(None);
        }
    };
    let mut is_untried = false;
    let opened = match account::log_in_again(&at.verified, &kept, SystemTime::now(), &mut Terminal::new()) {
        Err(error @ Error::Net(NetError::Unreachable { .. })) => {
            is_untried = true;
            without_server(at, username, kept.keys.clone(), error, state)
        }
        opened => opened,
    };
    match opened {
        Err(Error::Net(NetError::IncorrectLogin)) => {
            tell("The password was changed since this device's login was kept.")
        }
        Err(error @ (Error::SecondFactorRefused | Error::IdentityChanged)) => tell(format_args!(
            "The login that is kept for `{username}` opens nothing any more: {error}. Renew it with `peergos-mount login \
             --remember`, or remove it with `peergos-mount logout`."
        )),
        opened => {
            let account = opened.or_explain(|| format!("could not log in as `{username}`"))?;
            keep(at, &account, state);
            return Ok(Some(Login { account, remembered: Some(kept), is_untried }));
        }
    }
    state.forget_account(&at.name, username);
    Ok(None)
}

/// Opens an account by what was kept of it, since its server is out of reach: why, is `error`.
fn without_server(
    at: &Connection,
    username: &str,
    keys: LoginKeys,
    error: Error,
    state: &State,
) -> peergos_fs::Result<Account> {
    let Some(kept) = state.kept_account(&at.name, username) else { return Err(error) };
    let account = Account::from_kept(&at.verified, username, keys, &kept)?;
    tell(format_args!("{error}. Going on with what is on this machine."));
    Ok(account)
}

/// Keeps what opens an account while its server is out of reach, unless that asks for more than a password or this device.
fn keep(at: &Connection, account: &Account, state: &State) {
    match account.to_kept() {
        _ if !at.is_server() => {}
        _ if account.code_was_typed => state.forget_account(&at.name, &account.username),
        Ok(kept) => state.keep_account(&at.name, &account.username, &kept),
        Err(error) => tracing::warn!("what opens the account without the server could not be kept: {error}"),
    }
}

/// Opens an account with the password, at its server.
pub fn with_password(at: &Connection, username: &str, given: &Given<'_>, state: &State) -> Result<Account> {
    attempt(at, username, given, state, false).map(|login| login.account)
}

/// Opens an account with the password, to mount it or not: for a mount, what was kept of it will do.
fn attempt(at: &Connection, username: &str, given: &Given<'_>, state: &State, to_mount: bool) -> Result<Login> {
    let mut attempts = if given.file.is_some() { 1 } else { ATTEMPTS };
    loop {
        let password = given.password(|| password::ask_password(&format!("Password for {username}: ")))?;
        attempts -= 1;
        let (expected, now) = (state.derivation(&at.name, username), SystemTime::now());
        let result = account::log_in(&at.verified, username, &password, expected.as_ref(), now, &mut Terminal::new());
        let (result, is_untried) = match (result, &expected) {
            (Err(error @ Error::Net(NetError::Unreachable { .. })), Some(algorithm)) if to_mount => {
                let keys = derive(username, &password, algorithm).map_err(Error::from);
                (keys.and_then(|keys| without_server(at, username, keys, error, state)), true)
            }
            (result, ..) => (result, false),
        };
        match result {
            Err(Error::Net(NetError::IncorrectLogin)) if attempts > 0 => tell("That is not the password."),
            Err(Error::Net(NetError::IncorrectLogin)) => {
                return fail(Status::Login, format!("wrong password for `{username}`"));
            }
            result => {
                let account = result.or_explain(|| format!("could not log in as `{username}`"))?;
                state.note_derivation(&at.name, username, &account.algorithm);
                if to_mount {
                    keep(at, &account, state);
                }
                return Ok(Login { account, remembered: None, is_untried });
            }
        }
    }
}

fn sign_up(at: &Connection, username: &str, given: &Given<'_>, token: &str, state: &State) -> Result<Login> {
    let password = given.password(password::ask_new_password)?;
    let account = account::sign_up(&*at.node, username, &password, token, SystemTime::now(), &mut Terminal::new())
        .or_explain(|| format!("could not make the account `{username}`"))?;
    tell(format_args!("Made the account `{username}`."));
    state.note_derivation(&at.name, username, &account.algorithm);
    keep(at, &account, state);
    Ok(account.into())
}
