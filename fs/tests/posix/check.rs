//! The check of a whole account: each kind of damage is found where it is, what can be mended safely is, and nothing else
//! is touched. The independent checker is asked for its opinion.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peergos_crypto::{
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    hash_tree::HashTree,
};
use peergos_fs::{
    capability::{ChildLink, MapKey, StreamSecret},
    check::{Finding, Kind, Orphans, Progress, Report, check},
    commit::{self, Priority, Written},
    cryptree::{FileKeys, FromParent, Properties, Time},
    space::Signer,
    tree::{self, Changes, ChunkState, DirUpdate, FileUpdate, Keys, content::Locations},
};

use crate::{
    damaged::{block, entry, stored},
    drive::{Drive, Stop, Watchdog},
    faulty::{Call, Damage, Fault},
    golden::{ada, verdict},
    scenarios::pattern,
};

const MIB: usize = 1 << 20;
const DAY: u64 = 24 * 3600;

/// A drive with some of everything, committed.
fn furnished() -> Drive {
    let drive = Drive::new();
    for folder in ["d", "d/e", "many"] {
        drive.mkdir(folder).unwrap();
    }
    drive.write("small", 0, b"small").unwrap();
    drive.write("d/e/fragment", 0, &pattern(MIB, 1)).unwrap();
    drive.write("d/large", 0, &pattern(11 * MIB, 2)).unwrap();
    drive.symlink("d/link", "../small").unwrap();
    for i in 0..501 {
        drive.fs().release(drive.create(&format!("many/{i}")).unwrap());
    }
    drive.fs().sync().unwrap();
    drive
}

fn run(drive: &Drive, repair: bool, orphans: &mut Orphans) -> Report {
    check(&drive.verified(), drive.account(), repair, orphans, &Progress::default()).unwrap()
}

fn look(drive: &Drive) -> Vec<Finding> {
    run(drive, false, &mut Orphans::default()).findings
}

/// Kinds and paths.
fn brief(findings: &[Finding]) -> Vec<(Kind, &str)> {
    findings.iter().map(|finding| (finding.kind, finding.path.as_str())).collect()
}

/// The same notes, made as many seconds earlier.
fn older(orphans: &Orphans, by: u64) -> Orphans {
    let line = |line: &str| {
        let (orphan, seconds) = line.rsplit_once(' ').unwrap();
        format!("{orphan} {}\n", seconds.parse::<u64>().unwrap() - by)
    };
    Orphans::from_text(&orphans.to_text().lines().map(line).collect::<String>())
}

/// How many findings of a kind the independent checker has, which must be no errors.
fn theirs(drive: &Drive, code: &str) -> usize {
    let (is_clean, said) = verdict(drive, "correct horse", &[]);
    assert!(is_clean, "{said}");
    said.lines().filter(|line| line.starts_with(&format!("WARN  [{code}]"))).count()
}

pub fn commit(tree: &tree::Drive, changes: Changes) {
    let transaction = tree.node.start_transaction(&tree.owner).unwrap();
    let written = commit::write(tree, &transaction, changes, Priority::Ordinary, &|_| Ok(())).unwrap();
    assert!(matches!(written, Written::Committed));
}

/// Stores a node under a label that nothing leads to.
fn abandon(drive: &Drive, label: MapKey) {
    let node = stored(drive, "small", 0).cid;
    let tree = drive.tree();
    let mut changes = Changes::default();
    changes.space(&signer(drive)).nodes.insert(label, Some(node));
    commit(&tree, changes);
}

pub fn signer(drive: &Drive) -> Signer {
    Arc::new(drive.account().home_signer.clone())
}

#[test]
fn whole_accounts_have_no_findings() {
    let drive = furnished();
    let report = run(&drive, true, &mut Orphans::default());
    assert_eq!(report.findings, []);
    assert!(!report.is_unsettled);
    assert!(report.entries > 507, "hidden ones are looked at too: {}", report.entries);
    let golden = ada();
    let report = run(&golden, true, &mut Orphans::default());
    assert_eq!(report.findings, [], "the checker finds nothing either");
    assert!(report.entries > 100);
}

#[test]
fn what_is_damaged_is_named() {
    for damage in [Damage::Hidden, Damage::Corrupted] {
        let drive = furnished();
        let fragment = |path: &str, index: u64| stored(&drive, path, index).node.data.fragments()[0].0.clone();
        let cases = [
            (block(&drive, "small", 0), "/small"),
            (block(&drive, "d/e", 0), "/d/e"),
            (block(&drive, "d/large", 1), "/d/large"),
            (fragment("d/large", 2), "/d/large"),
            (fragment("d/e/fragment", 0), "/d/e/fragment"),
            (block(&drive, "many", 1), "/many"),
            (fragment("many", 0), "/many"),
        ];
        for (cid, path) in cases {
            drive.faults.damage(cid, damage);
            let found = look(&drive);
            let named: Vec<_> = found.iter().filter(|finding| finding.kind == Kind::Damaged).collect();
            assert!(matches!(&named[..], [one] if one.path == path), "{path}: {found:?}");
            drive.faults.heal();
        }
        assert_eq!(look(&drive), []);
    }
}

#[test]
fn what_is_named_and_not_there_is_dangling() {
    let drive = furnished();
    let tree = drive.tree();
    let label = |path: &str| entry(&drive, &tree, path).keys.cap.map_key;
    let large = entry(&drive, &tree, "d/large");
    let first = (large.keys.cap.map_key, large.keys.cap.bat.clone());
    let second = Locations::new(first, large.properties.stream_secret.clone()).get(&tree, &large.keys, 1).unwrap();
    let mut changes = Changes::default();
    for label in [label("d/e/fragment"), label("many/7"), second.0] {
        changes.remove(&signer(&drive), label);
    }
    commit(&tree, changes);
    let found = look(&drive);
    let dangling: Vec<_> = found.iter().filter(|finding| finding.kind == Kind::Dangling).cloned().collect();
    let expected = ["/d/e/fragment", "/d/large", "/many/7"].map(|path| (Kind::Dangling, path));
    assert_eq!(brief(&dangling), expected, "{found:?}");
    // the third chunk of the large file cannot be told from an orphan, and is kept
    assert_eq!(found.len(), dangling.len() + 1);
    let mut orphans = Orphans::default();
    run(&drive, true, &mut orphans);
    let report = run(&drive, true, &mut older(&orphans, 2 * DAY));
    assert_eq!(brief(&report.findings), brief(&found));
    assert!(report.findings.iter().all(|finding| !finding.repaired));
    let (is_clean, said) = verdict(&drive, "correct horse", &[]);
    assert!(!is_clean && said.contains("many/7") && said.contains("d/e/fragment"), "{said}");
}

#[test]
fn orphans_are_removed_when_they_are_known_for_a_day() {
    let mut drive = furnished();
    let label = MapKey([7; 32]);
    abandon(&drive, label);
    assert_eq!(theirs(&drive, "orphan"), 1);
    let mut orphans = Orphans::default();
    let expected = [(Kind::Orphan, "/")];
    for _ in 0..2 {
        let report = run(&drive, true, &mut orphans);
        assert_eq!(brief(&report.findings), expected);
        assert!(!report.findings[0].repaired, "it may be what somebody is uploading");
    }
    assert_eq!(brief(&run(&drive, true, &mut older(&orphans, DAY - 600)).findings), expected);
    // without being told to, nothing is changed
    let mut known = older(&orphans, DAY + 600);
    assert!(!run(&drive, false, &mut known).findings[0].repaired);
    // nor while something cannot be read, to which it may belong
    drive.faults.damage(block(&drive, "d", 0), Damage::Hidden);
    let report = run(&drive, true, &mut known);
    assert!(report.findings.len() > 1 && report.findings.iter().all(|finding| !finding.repaired), "{report:?}");
    drive.faults.heal();
    // another node at the same label is another orphan
    let mut other = Changes::default();
    other.space(&signer(&drive)).nodes.insert(label, Some(block(&drive, "d", 0)));
    let mut again = Changes::default();
    again.space(&signer(&drive)).nodes.insert(label, Some(block(&drive, "small", 0)));
    commit(&drive.tree(), other);
    assert!(!run(&drive, true, &mut known.clone()).findings[0].repaired);
    commit(&drive.tree(), again);

    drive.faults.fail(Call::SetPointers, 0, 1, Fault::Conflict);
    let report = run(&drive, true, &mut known);
    assert!(drive.faults.are_spent(), "another client was faster once");
    assert_eq!(brief(&report.findings), expected);
    assert!(report.findings[0].repaired && !report.is_unsettled);
    assert_eq!(run(&drive, true, &mut known).findings, []);
    assert_eq!(known, Orphans::default(), "what is gone is forgotten");
    assert_eq!(theirs(&drive, "orphan"), 0);
    drive.remount();
    assert_eq!(drive.read("small").unwrap(), b"small");
}

#[test]
fn stale_hashes_are_written_anew() {
    let mut drive = furnished();
    let tree = drive.tree();
    let mut changes = Changes::default();
    for path in ["small", "d/large"] {
        let (node, keys) = (stored(&drive, path, 0).node, entry(&drive, &tree, path).keys);
        let opened = node.open(&keys.cap.read).unwrap();
        let mut from_parent = FromParent { parent: opened.parent, properties: opened.properties };
        assert!(from_parent.properties.tree_hash.is_some());
        from_parent.properties.tree_hash = Some(HashTree::from_chunk_hashes(&[[1; 32]; 3]).unwrap().branch(0));
        let node = node.with_from_parent(&opened.parent_key, &from_parent).unwrap();
        changes.put(&signer(&drive), keys.cap.map_key, node.to_block());
    }
    commit(&tree, changes);
    drop(tree);
    assert_eq!(theirs(&drive, "tree-hash"), 2);
    let expected = [(Kind::StaleHash, "/d/large"), (Kind::StaleHash, "/small")];
    assert_eq!(brief(&look(&drive)), expected);
    let report = run(&drive, true, &mut Orphans::default());
    assert_eq!(brief(&report.findings), expected);
    assert!(report.findings.iter().all(|finding| finding.repaired));
    assert_eq!(look(&drive), []);
    assert_eq!(theirs(&drive, "tree-hash"), 0);
    drive.remount();
    assert_eq!(drive.read("d/large").unwrap(), pattern(11 * MIB, 2));
}

#[test]
fn what_no_size_tells_of_and_no_folder_names_is_kept() {
    let mut drive = ada();
    let tree = drive.tree();
    drive.write("large", 0, &pattern(11 * MIB, 2)).unwrap();
    drive.fs().sync().unwrap();
    {
        // a file that another client has cut without removing what was behind
        let (node, keys) = (stored(&drive, "large", 0).node, entry(&drive, &tree, "large").keys);
        let opened = node.open(&keys.cap.read).unwrap();
        let properties = Properties { size: 5 << 20, tree_hash: None, ..opened.properties };
        let node =
            node.with_from_parent(&opened.parent_key, &FromParent { parent: opened.parent, properties }).unwrap();
        let mut changes = Changes::default();
        changes.put(&signer(&drive), keys.cap.map_key, node.to_block());
        // and a folder of a writing space of its own that it has only taken out of its folder
        let folder = entry(&drive, &tree, "link");
        let list = tree::list(&tree, &folder.keys).unwrap();
        let links = list.children.into_iter().map(|(_, link)| link).filter(|link| link.name != "rw").map(Arc::new);
        let directory = DirUpdate {
            keys: Arc::new(folder.keys),
            properties: folder.properties,
            parent: folder.parent,
            chunks: vec![(0, list.chunks[0].clone(), links.collect())],
        };
        changes.merge(directory.build(&tree, &|_, _| panic!("it is small")).unwrap());
        commit(&tree, changes);
    }
    drop(tree);
    drive.remount();
    for repair in [false, true, false] {
        let report = run(&drive, repair, &mut Orphans::default());
        let of = |kind| report.findings.iter().filter(|finding| finding.kind == kind).collect::<Vec<_>>();
        let (excess, unused) = (of(Kind::Excess), of(Kind::UnusedSpace));
        assert!(matches!(excess[..], [finding] if finding.path == "/large" && !finding.repaired), "{report:?}");
        assert!(matches!(unused[..], [finding] if !finding.repaired), "{report:?}");
    }
}

/// Adds a file to a folder that the mount does not let anybody write to.
fn add_hidden(drive: &Drive, folder: &str, name: &str, content: Vec<u8>) {
    let tree = drive.tree();
    let folder = entry(drive, &tree, folder);
    let writer = folder.keys.cap.writer.clone();
    let FileKeys { cap, data_key, stream_secret } = FileKeys::generate(&tree.owner, &writer).unwrap();
    let signer = folder.keys.signer.clone();
    let keys = Keys { parent_key: cap.read.clone(), cap, data_key, signer, own_space: false, link: None };
    let mut properties = Properties::directory(name, Time { secs: 1_700_000_000, nanos: 0 });
    (properties.is_dir, properties.size, properties.mime) = (false, content.len() as u64, "application/cbor".into());
    properties.stream_secret = Some(stream_secret);
    let list = tree::list(&tree, &folder.keys).unwrap();
    let mut links: Vec<_> = list.children.into_iter().map(|(_, link)| Arc::new(link)).collect();
    links.push(Arc::new(ChildLink::new(&folder.keys.cap, &keys.cap, &properties).unwrap()));
    let first = (keys.cap.map_key, keys.cap.bat.clone());
    let file = FileUpdate {
        locations: Locations::new(first, properties.stream_secret.clone()),
        parent: Some(folder.keys.parent_link(&writer)),
        keys: Arc::new(keys),
        properties,
        chunks: BTreeMap::from([(0, ChunkState::Plain(Arc::new(content)))]),
        stored: 0,
        content_changed: true,
        leaves: None,
    };
    let directory = DirUpdate {
        keys: Arc::new(folder.keys),
        properties: folder.properties,
        parent: folder.parent,
        chunks: vec![(0, list.chunks[0].clone(), links)],
    };
    let mut changes = file.build(&tree, &|_, _| panic!("it is small")).unwrap().changes;
    changes.merge(directory.build(&tree, &|_, _| panic!("it is small")).unwrap());
    commit(&tree, changes);
}

#[test]
fn what_an_unfinished_upload_has_stored_is_kept() {
    let drive = furnished();
    let path = "ada/d/video";
    let secret = StreamSecret::from_bytes([5; 32]);
    let first = MapKey([6; 32]);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(5 * DAY);
    let note = cbor_map! {
        "type" => "FILE_UPLOAD",
        "path" => path,
        "startTimeEpochMs" => Value::from(started.as_millis() as i64),
        "owner" => &drive.account().owner,
        "writer" => signer(&drive).to_signer_cbor(),
        "mapKey" => first.0,
        "streamSecret" => *secret.as_bytes(),
        "size" => Value::from(12_i64 << 20),
    };
    let name = Cid::of_block(Codec::Raw, path.as_bytes()).to_string();
    add_hidden(&drive, ".transactions", &name, note.encode());
    abandon(&drive, first);
    abandon(&drive, secret.next_chunk(first, None).0);
    let mut orphans = Orphans::default();
    let report = run(&drive, true, &mut orphans);
    assert_eq!(brief(&report.findings), [(Kind::Unfinished, format!("/.transactions/{name}").as_str())]);
    let text = &report.findings[0].text;
    assert!(text.contains("/ada/d/video, begun 5 days ago: 2 of 3 chunks"), "{text}");
    assert_eq!(orphans, Orphans::default());
    assert_eq!(theirs(&drive, "orphan"), 0);
    // a note that cannot be read may be about anything
    add_hidden(&drive, ".transactions", "nonsense", b"nonsense".to_vec());
    abandon(&drive, MapKey([8; 32]));
    run(&drive, true, &mut orphans);
    let report = run(&drive, true, &mut older(&orphans, 2 * DAY));
    assert!(report.findings.iter().all(|finding| !finding.repaired), "{report:?}");
}

#[test]
fn others_may_use_the_account_meanwhile() {
    let _alive = Watchdog::new("check with others at work");
    let mut drive = furnished();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _stop = stop.when_dropped();
        let other = drive.second();
        scope.spawn(|| {
            let other = other;
            for i in (0..).take_while(|_| !stop.is_set()) {
                let path = format!("d/e/{}", i % 5);
                other.write(&path, 0, &pattern(3000, i)).unwrap();
                other.fs().sync().unwrap();
                other.unlink(&path).unwrap();
            }
            other.write("d/e/last", 0, b"last").unwrap();
        });
        let mut orphans = Orphans::default();
        for _ in 0..4 {
            let report = run(&drive, true, &mut older(&orphans, 2 * DAY));
            assert!(report.is_unsettled || report.findings.is_empty(), "{report:?}");
            orphans = Orphans::default();
        }
    });
    assert_eq!(look(&drive), []);
    drive.remount();
    assert_eq!(drive.read("d/e/last").unwrap(), b"last");
    assert_eq!(theirs(&drive, "orphan"), 0);
}
