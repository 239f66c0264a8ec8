//! What gets new keys on one side, and is changed by the other under the old ones.

use peergos_fs::posix::SetAttr;

use crate::{
    drive::Drive,
    golden,
    model::assert_same,
    scenarios::pattern,
    together::{CHUNK, Pair, commits_first, file},
};

const PLACES: [&str; 3] = ["box", "revoked", "team"];

/// Two clients of ada with files in the folder `box`, outside of the writing space `team`.
fn ada() -> Pair {
    let pair = Pair::ada(&[]);
    for path in ["box/tree", "box/tree/sub"] {
        pair.a.mkdir(path).unwrap();
    }
    pair.a.write("box/large", 0, &pattern(CHUNK + 99, 1)).unwrap();
    for path in ["box/file", "box/tree/x", "box/tree/sub/y"] {
        pair.a.write(path, 0, path.as_bytes()).unwrap();
    }
    pair.meet();
    let pair = Pair { roots: PLACES.to_vec(), ..pair };
    pair.seen_by(&pair.b);
    pair
}

/// Lets `b` do something and commit it, before what `a` has done is committed.
fn before_a_commits(pair: &Pair, work: impl FnOnce(&Drive)) {
    commits_first(&pair.b, &pair.a, || work(&pair.b));
}

#[test]
fn one_moves_to_another_space_what_the_other_writes() {
    let pair = ada();
    // what is moved first is committed before the second moves
    pair.a.rename("box/file", "team/file").unwrap();
    pair.b.write("box/file", 0, b"from b").unwrap();
    pair.a.rename("box/large", "team/large").unwrap();
    before_a_commits(&pair, |b| b.write("box/large", 0, b"from b").unwrap());
    pair.a.write("team/file", 0, b"moved, and").unwrap();
    let tree = pair.tree();
    let mut large = pattern(CHUNK + 99, 1);
    assert_eq!(file(&tree, "team/file"), b"moved, and");
    assert_same(file(&tree, "team/large"), &large, "as it was moved");
    large[..6].copy_from_slice(b"from b");
    assert_eq!(file(&tree, "box/file"), b"from ble");
    assert_same(file(&tree, "box/large"), &large, "as it was written");
    golden::check(&pair.a);
}

#[test]
fn one_moves_to_another_space_and_removes_what_the_other_writes() {
    let pair = ada();
    pair.a.rename("box/file", "team/file").unwrap();
    pair.a.unlink("team/file").unwrap();
    before_a_commits(&pair, |b| b.write("box/file", 0, b"from b").unwrap());
    let tree = pair.tree();
    assert_eq!(file(&tree, "box/file"), b"from ble");
    assert!(!tree.iter().any(|(path, _)| path == "team/file"));
    golden::check(&pair.a);
}

#[test]
fn one_moves_to_another_space_a_folder_in_which_the_other_works() {
    let pair = ada();
    pair.a.rename("box/tree", "team/tree").unwrap();
    before_a_commits(&pair, |b| {
        b.write("box/tree/sub/y", 0, b"from b").unwrap();
        b.write("box/tree/new", 0, b"from b").unwrap();
    });
    pair.a.write("team/tree/more", 0, b"more").unwrap();
    let tree = pair.tree();
    for (path, content) in [
        ("team/tree/more", "more"),
        ("team/tree/x", "box/tree/x"),
        ("team/tree/sub/y", "box/tree/sub/y"),
        ("box/tree/x", "box/tree/x"),
        ("box/tree/sub/y", "from bee/sub/y"),
        ("box/tree/new", "from b"),
    ] {
        assert_eq!(file(&tree, path), content.as_bytes(), "{path}");
    }
    // two folders, neither of which knows of the other
    pair.a.write("box/tree/x", 0, b"one").unwrap();
    pair.a.write("team/tree/x", 0, b"two").unwrap();
    let tree = pair.tree();
    assert!(file(&tree, "box/tree/x").starts_with(b"one") && file(&tree, "team/tree/x").starts_with(b"two"));
    golden::check(&pair.b);
}

#[test]
fn one_moves_to_another_space_what_the_other_changes_otherwise() {
    let pair = ada();
    pair.a.rename("box/file", "team/file").unwrap();
    before_a_commits(&pair, |b| {
        b.set("box/file", &SetAttr { mode: Some(0o600), ..Default::default() }).unwrap();
    });
    let tree = pair.tree();
    assert_eq!(file(&tree, "team/file"), b"box/file");
    assert!(!tree.iter().any(|(path, _)| path == "box/file"));
    golden::check(&pair.a);
}

#[test]
fn one_moves_to_another_space_what_the_other_moves_elsewhere() {
    let pair = ada();
    pair.a.rename("box/large", "team/large").unwrap();
    before_a_commits(&pair, |b| b.rename("box/large", "revoked/large").unwrap());
    let tree = pair.tree();
    for path in ["team/large", "revoked/large"] {
        assert_same(file(&tree, path), &pattern(CHUNK + 99, 1), path);
    }
    assert!(!tree.iter().any(|(path, _)| path == "box/large"));
    golden::check(&pair.a);
}

#[test]
fn one_moves_to_another_space_what_the_other_removes() {
    let pair = ada();
    pair.a.rename("box/tree", "team/tree").unwrap();
    before_a_commits(&pair, |b| {
        for path in ["box/tree/sub/y", "box/tree/x"] {
            b.unlink(path).unwrap();
        }
        b.rmdir("box/tree/sub").unwrap();
        b.rmdir("box/tree").unwrap();
    });
    let tree = pair.tree();
    assert_eq!(file(&tree, "team/tree/sub/y"), b"box/tree/sub/y");
    assert!(!tree.iter().any(|(path, _)| path.starts_with("box/tree")));
    golden::check(&pair.a);
}

#[test]
fn both_move_one_file_to_another_space() {
    let pair = ada();
    pair.a.rename("box/file", "team/by a").unwrap();
    pair.b.rename("box/file", "team/by b").unwrap();
    let tree = pair.tree();
    assert_eq!((file(&tree, "team/by a"), file(&tree, "team/by b")), (&b"box/file"[..], &b"box/file"[..]));
    golden::check(&pair.a);
}

#[test]
fn both_write_what_needs_new_keys() {
    let pair = ada();
    let before = pair.a.read("revoked/big.bin").unwrap();
    pair.a.write("revoked/big.bin", 0, b"from a").unwrap();
    before_a_commits(&pair, |b| {
        b.write("revoked/big.bin", 0, b"from b").unwrap();
        b.truncate("revoked/big.bin", CHUNK as u64 + 7).unwrap();
    });
    let tree = pair.tree();
    assert!(file(&tree, "revoked/big.bin").starts_with(b"from b"));
    let ours = file(&tree, "revoked/big[conflict-0].bin");
    assert!(ours.starts_with(b"from a") && ours[6..] == before[6..]);
    golden::check(&pair.a);
}

#[test]
fn one_writes_what_needs_new_keys_and_the_other_renames_it() {
    let pair = ada();
    let mut expected = pair.a.read("revoked/big.bin").unwrap();
    pair.a.write("revoked/big.bin", 0, b"from a").unwrap();
    before_a_commits(&pair, |b| {
        b.rename("revoked/big.bin", "box/renamed").unwrap();
        b.set("box/renamed", &SetAttr { mode: Some(0o600), ..Default::default() }).unwrap();
    });
    let tree = pair.tree();
    expected[..6].copy_from_slice(b"from a");
    assert_same(file(&tree, "box/renamed"), &expected, "both hold");
    let others: Vec<_> = tree.iter().map(|(path, _)| path).filter(|path| path.contains("big")).collect();
    assert!(others.is_empty(), "{others:?}");
    golden::check(&pair.a);
}
