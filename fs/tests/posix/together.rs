//! Two clients of one account: each sees what the other commits, and what both change is kept.

mod answers;
mod attributes;
mod folders;
mod rekeyed;
mod replayed;
mod unread;
mod work;

use std::collections::BTreeSet;

use peergos_fs::{
    Error,
    posix::{SetAttr, Stale},
};

use crate::{
    drive::{Drive, ROOT},
    faulty::{Call, Fault},
    golden,
    scenarios::pattern,
};

const CHUNK: usize = 5 << 20;

struct Pair {
    a: Drive,
    b: Drive,
    /// The directories that tests work in.
    roots: Vec<&'static str>,
}

impl Pair {
    /// Two clients that see the same `files`, each of which contains its own name.
    fn with(files: &[&str]) -> Self {
        let a = Drive::new();
        for path in files {
            for (at, _) in path.match_indices('/') {
                let _ = a.mkdir(&path[..at]);
            }
            a.write(path, 0, path.as_bytes()).unwrap();
        }
        a.fs().sync().unwrap();
        let b = a.second();
        for path in files {
            assert_eq!(b.read(path).unwrap(), path.as_bytes());
        }
        Self { a, b, roots: vec![""] }
    }

    /// Two clients of the account of ada, that see what is in `roots`: `team` is a writing space, `revoked` needs new keys,
    /// and `box` is neither.
    fn ada(roots: &[&'static str]) -> Self {
        let a = golden::ada();
        a.mkdir("box").unwrap();
        a.fs().sync().unwrap();
        let b = a.second();
        let pair = Self { a, b, roots: roots.to_vec() };
        pair.seen_by(&pair.b);
        pair
    }

    fn seen_by(&self, side: &Drive) -> Tree {
        loop {
            let mut found = Vec::new();
            if self.roots.iter().all(|root| collect(side, root, &mut found)) {
                return found;
            }
        }
    }

    /// Commits on both sides, and lets both look.
    fn meet(&self) {
        for _ in 0..2 {
            for side in [&self.a, &self.b] {
                side.fs().sync().unwrap();
                side.fs().refresh().unwrap();
            }
        }
    }

    /// The whole tree, which must be the same on both sides and to one who comes new: paths, and contents of files.
    fn tree(&self) -> Tree {
        self.meet();
        let third = self.a.second();
        let trees = [&self.a, &self.b, &third].map(|side| self.seen_by(side));
        let names = |i: usize| trees[i].iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        assert_eq!(names(0), names(2), "what the first sees, and what is stored");
        assert_eq!(names(1), names(2), "what the second sees, and what is stored");
        assert!(trees[0] == trees[2] && trees[1] == trees[2], "contents differ");
        let [tree, ..] = trees;
        tree
    }

    fn paths(&self) -> Vec<String> {
        self.tree().into_iter().map(|(path, _)| path).collect()
    }
}

/// Paths, and contents of files.
type Tree = Vec<(String, Option<Vec<u8>>)>;

/// The content of a file that must be there.
fn file<'a>(tree: &'a Tree, path: &str) -> &'a [u8] {
    let found = tree.iter().find(|(found, _)| found == path).and_then(|(_, content)| content.as_deref());
    found.unwrap_or_else(|| panic!("no {path} in {:?}", tree.iter().map(|(path, _)| path).collect::<Vec<_>>()))
}

/// Does `work`, and has `first` commit before `other` can commit anything.
fn commits_first(first: &Drive, other: &Drive, work: impl FnOnce()) {
    other.faults.fail(Call::SetPointers, 0, u32::MAX, Fault::Io);
    work();
    first.fs().sync().unwrap();
    other.faults.allow(Call::SetPointers);
}

/// Returns whether nothing moved meanwhile: on a slow machine, a commit after some rest may take in what others did.
fn collect(side: &Drive, directory: &str, found: &mut Vec<(String, Option<Vec<u8>>)>) -> bool {
    let is_gone = |error: &Error| error.errno() == libc::ENOENT;
    let names = match side.names(directory) {
        Err(error) if is_gone(&error) => return false,
        names => names.unwrap(),
    };
    names.into_iter().all(|name| {
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        match side.read(&path) {
            Ok(content) => found.push((path, Some(content))),
            Err(error) if is_gone(&error) => return false,
            Err(error) => {
                assert_eq!(error.errno(), libc::EISDIR, "{path}");
                found.push((path.clone(), None));
                return collect(side, &path, found);
            }
        }
        true
    })
}

#[test]
fn each_sees_what_the_other_commits() {
    let Pair { a, b, .. } = Pair::with(&["d/old", "d/gone", "d/renamed", "moved"]);
    let stale = b.fs().stale();
    let number = |path: &str| b.lookup(path).unwrap().ino;
    let (old, gone, renamed, dir) = (number("d/old"), number("d/gone"), number("d/renamed"), number("d"));
    a.write("d/old", 0, b"another content").unwrap();
    a.write("d/new", 0, b"new").unwrap();
    a.unlink("d/gone").unwrap();
    a.rename("d/renamed", "d/name").unwrap();
    a.rename("moved", "d/moved").unwrap();
    a.set("d/old", &SetAttr { mode: Some(0o600), ..Default::default() }).unwrap();
    a.fs().sync().unwrap();
    assert_eq!(b.read("d/old").unwrap(), b"d/old", "seen before it was asked for");
    assert!(b.fs().refresh().unwrap());
    assert_eq!(b.names("d").unwrap(), ["moved", "name", "new", "old"]);
    assert_eq!(b.names("").unwrap(), ["d"]);
    assert_eq!(b.read("d/old").unwrap(), b"another content");
    assert_eq!(b.stat("d/old").unwrap().perm, 0o600);
    assert_eq!(b.read("d/new").unwrap(), b"new");
    assert_eq!((number("d/old"), number("d/name")), (old, renamed), "numbers stay");
    let stale: Vec<Stale> = stale.try_iter().collect();
    assert!(stale.contains(&Stale::Inode(old)));
    let name = |name: &str, gone| Stale::Name { directory: dir, name: name.into(), gone };
    for expected in [name("gone", Some(gone)), name("new", None), name("name", None), name("renamed", Some(renamed))] {
        assert!(stale.contains(&expected), "{expected:?} in {stale:?}");
    }
    assert!(!b.fs().refresh().unwrap(), "there is nothing more");
}

#[test]
fn both_create_in_one_directory() {
    let pair = Pair::with(&["d/0"]);
    for i in 0..300 {
        pair.a.write(&format!("d/a{i:03}"), 0, b"a").unwrap();
        pair.b.write(&format!("d/b{i:03}"), 0, b"b").unwrap();
    }
    let tree = pair.tree();
    assert_eq!(tree.len(), 602);
    for (path, content) in tree {
        if let Some(content) = content {
            assert_eq!(content, if path == "d/0" { "d/0".into() } else { path[2..3].to_owned() }.as_bytes(), "{path}");
        }
    }
}

#[test]
fn both_create_the_same_name() {
    let pair = Pair::with(&["d/0"]);
    pair.a.write("d/new.txt", 0, b"from a").unwrap();
    pair.b.write("d/new.txt", 0, b"from b").unwrap();
    pair.a.fs().sync().unwrap();
    let tree = pair.tree();
    assert_eq!(file(&tree, "d/new.txt"), b"from a");
    assert_eq!(file(&tree, "d/new[conflict-0].txt"), b"from b");
}

#[test]
fn both_write_one_file() {
    let pair = Pair::with(&["d/file.txt", "d/same"]);
    let big = pattern(3 * CHUNK + 77, 1);
    pair.a.write("d/big", 0, &big).unwrap();
    pair.meet();
    pair.a.write("d/file.txt", 0, b"from a").unwrap();
    pair.a.write("d/big", 10, b"from a").unwrap();
    pair.b.write("d/file.txt", 2, b"from b").unwrap();
    pair.b.write("d/big", 2 * CHUNK as u64 + 5, b"from b").unwrap();
    let handle = pair.b.open("d/big").unwrap();
    pair.a.fs().sync().unwrap();
    pair.b.fs().sync().unwrap();
    // who has it open goes on with the version that was written here
    pair.b.write_to(handle, 0, b"on").unwrap();
    pair.b.fs().release(handle);
    let tree = pair.tree();
    let changed = |at: usize, data: &[u8]| {
        let mut bytes = big.clone();
        bytes[at..at + data.len()].copy_from_slice(data);
        bytes
    };
    assert_eq!(file(&tree, "d/file.txt"), b"from a.txt");
    assert_eq!(file(&tree, "d/file[conflict-0].txt"), b"d/from bxt");
    assert!(file(&tree, "d/big") == changed(10, b"from a"));
    let mut theirs = changed(2 * CHUNK + 5, b"from b");
    theirs[..2].copy_from_slice(b"on");
    assert!(file(&tree, "d/big[conflict-0]") == theirs);
    assert_eq!(tree.len(), 6);
}

#[test]
fn one_renames_what_the_other_writes() {
    let pair = Pair::with(&["d/a", "d/b", "e/c"]);
    pair.a.rename("d/a", "d/renamed").unwrap();
    pair.a.rename("d/b", "e/moved").unwrap();
    pair.b.write("d/a", 0, b"written").unwrap();
    pair.b.write("d/b", 0, b"written").unwrap();
    let tree = pair.tree();
    let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["d", "d/renamed", "e", "e/c", "e/moved"]);
    assert_eq!(tree[1].1.as_deref().unwrap(), b"written");
    assert_eq!(tree[4].1.as_deref().unwrap(), b"written");
}

#[test]
fn both_rename_one_file() {
    let pair = Pair::with(&["d/a", "d/b", "d/c", "e/x", "f/x"]);
    pair.b.lookup("e").unwrap();
    pair.b.names("e").unwrap();
    for (name, directory) in [("a", "d"), ("b", "e"), ("c", "f")] {
        pair.a.rename(&format!("d/{name}"), &format!("{directory}/{name} by a")).unwrap();
        pair.b.rename(&format!("d/{name}"), &format!("{name} by b")).unwrap();
    }
    pair.a.fs().sync().unwrap();
    // the last wins, unless it does not know the directory to take it from
    assert_eq!(pair.paths(), ["a by b", "b by b", "d", "e", "e/x", "f", "f/c by a", "f/x"]);
}

#[test]
fn one_deletes_what_the_other_writes() {
    let pair = Pair::with(&["d/a", "d/b", "d/c", "e/f/g"]);
    let big = pattern(2 * CHUNK + 5, 2);
    pair.a.write("d/big", 0, &big).unwrap();
    pair.meet();
    for path in ["d/a", "d/big", "e/f/g"] {
        pair.a.unlink(path).unwrap();
    }
    pair.a.rmdir("e/f").unwrap();
    pair.a.rmdir("e").unwrap();
    pair.a.write("d/b", 0, b"from a").unwrap();
    pair.b.write("d/a", 0, b"from b").unwrap();
    pair.b.write("d/big", 0, b"from b").unwrap();
    pair.b.write("e/f/new", 0, b"from b").unwrap();
    pair.b.unlink("d/b").unwrap();
    pair.b.unlink("d/c").unwrap();
    pair.a.fs().sync().unwrap();
    let tree = pair.tree();
    let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["d", "d/a", "d/b", "d/big", "e", "e/f", "e/f/new"]);
    assert_eq!(file(&tree, "d/a"), b"from b");
    assert_eq!(file(&tree, "d/b"), b"from a");
    assert!(file(&tree, "d/big")[6..] == big[6..] && file(&tree, "d/big").starts_with(b"from b"));
}

#[test]
fn one_removes_a_directory_in_which_the_other_creates() {
    let pair = Pair::with(&["d/e/old", "x"]);
    pair.a.write("d/e/new", 0, b"from a").unwrap();
    pair.b.unlink("d/e/old").unwrap();
    pair.b.rmdir("d/e").unwrap();
    pair.b.rmdir("d").unwrap();
    pair.a.fs().sync().unwrap();
    assert_eq!(pair.paths(), ["d", "d/e", "d/e/new", "x"]);
}

#[test]
fn one_moves_a_directory_that_the_other_removes() {
    let pair = Pair::with(&["d/e/old", "f/x"]);
    pair.a.unlink("d/e/old").unwrap();
    pair.meet();
    pair.b.names("d/e").unwrap();
    pair.b.rmdir("d/e").unwrap();
    pair.a.rename("d/e", "f/moved").unwrap();
    pair.a.fs().sync().unwrap();
    assert_eq!(pair.paths(), ["d", "f", "f/moved", "f/x"]);
}

#[test]
fn one_moves_a_directory_in_which_the_other_creates() {
    let pair = Pair::with(&["d/e/old", "f/x"]);
    let handle = pair.b.open("d/e/old").unwrap();
    pair.a.rename("d/e", "f/moved").unwrap();
    pair.b.write("d/e/new", 0, b"from b").unwrap();
    pair.b.write_to(handle, 0, b"written").unwrap();
    pair.a.fs().sync().unwrap();
    pair.b.fs().sync().unwrap();
    pair.b.fs().release(handle);
    let tree = pair.tree();
    let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["d", "f", "f/moved", "f/moved/new", "f/moved/old", "f/x"]);
    assert_eq!(tree[4].1.as_deref().unwrap(), b"written");
}

#[test]
fn a_deleted_file_that_is_open_stays_silent() {
    let pair = Pair::with(&["d/a"]);
    let handle = pair.b.open("d/a").unwrap();
    pair.a.unlink("d/a").unwrap();
    pair.a.fs().sync().unwrap();
    pair.b.fs().refresh().unwrap();
    pair.b.write_to(handle, 0, b"nobody will see this").unwrap();
    pair.b.fs().sync().unwrap();
    pair.b.fs().release(handle);
    assert_eq!(pair.paths(), ["d"]);
    assert_eq!(pair.b.fs().getattr(ROOT).unwrap().ino, ROOT);
}

#[test]
fn a_name_that_was_just_free_is_not_mistaken() {
    for _ in 0..4 {
        let pair = Pair::with(&["d/x.txt", "d/x[conflict-0].txt", "e/0"]);
        pair.a.rename("d/x[conflict-0].txt", "d/x.txt").unwrap();
        pair.b.rename("d/x.txt", "e/x.txt").unwrap();
        pair.b.write("d/x.txt", 0, b"from b").unwrap();
        pair.b.fs().sync().unwrap();
        let tree = pair.tree();
        let contents: BTreeSet<_> = tree.iter().filter_map(|(_, content)| content.as_deref()).collect();
        assert!(contents.contains(b"d/x[conflict-0].txt".as_slice()), "lost of {tree:?}");
        assert!(contents.contains(b"from b".as_slice()));
    }
}

#[test]
fn one_empties_and_removes_a_directory_below_which_the_other_creates() {
    let pair = Pair::with(&["c/d/old", "x"]);
    pair.a.write("c/d/new", 0, b"from a").unwrap();
    pair.b.rename("c/d", "d").unwrap();
    pair.b.rmdir("c").unwrap();
    pair.b.fs().sync().unwrap();
    assert_eq!(pair.paths(), ["d", "d/new", "d/old", "x"]);
}

#[test]
fn one_moves_out_what_both_write_and_removes_its_directory() {
    let pair = Pair::with(&["c/d/file", "x"]);
    pair.a.write("c/d/file", 0, b"from a").unwrap();
    pair.b.write("c/d/file", 0, b"from b").unwrap();
    pair.b.rename("c/d/file", "file").unwrap();
    pair.b.rmdir("c/d").unwrap();
    pair.b.rmdir("c").unwrap();
    pair.b.write("c", 0, b"another").unwrap();
    pair.a.fs().sync().unwrap();
    let tree = pair.tree();
    assert_eq!(file(&tree, "c/d/file"), b"from ale");
    assert_eq!(file(&tree, "file"), b"from ble");
    assert_eq!(file(&tree, "c[conflict-0]"), b"another");
}

#[test]
fn a_deleted_file_that_is_open_comes_back() {
    let pair = Pair::with(&["d/a", "d/b"]);
    let third = pair.a.second();
    let handles = [pair.b.open("d/a").unwrap(), third.open("d/a").unwrap()];
    pair.a.write("d/a", 0, b"from a").unwrap();
    pair.b.unlink("d/a").unwrap();
    pair.b.fs().sync().unwrap();
    third.fs().refresh().unwrap();
    assert_eq!(third.names("d").unwrap(), ["b"]);
    pair.a.fs().sync().unwrap();
    for side in [&pair.b, &third] {
        side.fs().refresh().unwrap();
        assert_eq!(side.read("d/a").unwrap(), b"from a");
        side.write("d/b", 0, b"more").unwrap();
        side.fs().sync().unwrap();
    }
    for (side, handle) in [&pair.b, &third].into_iter().zip(handles) {
        side.fs().release(handle);
    }
    assert_eq!(pair.paths(), ["d", "d/a", "d/b"]);
}

#[test]
fn a_new_file_that_waits_for_room_is_not_forgotten() {
    let pair = Pair::with(&["d/a"]);
    pair.b.faults.fail(Call::PutBlocks, 0, u32::MAX, Fault::DiskFull);
    pair.b.write("d/new", 0, &pattern(CHUNK, 3)).unwrap();
    assert!(pair.b.fs().sync().is_err());
    pair.b.faults.heal();
    pair.a.write("d/other", 0, b"from a").unwrap();
    pair.a.fs().sync().unwrap();
    pair.b.fs().refresh().unwrap();
    assert!(pair.b.read("d/new").unwrap() == pattern(CHUNK, 3));
    assert_eq!(pair.paths(), ["d", "d/a", "d/new", "d/other"]);
}
