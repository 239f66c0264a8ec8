//! Errors with the exit code that they end the program with.

use std::{fmt::Display, process::ExitCode};

use peergos_fs::Error;
use peergos_net::Error as NetError;

/// Why the program ends; the numbers are its exit codes, as `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Other = 1,
    Usage = 2,
    Login = 3,
    State = 4,
    Mount = 5,
    Unsaved = 6,
    Server = 7,
    Keyring = 8,
    Findings = 9,
}

/// An error and its exit code.
#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub error: anyhow::Error,
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { status: Status::Other, error }
    }
}

/// Gives a result's error an exit code, and says what was being done.
pub trait Classify<T> {
    fn status(self, status: Status) -> Result<T>;
    fn doing<D: Display + Send + Sync + 'static>(self, status: Status, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> Classify<T> for std::result::Result<T, E> {
    fn status(self, status: Status) -> Result<T> {
        self.map_err(|error| Failure { status, error: error.into() })
    }

    fn doing<D: Display + Send + Sync + 'static>(self, status: Status, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Failure { status, error: error.into().context(what()) })
    }
}

/// Gives an error about an account the exit code that it deserves, and says what was being done.
pub trait Explain<T> {
    fn or_explain<D: Display + Send + Sync + 'static>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Explain<T> for peergos_fs::Result<T> {
    fn or_explain<D: Display + Send + Sync + 'static>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Failure { status: status_of(&error), error: anyhow::Error::from(error).context(what()) })
    }
}

fn status_of(error: &Error) -> Status {
    match error {
        Error::Net(NetError::IncorrectLogin)
        | Error::UnknownUser
        | Error::UsernameTaken
        | Error::InvalidUsername
        | Error::AccountDeleted
        | Error::SecondFactorNeeded
        | Error::SecondFactorRefused
        | Error::IdentityChanged => Status::Login,
        Error::PasswordUncertain
        | Error::Overloaded
        | Error::Net(
            NetError::Refused(_)
            | NetError::Unreachable { .. }
            | NetError::NoAnswer(_)
            | NetError::Busy
            | NetError::NotPeergos { .. }
            | NetError::Tls { .. }
            | NetError::FrontLogin(_)
            | NetError::ClaimConflict { .. }
            | NetError::Rollback { .. },
        ) => Status::Server,
        _ => Status::State,
    }
}

/// A failure of the given kind with a message of its own.
pub fn fail<T>(status: Status, message: impl Display) -> Result<T> {
    Err(Failure { status, error: anyhow::anyhow!("{message}") })
}

/// Results of the program.
pub type Result<T> = std::result::Result<T, Failure>;
