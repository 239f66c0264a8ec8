//! `kill -9` at random moments, of the daemon, of the node, and of both: every operation that was acknowledged is there
//! afterwards, not only what was fsynced, in order, and the independent checker finds nothing wrong.
//!
//! `PEERGOS_TEST_KILLS` says how often something is killed in those tests that count it.

mod load;

use std::io::{self, Write as _};
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::Value;

use crate::full_disk::SmallDisk;
use crate::harness::{
    Account, Aspects, Drive, Line, Rng, Scratch, Server, command, expect_failure, filled, poll, program, shell,
};
use crate::offline::status;
use load::Load;

/// How often something is killed.
struct Kills(u64);

impl Kills {
    /// From here on, a test says how far it is, and has the independent checker, which takes most of the time, less often.
    const MANY: u64 = 40;

    /// So many, unless somebody wants another number.
    fn new(few: u64) -> Self {
        Self(env::var("PEERGOS_TEST_KILLS").map_or(few, |kills| kills.parse().unwrap()))
    }

    fn each(&self, test: &str) -> impl Iterator<Item = u64> {
        (0..self.0).inspect(move |kill| {
            if self.0 >= Self::MANY && kill % 10 == 0 {
                // not eprintln!: what that prints is shown once a test has ended
                let _ = writeln!(io::stderr(), "{test}: {kill} of {} kills", self.0);
            }
        })
    }

    /// Whether the account is to be checked after this one.
    fn is_checked_after(&self, kill: u64) -> bool {
        let every = if self.0 < Self::MANY { 4 } else { 20 };
        (kill + 1).is_multiple_of(every) || kill + 1 == self.0
    }
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(20 + rng.below(1500))
}

/// Lets the load work on a mounted drive until the daemon is killed, and checks it after the next mount.
fn round(drive: &mut Drive, load: &mut Load, rng: &mut Rng) {
    let moment = moment(rng);
    thread::scope(|scope| {
        let daemon = drive.daemon();
        scope.spawn(move || {
            thread::sleep(moment);
            daemon.kill_leaving_the_mount();
        });
        load.run_until_failure(&drive.root());
    });
    drive.kill();
    drive.mount();
    load.verify(&drive.root(), &format!("killed after {moment:?}"));
}

#[test]
fn every_acknowledged_operation_survives_kills_of_the_daemon() {
    let (kills, mut rng) = (Kills::new(8), Rng::overridable(11));
    let mut drive = Drive::mounted();
    let mut load = Load::new(&drive.root(), rng.next());
    for kill in kills.each("the daemon") {
        round(&mut drive, &mut load, &mut rng);
        if kills.is_checked_after(kill) {
            drive.check();
            drive.mount();
            load.verify(&drive.root(), "checked");
        }
    }
    assert!(load.done() > 100, "only {} operations: the load does nothing", load.done());
}

#[test]
fn kills_while_what_was_lost_is_made_again() {
    let mut rng = Rng::overridable(12);
    let mut drive = Drive::mounted();
    let mut load = Load::new(&drive.root(), rng.next());
    round(&mut drive, &mut load, &mut rng);
    for _ in 0..3 {
        fs::write(drive.path("large"), filled(1, 20 << 20)).unwrap();
        drive.kill();
        for _ in 0..2 {
            let mut mount = drive.command().spawn().unwrap();
            thread::sleep(Duration::from_millis(500 + rng.below(700)));
            mount.kill().unwrap();
            mount.wait().unwrap();
            let _ = command("umount").args(["-q", "-l"]).arg(drive.root()).status();
        }
        drive.mount();
        load.verify(&drive.root(), "after kills of mounts");
        assert!(fs::read(drive.path("large")).unwrap() == filled(1, 20 << 20));
    }
    drive.check();
}

#[test]
fn every_acknowledged_operation_survives_kills_of_the_node() {
    let (account, kills) = (Account::carol(), Kills::new(4));
    let (line, scratch, mut rng) = (Line::new(), Scratch::new(), Rng::overridable(13));
    let state = scratch.join("node");
    let start = || {
        let server = Server::on(&state, &["--open-sign-ups", "--host", &line.host()]);
        line.lead_to(server.address());
        server
    };
    let mut server = start();
    let mut drive = server.drive_over(&line, &account);
    drive.mount();
    let mut load = Load::new(&drive.root(), rng.next());
    for kill in kills.each("the node") {
        let moment = moment(&mut rng);
        let with_daemon = kill % 2 == 1;
        server = thread::scope(|scope| {
            let daemon = drive.daemon();
            let restarted = scope.spawn({
                let (server, start) = (server, &start);
                move || {
                    thread::sleep(moment);
                    // which kills it
                    drop(server);
                    if with_daemon {
                        daemon.kill_leaving_the_mount();
                    }
                    let server = start();
                    if !with_daemon {
                        thread::sleep(moment);
                        daemon.kill_leaving_the_mount();
                    }
                    server
                }
            });
            load.run_until_failure(&drive.root());
            restarted.join().unwrap()
        });
        drive.kill();
        drive.mount();
        load.verify(&drive.root(), &format!("kill {kill} after {moment:?}"));
        if kills.is_checked_after(kill) {
            drive.unmount();
            server.check(&account);
            drive.mount();
        }
    }
}

/// What becomes of both in detail is told by `together::replayed` of `fs/tests/posix`.
#[test]
fn what_others_committed_meanwhile_is_kept_with_what_is_made_again() {
    let server = Server::start();
    let (mut one, mut other) = (server.drive(&Account::carol()), server.drive(&Account::carol()));
    one.mount();
    shell(&one.root(), "mkdir work; for n in $(seq 50); do echo $n > work/$n; done; touch end; sync end .");
    other.mount();
    assert_eq!(fs::read_dir(other.path("work")).unwrap().count(), 50);
    for round in 1..=3 {
        let work = |name: &str| {
            format!(
                "mkdir -p work/of_{name}; for n in $(seq 20); do echo {name}{round} >> work/$n; \
                 echo {name}{round} > work/of_{name}/$n.{round}; done; echo {name}{round} > work/new{round}"
            )
        };
        shell(&one.root(), &format!("{}; mv work/3{round} work/moved{round}", work("one")));
        one.kill();
        shell(&other.root(), &format!("{}; rm -f work/4{round}; echo other{round} >> work/3{round}", work("other")));
        shell(&other.root(), "sync work/new* .");
        one.mount();
        shell(&one.root(), "sync work");
        let both = |drive: &Drive| {
            let found =
                |what: &str| shell(&drive.root(), &format!("(grep -rl '^{what}{round}$' work || true) | wc -l"));
            (found("one"), found("other"))
        };
        // in the files that both wrote to, in those of their own, in the new one and, of the other, in the moved one
        let expected = ("41\n".to_owned(), "42\n".to_owned());
        assert_eq!(both(&one), expected, "round {round}");
        assert!(poll(|| both(&other) == expected), "round {round}: {:?}", both(&other));
        assert!(one.path(format!("work/moved{round}")).exists());
    }
    let seen = one.tree();
    other.tree().assert_equals(&seen, Aspects::Times, "the other sees");
    other.unmount();
    one.unmount();
    server.check(&Account::carol()).assert_shows("carol", false, &seen);
    server.stop();
}

#[test]
fn every_acknowledged_operation_survives_kills_without_the_node() {
    let (kills, mut rng) = (Kills::new(2), Rng::overridable(15));
    let (account, line) = (Account::carol(), Line::new());
    let server = Server::start_at(&line);
    let mut drive = server.drive_over(&line, &account);
    drive.mount();
    let mut load = Load::new(&drive.root(), rng.next());
    drive.remount();
    for kill in kills.each("without the node") {
        let (before, after) = (moment(&mut rng), moment(&mut rng));
        thread::scope(|scope| {
            let (daemon, line) = (drive.daemon(), &line);
            scope.spawn(move || {
                thread::sleep(before);
                line.cut();
                thread::sleep(after);
                daemon.kill_leaving_the_mount();
            });
            load.run_until_failure(&drive.root());
        });
        drive.kill();
        drive.mount();
        load.verify(&drive.root(), &format!("kill {kill}, {after:?} after the cut"));
        round(&mut drive, &mut load, &mut rng);
        line.mend();
        let is_saved = |said: &Value| said["node"] == "online" && said["queue"] == 0 && said["error"].is_null();
        assert!(poll(|| is_saved(&status(&drive))), "it is never saved: {}", status(&drive));
        load.verify(&drive.root(), "saved");
        if kills.is_checked_after(kill) {
            drive.unmount();
            server.check(&account);
            drive.mount();
        }
    }
}

#[test]
fn a_full_disk_takes_back_nothing_that_was_acknowledged() {
    let (kills, mut rng) = (Kills::new(2), Rng::overridable(14));
    let mut drive = Drive::new();
    let disk = SmallDisk::at(drive.state());
    drive.mount();
    let mut load = Load::new(&drive.root(), rng.next());
    let mut was_full = 0;
    for _ in kills.each("a full disk") {
        // until writes are refused, and a while longer
        let fill = |number| match fs::write(drive.path(format!("fill{number}")), filled(number, 1 << 20)) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => true,
            other => other.map(|()| false).unwrap(),
        };
        was_full += (0..60).filter(|number| fill(*number)).take(3).count();
        round(&mut drive, &mut load, &mut rng);
    }
    assert!(was_full > 0, "the disk was never full");
    disk.grow();
    load.verify(&drive.root(), "with room");
    drive.check();
}

#[test]
fn fsync_of_the_journal_waits_for_no_commit() {
    let line = Line::new();
    let server = Server::start_at(&line);
    let account = Account::carol();
    let mut drive =
        server.drive_over(&line, &account).with_args(&["--sign-up", "--insecure-http", "--fsync", "journal"]);
    drive.mount();
    fs::write(drive.path("before"), "before").unwrap();
    line.cut();
    let file = fs::File::create(drive.path("new")).unwrap();
    file.sync_all().unwrap();
    drive.kill();
    line.mend();
    drive.mount();
    assert!(drive.path("new").exists());
    assert_eq!(fs::read(drive.path("before")).unwrap(), b"before");
    drive.unmount();
    assert!(poll(|| !has_journal(&drive)), "an orderly unmount leaves a journal");
}

#[test]
fn one_account_is_mounted_once_with_a_state_directory() {
    let server = Server::start();
    let mut drive = server.drive(&Account::carol());
    drive.mount();
    let elsewhere = drive.beside("elsewhere");
    let mut second = drive.with_account(program());
    second.arg(elsewhere).env("PEERGOS_PASSWORD", &drive.account.password);
    let ran = expect_failure(&mut second, &["mounted already"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

/// Whether there is a file of a journal.
fn has_journal(drive: &Drive) -> bool {
    let accounts = fs::read_dir(drive.state().join("journal")).unwrap();
    let mut files = accounts.flat_map(|account| fs::read_dir(account.unwrap().path()).unwrap());
    files.any(|file| file.unwrap().path().extension().is_some_and(|extension| extension == "journal"))
}
