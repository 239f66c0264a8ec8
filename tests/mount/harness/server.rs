//! A served node: accounts that any client can reach over HTTP, in a state folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::check::{Listing, judged};
use super::daemon::{DEADLINE, poll};
use super::drive::{Account, Drive};
use super::golden::Golden;
use super::line::Line;
use super::scratch::Scratch;
use super::shell::{PROGRAM, program};

/// `peergos-mount node ARGS` on a state folder.
pub fn node(state: &Path, args: &[&str]) -> Command {
    let mut command = program();
    command.arg("node").args(args).arg("--state").arg(state);
    command
}

/// A running `peergos-mount node`. Dropping it kills the process.
pub struct Server {
    child: Child,
    url: String,
    state: PathBuf,
    scratch: Scratch,
}

impl Server {
    /// Serves a node without accounts; anybody may sign up.
    pub fn start() -> Self {
        Self::with(&["--open-sign-ups"])
    }

    /// As [`start`](Self::start), also at the end of a line.
    pub fn start_at(line: &Line) -> Self {
        let server = Self::with(&["--open-sign-ups", "--host", &line.host()]);
        line.lead_to(server.address());
        server
    }

    /// Serves a node without accounts.
    pub fn with(args: &[&str]) -> Self {
        let scratch = Scratch::new();
        Self::serve(scratch.join("state"), scratch, args)
    }

    /// Serves golden accounts; anybody may sign up.
    pub fn golden(accounts: &[&Golden]) -> Self {
        let scratch = Scratch::new();
        let state = scratch.join("state");
        accounts.iter().for_each(|golden| golden.import_into(&state));
        Self::serve(state, scratch, &["--open-sign-ups"])
    }

    /// Serves what is in a state folder, which stays.
    pub fn on(state: &Path, args: &[&str]) -> Self {
        Self::serve(state.to_owned(), Scratch::new(), args)
    }

    fn serve(state: PathBuf, scratch: Scratch, args: &[&str]) -> Self {
        let log = fs::File::create(scratch.join("log")).expect("log file");
        let mut command = Command::new(PROGRAM);
        command.args(["node", "--listen", "127.0.0.1:0"]).args(args).arg("--state").arg(&state);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("log file")).stderr(log).spawn();
        let mut server = Self { child: child.expect("the program starts"), url: String::new(), state, scratch };
        let serving = poll(|| {
            let ended = server.child.try_wait().expect("own child");
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", server.log());
            let log = server.log();
            let said = log.lines().find_map(|line| line.strip_prefix("Serving at ")?.strip_suffix("/."));
            said.is_some_and(|url| {
                url.clone_into(&mut server.url);
                true
            })
        });
        assert!(serving, "not serving within {DEADLINE:?}:\n{}", server.log());
        server
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().expect("it listens at a number")
    }

    /// What its operator says: `peergos-mount node ORDER`.
    pub fn order(&self, order: &[&str]) -> Command {
        node(&self.state, order)
    }

    /// A drive of an account here, not mounted; signs up if there is no such account.
    pub fn drive(&self, account: &Account) -> Drive {
        Drive::at(&self.url, account)
    }

    /// As [`drive`](Self::drive), over a line.
    pub fn drive_over(&self, line: &Line, account: &Account) -> Drive {
        Drive::at(&format!("http://{}", line.host()), account)
    }

    /// Demands that the independent checker, who logs in over HTTP, finds nothing wrong.
    pub fn check(&self, account: &Account) -> Listing {
        judged("http", &[self.url.as_ref()], account, &["--strict".as_ref()])
    }

    /// As [`check`](Self::check), but bears with what the reference client itself leaves behind.
    pub fn check_leniently(&self, account: &Account) -> Listing {
        judged("http", &[self.url.as_ref()], account, &[])
    }

    /// Ends it as a service manager would.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the server lives");
        let mut status = None;
        let ended = poll(|| {
            status = self.child.try_wait().expect("own child");
            status.is_some()
        });
        assert!(ended, "the server did not end within {DEADLINE:?}:\n{}", self.log());
        assert!(status.is_some_and(|s| s.success()), "the server ended with {status:?}:\n{}", self.log());
        assert!(!self.log().contains("panicked"), "the server panicked:\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where there is nothing left to end, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {PROGRAM} node printed:\n{}---", self.log());
        }
    }
}
