//! Accounts of the reference client, read: every entry of the owner's own is there, with its kind, size, time and content.

use std::fs;
use std::os::unix::fs::FileExt as _;

use crate::harness::{Aspects, Drive, Golden};

fn shows_what_the_manifest_says(username: &str, show_hidden: bool) {
    let mut golden = Golden::load(username);
    let mut drive = Drive::golden(&golden);
    if show_hidden {
        drive = drive.with_args(&["--show-hidden"]);
    }
    drive.mount();
    let mut tree = drive.tree();
    // Looking changes nothing: neither what is shown, nor what is stored.
    drive.remount();
    drive.tree().assert_equals(&tree, Aspects::All, "after the remount");
    let also = Golden::load(if username == "ada" { "bob" } else { "ada" });
    drive.export().check(&golden.account, Some(&also.export())).assert_shows(username, show_hidden, &tree);
    // The reference rewrites these whenever it looks at friends' files: they are newer than the manifest.
    let is_cache = |path: &str| {
        path.starts_with(".capabilitycache/world/")
            || path.ends_with("$incoming.cbor")
            || path == ".groups-from-friends.cborstream"
    };
    tree.0.retain(|path, _| !is_cache(path.to_str().unwrap()));
    golden.listing.0.retain(|e| !is_cache(e.path.trim_start_matches(&format!("/{username}/"))));
    golden.listing.assert_shows(username, show_hidden, &tree);
}

#[test]
fn ada() {
    shows_what_the_manifest_says("ada", false);
}

#[test]
fn ada_with_hidden_entries() {
    shows_what_the_manifest_says("ada", true);
}

#[test]
fn bob() {
    shows_what_the_manifest_says("bob", false);
}

#[test]
fn bob_with_hidden_entries() {
    shows_what_the_manifest_says("bob", true);
}

#[test]
fn reads_in_any_order() {
    let ada = Golden::load("ada");
    let mut drive = Drive::golden(&ada);
    drive.mount();
    let path = drive.path("sizes/5MiB+1.bin");
    let whole = fs::read(&path).unwrap();
    drive.remount();
    // From the end to the start, in pieces that no border of the format is a multiple of; nothing is cached yet.
    let file = fs::File::open(&path).unwrap();
    let mut end = whole.len();
    while end > 0 {
        let start = end.saturating_sub(99_991);
        let mut piece = vec![0; end - start];
        file.read_exact_at(&mut piece, start as u64).unwrap();
        assert!(piece == whole[start..end], "{start}..{end}");
        end = start;
    }
    assert_eq!(file.read_at(&mut [0; 10], whole.len() as u64 - 3).unwrap(), 3);
    assert_eq!(file.read_at(&mut [0; 10], whole.len() as u64).unwrap(), 0);
}
