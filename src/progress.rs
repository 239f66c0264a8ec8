//! What a person who waits at a terminal sees.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

/// Says something on standard error. If that is a terminal that went away, whoever sat there is gone too; the program
/// goes on.
pub fn tell(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// One line on standard error that is written over and finally erased; nothing unless that is a terminal.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub fn show(&mut self, text: &str) {
        if self.shown {
            // Erases to the end of the line; a terminal that went away is no reason to stop.
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
