//! Entries whose blocks are lost or damaged: whatever else there is goes on.

use std::time::Duration;

use peergos_crypto::cid::Cid;
use peergos_fs::{
    posix::{DirEntry, Kind},
    space::{Location, StoredNode},
    tree::{self, Entry, content::Locations},
};
use peergos_net::CacheSizes;

use crate::{
    drive::{Drive, Stop, Watchdog},
    faulty::Damage,
    model::{CHUNK, assert_same, write},
    scenarios::{errno, pattern},
};

const MIB: usize = 1 << 20;

/// The entry at `path` as it is committed.
pub fn entry(drive: &Drive, tree: &tree::Drive, path: &str) -> Entry {
    let account = drive.account();
    let signer = std::sync::Arc::new(account.home_signer.clone());
    let mut at = tree::load(tree, account.home.clone(), Some(&signer)).unwrap();
    for name in path.split('/') {
        let listing = tree::list(tree, &at.keys).unwrap();
        let link = listing.children.iter().map(|(_, link)| link).find(|link| link.name == name).unwrap();
        at = tree::load_children(tree, &at.keys, &[link]).remove(0).unwrap();
    }
    at
}

/// The block of chunk `index` of a file; of anything else, of its first.
pub fn block(drive: &Drive, path: &str, index: u64) -> Cid {
    stored(drive, path, index).cid
}

pub fn stored(drive: &Drive, path: &str, index: u64) -> StoredNode {
    let tree = drive.tree();
    let entry = entry(drive, &tree, path);
    let first: Location = (entry.keys.cap.map_key, entry.keys.cap.bat.clone());
    let place = Locations::new(first, entry.properties.stream_secret).get(&tree, &entry.keys, index).unwrap();
    let found = tree.spaces.nodes(&entry.keys.cap.writer, &[place]).unwrap();
    found.into_iter().flatten().next().unwrap()
}

/// The first fragment of chunk `index`.
fn fragment(drive: &Drive, path: &str, index: u64) -> Cid {
    stored(drive, path, index).node.data.fragments()[0].0.clone()
}

/// A drive that remembers no blocks, so that damage shows at once.
fn forgetful() -> Drive {
    let mut drive = Drive::new();
    drive.caches = CacheSizes { blocks: 0, champ: 0, fragments: 0 };
    drive.options.cache_bytes = 0;
    drive.remount();
    drive
}

#[test]
fn a_damaged_entry_is_seen_and_can_be_got_rid_of() {
    let _alive = Watchdog::new("damaged entries");
    let damaged = ["bad", "worse", "d/only", "link", "folder"];
    for damage in [Damage::Hidden, Damage::Corrupted] {
        let mut drive = Drive::new();
        for name in ["d", "folder", "folder/inner"] {
            drive.mkdir(name).unwrap();
        }
        for name in ["bad", "worse", "good", "d/only", "folder/x"] {
            drive.write(name, 0, name.as_bytes()).unwrap();
        }
        drive.symlink("link", "good").unwrap();
        drive.fs().sync().unwrap();
        for name in damaged {
            drive.faults.damage(block(&drive, name, 0), damage);
        }
        drive.remount();
        let kinds = |kind| move |name: &str| (name.to_owned(), kind);
        let (file, dir, link) = (kinds(Kind::File), kinds(Kind::Directory), kinds(Kind::Symlink));
        let all = [file("bad"), dir("d"), dir("folder"), file("good"), link("link"), file("worse")];
        assert_eq!(drive.list("").unwrap(), all);
        let mut referenced = 0;
        drive
            .list_plus("", &mut |ino| {
                referenced += 1;
                drive.fs().forget(ino, 1);
            })
            .unwrap();
        assert_eq!(referenced, 2, "only what can be read has attributes");
        for name in damaged {
            let attr = drive.stat(name).unwrap();
            assert!(attr.damaged && attr.nlink > 0, "{name}");
            assert_eq!(attr.size == 0, attr.kind == Kind::Directory, "{name} must not be taken for an empty file");
            assert_eq!(errno(drive.truncate(name, 0)), libc::EIO, "{name}");
            assert_eq!(errno(drive.open(name)), libc::EIO, "{name}");
            assert_eq!(errno(drive.list(name)), libc::EIO, "{name}");
            assert_eq!(errno(drive.create(name)), libc::EEXIST, "{name}");
            assert_eq!(errno(drive.rename(name, "good")), libc::EIO, "what is readable gives way to nothing damaged");
        }
        assert_eq!(errno(drive.create("folder/new")), libc::EIO);
        assert_eq!(errno(drive.rename("good", "folder/good")), libc::EIO);
        assert_eq!(errno(drive.rename("good", "folder")), libc::EISDIR);
        assert_eq!(errno(drive.rename("d", "bad")), libc::ENOTDIR);
        assert_eq!(errno(drive.unlink("folder")), libc::EISDIR);
        assert_eq!(errno(drive.rmdir("bad")), libc::ENOTDIR);
        assert_eq!(errno(drive.rmdir("d")), libc::ENOTEMPTY);
        drive.write("good", 4, b" and more").unwrap();
        drive.fs().sync().unwrap();

        drive.rename("bad", "d/moved").unwrap();
        drive.rename("d/only", "d/renamed").unwrap();
        drive.rename("folder", "d/folder").unwrap();
        drive.remount();
        assert_eq!(drive.names("").unwrap(), ["d", "good", "link", "worse"]);
        drive.faults.heal();
        assert!(drive.stat("d/moved").unwrap().size == 3, "it is as it was when it can be read again");
        assert_eq!(drive.read("d/moved").unwrap(), b"bad");
        assert_eq!(drive.read("d/renamed").unwrap(), b"d/only");
        assert_eq!(drive.read("d/folder/x").unwrap(), b"folder/x");
        for name in ["d/moved", "d/renamed", "d/folder", "link", "worse"] {
            drive.faults.damage(block(&drive, name, 0), damage);
        }
        drive.remount();

        drive.unlink("d/moved").unwrap();
        drive.unlink("d/renamed").unwrap();
        drive.rmdir("d/folder").unwrap();
        drive.unlink("link").unwrap();
        drive.rmdir("d").unwrap();
        drive.write("new", 0, b"new").unwrap();
        drive.rename("new", "worse").unwrap();
        drive.remount();
        drive.faults.heal();
        assert_eq!(drive.list("").unwrap(), [file("good"), file("worse")]);
        assert_eq!(drive.read("good").unwrap(), b"good and more");
        assert_eq!(drive.read("worse").unwrap(), b"new");
    }
}

#[test]
fn what_belongs_to_the_protocol_is_not_removed_for_being_damaged() {
    let mut drive = Drive::new();
    drive.options.show_hidden = true;
    drive.remount();
    let hidden = drive.names("").unwrap();
    assert!(!hidden.is_empty());
    for name in &hidden {
        drive.faults.damage(block(&drive, name, 0), Damage::Hidden);
    }
    for show_hidden in [true, false] {
        drive.options.show_hidden = show_hidden;
        drive.remount();
        drive.write("new", 0, b"new").unwrap();
        for name in &hidden {
            assert_eq!(errno(drive.stat(name)), libc::EIO);
            assert!(drive.unlink(name).is_err() && drive.rmdir(name).is_err());
            assert_eq!(errno(drive.rename(name, "mine")), libc::EPERM);
            assert_eq!(errno(drive.rename("new", name)), libc::EPERM);
        }
    }
    drive.faults.heal();
    drive.options.show_hidden = true;
    drive.remount();
    assert_eq!(drive.names("").unwrap().len(), hidden.len() + 1);
}

#[test]
fn a_folder_that_is_damaged_in_part_loses_nothing_else() {
    let _alive = Watchdog::new("partly damaged folders");
    // with a link to the other chunks and a list in fragments
    const FILES: usize = 1010;
    for (what, index, readable) in [("node", 1, 0..500), ("list", 0, 500..FILES)] {
        let mut drive = Drive::new();
        drive.mkdir("d").unwrap();
        for i in 0..FILES {
            drive.fs().release(drive.create(&format!("d/{i}")).unwrap());
        }
        drive.write("other", 0, b"text").unwrap();
        drive.fs().sync().unwrap();
        let damaged = if what == "node" { block(&drive, "d", index) } else { fragment(&drive, "d", index) };
        drive.faults.damage(damaged.clone(), Damage::Hidden);
        drive.remount();
        let path = |i: usize| format!("d/{i}");
        let lost = (readable.start + 700) % FILES;
        assert!(!readable.contains(&lost));
        // what there is comes first, and then the error
        let dir = drive.fs().open_dir(drive.lookup("d").unwrap().ino).unwrap();
        let (mut cookie, mut count) = (0, 0);
        let mut take = |entry: DirEntry<'_>| {
            (cookie, count) = (entry.cookie, count + 1);
            false
        };
        drive.fs().read_dir(dir, 0, &mut take).unwrap();
        assert_eq!(errno(drive.fs().read_dir(dir, cookie, &mut |_| false)), libc::EIO, "{what}");
        drive.fs().release_dir(dir);
        assert_eq!(count, readable.len() + 2, "{what}");
        // nobody knows what is not there
        assert_eq!(errno(drive.stat(&path(lost))), libc::EIO, "{what}");
        assert_eq!(errno(drive.create("d/new")), libc::EIO, "{what}");
        assert_eq!(errno(drive.rename("other", "d/other")), libc::EIO, "{what}");
        assert_eq!(errno(drive.rename(&path(readable.start), "d/other")), libc::EIO, "{what}");
        assert_eq!(errno(drive.rename("other", &path(readable.start))), libc::EIO, "{what}");
        assert_eq!(errno(drive.rmdir("d")), libc::ENOTEMPTY, "{what}");
        drive.write(&path(readable.start), 0, b"text").unwrap();
        drive.unlink(&path(readable.start + 1)).unwrap();
        drive.rename(&path(readable.start + 2), "saved").unwrap();
        drive.remount();
        drive.faults.heal();
        drive.remount();
        let mut names: Vec<_> = (0..FILES).filter(|i| ![1, 2].map(|gone| readable.start + gone).contains(i)).collect();
        let mut found: Vec<usize> = drive.names("d").unwrap().iter().map(|name| name.parse().unwrap()).collect();
        names.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, names, "{what}");
        assert_eq!(drive.names("").unwrap(), ["d", "other", "saved"]);
        assert_eq!(drive.read(&path(readable.start)).unwrap(), b"text");

        // when nothing is left that can be reached, it can go
        drive.faults.damage(if what == "node" { damaged } else { fragment(&drive, "d", index) }, Damage::Hidden);
        drive.remount();
        for i in readable.filter(|i| names.contains(i)) {
            drive.unlink(&path(i)).unwrap();
        }
        drive.rmdir("d").unwrap();
        drive.remount();
        assert_eq!(drive.names("").unwrap(), ["other", "saved"]);
    }
}

#[test]
fn what_cannot_be_saved_is_that_files_error_alone() {
    let _alive = Watchdog::new("left out");
    let mut drive = forgetful();
    let content = pattern(11 * MIB, 1);
    drive.mkdir("d").unwrap();
    for path in ["d/bad", "d/good", "moved"] {
        drive.write(path, 0, &content).unwrap();
    }
    drive.fs().sync().unwrap();
    // known before they are damaged
    for path in ["d/bad", "d/good", "moved"] {
        drive.lookup(path).unwrap();
    }
    for path in ["d/bad", "moved"] {
        drive.faults.damage(block(&drive, path, 0), Damage::Hidden);
    }
    for path in ["d/bad", "d/good", "d/new"] {
        drive.write(path, 11 * MIB as u64, b"more").unwrap();
    }
    drive.rename("moved", "d/moved").unwrap();
    assert_eq!(errno(drive.fsync("d/bad")), libc::EIO);
    assert_eq!(errno(drive.fsync("d/moved")), libc::EIO);
    for path in ["d/good", "d/new", "d", ""] {
        drive.fsync(path).unwrap();
    }
    // who asks whether all is saved is told that it is not
    assert_eq!(errno(drive.fs().sync()), libc::EIO);
    assert_eq!(errno(drive.fsync("d/bad")), libc::EIO, "it is not forgotten that it is not saved");
    // what was written can be read, and is saved when that is possible again
    let end = drive.open("d/bad").unwrap();
    assert_eq!(drive.fs().read(end, 11 * MIB as u64, 100, <[u8]>::to_vec).unwrap(), b"more");
    drive.faults.heal();
    drive.write_to(end, 11 * MIB as u64 + 4, b"!").unwrap();
    drive.fs().release(end);
    drive.fsync("d/bad").unwrap();
    drive.remount();
    let extended = |end: &[u8]| [content.as_slice(), end].concat();
    assert_same(&drive.read("d/bad").unwrap(), &extended(b"more!"), "bad");
    assert_same(&drive.read("d/good").unwrap(), &extended(b"more"), "good");
    assert_same(&drive.read("d/moved").unwrap(), &content, "moved");
    assert_eq!(drive.names("").unwrap(), ["d"]);
    assert_eq!(drive.fs().dirty_bytes(), 0);
}

#[test]
fn a_rename_that_could_not_be_saved_in_the_file_is_in_its_directory() {
    let mut drive = forgetful();
    drive.mkdir("d").unwrap();
    drive.write("f", 0, b"text").unwrap();
    drive.fs().sync().unwrap();
    drive.lookup("f").unwrap();
    drive.faults.damage(block(&drive, "f", 0), Damage::Hidden);
    drive.rename("f", "d/g").unwrap();
    assert_eq!(errno(drive.fs().sync()), libc::EIO);
    assert_eq!(drive.remount_after_loss(), libc::EIO);
    assert_eq!(drive.names("d").unwrap(), ["g"]);
    drive.faults.heal();
    assert_eq!(drive.read("d/g").unwrap(), b"text");
}

#[test]
fn a_file_that_could_not_be_saved_can_be_deleted() {
    let _alive = Watchdog::new("left out");
    let mut drive = forgetful();
    drive.write("bad", 0, b"text").unwrap();
    drive.fs().sync().unwrap();
    drive.lookup("bad").unwrap();
    let damaged = block(&drive, "bad", 0);
    drive.faults.damage(damaged, Damage::Corrupted);
    drive.set("bad", &peergos_fs::posix::SetAttr { mode: Some(0o600), ..Default::default() }).unwrap();
    assert_eq!(errno(drive.fsync("bad")), libc::EIO);
    drive.unlink("bad").unwrap();
    drive.fs().sync().unwrap();
    drive.remount();
    assert!(drive.names("").unwrap().is_empty());
}

#[test]
fn a_damaged_later_chunk_is_an_error_where_it_is_read() {
    let _alive = Watchdog::new("later chunks");
    let mut drive = forgetful();
    let content = pattern(16 * MIB, 2);
    drive.write("f", 0, &content).unwrap();
    drive.write("other", 0, b"text").unwrap();
    drive.fs().sync().unwrap();
    for (index, damage) in [(1, Damage::Hidden), (3, Damage::Corrupted)] {
        drive.faults.damage(block(&drive, "f", index), damage);
    }
    drive.remount();
    let file = drive.open("f").unwrap();
    let read = |offset: u64| drive.fs().read(file, offset, 1000, <[u8]>::to_vec);
    assert_eq!(read(CHUNK - 1000).unwrap(), content[CHUNK as usize - 1000..][..1000]);
    assert_eq!(read(2 * CHUNK).unwrap(), content[2 * CHUNK as usize..][..1000]);
    assert_eq!(errno(read(CHUNK)), libc::EIO);
    assert_eq!(errno(read(CHUNK - 10)), libc::EIO);
    // a change of what cannot be read is refused, and one beside it is saved
    assert_eq!(errno(drive.write_to(file, 16 * MIB as u64, b"more")), libc::EIO);
    assert_eq!(errno(drive.write_to(file, CHUNK + 5, b"more")), libc::EIO);
    drive.write_to(file, 2 * CHUNK + 5, b"more").unwrap();
    drive.fsync("f").unwrap();
    drive.write("other", 4, b" too").unwrap();
    drive.fs().sync().unwrap();
    // what is damaged can be written over whole, or cut off
    drive.fs().write(file, CHUNK, &content[CHUNK as usize..2 * CHUNK as usize]).unwrap();
    drive.truncate("f", 3 * CHUNK).unwrap();
    drive.fs().release(file);
    drive.remount();
    let mut expected = content[..3 * CHUNK as usize].to_vec();
    expected[2 * CHUNK as usize + 5..][..4].copy_from_slice(b"more");
    assert_same(&drive.read("f").unwrap(), &expected, "f");
    assert_eq!(drive.read("other").unwrap(), b"text too");
}

#[test]
fn what_is_written_beside_a_damaged_chunk_is_saved() {
    let _alive = Watchdog::new("beside a damaged chunk");
    // the last chunk is full in one of them
    for size in [16 * MIB, 15 * MIB] {
        for damaged in [1, 2] {
            let mut drive = forgetful();
            let mut content = pattern(size, 3);
            drive.write("f", 0, &content).unwrap();
            drive.fs().sync().unwrap();
            drive.faults.damage(block(&drive, "f", damaged), Damage::Corrupted);
            drive.remount();
            let file = drive.open("f").unwrap();
            for (offset, text) in [(5, &b"front"[..]), (size as u64, b"end"), (25 * MIB as u64, b"far behind")] {
                drive.write_to(file, offset, text).unwrap();
                write(&mut content, offset as usize, text);
            }
            // up to the damage, and no further
            let border = damaged * CHUNK;
            assert_eq!(drive.fs().write(file, border - 3, b"border").unwrap(), 3);
            write(&mut content, border as usize - 3, b"bor");
            assert_eq!(errno(drive.fs().write(file, border, b"der")), libc::EIO);
            assert_eq!(errno(drive.truncate("f", border + 7)), libc::EIO);
            drive.fs().release(file);
            drive.rename("f", "g").unwrap();
            drive.fsync("g").unwrap();
            drive.remount();
            let file = drive.open("g").unwrap();
            assert_eq!(errno(drive.fs().read(file, border, 10, <[u8]>::to_vec)), libc::EIO);
            let end = drive.fs().read(file, 25 * MIB as u64, 100, <[u8]>::to_vec).unwrap();
            assert_eq!(end, b"far behind");
            drive.fs().release(file);
            drive.faults.heal();
            assert_same(&drive.read("g").unwrap(), &content, "g");
        }
    }
}

#[test]
fn slow_reads_end_however_much_is_written_beside_them() {
    let _alive = Watchdog::new("slow reads");
    let mut drive = forgetful();
    let content = pattern(16 * MIB, 4);
    drive.write("f", 0, &content).unwrap();
    drive.remount();
    drive.faults.delay_reads(Duration::from_millis(5));
    let file = drive.open("f").unwrap();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let (drive, stop) = (&drive, &stop);
        let _stops = stop.when_dropped();
        scope.spawn(move || {
            while !stop.is_set() {
                drive.write_to(file, 0, b"!").unwrap();
            }
        });
        // the other thread has begun
        while drive.fs().dirty_bytes() == 0 {
            std::thread::yield_now();
        }
        let part = drive.fs().read(file, CHUNK + 100, 100, <[u8]>::to_vec).unwrap();
        assert_eq!(part, content[CHUNK as usize + 100..][..100]);
        drive.write_to(file, 2 * CHUNK + 100, b"more").unwrap();
        drive.truncate("f", 3 * CHUNK + 10).unwrap();
    });
    drive.fs().release(file);
    drive.faults.heal();
    drive.remount();
    let mut expected = content[..3 * CHUNK as usize + 10].to_vec();
    expected[0] = b'!';
    expected[2 * CHUNK as usize + 100..][..4].copy_from_slice(b"more");
    assert_same(&drive.read("f").unwrap(), &expected, "f");
}
