//! Errors with the exit code that they end the program with.

use std::{fmt::Display, process::ExitCode};

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

/// A failure of the given kind with a message of its own.
pub fn fail<T>(status: Status, message: impl Display) -> Result<T> {
    Err(Failure { status, error: anyhow::anyhow!("{message}") })
}

/// Results of the program.
pub type Result<T> = std::result::Result<T, Failure>;
