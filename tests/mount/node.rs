//! The program as a server: accounts of the reference client served to a client that is not ours, what its operator can
//! say, and how it ends.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Golden, Scratch, expect_failure, program, python, run, run_ok};

/// A server on a free port.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(state: &Path, args: &[&str]) -> Self {
        let mut command = node(state, args);
        let mut child = command.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let url =
            said.find_map(|line| Some(line.unwrap().strip_prefix("Serving at ")?.trim_end_matches('.').to_owned()));
        // what it says later must have somewhere to go
        std::thread::spawn(move || said.for_each(drop));
        Self { url: url.expect("a server says where it is"), child }
    }

    /// Ends it as systemd does, and demands that it is content.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn node(state: &Path, args: &[&str]) -> Command {
    let mut command = program();
    command.arg("node").args(args).arg("--state").arg(state);
    command
}

/// A state directory with both golden accounts.
fn golden() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let state = scratch.join("state");
    for name in ["ada", "bob"] {
        let export = Golden::load(name).export();
        run_ok(program().arg("import").arg(&export.car).arg(&export.json).arg("--state").arg(&state));
    }
    (scratch, state)
}

#[test]
fn accounts_are_served_as_they_are() {
    let (_scratch, state) = golden();
    let served = Served::start(&state, &[]);
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/peergos_check.py");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/manifest.json");
    for name in ["ada", "bob"] {
        let account = Golden::load(name).account;
        let mut check = python();
        check.args([checker, "http", &served.url, name, &account.password, "--expect", manifest]);
        let ran = run(&mut check);
        let verdict = ran.out.lines().last().unwrap_or_default();
        assert!(ran.code == Some(0) && verdict.contains(" 0 errors"), "{}{}", ran.out, ran.err);
    }
    served.stop();
}

#[test]
fn orders_reach_the_server_and_the_state() {
    let (_scratch, state) = golden();
    let order = |args: &[&str]| run_ok(&mut node(&state, args));
    let is_token = |text: &str| text.trim_end().len() == 64;
    assert!(is_token(&order(&["token"])));
    order(&["quota", "ada", "20M"]);
    let served = Served::start(&state, &["--metrics", "127.0.0.1:0"]);
    assert!(is_token(&order(&["token"])));
    let accounts = order(&["accounts"]);
    let quota = |name: &str, accounts: &str| {
        let row = accounts.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        row.split('\t').nth(2).unwrap().to_owned()
    };
    assert_eq!((quota("ada", &accounts).as_str(), quota("bob", &accounts).as_str()), ("20971520", "-"));
    order(&["quota", "bob", "1G"]);
    assert_eq!(quota("bob", &order(&["accounts"])), "1073741824");
    let nobody = expect_failure(&mut node(&state, &["quota", "nobody", "1G"]), &["no such account"]);
    assert_eq!(nobody.code, Some(4));

    // one at a time, on one address at a time
    let taken = expect_failure(&mut node(&state, &["--listen", "127.0.0.1:0"]), &["in use"]);
    assert_eq!(taken.code, Some(4));
    let other = Scratch::new();
    let taken = expect_failure(&mut node(&other.join("state"), &["--listen", served.address()]), &["could not listen"]);
    assert_eq!(taken.code, Some(1));
    served.stop();
    assert_eq!(quota("bob", &order(&["accounts"])), "1073741824");
}
