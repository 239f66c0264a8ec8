//! Extended attributes and exchanged entries, while another client works with the same files.

use super::{Pair, commits_first, file};
use crate::drive::Drive;

fn set(side: &Drive, path: &str) {
    side.fs().setxattr(side.lookup(path).unwrap().ino, "user.a".as_ref(), b"kept", 0).unwrap();
}

fn get(side: &Drive, path: &str) -> Vec<u8> {
    side.fs().getxattr(side.lookup(path).unwrap().ino, "user.a".as_ref()).unwrap()
}

#[test]
fn extended_attributes_stay_with_their_file() {
    let pair = Pair::with(&["renamed", "written", "both"]);
    for path in ["renamed", "written", "both"] {
        set(&pair.a, path);
    }
    pair.a.write("both", 0, b"by a").unwrap();
    pair.b.rename("renamed", "moved").unwrap();
    pair.b.write("written", 0, b"by b").unwrap();
    pair.b.write("both", 0, b"by b").unwrap();
    let tree = pair.tree();
    assert_eq!((file(&tree, "both"), file(&tree, "both[conflict-0]")), (&b"by a"[..], &b"by b"[..]));
    let third = pair.a.second();
    for side in [&pair.a, &pair.b, &third] {
        for path in ["moved", "written", "both"] {
            assert_eq!(get(side, path), b"kept", "{path}");
        }
    }
}

#[test]
fn an_exchange_holds_beside_what_is_written() {
    for first in ["a", "b"] {
        let pair = Pair::with(&["x", "d/y", "p", "q"]);
        let exchange = || {
            pair.a.exchange("x", "d/y").unwrap();
            pair.a.exchange("p", "q").unwrap();
        };
        let write = || {
            pair.b.write("x", 0, b"new x").unwrap();
            pair.b.write("d/y", 0, b"new y").unwrap();
            pair.b.write("p", 0, b"new p").unwrap();
        };
        if first == "a" {
            write();
            commits_first(&pair.a, &pair.b, exchange);
        } else {
            exchange();
            commits_first(&pair.b, &pair.a, write);
        }
        let tree = pair.tree();
        for (path, content) in [("x", "new y"), ("d/y", "new x"), ("p", "q"), ("q", "new p")] {
            assert_eq!(file(&tree, path), content.as_bytes(), "{path}, first {first}");
        }
        assert_eq!(tree.len(), 5);
    }
}
