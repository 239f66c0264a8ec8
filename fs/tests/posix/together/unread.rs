//! What one side leaves so that the other cannot read it.

use crate::{
    damaged::block,
    drive::{Drive, Watchdog},
    faulty::{Call, Damage, Fault},
    scenarios::{errno, pattern},
    together::{CHUNK, Pair, commits_first, file},
};

/// Hides from `b` a chunk of a directory, or of anything else the first, as it is stored now.
fn hide(pair: &Pair, path: &str, index: u64) {
    pair.b.faults.damage(block(&pair.a, path, index), Damage::Hidden);
}

fn release(side: &Drive, handle: u64) {
    side.fs().release(handle);
}

#[test]
fn a_folder_that_others_left_unreadable_is_not_written_over() {
    // the list in a chunk of its own, and in the first
    for (files, index) in [(600, 1), (3, 0)] {
        let pair = Pair::with(&["d/first", "e/x"]);
        for i in 0..files {
            release(&pair.a, pair.a.create(&format!("d/{i}")).unwrap());
        }
        pair.meet();
        let count = pair.b.names("d").unwrap().len();
        pair.b.faults.fail(Call::SetPointers, 0, u32::MAX, Fault::Io);
        pair.b.write("d/ours", 0, b"from b").unwrap();
        pair.b.write("e/ours", 0, b"from b").unwrap();
        for i in 0..files {
            pair.a.rename(&format!("d/{i}"), &format!("d/{i} of a")).unwrap();
        }
        pair.a.write("d/new", 0, b"from a").unwrap();
        pair.a.fs().sync().unwrap();
        hide(&pair, "d", index);
        pair.b.faults.allow(Call::SetPointers);
        pair.b.fs().refresh().unwrap();
        assert_eq!(pair.b.names("d").unwrap().len(), count + 1, "as it was");
        assert_eq!(errno(pair.b.create("d/more")), libc::EIO);
        assert_eq!(errno(pair.b.unlink("d/first")), libc::EIO);
        assert_eq!(errno(pair.b.rename("e/x", "d/x")), libc::EIO);
        pair.b.write("e/x", 0, b"elsewhere").unwrap();
        assert_eq!(errno(pair.b.fsync("d/ours")), libc::EIO);
        pair.b.fsync("e/ours").unwrap();
        let third = pair.a.second();
        assert_eq!(third.read("d/new").unwrap(), b"from a");
        assert_eq!(third.names("d").unwrap().len(), files + 2);
        drop(third);
        // when it can be read again
        pair.b.faults.heal();
        pair.b.fs().refresh().unwrap();
        let tree = pair.tree();
        assert_eq!(file(&tree, "d/ours"), b"from b");
        assert_eq!(file(&tree, "d/new"), b"from a");
        assert_eq!(tree.iter().filter(|(path, _)| path.starts_with("d/")).count(), files + 3);
    }
}

#[test]
fn a_file_that_others_left_unreadable_is_not_written_over() {
    let _alive = Watchdog::new("unreadable files");
    let pair = Pair::with(&["d/written", "d/open", "d/deleted", "d/other"]);
    let handle = pair.b.open("d/open").unwrap();
    pair.b.faults.fail(Call::SetPointers, 0, u32::MAX, Fault::Io);
    pair.b.write("d/written", 0, b"from b").unwrap();
    pair.b.unlink("d/deleted").unwrap();
    for name in ["d/written", "d/open", "d/deleted"] {
        pair.a.write(name, 0, b"from a").unwrap();
    }
    pair.a.fs().sync().unwrap();
    for name in ["d/written", "d/open", "d/deleted"] {
        hide(&pair, name, 0);
    }
    pair.b.faults.allow(Call::SetPointers);
    pair.b.fs().refresh().unwrap();
    assert_eq!(errno(pair.b.truncate("d/open", 0)), libc::EIO);
    pair.b.write_to(handle, 0, b"from b").unwrap();
    assert_eq!(errno(pair.b.fsync("d/open")), libc::EIO);
    pair.b.write("d/other", 0, b"from b").unwrap();
    pair.b.fsync("d/other").unwrap();
    pair.b.faults.heal();
    pair.b.fs().refresh().unwrap();
    release(&pair.b, handle);
    let tree = pair.tree();
    for (path, content) in [
        ("d/written", "from aten"),
        ("d/written[conflict-0]", "from bten"),
        ("d/open", "from a"),
        ("d/open[conflict-0]", "from b"),
        ("d/deleted", "from ated"),
        ("d/other", "from br"),
    ] {
        assert_eq!(file(&tree, path), content.as_bytes(), "{path}");
    }
    assert_eq!(tree.len(), 7, "{tree:?}");
}

#[test]
fn others_go_on_writing_while_a_large_file_is_stored_beside_theirs() {
    let _alive = Watchdog::new("writing beside a conflict");
    let pair = Pair::with(&["d/other"]);
    let mut content = pattern(2 * CHUNK + 77, 1);
    pair.a.write("d/big", 0, &content).unwrap();
    pair.meet();
    let handle = pair.b.open("d/big").unwrap();
    commits_first(&pair.a, &pair.b, || {
        pair.a.write("d/big", 5, b"from a").unwrap();
        pair.b.write_to(handle, CHUNK as u64 + 5, b"from b").unwrap();
    });
    let (held, uploads) = (pair.b.faults.hold_uploads(), pair.b.faults.uploads());
    std::thread::scope(|scope| {
        let refresh = scope.spawn(|| pair.b.fs().refresh().unwrap());
        while pair.b.faults.uploads() == uploads {
            std::thread::yield_now();
        }
        pair.b.write("d/other", 0, b"while it is stored").unwrap();
        pair.b.write_to(handle, 5, b"late").unwrap();
        pair.b.write_to(handle, 2 * CHUNK as u64 + 77, b"longer").unwrap();
        assert!(!refresh.is_finished());
        drop(held);
    });
    release(&pair.b, handle);
    let tree = pair.tree();
    for (at, text) in [(CHUNK + 5, &b"from b"[..]), (5, b"late"), (2 * CHUNK + 77, b"longer")] {
        crate::model::write(&mut content, at, text);
    }
    crate::model::assert_same(file(&tree, "d/big[conflict-0]"), &content, "ours");
    assert_eq!(&file(&tree, "d/big")[5..11], b"from a");
    assert_eq!(file(&tree, "d/other"), b"while it is stored");
}
