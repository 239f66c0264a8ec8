//! What other clients find of what is made here, and what is made of what they do.

use std::sync::Arc;

use peergos_crypto::cbor::{Map, Value};
use peergos_fs::{
    cryptree::{FromParent, Opened, Properties, Thumbnail},
    posix::SetAttr,
    tree::{self, Changes, DirUpdate},
};

use crate::{
    check::{commit, signer},
    damaged::{entry, stored},
    drive::Drive,
    golden::{self, ada},
    scenarios::{errno, pattern},
};

/// The properties of an entry as they are stored.
fn properties(drive: &Drive, path: &str) -> Properties {
    let tree = drive.tree();
    let read = entry(drive, &tree, path).keys.cap.read.clone();
    stored(drive, path, 0).node.open(&read).unwrap().properties
}

/// Changes the properties of an entry as another client would.
fn change(drive: &Drive, path: &str, change: impl FnOnce(&mut Properties)) {
    let tree = drive.tree();
    let (node, cap) = (stored(drive, path, 0).node, entry(drive, &tree, path).keys.cap);
    let Opened { parent_key, parent, mut properties, .. } = node.open(&cap.read).unwrap();
    change(&mut properties);
    let node = node.with_from_parent(&parent_key, &FromParent { parent, properties }).unwrap();
    let mut changes = Changes::default();
    changes.put(&signer(drive), cap.map_key, node.to_block());
    commit(&tree, changes);
}

#[test]
fn kinds_and_contents_have_types() {
    let drive = Drive::new();
    drive.mknod("pipe", libc::S_IFIFO | 0o644, 0).unwrap();
    drive.mknod("socket", libc::S_IFSOCK | 0o644, 0).unwrap();
    drive.mknod("disk", libc::S_IFBLK | 0o644, 0x801).unwrap();
    drive.mknod("line", libc::S_IFCHR | 0o644, 0x501).unwrap();
    drive.symlink("link", "the/target").unwrap();
    drive.write("picture", 0, b"\x89PNG\r\n\x1a\nand more").unwrap();
    drive.write("text.txt", 0, b"some text").unwrap();
    drive.fs().sync().unwrap();
    for (path, mime, size) in [
        ("pipe", "inode/fifo", 0),
        ("socket", "inode/socket", 0),
        ("disk", "inode/blockdevice", 0),
        ("line", "inode/chardevice", 0),
        ("link", "inode/symlink", 10),
        ("picture", "image/png", 16),
        ("text.txt", "text/plain", 9),
    ] {
        let properties = properties(&drive, path);
        assert_eq!((properties.mime.as_str(), properties.size), (mime, size), "{path}");
    }
}

#[test]
fn what_the_protocol_lacks_is_in_the_posix_key() {
    let drive = Drive::new();
    drive.write("usual", 0, b"x").unwrap();
    drive.write("other", 0, b"x").unwrap();
    let set = SetAttr { mode: Some(0o600), uid: Some(7), gid: Some(8), ..Default::default() };
    drive.set("other", &set).unwrap();
    drive.at("other", |fs, ino| fs.setxattr(ino, "user.a".as_ref(), b"1", 0)).unwrap();
    drive.mknod("disk", libc::S_IFBLK | 0o644, 0x801).unwrap();
    drive.fs().sync().unwrap();
    assert_eq!(properties(&drive, "usual").posix, None);
    let device = properties(&drive, "disk").posix.unwrap();
    assert_eq!(device.as_map("posix").unwrap().get("d"), Some(&Value::from(0x801u32)));
    let (mut expected, mut extended) = (Map::new(), Map::new());
    extended.insert("user.a", &b"1"[..]);
    for (key, value) in [("m", 0o600u32), ("u", 7), ("g", 8)] {
        expected.insert(key, value);
    }
    expected.insert("x", Value::Map(extended));
    assert_eq!(properties(&drive, "other").posix, Some(Value::Map(expected)));
}

#[test]
fn a_preview_is_kept_until_the_content_changes() {
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    drive.write("picture", 0, &pattern(100_000, 1)).unwrap();
    drive.fs().sync().unwrap();
    let preview = Thumbnail { data: b"small".to_vec(), mime: "image/webp".into() };
    change(&drive, "picture", |properties| properties.thumbnail = Some(preview.clone()));
    drive.remount();
    drive.set("picture", &SetAttr { mode: Some(0o600), ..Default::default() }).unwrap();
    drive.rename("picture", "d/renamed").unwrap();
    drive.fs().sync().unwrap();
    assert!(properties(&drive, "d/renamed").thumbnail == Some(preview));
    drive.write("d/renamed", 5, b"changed").unwrap();
    drive.fs().sync().unwrap();
    assert!(properties(&drive, "d/renamed").thumbnail.is_none());
}

#[test]
fn what_others_hide_keeps_its_name() {
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    drive.write("d/hidden", 0, b"kept").unwrap();
    drive.write("d/seen", 0, b"seen").unwrap();
    drive.fs().sync().unwrap();
    change(&drive, "d/hidden", |properties| properties.hidden = true);
    drive.remount();
    assert_eq!(drive.names("d").unwrap(), ["seen"]);
    assert_eq!(errno(drive.stat("d/hidden")), libc::ENOENT);
    assert_eq!(errno(drive.create("d/hidden")), libc::EEXIST);
    assert_eq!(errno(drive.mkdir("d/hidden")), libc::EEXIST);
    drive.unlink("d/seen").unwrap();
    assert_eq!(errno(drive.rmdir("d")), libc::ENOTEMPTY);
    drive.options.show_hidden = true;
    drive.remount();
    assert_eq!(drive.read("d/hidden").unwrap(), b"kept");
    assert_eq!(errno(drive.truncate("d/hidden", 0)), libc::EPERM);
    assert_eq!(errno(drive.unlink("d/hidden")), libc::EPERM);
}

#[test]
fn names_that_no_program_can_use_are_not_shown_and_kept() {
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    // which no kernel asks for
    drive.write("d/a\0b", 0, b"kept").unwrap();
    drive.write("d/c", 0, b"c").unwrap();
    drive.remount();
    assert_eq!(drive.names("d").unwrap(), ["c"]);
    drive.unlink("d/c").unwrap();
    assert_eq!(errno(drive.rmdir("d")), libc::ENOTEMPTY);
    drive.remount();
    assert_eq!(drive.read("d/a\0b").unwrap(), b"kept");
}

#[test]
fn a_writing_space_stays_in_the_one_that_its_link_is_in() {
    let drive = ada();
    assert_eq!(errno(drive.rename("link/rw", "team/rw")), libc::EXDEV);
    assert_eq!(errno(drive.rename("link", "team/link")), libc::EXDEV);
    assert_eq!(errno(drive.exchange("hello.txt", "team/plan.md")), libc::EXDEV);
    golden::check(&drive);
}

#[test]
fn what_cannot_be_signed_for_is_not_changed() {
    let mut drive = ada();
    let content = drive.read("team/plan.md").unwrap();
    {
        // the key is no longer where this client could find it
        let tree = drive.tree();
        let mut folder = entry(&drive, &tree, "team");
        let list = tree::list(&tree, &folder.keys).unwrap();
        folder.keys.own_space = false;
        let directory = DirUpdate {
            keys: Arc::new(folder.keys),
            properties: folder.properties,
            parent: folder.parent,
            chunks: vec![(
                0,
                list.chunks[0].clone(),
                list.children.into_iter().map(|(_, link)| Arc::new(link)).collect(),
            )],
        };
        commit(&tree, directory.build(&tree, &|_, _| panic!("it is small")).unwrap());
    }
    drive.remount();
    assert_eq!(errno(drive.create("team/new")), libc::EACCES);
    assert_eq!(errno(drive.write("team/plan.md", 0, b"x")), libc::EACCES);
    assert_eq!(errno(drive.unlink("team/plan.md")), libc::EACCES);
    assert_eq!(drive.read("team/plan.md").unwrap(), content);
}

#[test]
fn what_is_not_committed_is_seen_by_nobody_else() {
    let drive = Drive::new();
    drive.write("saved", 0, b"saved").unwrap();
    drive.fs().sync().unwrap();
    drive.write("saved", 0, b"other").unwrap();
    drive.write("new", 0, b"new").unwrap();
    let other = drive.second();
    assert_eq!(other.names("").unwrap(), ["saved"]);
    assert_eq!(other.read("saved").unwrap(), b"saved");
    drive.fs().sync().unwrap();
    assert!(other.fs().refresh().unwrap());
    assert_eq!(other.names("").unwrap(), ["new", "saved"]);
    assert_eq!(other.read("saved").unwrap(), b"other");
}
