//! `peergos-mount login`, `logout`, `passwd` and `delete-account`: what a person does with an account besides mounting it.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use clap::Args;
use peergos_fs::{
    Error,
    account::{self, Account, Remembered},
    journal::{self, Journal},
};
use peergos_net::Error as NetError;

use crate::{
    cli::StateArg,
    failure::{Classify as _, Explain as _, Result, Status, fail},
    harden,
    keyring::Keyring,
    logging,
    login::{self, Given},
    password,
    progress::tell,
    server::{Connection, ServerArgs},
    state::State,
    terminal::Terminal,
};

/// The longest name of a second factor, in UTF-16 units.
const MAX_NAME: usize = peergos_net::mfa::MAX_NAME;

/// Which account, and how to get in.
#[derive(Debug, Args)]
pub struct AccountArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub state: StateArg,
    /// The account's user name; needed on a server, and if the state directory holds several accounts
    #[arg(short, long, value_name = "NAME", env = "PEERGOS_USERNAME")]
    pub username: Option<String>,
    /// A file whose first line is the password; - is standard input
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// An account that is about to be opened.
pub struct Door {
    /// Where things about it are kept.
    pub state: State,
    /// The node that it is on.
    pub at: Connection,
    /// Its name.
    pub username: String,
    password_file: Option<PathBuf>,
}

impl Door {
    /// Finds out which account is meant.
    pub fn find(args: AccountArgs) -> Result<Self> {
        harden::process();
        logging::start(false);
        let state = State::open(args.state.state).status(Status::State)?;
        let at = Connection::open(&args.server, &state)?;
        let username = login::existing(&at, args.username.as_deref(), &state)?;
        Ok(Self { state, at, username, password_file: args.password_file })
    }

    /// How the password was given.
    pub fn given(&self) -> Given<'_> {
        Given { file: self.password_file.as_deref(), secret: &harden::PASSWORD }
    }

    fn open(&self) -> Result<Account> {
        login::with_password(&self.at, &self.username, &self.given(), &self.state)
    }
}

/// Tries whether the password is right, and keeps the login if it is to be remembered.
pub fn log_in(args: AccountArgs, remember: bool) -> Result<()> {
    let door = Door::find(args)?;
    // asked for first: the password would be typed in vain
    let keyring = remember.then(Keyring::open).transpose().status(Status::Keyring)?;
    let account = door.open()?;
    let Some(keyring) = keyring else {
        tell(format_args!("The password of `{}` is right. Nothing is kept; --remember would.", door.username));
        return Ok(());
    };
    let (node, now) = (&*door.at.node, SystemTime::now());
    // the factor of an earlier login of this device has had its day
    if let Ok(Some(earlier)) = keyring.load(&door.at.name, &door.username)
        && let Err(error) = earlier.revoke(node, &account.identity, now)
    {
        tracing::info!("the second factor of an earlier login could not be taken back: {error}");
    }
    let remembered = Remembered::enrol(node, &account, &device(), now)
        .or_explain(|| format!("`{}` could not give this device a second factor", door.username))?;
    if let Err(error) = keyring.save(&door.at.name, &remembered) {
        // what is not kept must not stay valid
        let _ = remembered.revoke(node, &account.identity, now);
        return Err(error).status(Status::Keyring);
    }
    tell(format_args!("This device can mount the drive of `{}` without the password now.", door.username));
    Ok(())
}

/// Takes this device's second factor back, and forgets the login.
pub fn log_out(args: AccountArgs) -> Result<()> {
    let door = Door::find(args)?;
    let keyring = Keyring::open().status(Status::Keyring)?;
    let Some(remembered) = keyring.load(&door.at.name, &door.username).status(Status::Keyring)? else {
        tell(format_args!("No login of `{}` is kept.", door.username));
        return Ok(());
    };
    let now = SystemTime::now();
    let revoked = account::log_in_again(&door.at.verified, &remembered, now, &mut Terminal::new())
        .and_then(|account| remembered.revoke(&*door.at.node, &account.identity, now));
    match revoked {
        Ok(()) => {}
        // it opens nothing any more
        Err(Error::SecondFactorRefused | Error::IdentityChanged | Error::AccountDeleted) => {}
        Err(Error::Net(NetError::IncorrectLogin)) => tell(
            "The password was changed elsewhere. The kept login opens nothing, but its second factor stays in the \
             account's list until you delete it there.",
        ),
        revoked => revoked.or_explain(|| "the login could not be taken back, and is still kept; try again")?,
    }
    keyring.forget(&door.at.name, &door.username).status(Status::Keyring)?;
    door.state.forget_account(&door.at.name, &door.username);
    tell(format_args!("The login of `{}` is forgotten.", door.username));
    Ok(())
}

/// Changes the password.
pub fn change_password(args: AccountArgs, new_password_file: Option<PathBuf>) -> Result<()> {
    let door = Door::find(args)?;
    let account = door.open()?;
    if account.is_legacy {
        check_saved(&journal::directory_of(&door.state.journals(), &account.owner))?;
    }
    let new = Given { file: new_password_file.as_deref(), secret: &harden::NEW_PASSWORD };
    let password = new.password(password::ask_new_password)?;
    let now = SystemTime::now();
    let changed = account::change_password(&door.at.verified, &account, &password, now, &mut Terminal::new())
        .or_explain(|| format!("the password of `{}` was not changed", door.username))?;
    tell(format_args!("The password of `{}` is changed.", door.username));
    door.state.note_derivation(&door.at.name, &door.username, &changed.algorithm);
    // it opens to the old password
    door.state.forget_account(&door.at.name, &door.username);
    let kept = Keyring::open().and_then(|keyring| {
        let Some(remembered) = keyring.load(&door.at.name, &door.username)? else { return Ok(()) };
        keyring.save(&door.at.name, &remembered.renewed(&changed))
    });
    if let Err(error) = kept {
        tracing::info!("no login in a keyring was changed: {error:#}");
    }
    Ok(())
}

/// Checks that no changes wait in a journal of an account of the old kind: the new password gives it another identity, and
/// they are of the one that it has.
fn check_saved(journal: &Path) -> Result<()> {
    if Journal::is_in_use(journal) {
        return fail(Status::State, "the drive is mounted; unmount it first, since its account is of the old kind");
    }
    if Journal::is_waiting(journal) {
        return fail(
            Status::State,
            "changes that were not saved when the drive was last mounted would be lost, since its account is of the old \
             kind; mount it once before you change the password, so that they are saved",
        );
    }
    Ok(())
}

/// Deletes the account, if the person really means it.
pub fn delete(args: AccountArgs) -> Result<()> {
    let door = Door::find(args)?;
    if !password::can_ask() {
        return fail(Status::Usage, "an account can only be deleted at a terminal");
    }
    tell(format_args!(
        "This deletes the account `{0}` with all its files, for ever. Nobody can bring them back, and the name cannot be \
         used again.",
        door.username
    ));
    let typed = password::ask(&format!("To go on, type the user name `{}`: ", door.username)).status(Status::Usage)?;
    if typed != door.username {
        return fail(Status::Usage, "that is not the user name; nothing is deleted");
    }
    let password = door.given().password(|| password::ask_password("Password: "))?;
    let owner = account::delete(&door.at.verified, &door.username, &password, SystemTime::now(), &mut Terminal::new())
        .or_explain(|| format!("the account `{}` could not be deleted", door.username))?;
    door.state.forget_journal(&owner);
    door.state.forget_account(&door.at.name, &door.username);
    if let Ok(keyring) = Keyring::open() {
        keyring.forget(&door.at.name, &door.username).context("the account is deleted").status(Status::Keyring)?;
    }
    tell(format_args!("The account `{}` is deleted.", door.username));
    Ok(())
}

/// What this device is called in the account's list of second factors.
fn device() -> String {
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|name| name.into_string().ok()).unwrap_or_else(|| "Linux".to_owned());
    let name = format!("Drive mount - {host}");
    name.chars().filter(char::is_ascii).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_waits_or_is_mounted_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path();
        check_saved(&journal.join("never made")).unwrap();
        let lock = File::create(journal.join("lock")).unwrap();
        check_saved(journal).unwrap();
        lock.lock().unwrap();
        let error = check_saved(journal).unwrap_err().error.to_string();
        assert!(error.contains("unmount it first"), "{error}");
        lock.unlock().unwrap();
        fs::write(journal.join("0000000001.journal"), "").unwrap();
        let error = check_saved(journal).unwrap_err().error.to_string();
        assert!(error.contains("mount it once"), "{error}");
    }
}
