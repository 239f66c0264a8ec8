//! What the reference client was recorded doing, done by this program: it makes the same calls.

mod calls;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use peergos_crypto::{cid::Cid, signing::KeyHash};
use peergos_testing::{Answer, Server as Way, way};

use self::calls::{Calls, opened, recorded};
use crate::harness::{Account, Drive, Server, filled, poll, run_ok};

/// Recorded situations that this program is never in.
const NOT_OURS: [(&str, &str); 7] = [
    ("bootstrap", "before it knows whose drive to mount, it asks nothing"),
    ("secretlink-create", "it makes no links"),
    ("secretlink-get", "and follows none"),
    ("public", "it makes nothing public"),
    ("write-share-dir", "it shares nothing"),
    ("mfa-list", "only an hour after a mount with a factor from a keyring"),
    ("totp-add", "what it adds is a mount factor; the reference client has none"),
];

/// The name of a call that one of the two clients makes and the other does not, and why.
type Difference = (&'static str, &'static str);

/// What is never recorded.
const ID: &str = "POST /api/v0/id? ";
const NO_LISTS: [Difference; 2] = [
    ("core/getUsernamesGzip", "the names of all users, to complete what is typed"),
    ("blockstore/props", "for servers on S3, to which nothing goes directly"),
];
const IDS: Difference = ("ids", "a claim names one node, the current one: `id`");
const CHAIN: Difference = ("core/getChain", "who is behind a name is verified");
const SPACE: [Difference; 2] =
    [("storage/usage", "programs may ask for the size of the drive"), ("storage/quota", "the same")];
const KNOWN: Difference = ("champ/get/bulk", "what a mount has seen or written it knows");

/// How the recorded server refused fragments.
const FULL: &str = "Upload bandwidth exceeded please try again tomorrow";

/// Looks at calls.
struct Stage {
    recorded: Vec<(String, Calls)>,
    way: Way,
    seen: BTreeSet<&'static str>,
    pointers: Pointers,
    /// Whether the server takes no more fragments.
    is_full: Arc<AtomicBool>,
}

impl Stage {
    fn new(server: &Server) -> Self {
        let is_full = Arc::<AtomicBool>::default();
        let way = {
            let is_full = Arc::clone(&is_full);
            way(server.address(), move |asked, _, truth| {
                let is_refused =
                    is_full.load(Ordering::SeqCst) && asked.query.get("format").is_some_and(|f| f == "raw");
                if is_refused { Answer::Refuse(FULL) } else { Answer::Raw(truth()) }
            })
        };
        Self { recorded: recorded(), way, seen: BTreeSet::new(), pointers: Pointers::default(), is_full }
    }

    fn drive(&self, account: &Account) -> Drive {
        // nothing happens that is not asked for
        let args = ["--sign-up", "--insecure-http", "--poll-interval", "1h", "--commit-interval", "1h"];
        Drive::at(&self.way.url(), account).with_args(&args)
    }

    fn recorded(&self, section: &str) -> &Calls {
        &self.recorded.iter().find(|(recorded, _)| recorded == section).unwrap().1
    }

    /// The calls since the last situation are of the kinds that were recorded in `section`; but there are also calls
    /// `more`, as they were recorded elsewhere, and none of the calls `fewer`.
    fn kinds(&mut self, section: &'static str, more: &[Difference], fewer: &[Difference]) -> Calls {
        let mut calls = Calls::default();
        let are_made = poll(|| {
            calls.extend(self.way.asked());
            calls.are_settled() && more.iter().all(|(call, _)| calls.have(call))
        });
        assert!(are_made, "{section}: {:#?}", calls.kinds());
        self.pointers.follow(&calls);
        self.seen.insert(section);

        let (ours, theirs) = (calls.kinds(), self.recorded(section).kinds());
        let elsewhere: BTreeSet<_> = self.recorded.iter().flat_map(|(_, calls)| calls.kinds().into_keys()).collect();
        let (mut added, mut missing) = (ours.clone(), theirs.clone());
        added.retain(|kind, _| !theirs.contains_key(kind));
        missing.retain(|kind, _| !ours.contains_key(kind));
        let are = |kinds: &BTreeMap<String, &str>, documented: &[Difference]| {
            // the next transaction is opened in the background, sooner or later
            let names: BTreeSet<_> = kinds.values().copied().filter(|name| *name != "transaction/start").collect();
            names == documented.iter().map(|(call, _)| *call).collect()
        };
        let is_as_documented = added.keys().all(|kind| kind == ID || elsewhere.contains(kind))
            && are(&added, more)
            && are(&missing, fewer);
        assert!(is_as_documented, "{section}: only this program: {added:#?}\nonly the reference client: {missing:#?}");
        calls
    }

    /// The same; and but for the calls `fewer`, the same is changed.
    fn meets(&mut self, section: &'static str, more: &[Difference], fewer: &[Difference]) -> Calls {
        let calls = self.kinds(section, more, fewer);
        let fewer: Vec<_> = fewer.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls.changes(&[]), self.recorded(section).changes(&fewer), "{section}");
        calls
    }
}

/// Where pointers are, and their sequence numbers.
#[derive(Default)]
struct Pointers(HashMap<KeyHash, (Option<Cid>, Option<u64>)>);

impl Pointers {
    /// Each pointer goes on from where it was.
    fn follow(&mut self, calls: &Calls) {
        for pointer in calls.pointers() {
            let update = opened(&pointer);
            let now = (update.updated, update.sequence);
            if let Some((target, sequence)) = self.0.insert(pointer.writer, now) {
                assert_eq!((update.original, update.sequence), (target, sequence.map(|sequence| sequence + 1)));
            }
        }
    }
}

#[test]
fn recorded_pointers_go_on_from_where_they_were() {
    let mut pointers = Pointers::default();
    recorded().iter().for_each(|(_, calls)| pointers.follow(calls));
    assert!(pointers.0.len() > 3);
}

#[test]
fn calls_are_those_of_the_reference_client() {
    let sync = |path: PathBuf| File::open(path).unwrap().sync_all();
    let server = Server::start();
    let mut stage = Stage::new(&server);
    let mut account = Account::carol();

    let mut here = stage.drive(&account);
    here.mount();
    let id = ("id", IDS.1);
    let at_once = "nothing has to be asked back, and hidden files are made by who uses them";
    let fewer = [
        "block/put/bulk",
        "bats/getUserBats",
        "login/getLogin",
        "mutable/getPointer",
        "mutable/setPointers",
        "transaction/close",
    ];
    stage.meets("signup", &[&[id], &SPACE[..]].concat(), &fewer.map(|call| (call, at_once)));
    let folder = here.path("d");
    fs::create_dir(&folder).unwrap();
    sync(here.root()).unwrap();
    let first = stage.meets("mkdir", &[], &[]);
    assert!(first.have("transaction/start"));
    fs::write(folder.join("small"), filled(1, 13)).unwrap();
    sync(folder.clone()).unwrap();
    stage.meets("upload-small", &[], &[KNOWN]);
    fs::write(folder.join("big"), filled(2, 6 << 20)).unwrap();
    sync(folder.clone()).unwrap();
    stage.meets("upload-6MiB", &[], &[]);
    // a node of a file, or one of a folder: as much as when something is taken out of a folder
    fs::write(folder.join("small"), filled(3, 100)).unwrap();
    sync(folder.join("small")).unwrap();
    stage.meets("delete", &[], &[KNOWN]);
    // the node of a file, and that of its folder
    fs::rename(folder.join("small"), folder.join("other")).unwrap();
    sync(folder.clone()).unwrap();
    stage.meets("upload-small", &[], &[KNOWN]);
    here.unmount();

    let mut there = stage.drive(&account);
    there.mount();
    let no_ids = [&NO_LISTS[..], &[IDS]].concat();
    stage.meets("relogin-fresh", &[&[CHAIN], &SPACE[..]].concat(), &no_ids);
    // each was recorded by itself
    stage.seen.extend(["usage", "quota"]);
    let folder = there.path("d");
    let sizes = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(sizes.sum::<u64>(), (6 << 20) + 100);
    stage.meets("stat-big", &[], &[]);
    assert!(fs::read(folder.join("big")).unwrap() == filled(2, 6 << 20));
    let read = stage.meets("read-big", &[], &[]);
    assert_eq!(read.fragments().len(), stage.recorded("read-big").fragments().len());
    fs::remove_file(folder.join("other")).unwrap();
    sync(folder).unwrap();
    stage.meets("delete", &[], &[KNOWN]);
    there.unmount();

    account.password = "a new one".to_owned();
    run_ok(there.order("passwd").env("PEERGOS_NEW_PASSWORD", &account.password));
    let no_files = "files are of no interest";
    stage.meets("change-password", &[CHAIN], &[("block/get", no_files), ("champ/get/bulk", no_files)]);

    let mut full = stage.drive(&account);
    full.mount();
    stage.is_full.store(true, Ordering::SeqCst);
    let folder = full.path("d");
    let written = fs::write(folder.join("more"), filled(4, 6 << 20)).and_then(|()| sync(folder.join("more")));
    assert_eq!(written.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    let name = "the file is saved without its content";
    let more = ["block/put/bulk", "mutable/setPointers", "transaction/close"].map(|call| (call, name));
    let refused = stage.kinds("quota-exceeded", &[&more[..], &[CHAIN], &SPACE].concat(), &no_ids);
    let recorded = stage.recorded("quota-exceeded").changes(&[]);
    let changes = refused.changes(&["mutable/setPointers", "transaction/close"]);
    assert!(changes.iter().filter(|change| change.contains("fragments")).all(|change| recorded.contains(change)));
    full.kill();

    let all: BTreeSet<_> = stage.recorded.iter().map(|(section, _)| section.as_str()).collect();
    let not_ours = NOT_OURS.iter().map(|(section, _)| *section);
    assert_eq!(all, stage.seen.iter().copied().chain(not_ours).collect());
    server.stop();
}
