//! Mounts an end-to-end encrypted Peergos drive as an ordinary folder: the command line and the life of the daemon.

mod cli;
mod control;
mod daemon;
mod ending;
mod failure;
mod harden;
mod logging;
mod login;
mod mountpoint;
mod mounts;
mod node;
mod options;
mod password;
mod progress;
mod serve;
mod server;
mod signals;
mod state;
mod transfer;
mod units;
mod unmount;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;
use failure::{Classify as _, Status};

use crate::{
    cli::{Cli, Command},
    progress::tell,
};

fn main() -> ExitCode {
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
        Some(Command::Export { user, car, json, state }) => transfer::export(state, &user, &car, &json)?,
        Some(Command::Node(args)) => node::command(args)?,
        Some(Command::Import { car, json, state }) => transfer::import(state, &car, &json)?,
        None => {
            let plan = cli.mount.resolve().status(Status::Usage)?;
            let has_file = plan.args.password_file.is_some();
            if plan.args.daemon && !plan.args.report_ready {
                return Ok(daemon::start(arguments, has_file)?);
            }
            harden::shed_password(arguments, has_file)?;
            serve::run(&plan)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
