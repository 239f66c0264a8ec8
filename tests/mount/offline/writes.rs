//! Writing without the server: nothing that was acknowledged is lost, and all of it arrives.
//!
//! `PEERGOS_TEST_SECONDS` says how long the line stays cut in the first test.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{SOON, notice, status, wait_until};
use crate::harness::{
    Account, Aspects, Drive, Ledger, Line, Rng, Server, Tree, Worker, fill, holds, poll, shell, write_synced,
};

/// How long a piece of what is written is.
pub(super) const PIECE: u64 = 20 << 20;

/// Ends what goes on until then, also where a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Mounts the account a second time, at the server.
pub(super) fn beside(server: &Server) -> Drive {
    let mut other = server.drive(&Account::carol());
    other.mount();
    other
}

/// Waits until everything that `one` has is saved, and both show the same.
pub(super) fn settle(one: &Drive, other: &Drive) {
    wait_until(one, "online");
    assert!(poll(|| status(one)["queue"] == 0 && status(one)["error"].is_null()), "never saved: {}", status(one));
    let mut differences = Vec::new();
    let same = poll(|| {
        let trees = Tree::try_read(&one.root()).and_then(|one| Ok((one, Tree::try_read(&other.root())?)));
        differences = trees.map_or_else(|e| vec![e], |(one, other)| one.differences(&other, Aspects::Times));
        differences.is_empty()
    });
    assert!(same, "the two see different trees:\n{}", differences.join("\n"));
}

/// Both are unmounted, and the independent checker sees what they saw.
pub(super) fn check(mut one: Drive, mut other: Drive, server: Server) {
    let seen = other.tree();
    one.unmount();
    other.unmount();
    server.check(&Account::carol()).assert_shows("carol", false, &seen);
    server.stop();
}

/// Writes a file of stream `seed` until all is written, or there is no room: returns how much was taken.
pub(super) fn write_piece(drive: &Drive, seed: u64) -> u64 {
    let mut file = File::create(drive.path(format!("piece{seed}"))).unwrap();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < PIECE {
        fill(seed, at, &mut buf);
        match file.write(&buf) {
            Ok(written) => at += written as u64,
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => panic!("{seed} at {at}: {error}"),
        }
    }
    at
}

pub(super) fn assert_piece(drive: &Drive, seed: u64, len: u64) {
    let path = drive.path(format!("piece{seed}"));
    holds(File::open(&path).unwrap(), seed, len).unwrap_or_else(|e| panic!("{path:?}: {e}"));
}

#[test]
fn work_goes_on_while_the_line_is_cut() {
    let seconds = std::env::var("PEERGOS_TEST_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let mut rng = Rng::overridable(21);
    let line = Line::new();
    let server = Server::start_at(&line);
    let mut one = server.drive_over(&line, &Account::carol());
    one.mount();
    shell(
        &one.root(),
        "mkdir -p work/0 work/1 work/2 folder; for f in both theirs gone kept renamed; do echo before > $f; done
         sync both theirs gone kept renamed work folder",
    );
    let other = beside(&server);
    assert!(poll(|| other.path("renamed").exists() && other.path("work/2").exists()));
    shell(&one.root(), "cat both theirs gone kept renamed > /dev/null");

    let (ledger, is_stopped, began) = (Ledger::default(), AtomicBool::new(false), Instant::now());
    let (a, b) = (one.path("work"), other.path("work"));
    let mut mine = Worker::new("one", a, &ledger, rng.next()).without_what_is_elsewhere();
    let mut theirs = Worker::new("other", b, &ledger, rng.next());
    std::thread::scope(|scope| {
        let stop = Stop(&is_stopped);
        scope.spawn(|| mine.work_while(|| !is_stopped.load(Ordering::Relaxed)));
        scope.spawn(|| theirs.work_while(|| !is_stopped.load(Ordering::Relaxed)));
        std::thread::sleep(Duration::from_secs(2));
        line.cut();
        notice(&one);
        println!("noticed after {:?}, {} lines are synced", began.elapsed(), ledger.synced());
        let end = Instant::now() + Duration::from_secs(seconds);
        let synced = ledger.synced();
        shell(
            &one.root(),
            "echo mine > both; rm gone kept; mv renamed folder/moved; echo mine > new; mkdir -p made/here; echo 1 > made/here/1",
        );
        shell(
            &other.root(),
            "echo theirs > both; echo changed > theirs; echo changed > kept; echo changed >> renamed; echo theirs > new
             mkdir made; echo 2 > made/2; sync both theirs kept renamed new made/2",
        );
        let (began, file) = (Instant::now(), File::open(one.path("both")).unwrap());
        file.sync_all().unwrap();
        assert!(began.elapsed() < SOON, "fsync took {:?}", began.elapsed());
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        assert!(ledger.synced() > synced + 20, "the load does not go on");
        assert_eq!(status(&one)["node"], "offline");
        line.mend();
        wait_until(&one, "online");
        std::thread::sleep(Duration::from_secs(2));
        drop(stop);
    });
    settle(&one, &other);
    ledger.verify(&other.path("work"));
    let read = |name: &str| fs::read_to_string(other.path(name)).unwrap();
    assert_eq!((read("both"), read("both[conflict-0]")), ("theirs\n".into(), "mine\n".into()));
    assert_eq!((read("new"), read("new[conflict-0]")), ("theirs\n".into(), "mine\n".into()));
    assert_eq!((read("theirs"), read("kept")), ("changed\n".into(), "changed\n".into()));
    assert_eq!(read("folder/moved"), "before\nchanged\n");
    assert_eq!((read("made/here/1"), read("made/2")), ("1\n".into(), "2\n".into()));
    assert!(!other.path("gone").exists() && !other.path("renamed").exists());
    check(one, other, server);
}

#[test]
fn what_was_written_offline_survives_kills_and_mounts_without_the_server() {
    let line = Line::new();
    let server = Server::start_at(&line);
    let mut one = server.drive_over(&line, &Account::carol());
    one.mount();
    shell(&one.root(), "mkdir folder; echo before | tee both > folder/old; sync both folder/old folder");
    let other = beside(&server);
    one.remount();
    shell(&one.root(), "ls -R > /dev/null; cat both folder/old");
    line.cut();
    notice(&one);
    shell(
        &one.root(),
        "echo first > folder/first; mv folder/old folder/moved; echo mine > both; mkdir a; touch a/empty",
    );
    write_piece(&one, 1);
    write_synced(&other.path("both"), "theirs");
    one.kill();
    one.mount();
    assert_eq!(status(&one)["node"], "offline");
    assert!(status(&one)["journal_bytes"].as_u64() > Some(PIECE), "{}", status(&one));
    assert_piece(&one, 1, PIECE);
    shell(
        &one.root(),
        "test $(cat folder/first) = first; test $(cat folder/moved) = before; test $(cat both) = mine; test -e a/empty
         echo more >> folder/first; chmod 600 folder/first; rmdir a 2> /dev/null || rm -r a; echo second > second; sync second",
    );
    write_piece(&one, 2);
    one.kill();
    one.mount();
    assert_eq!(status(&one)["node"], "offline");
    shell(
        &one.root(),
        "test $(stat -c %a folder/first) = 600; test $(cat second) = second; ! test -e a; echo third > third",
    );
    assert_piece(&one, 2, PIECE);
    // unmounted, it waits as well
    let ended = one.take_daemon().signal(Signal::TERM);
    assert_eq!(ended.code(), Some(6), "not everything is saved");
    one.mount();
    assert_eq!(fs::read_to_string(one.path("third")).unwrap(), "third\n");
    line.mend();
    settle(&one, &other);
    for seed in 1..3 {
        assert_piece(&other, seed, PIECE);
    }
    shell(
        &other.root(),
        "test \"$(cat folder/first)\" = \"first
more\"; test $(cat folder/moved) = before; test $(cat both) = theirs; test $(cat 'both[conflict-0]') = mine
         test $(cat second)$(cat third) = secondthird; ! test -e a; ! test -e folder/old",
    );
    check(one, other, server);
}

#[test]
fn more_is_written_than_memory_holds_up_to_the_quota() {
    const LEAST: u64 = 400 << 20;
    const MEMORY: u64 = 380 << 20;
    let line = Line::new();
    let server = Server::start_at(&line);
    let options = ["--sign-up", "--insecure-http", "--poll-interval", "500ms", "--offline-quota", "900M"];
    let mut one = server.drive_over(&line, &Account::carol()).with_args(&options);
    one.mount();
    shell(&one.root(), "echo here > deleted; sync deleted");
    one.remount();
    line.cut();
    notice(&one);
    let before = one.daemon().memory();
    let mut lens = Vec::new();
    for seed in 0.. {
        lens.push(write_piece(&one, seed));
        if lens.last() < Some(&PIECE) {
            break;
        }
        if seed == 10 {
            // what has left memory is changed
            let mut file = File::options().write(true).open(one.path("piece0")).unwrap();
            let mut buf = vec![0; 1 << 20];
            fill(0, 0, &mut buf);
            file.write_all(&buf).unwrap();
        }
    }
    let (written, memory) = (lens.iter().sum::<u64>(), one.daemon().memory());
    println!("{} MiB were written; {} MiB resident before, {} after", written >> 20, before >> 20, memory >> 20);
    assert!(written > LEAST, "only {written} bytes were taken");
    assert!(memory < before + MEMORY, "{} MiB more than {}", (memory - before) >> 20, before >> 20);
    assert!(status(&one)["journal_bytes"].as_u64() < Some(900 << 20), "{}", status(&one));
    let refused = File::create(one.path("another")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    fs::remove_file(one.path("deleted")).unwrap();
    fs::rename(one.path("piece1"), one.path("renamed")).unwrap();
    fs::rename(one.path("renamed"), one.path("piece1")).unwrap();
    let check_all = |drive: &Drive| (0..).zip(&lens).for_each(|(seed, len)| assert_piece(drive, seed, *len));
    check_all(&one);
    // the same after a kill
    one.kill();
    one.mount();
    check_all(&one);
    let memory = one.daemon().memory();
    println!("{} MiB resident after a kill", memory >> 20);
    assert!(memory < before + MEMORY, "{} MiB after a kill", memory >> 20);
    let mut part = [0; 1000];
    File::open(one.path("piece3")).and_then(|mut file| file.read_exact(&mut part)).unwrap();

    line.mend();
    let other = beside(&server);
    settle(&one, &other);
    check_all(&other);
    assert!(!other.path("deleted").exists());
    assert!(poll(|| status(&one)["journal_bytes"].as_u64() < Some(1 << 20)), "{}", status(&one));
    fs::write(one.path("another"), "there is room again").unwrap();
    settle(&one, &other);
    check(one, other, server);
}
