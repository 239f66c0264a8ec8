//! Mounts whose way to the server loses, delays, cuts, forges, withholds and replays: what was synced is there in the end,
//! and what is not so is never shown.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use peergos_testing::{Answer, Asked, TROUBLES, troubled, way};

use crate::harness::{
    Account, Aspects, Drive, Ledger, Rng, Server, Worker, expect_failure, filled, poll, shell, write_synced,
};
use crate::offline::status;

/// How many synced lines are worth looking for.
const ENOUGH: usize = 80;

const EIO: Option<i32> = Some(5);
/// Exit codes, as `--help` documents them.
const DAMAGED: Option<i32> = Some(4);
const SERVER: Option<i32> = Some(7);

/// Requests meet with trouble on their first attempt, those of a kind each time with another.
#[derive(Default)]
struct Troubles(Mutex<Met>);

#[derive(Default)]
struct Met {
    /// Requests whose next attempt is let through: target and body.
    again: HashSet<(String, Vec<u8>)>,
    /// By path, how many requests there were, not counting further attempts, and how many troubles.
    calls: HashMap<String, (usize, usize)>,
}

impl Troubles {
    fn meet(&self, asked: &Asked, truth: &dyn Fn() -> Vec<u8>) -> Answer {
        let trouble = self.next(asked);
        trouble.map_or_else(|| Answer::Raw(truth()), |n| troubled(n, truth))
    }

    /// The number of what happens to a request: for every commit, and every other request of another kind, until each was
    /// met.
    fn next(&self, asked: &Asked) -> Option<usize> {
        let mut met = self.0.lock().unwrap();
        let request = (asked.target.clone(), asked.body.clone());
        if met.again.remove(&request) {
            return None;
        }
        let (requests, troubles) = met.calls.entry(asked.path.clone()).or_default();
        *requests += 1;
        let is_due = *requests % 2 == 1 || asked.path.ends_with("setPointers");
        if !is_due || *troubles == TROUBLES {
            return None;
        }
        *troubles += 1;
        // first of all, an answer is lost after the server has acted
        let trouble = *troubles;
        met.again.insert(request);
        Some(trouble)
    }

    /// Whether every trouble has befallen each of these calls.
    fn all_met(&self, calls: &[&str]) -> bool {
        let met = self.0.lock().unwrap();
        calls.iter().all(|call| met.calls.get(*call).is_some_and(|(_, troubles)| *troubles == TROUBLES))
    }
}

#[test]
fn what_was_synced_survives_a_bad_way() {
    let mut rng = Rng::overridable(1);
    let server = Server::start();
    let troubles = Arc::new(Troubles::default());
    let met = Arc::clone(&troubles);
    let way = way(server.address(), move |asked, _, truth| met.meet(asked, truth));
    let mut drive = Drive::at(&way.url(), &Account::carol());
    drive.mount();
    shell(&drive.root(), "mkdir -p work/0 work/1 work/2; sync work");

    let ledger = Ledger::default();
    let writes = ["/api/v0/block/put/bulk", "/peergos/v0/mutable/setPointers"];
    // as few large ones as show what there is to see
    let content = |n: u64| filled(n, if n < 3 { (3 << 20) + 7 } else { 5_000 });
    let files: Vec<u64> = std::thread::scope(|scope| {
        for name in ["one", "two", "three"] {
            let mut worker = Worker::new(name, drive.path("work"), &ledger, rng.next());
            let (troubles, ledger) = (&troubles, &ledger);
            scope.spawn(move || worker.work_while(|| !troubles.all_met(&writes) || ledger.synced() < ENOUGH));
        }
        (0..)
            .take_while(|n| *n < 3 || !troubles.all_met(&writes))
            .inspect(|n| write_synced(&drive.path(format!("file{n}")), content(*n)))
            .collect()
    });
    drive.kill();

    // another client, on the same way
    let mut other = Drive::at(&way.url(), &Account::carol());
    other.mount();
    ledger.verify(&other.path("work"));
    for n in files {
        assert!(fs::read(other.path(format!("file{n}"))).unwrap() == content(n), "file{n}");
    }
    let seen = other.tree();
    other.unmount();
    // and one on a good way
    let mut last = server.drive(&Account::carol());
    last.mount();
    last.tree().assert_equals(&seen, Aspects::Times, "on a good way");
    last.unmount();
    server.check(&Account::carol()).assert_shows("carol", false, &seen);
    server.stop();
}

/// What is done to an answer's body.
type Forgery = fn(&mut Vec<u8>);

const FORGERIES: [(&str, Forgery); 5] = [
    ("a bit flipped at the end", |body| flip(body.last_mut())),
    ("a bit flipped in the middle", |body| {
        let middle = body.len() / 2;
        flip(body.get_mut(middle));
    }),
    ("half of it", |body| body.truncate(body.len() / 2)),
    ("nothing", Vec::clear),
    ("something else", |body| *body = b"something else".to_vec()),
];

fn flip(byte: Option<&mut u8>) {
    if let Some(byte) = byte {
        *byte ^= 1;
    }
}

/// An answer with a forged body, and a length that fits.
fn forged(answer: &[u8], forge: Forgery) -> Answer {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head") + 4;
    let mut body = answer[head..].to_vec();
    forge(&mut body);
    Answer::Ok(body)
}

#[test]
fn nothing_unverified_is_shown() {
    let server = Server::start();
    let mut drive = server.drive(&Account::carol());
    drive.mount();
    for (n, _) in (0_u64..).zip(&FORGERIES) {
        fs::write(drive.path(format!("large{n}")), filled(n, 3 << 20)).unwrap();
        shell(&drive.root(), &format!("mkdir dir{n}; seq 3 > dir{n}/small; sync dir{n}"));
    }
    drive.unmount();

    let forgery = Arc::new(AtomicUsize::new(usize::MAX));
    let current = Arc::clone(&forgery);
    let way = way(server.address(), move |asked, _, truth| {
        let carries_blocks = asked.path.ends_with("block/get") || asked.path.contains("champ/get");
        match FORGERIES.get(current.load(Ordering::SeqCst)) {
            Some((_, forge)) if carries_blocks => forged(&truth(), *forge),
            _ => Answer::Raw(truth()),
        }
    });
    let mut other = Drive::at(&way.url(), &Account::carol());
    other.mount();
    for (n, (what, _)) in FORGERIES.iter().enumerate() {
        let (large, small) = (other.path(format!("large{n}")), other.path(format!("dir{n}/small")));
        forgery.store(n, Ordering::SeqCst);
        let error = fs::read(&large).expect_err(what);
        assert_eq!(error.raw_os_error(), EIO, "{what}: {error}");
        // what is so small may have come with something else before
        match fs::read(&small) {
            Ok(content) => assert_eq!(content, b"1\n2\n3\n", "{what}"),
            Err(error) => assert_eq!(error.raw_os_error(), EIO, "{what}: {error}"),
        }
        let fresh = Drive::at(&way.url(), &Account::carol());
        let ran = expect_failure(&mut fresh.command(), &["block", "damaged", "missing"]);
        assert_eq!(ran.code, DAMAGED, "{what}: {}", ran.err);
        // the mount has not been harmed
        forgery.store(usize::MAX, Ordering::SeqCst);
        assert!(fs::read(&large).unwrap() == filled(n as u64, 3 << 20), "{what}");
        assert_eq!(fs::read(&small).unwrap(), b"1\n2\n3\n", "{what}");
    }
    other.unmount();
    server.check(&Account::carol());
    server.stop();
}

#[test]
fn an_older_state_is_not_gone_back_to() {
    let server = Server::start();
    // answers to `getPointer` are those of the moment in which this is set
    let replay = Arc::new(AtomicBool::new(false));
    let replays = Arc::clone(&replay);
    let first: Mutex<HashMap<String, Vec<u8>>> = Mutex::default();
    let way = way(server.address(), move |asked, _, truth| {
        if !asked.path.ends_with("getPointer") {
            return Answer::Raw(truth());
        }
        let mut first = first.lock().unwrap();
        let answer = if replays.load(Ordering::SeqCst) {
            first.get(&asked.target).cloned().unwrap_or_else(truth)
        } else {
            truth()
        };
        first.entry(asked.target.clone()).or_insert_with(|| answer.clone());
        Answer::Raw(answer)
    });
    let mut drive = Drive::at(&way.url(), &Account::carol());
    drive.mount();
    write_synced(&drive.path("old"), "old");
    drive.remount();
    write_synced(&drive.path("old"), "newer");
    write_synced(&drive.path("new"), "new");

    // while it is mounted
    replay.store(true, Ordering::SeqCst);
    assert!(poll(|| drive.daemon().log().contains("older state")), "it is never said");
    let holds = |drive: &Drive| {
        assert_eq!(fs::read(drive.path("old")).unwrap(), b"newer");
        assert_eq!(fs::read(drive.path("new")).unwrap(), b"new");
    };
    holds(&drive);
    write_synced(&drive.path("newest"), "newest");
    drive.unmount();
    // when it is mounted again
    let ran = expect_failure(&mut drive.command(), &["older state"]);
    assert_eq!(ran.code, SERVER, "{}", ran.err);
    replay.store(false, Ordering::SeqCst);
    drive.mount();
    holds(&drive);
    assert_eq!(fs::read(drive.path("newest")).unwrap(), b"newest");
    drive.unmount();
    server.check(&Account::carol());
    server.stop();
}

#[test]
fn one_block_that_is_withheld_is_missed_nowhere_else() {
    let server = Server::start();
    let mut drive = server.drive(&Account::carol());
    drive.mount();
    fs::write(drive.path("large"), filled(1, 12 << 20)).unwrap();
    fs::write(drive.path("small"), "small").unwrap();
    drive.unmount();
    // the first fragment that is asked for, for ever
    let withheld: Mutex<Option<String>> = Mutex::default();
    let way = way(server.address(), move |asked, _, truth| {
        let answer = truth();
        let mut withheld = withheld.lock().unwrap();
        if withheld.is_none() && asked.path.ends_with("block/get") && answer.len() > 1 << 20 {
            *withheld = Some(asked.target.clone());
        }
        if withheld.as_ref() == Some(&asked.target) { Answer::Ok(Vec::new()) } else { Answer::Raw(answer) }
    });
    let mut other = Drive::at(&way.url(), &Account::carol());
    other.mount();
    let error = fs::read(other.path("large")).unwrap_err();
    assert_eq!(error.raw_os_error(), EIO, "{error}");
    assert!(other.daemon().log().contains("missing"), "{}", other.daemon().log());
    assert_eq!(fs::read(other.path("small")).unwrap(), b"small");
    let mut tail = vec![0; 2 << 20];
    let file = File::open(other.path("large")).unwrap();
    file.read_exact_at(&mut tail, 10 << 20).unwrap();
    assert!(tail == filled(1, 12 << 20)[10 << 20..], "the last chunk");
    drop(file);
    write_synced(&other.path("new"), "new");
    other.unmount();
    server.check(&Account::carol());
    server.stop();
}

#[test]
fn who_breaks_off_at_every_put_refuses_it() {
    let server = Server::start();
    let refuses = Arc::new(AtomicBool::new(false));
    let is_refusing = Arc::clone(&refuses);
    let way = way(server.address(), move |asked, _, truth| {
        let breaks_off = is_refusing.load(Ordering::SeqCst) && asked.path.ends_with("block/put/bulk");
        Answer::Raw(if breaks_off { Vec::new() } else { truth() })
    });
    let mut drive = Drive::at(&way.url(), &Account::carol());
    drive.mount();
    write_synced(&drive.path("before"), "before");
    refuses.store(true, Ordering::SeqCst);
    fs::write(drive.path("small"), "small").unwrap();
    let small = File::open(drive.path("small")).unwrap();
    let error = small.sync_all().unwrap_err();
    assert_eq!(error.raw_os_error(), EIO, "{error}");
    // who writes more than memory holds is not left waiting, and what was taken is there
    let large = File::create(drive.path("large")).unwrap();
    let content = filled(2, 1 << 20);
    let taken = (0..).take_while(|n| {
        assert!(*n < 400, "memory is not bounded");
        match large.write_all_at(&content, n << 20) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.raw_os_error(), EIO, "{error}");
                false
            }
        }
    });
    let taken = taken.count();
    assert!(taken > 10, "only {taken} MiB are taken");
    assert_eq!(status(&drive)["node"], "online");
    assert_eq!(fs::read(drive.path("small")).unwrap(), b"small");

    refuses.store(false, Ordering::SeqCst);
    assert!(poll(|| status(&drive)["queue"] == 0 && status(&drive)["error"].is_null()), "{}", status(&drive));
    small.sync_all().unwrap();
    drop((small, large));
    drive.remount();
    assert_eq!(fs::read(drive.path("small")).unwrap(), b"small");
    let large = fs::read(drive.path("large")).unwrap();
    assert!(large.chunks(1 << 20).take(taken).all(|part| part == content), "what was taken is lost");
    drive.unmount();
    server.check(&Account::carol());
    server.stop();
}
