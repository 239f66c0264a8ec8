//! A client dies with work that it did not commit, others commit meanwhile, and it is mounted again: what becomes of both
//! sides' work is the same as if it had lived.

use std::time::Duration;

use peergos_fs::posix::SetAttr;
use peergos_net::CacheSizes;

use crate::{
    damaged::block,
    drive::Drive,
    faulty::{Call, Damage, Fault},
    model::assert_same,
    scenarios::{errno, pattern},
    together::{CHUNK, Pair, Tree, file, golden},
};

/// What the second client does before it dies, and the first before the second is back.
fn meet_again(mut pair: Pair, dying: impl FnOnce(&Drive), meanwhile: impl FnOnce(&Drive)) -> (Pair, Tree) {
    dying(&pair.b);
    let Pair { a, b, .. } = &mut pair;
    b.crash_beside(a, || {
        meanwhile(a);
        a.fs().sync().unwrap();
    });
    // and dies again, before what was made again is committed, or while it is
    b.crash_beside(a, || {});
    let tree = pair.tree();
    (pair, tree)
}

fn with(files: &[&str]) -> Pair {
    let pair = Pair::with(files);
    let b = pair.a.second_with_journal();
    Pair { b, ..pair }
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.iter().map(|(path, _)| path.as_str()).collect()
}

#[test]
fn what_both_create_and_write_is_there_twice() {
    let (pair, tree) = meet_again(
        with(&["d/file.txt"]),
        |b| {
            b.write("d/file.txt", 2, b"from b").unwrap();
            b.write("d/new", 0, b"from b").unwrap();
            b.write("d/of b", 0, b"from b").unwrap();
        },
        |a| {
            a.write("d/file.txt", 0, b"from a").unwrap();
            a.write("d/new", 0, b"from a").unwrap();
            a.write("d/of a", 0, b"from a").unwrap();
        },
    );
    assert_eq!(file(&tree, "d/file.txt"), b"from a.txt");
    assert_eq!(file(&tree, "d/file[conflict-0].txt"), b"d/from bxt");
    assert_eq!((file(&tree, "d/new"), file(&tree, "d/new[conflict-0]")), (&b"from a"[..], &b"from b"[..]));
    assert_eq!((file(&tree, "d/of a"), file(&tree, "d/of b")), (&b"from a"[..], &b"from b"[..]));
    assert_eq!(tree.len(), 7);
    let Pair { a, b, .. } = pair;
    drop(b);
    assert!(a.journal_files().is_empty() && !a.journal_dir().join("aside").exists());
}

#[test]
fn renames_and_writes_both_hold() {
    let set = |mode| SetAttr { mode: Some(mode), ..Default::default() };
    let (pair, tree) = meet_again(
        with(&["d/one", "d/other", "d/both", "d/set", "e/x"]),
        |b| {
            b.write("d/one", 0, b"from b").unwrap();
            b.rename("d/other", "e/moved by b").unwrap();
            b.rename("d/both", "d/both by b").unwrap();
            b.set("d/set", &set(0o600)).unwrap();
        },
        |a| {
            a.rename("d/one", "e/moved by a").unwrap();
            a.write("d/other", 0, b"from a").unwrap();
            a.rename("d/both", "e/both by a").unwrap();
            a.rename("d/set", "d/set by a").unwrap();
        },
    );
    // the last wins where both renamed
    assert_eq!(paths(&tree), ["d", "d/both by b", "d/set by a", "e", "e/moved by a", "e/moved by b", "e/x"]);
    assert_eq!(file(&tree, "e/moved by a"), b"from b");
    assert_eq!(file(&tree, "e/moved by b"), b"from ar");
    assert_eq!(pair.a.stat("d/set by a").unwrap().perm, 0o600);
}

#[test]
fn what_one_deletes_and_the_other_changes_stays() {
    let (_, tree) = meet_again(
        with(&["d/one", "d/other", "d/replaced", "d/by", "e/old", "f/old", "g/old"]),
        |b| {
            b.write("d/one", 0, b"from b").unwrap();
            b.unlink("d/other").unwrap();
            b.rename("d/by", "d/replaced").unwrap();
            b.write("e/new", 0, b"from b").unwrap();
            b.unlink("f/old").unwrap();
            b.rmdir("f").unwrap();
            b.rename("g", "e/g").unwrap();
        },
        |a| {
            a.unlink("d/one").unwrap();
            a.write("d/other", 0, b"from a").unwrap();
            a.write("d/replaced", 0, b"from a").unwrap();
            a.unlink("e/old").unwrap();
            a.rmdir("e").unwrap();
            a.write("f/new", 0, b"from a").unwrap();
            a.write("g/new", 0, b"from a").unwrap();
        },
    );
    let expected = [
        "d",
        "d/one",
        "d/other",
        "d/replaced",
        "d/replaced[conflict-0]",
        "e",
        "e/g",
        "e/g/new",
        "e/g/old",
        "e/new",
        "f",
        "f/new",
    ];
    assert_eq!(paths(&tree), expected);
    assert_eq!(file(&tree, "d/one"), b"from b");
    assert_eq!(file(&tree, "d/replaced"), b"from aaced");
    assert_eq!(file(&tree, "d/replaced[conflict-0]"), b"d/by");
}

/// What others did after the client last looked counts as theirs, not as what it had seen.
#[test]
fn work_from_before_and_after_a_look() {
    let mut pair = with(&["d/one", "d/other"]);
    let Pair { a, b, .. } = &mut pair;
    b.write("d/before", 0, b"from b").unwrap();
    a.write("d/seen", 0, b"from a").unwrap();
    a.fs().sync().unwrap();
    b.fs().refresh().unwrap();
    b.unlink("d/seen").unwrap();
    b.unlink("d/one").unwrap();
    b.rename("d/before", "d/other").unwrap();
    b.crash_beside(a, || {
        a.write("d/one", 0, b"from a").unwrap();
        a.write("d/other", 0, b"from a").unwrap();
        a.fs().sync().unwrap();
    });
    let tree = pair.tree();
    assert_eq!(paths(&tree), ["d", "d/one", "d/other", "d/other[conflict-0]"]);
    assert_eq!(file(&tree, "d/other[conflict-0]"), b"from b");
}

#[test]
fn where_the_state_from_before_is_gone_the_changes_are_made_on_what_is_there() {
    let mut pair = with(&["d/file", "d/gone", "e/x"]);
    let Pair { a, b, .. } = &mut pair;
    let space = a.tree().spaces.current(&a.account().home.writer).unwrap().unwrap();
    b.write("d/file", 0, b"from b").unwrap();
    b.write("e/new", 0, b"from b").unwrap();
    b.rename("d/gone", "e/moved").unwrap();
    let faults = b.faults.clone();
    b.crash_beside(a, || {
        a.write("d/file", 0, b"from a, longer").unwrap();
        a.unlink("d/gone").unwrap();
        a.write("d/of a", 0, b"from a").unwrap();
        a.fs().sync().unwrap();
        faults.damage(space.pointer.updated.clone().unwrap(), Damage::Hidden);
    });
    b.faults.heal();
    let tree = pair.tree();
    assert_eq!(paths(&tree), ["d", "d/file", "d/of a", "e", "e/new", "e/x"]);
    assert_eq!(file(&tree, "d/file"), b"from b, longer");
}

#[test]
fn more_than_memory_holds_is_made_again_before_others_work_is_taken_in() {
    let mut pair = with(&["f", "g"]);
    let Pair { a, b, .. } = &mut pair;
    let large = |i: u64| pattern(3 * CHUNK / 5, i);
    for i in 0..4 {
        b.write(&format!("large{i}"), 0, &large(i)).unwrap();
    }
    b.write("f", 0, b"from b").unwrap();
    b.write("g", 0, b"from b").unwrap();
    (b.options.dirty_bytes, b.options.commit_idle) = (1 << 20, Duration::from_millis(1));
    b.crash_beside(a, || {
        a.write("f", 0, b"from a").unwrap();
        a.unlink("g").unwrap();
        a.fs().sync().unwrap();
    });
    let tree = pair.tree();
    assert_eq!((file(&tree, "f"), file(&tree, "f[conflict-0]")), (&b"from a"[..], &b"from b"[..]));
    assert_eq!(file(&tree, "g"), b"from b");
    for i in 0..4 {
        assert_same(file(&tree, &format!("large{i}")), &large(i), "what is large");
    }
    assert_eq!(tree.len(), 7);
}

/// An entry that cannot be saved keeps the journal, and others go on from what was saved.
#[test]
fn what_was_committed_is_not_made_again_for_the_sake_of_what_was_not() {
    let mut pair = Pair::with(&["bad", "f", "g"]);
    (pair.a.caches, pair.a.options.cache_bytes) = (CacheSizes { blocks: 0, champ: 0, fragments: 0 }, 0);
    pair.b = pair.a.second_with_journal();
    let Pair { a, b, .. } = &mut pair;
    b.lookup("bad").unwrap();
    b.faults.damage(block(a, "bad", 0), Damage::Hidden);
    b.rename("bad", "renamed").unwrap();
    assert_eq!(errno(b.fs().sync()), libc::EIO);
    b.write("f", 0, b"first").unwrap();
    b.write("made", 0, b"by b").unwrap();
    assert_eq!(errno(b.fs().sync()), libc::EIO);
    a.fs().refresh().unwrap();
    a.write("f", 0, b"second").unwrap();
    a.unlink("made").unwrap();
    a.fs().sync().unwrap();
    b.fs().refresh().unwrap();
    b.write("g", 0, b"third").unwrap();
    assert_eq!(errno(b.fs().sync()), libc::EIO);
    b.crash_beside(a, || {});
    let tree = pair.tree();
    assert_eq!(paths(&tree), ["f", "g", "renamed"]);
    assert_eq!((file(&tree, "f"), file(&tree, "g")), (&b"second"[..], &b"third"[..]));
}

#[test]
fn what_gets_other_keys_at_each_mount_keeps_what_is_written_to_it() {
    let mut pair = Pair::ada(&["box", "team"]);
    pair.a.write("box/file", 0, b"before").unwrap();
    pair.a.fs().sync().unwrap();
    pair.b = pair.a.second_with_journal();
    let Pair { a, b, .. } = &mut pair;
    let faults = b.faults.clone();
    let cannot_commit = || faults.fail(Call::SetPointers, 0, u32::MAX, Fault::Io);
    b.fs().sync().unwrap();
    cannot_commit();
    b.rename("box/file", "team/file").unwrap();
    b.crash_beside(a, cannot_commit);
    b.write("team/file", 0, b"after the first crash").unwrap();
    b.crash_beside(a, cannot_commit);
    b.write("team/file", 6, b"second").unwrap();
    b.crash_beside(a, || {});
    let tree = pair.tree();
    assert_eq!(file(&tree, "team/file"), b"after secondrst crash");
    golden::check(&pair.a);
}
