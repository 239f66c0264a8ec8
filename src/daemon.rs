//! Going to the background: the program starts itself anew, and the first process stays until the second says that
//! the drive is mounted. Until then they share the terminal, so that questions and errors reach the person.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    process::{ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::{
    harden::{self, Secret},
    logging,
};

/// What the second process writes to its standard output once the drive is mounted.
const READY: &[u8] = b"ready\n";

/// Starts the daemon and waits for it to be ready; if it fails, its exit code.
pub fn start(arguments: &[OsString], wanted: &[Secret]) -> Result<ExitCode> {
    let mut command = harden::again(&["--report-ready"], arguments, wanted)?;
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start the daemon")?;
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(READY.len() as u64).read_to_end(&mut answer).context("could not wait for the daemon")?;
    }
    if answer == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("could not wait for the daemon")?;
    // It has said why.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1)))
}

/// In the second process: leaves the terminal, logs to `log` from now on, and lets the first one go.
pub fn detach(log: &Path) -> Result<()> {
    let log = logging::open(log).with_context(|| format!("could not open the log {}", log.display()))?;
    setsid().context("could not leave the terminal's session")?;
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    io::stdout().write_all(READY).and_then(|()| io::stdout().flush()).context("the starting process is gone")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&log)?;
    Ok(())
}
