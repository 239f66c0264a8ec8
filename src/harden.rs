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
use zeroize::Zeroizing;

/// A password that may be in the environment, and the option that names a file with it.
#[derive(Debug)]
pub struct Secret {
    pub variable: &'static str,
    pub option: &'static str,
}

/// The password of the account.
pub const PASSWORD: Secret = Secret { variable: "PEERGOS_PASSWORD", option: "--password-file" };
/// What it shall be from now on.
pub const NEW_PASSWORD: Secret = Secret { variable: "PEERGOS_NEW_PASSWORD", option: "--new-password-file" };

/// The subcommands that want passwords.
const SUBCOMMANDS: [&str; 5] = ["login", "logout", "passwd", "delete-account", "check"];

/// Longer passwords are refused: they have to fit a pipe that nobody reads yet.
const MAX_PASSWORD: usize = 4096;

/// No core dumps, no debugger of the same user, and new files for the user alone.
pub fn process() {
    umask(Mode::from_bits_truncate(0o077));
    // Both can fail only under a sandbox, in which there is nothing better to do than to go on.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
}

/// This program once more, with `options` before its arguments, or behind the subcommand if they begin with one.
/// Passwords in the environment are moved to the new process's standard input, since a process's first environment stays
/// readable in /proc for as long as it runs; those that are not `wanted` are dropped.
pub fn again(options: &[&str], arguments: &[OsString], wanted: &[Secret]) -> Result<Command> {
    let is_subcommand = arguments.first().is_some_and(|first| SUBCOMMANDS.iter().any(|name| first == name));
    let (subcommand, arguments) = arguments.split_at(usize::from(is_subcommand));
    let mut command = Command::new("/proc/self/exe");
    command.arg0("peergos-mount").args(subcommand).args(options);
    let mut lines = Zeroizing::new(Vec::new());
    for secret in [PASSWORD, NEW_PASSWORD] {
        command.env_remove(secret.variable);
    }
    for secret in wanted {
        let Some(password) = std::env::var_os(secret.variable) else { continue };
        let password = password.as_encoded_bytes();
        ensure!(password.len() <= MAX_PASSWORD, "{} is longer than {MAX_PASSWORD} bytes", secret.variable);
        lines.extend_from_slice(password);
        lines.push(b'\n');
        command.args([secret.option, "-"]);
    }
    if !lines.is_empty() {
        let (reader, mut writer) = pipe().context("could not make a pipe")?;
        writer.write_all(&lines).context("could not pass the password on")?;
        command.stdin(reader);
    }
    command.args(arguments);
    Ok(command)
}

/// Starts the program anew without passwords in its environment, if there are any; returns if there are none.
pub fn shed_passwords(arguments: &[OsString], wanted: &[Secret]) -> Result<()> {
    if [PASSWORD, NEW_PASSWORD].iter().all(|secret| std::env::var_os(secret.variable).is_none()) {
        return Ok(());
    }
    Err(again(&[], arguments, wanted)?.exec()).context("could not start anew without the passwords in the environment")
}
