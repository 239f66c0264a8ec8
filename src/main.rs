//! Mounts an end-to-end encrypted Peergos drive as an ordinary folder: the command line and the life of the daemon.

mod account;
mod caretaker;
mod check;
mod cli;
mod control;
mod daemon;
mod descriptors;
mod ending;
mod failure;
mod harden;
mod keyring;
mod logging;
mod login;
mod memory;
mod mountpoint;
mod mounts;
mod node;
mod options;
mod password;
mod pin;
mod progress;
mod serve;
mod server;
mod signals;
mod state;
mod status;
mod terminal;
mod transfer;
mod units;
mod unmount;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Parser as _;
use failure::{Classify as _, Status};

use crate::{
    cli::{Cli, Command},
    harden::{NEW_PASSWORD, PASSWORD, Secret},
    progress::tell,
};

fn main() -> ExitCode {
    memory::give_back();
    descriptors::make_room();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    run(Cli::parse(), &arguments).unwrap_or_else(|failure| {
        // Some messages come from other programs, with their line ends.
        tell(format_args!("peergos-mount: {}", format!("{:#}", failure.error).trim_end()));
        failure.exit_code()
    })
}

fn run(cli: Cli, arguments: &[OsString]) -> failure::Result<ExitCode> {
    match cli.command {
        Some(Command::Umount { mountpoint }) => unmount::command(&mountpoint)?,
        Some(Command::Status { mountpoint, json }) => status::command(mountpoint.as_deref(), json)?,
        Some(Command::Pin(args)) => pin::command(&args)?,
        Some(Command::Export { user, car, json, state }) => transfer::export(state, &user, &car, &json)?,
        Some(Command::Node(args)) => node::command(args)?,
        Some(Command::Import { car, json, state }) => transfer::import(state, &car, &json)?,
        Some(Command::Login { account, remember }) => {
            harden::shed_passwords(arguments, &unless_given(account.password_file.as_ref(), PASSWORD))?;
            account::log_in(account, remember)?;
        }
        Some(Command::Logout { account }) => account::log_out(account)?,
        Some(Command::Passwd { account, new_password_file }) => {
            let mut wanted = unless_given(account.password_file.as_ref(), PASSWORD);
            wanted.extend(unless_given(new_password_file.as_ref(), NEW_PASSWORD));
            harden::shed_passwords(arguments, &wanted)?;
            account::change_password(account, new_password_file)?;
        }
        Some(Command::Check { account, repair, json }) => {
            harden::shed_passwords(arguments, &unless_given(account.password_file.as_ref(), PASSWORD))?;
            return check::command(account, repair, json);
        }
        Some(Command::DeleteAccount { account }) => account::delete(account)?,
        None => {
            let plan = cli.mount.resolve().status(Status::Usage)?;
            let wanted = unless_given(plan.args.account.password_file.as_ref(), PASSWORD);
            if plan.args.daemon && !plan.args.report_ready {
                return Ok(daemon::start(arguments, &wanted)?);
            }
            harden::shed_passwords(arguments, &wanted)?;
            serve::run(&plan)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The password to take from the environment, which no file replaces.
fn unless_given(file: Option<&PathBuf>, secret: Secret) -> Vec<Secret> {
    if file.is_none() { vec![secret] } else { Vec::new() }
}
