//! The keyring of a desktop session that there is not: GNOME Keyring on a bus of its own.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use super::daemon::poll;
use super::scratch::Scratch;
use super::shell::command;

/// An open keyring with nothing in it. Dropping it ends it.
pub struct Keyring {
    bus: Child,
    daemon: Child,
    scratch: Scratch,
}

impl Keyring {
    /// Starts bus and keyring.
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let address = format!("--address={}", address(&scratch));
        let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut bus = command("dbus-daemon");
        let bus = quiet(bus.args(["--session", "--nofork", "--nopidfile", &address])).expect("dbus-daemon");
        let mut daemon = command("gnome-keyring-daemon");
        daemon.args(["--foreground", "--components=secrets", "--unlock"]).stdin(Stdio::piped());
        daemon.env("HOME", &*scratch).env_remove("XDG_DATA_HOME");
        assert!(poll(|| scratch.join("bus").exists()), "no bus");
        let daemon = quiet(at(&scratch, &mut daemon)).expect("gnome-keyring-daemon");
        let mut keyring = Self { bus, daemon, scratch };
        keyring.daemon.stdin.take().expect("piped").write_all(b"opens the keyring").expect("it reads its password");
        let is_there = || {
            let mut ask = command("dbus-send");
            ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
            ask.args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]);
            let answer = keyring.serve(&mut ask).output().expect("dbus-send");
            String::from_utf8_lossy(&answer.stdout).contains("true")
        };
        assert!(poll(is_there), "no keyring");
        keyring
    }

    /// Lets a command find it.
    pub fn serve<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        at(&self.scratch, command)
    }
}

fn address(scratch: &Scratch) -> String {
    format!("unix:path={}", scratch.join("bus").display())
}

fn at<'a>(scratch: &Scratch, command: &'a mut Command) -> &'a mut Command {
    command.env("DBUS_SESSION_BUS_ADDRESS", address(scratch)).env("XDG_RUNTIME_DIR", &**scratch)
}

impl Drop for Keyring {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            // Both fail where there is nothing left to end, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
