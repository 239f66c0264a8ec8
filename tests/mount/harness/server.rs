//! A served node: accounts that any client can reach over HTTP, in a state folder of its own.

use std::fs;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::check::{Listing, judged};
use super::daemon::{DEADLINE, poll};
use super::drive::{Account, Drive};
use super::golden::Golden;
use super::scratch::Scratch;
use super::shell::{PROGRAM, program, run_ok};

/// A running `peergos-mount node`. Dropping it kills the process.
pub struct Server {
    child: Child,
    url: String,
    scratch: Scratch,
}

impl Server {
    /// Serves a node without accounts; anybody may sign up.
    pub fn start() -> Self {
        Self::serve(Scratch::new())
    }

    /// Serves golden accounts.
    pub fn golden(accounts: &[&Golden]) -> Self {
        let scratch = Scratch::new();
        for golden in accounts {
            let export = golden.export();
            run_ok(program().arg("import").args([&export.car, &export.json]).arg("--state").arg(scratch.join("state")));
        }
        Self::serve(scratch)
    }

    fn serve(scratch: Scratch) -> Self {
        let log = fs::File::create(scratch.join("log")).expect("log file");
        let mut command = std::process::Command::new(PROGRAM);
        command.args(["node", "--listen", "127.0.0.1:0", "--open-sign-ups", "--state"]).arg(scratch.join("state"));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("log file")).stderr(log).spawn();
        let mut server = Self { child: child.expect("the program starts"), url: String::new(), scratch };
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

    /// A drive of an account here, not mounted; signs up if there is no such account.
    pub fn drive(&self, account: &Account) -> Drive {
        let mut drive = Drive::new().with_args(&["--server", &self.url, "--sign-up", "--poll-interval", "500ms"]);
        drive.account = account.clone();
        drive
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
