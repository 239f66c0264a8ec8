//! How often a server is asked, and how much of it at a time.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use peergos_crypto::{cbor::Value, multibase};
use peergos_testing::{Answer, Asked, way};

use crate::harness::{Account, Drive, Server, filled, poll};

/// Longer than any request takes to be sent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most lookups in one request.
const LOOKUPS: usize = 20;

/// Requests with several lookups, of which the first `parallel` ones are answered once all of them are there.
struct Bulk {
    parallel: usize,
    is_watching: AtomicBool,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// How many lookups each had.
    sizes: Vec<usize>,
    under_way: usize,
    most: usize,
}

impl Bulk {
    fn pass(&self, asked: &Asked, truth: &dyn Fn() -> Vec<u8>) -> Answer {
        if !self.is_watching.load(Ordering::SeqCst) || !asked.path.ends_with("champ/get/bulk") {
            return Answer::Raw(truth());
        }
        let caps = Value::decode(&multibase::decode(&asked.query["caps"]).unwrap()).unwrap();
        let size = caps.as_array("lookups").unwrap().len();
        // the folder's own chunks
        if size == 1 {
            return Answer::Raw(truth());
        }
        let mut seen = self.seen.lock().unwrap();
        seen.sizes.push(size);
        seen.under_way += 1;
        seen.most = seen.most.max(seen.under_way);
        self.changed.notify_all();
        let is_early = |seen: &mut Seen| seen.sizes.len() < self.parallel;
        drop(self.changed.wait_timeout_while(seen, PATIENCE, is_early).unwrap());
        let answer = truth();
        self.seen.lock().unwrap().under_way -= 1;
        Answer::Raw(answer)
    }
}

#[test]
fn children_are_loaded_twenty_at_a_time_in_parallel() {
    const CHILDREN: usize = 130;
    const PARALLEL: usize = 4;
    let server = Server::start();
    let mut here = server.drive(&Account::carol());
    here.mount();
    fs::create_dir(here.path("d")).unwrap();
    (0..CHILDREN).for_each(|i| fs::write(here.path(format!("d/{i}")), "").unwrap());
    here.unmount();

    let bulk = Arc::new(Bulk {
        parallel: PARALLEL,
        is_watching: AtomicBool::new(false),
        seen: Mutex::default(),
        changed: Condvar::new(),
    });
    let way = {
        let bulk = Arc::clone(&bulk);
        way(server.address(), move |asked, _, truth| bulk.pass(asked, truth))
    };
    let parallelism = PARALLEL.to_string();
    let args = ["--insecure-http", "--poll-interval", "1h", "--parallelism", &parallelism];
    let mut there = Drive::at(&way.url(), &Account::carol()).with_args(&args);
    there.mount();
    // opened without its children
    let folder = fs::read_dir(there.path("d")).unwrap();
    bulk.is_watching.store(true, Ordering::SeqCst);
    assert_eq!(folder.count(), CHILDREN);
    bulk.is_watching.store(false, Ordering::SeqCst);
    let seen = bulk.seen.lock().unwrap();
    assert_eq!(seen.sizes.len(), CHILDREN.div_ceil(LOOKUPS), "{:?}", seen.sizes);
    assert_eq!(seen.sizes.iter().sum::<usize>(), CHILDREN);
    assert_eq!(seen.most, PARALLEL);
    drop(seen);
    there.unmount();
    server.stop();
}

#[test]
fn a_group_is_one_transaction_and_one_setting_of_pointers() {
    const GROUPS: usize = 10;
    let server = Server::start();
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let way = {
        let calls = Arc::clone(&calls);
        way(server.address(), move |asked, _, truth| {
            calls.lock().unwrap().push(asked.path.rsplit('/').next().unwrap().to_owned());
            Answer::Raw(truth())
        })
    };
    // nothing is committed before it is asked for
    let args = ["--sign-up", "--insecure-http", "--poll-interval", "1h", "--commit-interval", "1h"];
    let mut drive = Drive::at(&way.url(), &Account::carol()).with_args(&args);
    drive.mount();
    let count = |call: &str| calls.lock().unwrap().iter().filter(|made| *made == call).count();
    let (starts, settings) = (count("start"), count("setPointers"));
    for group in 0..GROUPS {
        let folder = drive.path(format!("folder{group}"));
        fs::create_dir(&folder).unwrap();
        (0..20).for_each(|i| fs::write(folder.join(format!("{i}")), "content").unwrap());
        fs::write(folder.join("large"), filled(group as u64, 6 << 20)).unwrap();
        File::open(&folder).unwrap().sync_all().unwrap();
    }
    // one may be opened ahead
    assert!(count("start") - starts <= GROUPS + 1, "{} transactions", count("start") - starts);
    assert_eq!(count("setPointers") - settings, GROUPS);
    assert_eq!(count("setPointer"), 0);
    drive.unmount();
    server.stop();
}

#[test]
fn others_are_asked_for_less_often_while_nobody_uses_the_drive() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let server = Server::start();
    let polls: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let way = {
        let polls = Arc::clone(&polls);
        way(server.address(), move |asked, _, truth| {
            if asked.path.ends_with("getPointer") {
                polls.lock().unwrap().push(Instant::now());
            }
            Answer::Raw(truth())
        })
    };
    let mut drive = Drive::at(&way.url(), &Account::carol());
    drive.mount();
    fs::write(drive.path("f"), "").unwrap();
    drive.unmount();
    let args = ["--insecure-http", "--poll-interval", "100ms"];
    let mut drive = drive.with_args(&args);
    drive.mount();
    let pauses = || {
        let polls = polls.lock().unwrap();
        polls.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    let last = || pauses().last().copied().unwrap_or_default();
    // a pause may be longer than it should be, but none is shorter
    assert!(poll(|| last() > 7 * INTERVAL), "the pauses do not grow: {:?}", pauses());
    let used = || {
        fs::metadata(drive.path("f")).unwrap();
        last() < 3 * INTERVAL
    };
    assert!(poll(used), "the pauses do not shrink: {:?}", pauses());
    drive.unmount();
    server.stop();
}
