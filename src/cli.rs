//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{account::AccountArgs, node::NodeArgs, options, pin::PinArgs, units};

const USAGE: &str = "peergos-mount [OPTIONS] MOUNTPOINT
       peergos-mount umount MOUNTPOINT
       peergos-mount status [--json] [MOUNTPOINT]
       peergos-mount pin [--remove|--list] PATH
       peergos-mount login [--remember] | logout | passwd | delete-account [OPTIONS]
       peergos-mount node [OPTIONS]
       peergos-mount node token | quota USER BYTES | accounts
       peergos-mount check [--repair] [OPTIONS]
       peergos-mount export USER OUT.car OUT.json
       peergos-mount import IN.car IN.json";

const NOTES: &str = "\
Examples:
  peergos-mount ~/Peergos            the first time, asks for a user name and a password, and
                                     makes an account
  peergos-mount --daemon ~/Peergos   returns once the drive is mounted
  peergos-mount --server https://peergos.example --username ada ~/Peergos
                                     mounts an account that is on a server
  peergos-mount umount ~/Peergos     unmounts, and returns when everything is saved
  mount -t fuse.peergos-mount peergos /mnt -o username=ada,password_file=/etc/peergos/ada

The password comes from the first of these that there is: --password-file FILE (- is standard
input), PEERGOS_PASSWORD, the keyring (see `login --remember`), the terminal. A second factor is
asked for on the terminal; PEERGOS_MFA_CODE may hold its code. `passwd` takes the new password
from --new-password-file, PEERGOS_NEW_PASSWORD, the terminal.
PEERGOS_LOG says what is logged, to standard error or by a daemon to DIR/log: error, warn (the
default), info, debug.

Exit codes:
  0  success
  1  a failure that is none of these
  2  the command line is wrong
  3  the user name or the password is wrong or missing
  4  the state directory or the account cannot be used: in use, damaged, no permission, unknown
  5  mounting or unmounting failed
  6  unmounted, but some changes could not be saved yet; they are at the next mount
  7  the server cannot be reached or refuses
  8  there is no keyring, or it refuses
  9  `check` found something that is not mended";

/// What the list of mounts shows if nothing else is said.
const DEFAULT_SOURCE: &str = "peergos";

/// Mounts an end-to-end encrypted Peergos drive as an ordinary folder.
#[derive(Debug, Parser)]
#[command(
    version,
    override_usage = USAGE,
    after_help = NOTES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub mount: MountArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Unmounts, and waits until everything is saved
    Umount {
        /// The folder that shows the drive
        mountpoint: PathBuf,
    },
    /// Shows whether drives are connected, what is not saved yet, and how much space there is
    Status {
        /// The folder that shows a drive; all drives of this user if it is not given
        mountpoint: Option<PathBuf>,
        /// One JSON object for each drive, on a line of its own
        #[arg(long)]
        json: bool,
    },
    /// Keeps a folder or file of a drive on a server on this machine, for when the server is out of reach
    Pin(PinArgs),
    /// Serves the accounts kept here to any Peergos client over HTTP
    Node(NodeArgs),
    /// Tries a password, and with --remember keeps the login in the keyring of the desktop
    Login {
        #[command(flatten)]
        account: AccountArgs,
        /// Give this device a second factor of its own, and keep that with the keys that the password opens (not the
        /// password) in the keyring: from then on this device mounts the drive without asking
        #[arg(long)]
        remember: bool,
    },
    /// Takes back what `login --remember` has kept and given
    Logout {
        #[command(flatten)]
        account: AccountArgs,
    },
    /// Changes the password
    Passwd {
        #[command(flatten)]
        account: AccountArgs,
        /// A file whose first line is the new password; - is standard input
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// Deletes an account with all its files, for ever
    DeleteAccount {
        #[command(flatten)]
        account: AccountArgs,
    },
    /// Reads all of an account, and lists what is damaged, missing or left over: a line on standard output for each, with
    /// its path
    Check {
        #[command(flatten)]
        account: AccountArgs,
        /// Write stale hashes anew, and remove what nothing leads to and was there at a check a day ago already. Nothing
        /// else is touched
        #[arg(long)]
        repair: bool,
        /// A JSON object in each line, for programs
        #[arg(long)]
        json: bool,
    },
    /// Writes a backup of an account, encrypted as it is: no password is needed, only to read it again
    Export {
        /// The account's user name
        user: String,
        /// Gets the encrypted blocks, as a CARv1 file
        car: PathBuf,
        /// Gets the account's signed pointers, claim and login data
        json: PathBuf,
        #[command(flatten)]
        state: StateArg,
    },
    /// Restores an account from a backup; from then on it is hosted here
    Import {
        /// The encrypted blocks, as `export` wrote them
        car: PathBuf,
        /// The rest, as `export` wrote it
        json: PathBuf,
        #[command(flatten)]
        state: StateArg,
    },
}

#[derive(Debug, Clone, Args)]
pub struct StateArg {
    /// Where accounts and their encrypted blocks are kept [default: $XDG_STATE_HOME/peergos-mount, or
    /// ~/.local/state/peergos-mount]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct MountArgs {
    /// The folder to show the drive in; it is made if it is missing. mount(8) puts a name before it, for the list of
    /// mounts, and then --daemon is the default
    #[arg(value_name = "MOUNTPOINT", required = true, num_args = 1..=2)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub account: AccountArgs,
    /// Make the account if the server has none of this name; TOKEN is an invitation, where one is needed
    #[arg(long, value_name = "TOKEN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sign_up: Option<String>,
    /// Stay in the foreground until unmounted (the default, except for mount(8))
    #[arg(short, long, overrides_with = "daemon")]
    pub foreground: bool,
    /// Return once the drive is mounted, and serve it in the background
    #[arg(short, long)]
    pub daemon: bool,
    /// Allow no changes
    #[arg(short, long)]
    pub read_only: bool,
    /// Let other users of this machine in, as far as the files' permissions do
    #[arg(long)]
    pub allow_other: bool,
    /// Show the entries that Peergos keeps for itself
    #[arg(long)]
    pub show_hidden: bool,
    /// Memory for decrypted data, in bytes, or with a unit: 64M, 1G
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = units::bytes)]
    pub cache_size: u64,
    /// The longest that a change stays on this machine before it is saved, in seconds, or with a unit: 500ms, 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub commit_interval: Duration,
    /// What fsync waits for: `commit`, until the change is saved with the node; or `journal`, until it is on this disk
    #[arg(long, value_name = "WHEN", default_value = "commit")]
    pub fsync: Fsync,
    /// How much disk space changes may take while the server is out of reach, in bytes, or with a unit: 500M, 4G
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = units::bytes)]
    pub offline_quota: u64,
    /// How often a server is asked for what other devices have changed, in seconds, or with a unit: 500ms, 1m
    #[arg(long, value_name = "TIME", default_value = "7s", value_parser = units::duration)]
    pub poll_interval: Duration,
    /// Options as in mount(8) and fstab(5): ro, allow_other, noexec …, and the long options above as state=DIR,
    /// server=URL, ca_file=FILE, proxy=URL, insecure_http, parallelism=N, disk_cache=SIZE, username=NAME,
    /// password_file=FILE, cache_size=SIZE, commit_interval=TIME, poll_interval=TIME, fsync=WHEN, offline_quota=SIZE,
    /// show_hidden
    #[arg(short, value_name = "OPTION,…")]
    pub options: Vec<OsString>,
    /// Tells the process that a daemon's parent waits on standard output for the mount to be ready
    #[arg(long, hide = true)]
    pub report_ready: bool,
}

/// What fsync waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fsync {
    /// The change is saved with the node.
    Commit,
    /// The change is in the journal, and that is on the disk.
    Journal,
}

/// What the arguments amount to.
#[derive(Debug)]
pub struct Plan {
    /// With the `-o` options and defaults applied.
    pub args: MountArgs,
    /// What only `-o` can say.
    pub flags: options::Flags,
    /// The drive's name in the list of mounts.
    pub source: String,
    /// The folder to show the drive in.
    pub mountpoint: PathBuf,
}

impl MountArgs {
    /// Takes everything into account.
    pub fn resolve(mut self) -> anyhow::Result<Plan> {
        let mut flags = options::Flags::default();
        for list in std::mem::take(&mut self.options) {
            options::apply(&list, &mut self, &mut flags)?;
        }
        let mut paths = std::mem::take(&mut self.paths);
        let mountpoint = paths.pop().context("no mountpoint given")?;
        let source = paths.pop().map(|source| source.to_string_lossy().into_owned());
        self.daemon = self.daemon || (source.is_some() && !self.foreground);
        Ok(Plan { args: self, flags, source: source.unwrap_or_else(|| DEFAULT_SOURCE.to_owned()), mountpoint })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn mount(args: &[&str]) -> MountArgs {
        Cli::try_parse_from([&["peergos-mount"], args].concat()).unwrap().mount
    }

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mountpoint_alone_stays_in_the_foreground() {
        let plan = mount(&["/m"]).resolve().unwrap();
        assert!(!plan.args.daemon);
        assert_eq!((plan.source.as_str(), plan.mountpoint), ("peergos", "/m".into()));
        assert_eq!((plan.args.cache_size, plan.args.commit_interval), (64 << 20, Duration::from_secs(5)));
    }

    #[test]
    fn mount8_form_is_a_daemon() {
        let line = ["ada's", "/m", "-o", "ro,username=ada,_netdev,x-systemd.automount,noexec", "-o", "state=/s"];
        let Plan { args, flags, source, mountpoint } = mount(&line).resolve().unwrap();
        assert!(args.daemon && args.read_only && flags.noexec && !args.allow_other);
        assert_eq!(args.account.username.as_deref(), Some("ada"));
        assert_eq!(args.account.state.state, Some("/s".into()));
        assert_eq!((source.as_str(), mountpoint), ("ada's", "/m".into()));
        assert!(!mount(&["peergos", "/m", "--foreground"]).resolve().unwrap().args.daemon);
    }

    #[test]
    fn servers_and_invitations() {
        let args = mount(&["--server", "https://h", "--sign-up=t", "/m"]);
        assert_eq!(args.account.server.server, crate::server::Server::Url("https://h".into()));
        assert_eq!((args.sign_up.as_deref(), args.paths), (Some("t"), vec!["/m".into()]));
        let args = mount(&["--sign-up", "/m"]);
        assert_eq!((args.sign_up.as_deref(), args.paths), (Some(""), vec!["/m".into()]));
    }

    #[test]
    fn subcommands_need_no_mountpoint() {
        let cli = Cli::try_parse_from(["peergos-mount", "export", "ada", "a.car", "a.json", "--state", "/s"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Export { user, .. }) if user == "ada"));
        assert!(Cli::try_parse_from(["peergos-mount"]).is_err());
        assert!(Cli::try_parse_from(["peergos-mount", "a", "b", "c"]).is_err());
        assert!(Cli::try_parse_from(["peergos-mount", "umount"]).is_err());
    }
}
