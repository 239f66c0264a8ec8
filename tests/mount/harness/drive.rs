//! A drive under test: one account in a state folder of its own, mounted, unmounted and mounted again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::check::{Export, Listing};
use super::daemon::Daemon;
use super::golden::Golden;
use super::scratch::Scratch;
use super::shell::{program, run_ok};
use super::tree::Tree;

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Account {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl Account {
    /// Whose accounts most tests make.
    pub fn carol() -> Self {
        Self { username: "carol".into(), password: "a password of Carol's".into() }
    }
}

/// An account, its state, its mountpoint and, while it is mounted, its daemon.
pub struct Drive {
    /// Whose drive it is.
    pub account: Account,
    /// The server's address, if it is at one.
    server: Option<String>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    // Before the folder that its mount lies in: dropped first.
    daemon: Option<Daemon>,
    scratch: Scratch,
}

impl Drive {
    /// A fresh state without any account, not mounted. The first mount makes the account.
    pub fn new() -> Self {
        Self::within(Scratch::new())
    }

    /// As [`new`](Self::new), in a given folder.
    pub fn within(scratch: Scratch) -> Self {
        fs::create_dir(scratch.join("mount")).expect("mountpoint");
        Self {
            account: Account::carol(),
            server: None,
            args: Vec::new(),
            environment: Vec::new(),
            daemon: None,
            scratch,
        }
    }

    /// A fresh account, mounted.
    pub fn mounted() -> Self {
        let mut drive = Self::new();
        drive.mount();
        drive
    }

    /// A fresh state with a golden account in it, not mounted.
    pub fn golden(golden: &Golden) -> Self {
        let mut drive = Self::new();
        drive.account = golden.account.clone();
        drive.import(&golden.export());
        drive
    }

    /// A drive of an account at a server, not mounted; the first mount makes the account if the server has none.
    pub fn at(url: &str, account: &Account) -> Self {
        let drive = Self { account: account.clone(), server: Some(url.to_owned()), ..Self::new() };
        drive.with_args(&["--sign-up", "--insecure-http", "--poll-interval", "500ms"])
    }

    /// Further arguments for every mount from now on.
    pub fn with_args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// A variable in the environment of every command from now on.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// The mountpoint.
    pub fn root(&self) -> PathBuf {
        self.scratch.join("mount")
    }

    /// A path inside the drive.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root().join(relative)
    }

    /// A path beside state and mountpoint, for the test's own things; gone with the drive.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The command that mounts, with user name and password in its environment.
    pub fn command(&self) -> Command {
        let mut command = self.with_account(program());
        command.args(&self.args).arg(self.root()).env("PEERGOS_PASSWORD", &self.account.password);
        command
    }

    /// A subcommand for the account, with user name and password in its environment.
    pub fn order(&self, subcommand: &str) -> Command {
        let mut command = program();
        command.arg(subcommand).env("PEERGOS_PASSWORD", &self.account.password);
        self.with_account(command)
    }

    /// Lets a command know state folder, server and user name.
    pub fn with_account(&self, mut command: Command) -> Command {
        command.arg("--state").arg(self.state()).env("PEERGOS_USERNAME", &self.account.username);
        command.args(self.server.iter().flat_map(|url| ["--server", url])).envs(self.environment.iter().cloned());
        command
    }

    /// Mounts, or says what the program printed.
    pub fn try_mount(&mut self) -> Result<(), String> {
        assert!(self.daemon.is_none(), "mounted already");
        self.daemon = Some(Daemon::start(&mut self.command(), &self.root(), &self.beside("log"))?);
        Ok(())
    }

    /// Mounts.
    pub fn mount(&mut self) {
        self.try_mount().unwrap_or_else(|e| panic!("mount: {e}"));
    }

    /// The running daemon.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("mounted")
    }

    /// Takes the daemon out, to be ended by the caller.
    pub fn take_daemon(&mut self) -> Daemon {
        self.daemon.take().expect("mounted")
    }

    /// Unmounts in the orderly way.
    pub fn unmount(&mut self) {
        let status = self.take_daemon().unmount();
        assert!(status.success(), "the daemon ended with {status} after an orderly unmount");
    }

    /// Unmounts and mounts again: what is seen afterwards was stored.
    pub fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// `kill -9` of the daemon.
    pub fn kill(&mut self) {
        self.take_daemon().kill();
    }

    /// Everything in the mounted drive.
    pub fn tree(&self) -> Tree {
        Tree::read(&self.root())
    }

    /// Writes the account to a CAR and a JSON file. Unmounts first if need be.
    pub fn export(&mut self) -> Export {
        if self.daemon.is_some() {
            self.unmount();
        }
        let export = Export::at(&self.scratch, "exported");
        let mut command = program();
        command.arg("export").arg(&self.account.username).arg(&export.car).arg(&export.json);
        run_ok(command.arg("--state").arg(self.state()));
        export
    }

    /// The command that brings an exported account into this state.
    pub fn import_command(&self, export: &Export) -> Command {
        let mut command = program();
        command.arg("import").arg(&export.car).arg(&export.json).arg("--state").arg(self.state());
        command
    }

    /// Brings an exported account into this state.
    pub fn import(&self, export: &Export) {
        run_ok(&mut self.import_command(export));
    }

    /// Exports, and demands that the independent checker finds nothing wrong.
    pub fn check(&mut self) -> Listing {
        self.export().check(&self.account, None)
    }
}
