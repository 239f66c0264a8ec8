//! Commits whose answer got lost, and that others went on from.

use crate::{
    faulty::{Call, Fault},
    together::{Pair, file},
};

/// A commit of ours that ends like `fault`, of which nobody can tell us before the other side has committed twice.
fn overtaken(fault: Fault) -> Pair {
    let pair = Pair::with(&["d/file", "d/other", "d/third"]);
    pair.a.write("d/file", 0, b"from a").unwrap();
    pair.a.write("d/other", 0, b"from a").unwrap();
    pair.a.write("d/new", 0, b"from a").unwrap();
    pair.a.faults.fail(Call::SetPointers, 0, 1, fault);
    pair.a.faults.fail(Call::GetPointer, 0, u32::MAX, Fault::Io);
    pair.a.fs().sync().unwrap_err();
    for text in [b"by b 1", b"by b 2"] {
        pair.b.fs().refresh().unwrap();
        pair.b.write("d/file", 0, text).unwrap();
        pair.b.write("d/third", 0, text).unwrap();
        pair.b.fs().sync().unwrap();
    }
    pair.a.faults.heal();
    pair
}

#[test]
fn a_commit_that_others_went_on_from_is_none_of_two_versions() {
    let pair = overtaken(Fault::LostReply);
    let tree = pair.tree();
    assert_eq!(file(&tree, "d/file"), b"by b 2");
    assert_eq!(file(&tree, "d/other"), b"from ar");
    assert_eq!(tree.len(), 5, "{tree:?}");
}

#[test]
fn what_is_written_after_such_a_commit_is_kept_beside_theirs() {
    let pair = overtaken(Fault::LostReply);
    pair.a.write("d/file", 0, b"more a").unwrap();
    pair.a.write("d/other", 0, b"more a").unwrap();
    let tree = pair.tree();
    assert_eq!(file(&tree, "d/file"), b"by b 2");
    assert_eq!(file(&tree, "d/file[conflict-0]"), b"more a");
    assert_eq!(file(&tree, "d/other"), b"more ar");
    assert_eq!(tree.len(), 6, "{tree:?}");
}

#[test]
fn a_commit_that_was_not_done_is_done_on_top_of_theirs() {
    let pair = overtaken(Fault::Io);
    let tree = pair.tree();
    assert_eq!(file(&tree, "d/file"), b"by b 2");
    assert_eq!(file(&tree, "d/file[conflict-0]"), b"from a");
    assert_eq!(file(&tree, "d/other"), b"from ar");
    assert_eq!(file(&tree, "d/new"), b"from a");
    assert_eq!(tree.len(), 6, "{tree:?}");
}

/// The node refuses, and whether it did so cannot be asked for a moment.
#[test]
fn what_is_in_flight_is_not_taken_for_what_others_removed() {
    let pair = Pair::with(&["d/file"]);
    pair.a.write("d/of a", 0, b"from a").unwrap();
    pair.a.fs().sync().unwrap();
    pair.b.write("d/file", 0, b"from b").unwrap();
    pair.b.write("d/of b", 0, b"from b").unwrap();
    pair.b.faults.fail(Call::GetPointer, 0, 1, Fault::Io);
    pair.b.fs().sync().unwrap();
    assert!(pair.b.faults.are_spent());
    let tree = pair.tree();
    assert_eq!((file(&tree, "d/of a"), file(&tree, "d/of b")), (&b"from a"[..], &b"from b"[..]));
    assert_eq!(file(&tree, "d/file"), b"from b");
    assert_eq!(tree.len(), 4, "{tree:?}");
}
