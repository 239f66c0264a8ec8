//! What the process does to keep its secrets to itself.

use std::{
    ffi::OsString,
    io::{Write as _, pipe},
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
    stat::{Mode, umask},
};

/// The environment variable that may hold the password.
const PASSWORD_VARIABLE: &str = "PEERGOS_PASSWORD";

/// Longer passwords are refused: they have to fit a pipe that nobody reads yet.
const MAX_PASSWORD: usize = 4096;

/// No core dumps, no debugger of the same user, and new files for the user alone.
pub fn process() {
    umask(Mode::from_bits_truncate(0o077));
    // Both can fail only under a sandbox, in which there is nothing better to do than to go on.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
}

/// This program once more, with `options` before its arguments. A password in the environment is moved to the new
/// process's standard input, since a process's first environment stays readable in /proc for as long as it runs; it is
/// dropped if `ignore_password`.
pub fn again(options: &[&str], arguments: &[OsString], ignore_password: bool) -> Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("peergos-mount").args(options).env_remove(PASSWORD_VARIABLE);
    if let Some(password) = std::env::var_os(PASSWORD_VARIABLE).filter(|_| !ignore_password) {
        let password = password.as_encoded_bytes();
        ensure!(password.len() <= MAX_PASSWORD, "{PASSWORD_VARIABLE} is longer than {MAX_PASSWORD} bytes");
        let (reader, mut writer) = pipe().context("could not make a pipe")?;
        writer.write_all(password).context("could not pass the password on")?;
        command.args(["--password-file", "-"]).stdin(reader);
    }
    command.args(arguments);
    Ok(command)
}

/// Starts the program anew without the password in its environment, if there is one; returns if there is none.
pub fn shed_password(arguments: &[OsString], ignore_password: bool) -> Result<()> {
    if std::env::var_os(PASSWORD_VARIABLE).is_none() {
        return Ok(());
    }
    Err(again(&[], arguments, ignore_password)?.exec())
        .context("could not start anew without the password in the environment")
}
