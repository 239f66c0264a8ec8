//! Directories as other clients and merges leave them behind: with more links in a chunk than may be written, and with
//! links of the same name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use peergos_crypto::{cbor::Value, cid::Codec};
use peergos_fs::{
    account::Account,
    capability::{ChildLink, RelativeCapability},
    commit,
    cryptree::{FromBase, FromParent, Node, bulk, bulk::Payload},
    tree::{self, Changes},
};

use crate::{
    drive::{Drive, Watchdog},
    scenarios::errno,
};

/// Writes all links of the folder `name` into its one first chunk, as changed by `change`.
fn crowd(account: &Account, drive: &tree::Drive, name: &str, change: impl Fn(&mut [ChildLink])) {
    let signer = Arc::new(account.home_signer.clone());
    let home = tree::load(drive, account.home.clone(), Some(&signer)).unwrap();
    let listing = tree::list(drive, &home.keys).unwrap();
    let link = listing.children.iter().map(|(_, link)| link).find(|link| link.name == name).unwrap();
    let keys = tree::load_children(drive, &home.keys, &[link]).remove(0).unwrap().keys;

    let tree::Listing { chunks, children, .. } = tree::list(drive, &keys).unwrap();
    let mut links: Vec<ChildLink> = children.into_iter().map(|(_, link)| link).collect();
    assert!(links.len() > 500);
    change(&mut links);
    let list = Value::Array(links.iter().map(ChildLink::to_cbor).collect());
    let (data, fragments) = bulk::seal(&keys.cap.read, Payload::Item(&list), drive.mirror_id()).unwrap();
    let old = drive.spaces.node(&keys.cap).unwrap().unwrap().node.open(&keys.cap.read).unwrap();
    let (map_key, bat) = chunks[0].next.clone();
    let next = RelativeCapability { writer: None, map_key, bat, read: keys.cap.read.clone(), write: None };
    let from_base = FromBase { key: keys.parent_key.clone(), next, signer: None };
    let from_parent = FromParent { parent: old.parent, properties: old.properties };
    let node = Node::seal(&keys.cap, drive.mirror_id(), &from_base, &keys.parent_key, &from_parent, data).unwrap();

    let transaction = drive.node.start_transaction(&drive.owner).unwrap();
    commit::put(drive, &transaction, &signer, Codec::Raw, fragments, commit::Priority::Ordinary).unwrap();
    let mut changes = Changes::default();
    changes.put(&signer, keys.cap.map_key, node.to_block());
    chunks[1..].iter().for_each(|chunk| changes.remove(&signer, chunk.location.0));
    assert!(matches!(
        commit::write(drive, &transaction, changes, commit::Priority::Ordinary, &|_| Ok(())),
        Ok(commit::Written::Committed)
    ));
}

/// How many files are in one chunk.
const FILES: usize = 510;

/// A drive with a folder of many files in one chunk, of which `doubles` have the name of another. The content of each is
/// the name under which it was made.
fn crowded(doubles: usize) -> Drive {
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    for i in 0..FILES {
        drive.write(&format!("d/{i}.txt"), 0, format!("{i}.txt").as_bytes()).unwrap();
    }
    drive.while_unmounted(|account, tree| {
        crowd(account, tree, "d", |links| {
            let number = |link: &ChildLink| link.name.trim_end_matches(".txt").parse::<usize>().unwrap();
            // the first of a name is shown under it
            links.sort_by_key(number);
            for link in &mut links[100..100 + doubles] {
                link.name = format!("{}.txt", number(link) - 100);
            }
        });
    });
    drive
}

/// Contents by name.
fn contents(drive: &Drive) -> BTreeMap<String, String> {
    let read = |name: String| {
        let content = drive.read(&format!("d/{name}")).unwrap();
        (name, String::from_utf8(content).unwrap())
    };
    drive.names("d").unwrap().into_iter().map(read).collect()
}

/// Checks what is in the folder, and that it is the same after a remount.
fn expect(drive: &mut Drive, expected: &BTreeMap<String, String>) {
    for what in ["before", "after"] {
        let found: BTreeSet<_> = contents(drive).into_iter().collect();
        let expected: BTreeSet<_> = expected.clone().into_iter().collect();
        let differs: Vec<_> = found.symmetric_difference(&expected).take(5).collect();
        assert!(differs.is_empty(), "{what} the remount: {differs:?}");
        drive.remount();
    }
}

/// What a crowded folder shows.
fn all(doubles: usize) -> BTreeMap<String, String> {
    let name = |number: usize| match number.checked_sub(100) {
        Some(other) if other < doubles => format!("{other}[conflict-0].txt"),
        _ => format!("{number}.txt"),
    };
    (0..FILES).map(|number| (name(number), format!("{number}.txt"))).collect()
}

#[test]
fn a_folder_with_too_many_links_in_a_chunk_can_be_changed() {
    let _alive = Watchdog::new("crowded folders");
    type Step = fn(&Drive, &mut BTreeMap<String, String>);
    let steps: [(&str, Step); 5] = [
        ("create", |drive, all| {
            drive.write("d/new", 0, b"new").unwrap();
            all.insert("new".into(), "new".into());
        }),
        ("delete", |drive, all| {
            drive.unlink("d/7.txt").unwrap();
            all.remove("7.txt");
        }),
        ("rename", |drive, all| {
            drive.rename("d/8.txt", "d/9.txt").unwrap();
            all.remove("8.txt");
            all.insert("9.txt".into(), "8.txt".into());
        }),
        ("move away", |drive, all| {
            drive.rename("d/500.txt", "500.txt").unwrap();
            all.remove("500.txt");
        }),
        // changes the link alone, because the content tells another type
        ("write", |drive, all| {
            drive.write("d/10.txt", 0, b"%PDF-1.4 and more").unwrap();
            all.insert("10.txt".into(), "%PDF-1.4 and more".into());
        }),
    ];
    for (doubles, (what, step)) in [0, 20, 20, 20, 0].into_iter().zip(steps) {
        let (mut drive, mut expected) = (crowded(doubles), all(doubles));
        step(&drive, &mut expected);
        drive.fsync("d").unwrap_or_else(|error| panic!("{what}: {error}"));
        expect(&mut drive, &expected);
    }
}

#[test]
fn links_of_one_name_are_all_there() {
    let mut drive = crowded(60);
    let mut expected = all(60);
    // looking changes nothing
    expect(&mut drive, &expected);
    drive.write("d/0.txt", 0, b"chg").unwrap();
    drive.unlink("d/1.txt").unwrap();
    drive.unlink("d/2[conflict-0].txt").unwrap();
    drive.rename("d/3[conflict-0].txt", "d/3.txt").unwrap();
    drive.rename("d/4.txt", "d/5.txt").unwrap();
    expected.insert("0.txt".into(), "chgxt".into());
    expected.remove("1.txt");
    expected.remove("2[conflict-0].txt");
    expected.remove("3[conflict-0].txt");
    expected.insert("3.txt".into(), "103.txt".into());
    expected.insert("5.txt".into(), expected["4.txt"].clone());
    expected.remove("4.txt");
    expect(&mut drive, &expected);
    assert_eq!(errno(drive.rmdir("d")), libc::ENOTEMPTY);
    for name in expected.keys() {
        drive.unlink(&format!("d/{name}")).unwrap();
    }
    drive.rmdir("d").unwrap();
    drive.remount();
    assert!(drive.names("").unwrap().is_empty());
}
