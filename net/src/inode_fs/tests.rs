//! `02-inode.json`, and what it does not cover.

use std::{collections::HashMap, sync::Arc};

use peergos_crypto::{cbor::Value, cid::Cid};

use super::{Edited, InodeFileSystem, Published, directory::Directory};
use crate::{
    Error, Result,
    champ::{Node, NodeSource},
    tests::{bytes, vectors},
};

#[derive(Default)]
struct Store(HashMap<Cid, Arc<Node>>);

impl NodeSource for Store {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>> {
        self.0.get(cid).cloned().ok_or_else(|| Error::MissingBlock(cid.clone()))
    }
}

impl Store {
    fn add(&mut self, edited: Edited) -> InodeFileSystem {
        if let Some((file_system, nodes)) = edited.blocks.split_last() {
            assert_eq!(*file_system, edited.file_system.block());
            for block in nodes {
                self.0.insert(block.cid().clone(), Arc::new(Node::decode(block.data()).unwrap()));
            }
        }
        edited.file_system
    }
}

#[test]
fn every_step() {
    let vectors = vectors("02-inode.json");
    let steps = vectors["steps"].as_array().unwrap();
    let mut store = Store::default();
    let mut fs = store.add(InodeFileSystem::empty());
    assert_eq!(fs.block().data()[..], bytes(&steps[0]["fsCbor"]));
    let mut published: HashMap<&str, Value> = HashMap::new();
    for step in &steps[1..] {
        let path = step["path"].as_str().unwrap();
        fs = store.add(match step["op"].as_str().unwrap() {
            "addCap" => {
                let capability = Value::decode(&bytes(&step["cap"])).unwrap();
                published.insert(path, capability.clone());
                fs.add(&store, path, capability).unwrap()
            }
            _ => {
                published.remove(path);
                fs.remove(&store, path).unwrap()
            }
        });
        assert_eq!(fs.root.to_string(), step["root"].as_str().unwrap(), "{step}");
        assert_eq!(fs.counter, step["count"].as_u64().unwrap());
    }
    let block = bytes(&vectors["finalFsCbor"]);
    assert_eq!(fs.block().data()[..], block);
    assert_eq!(InodeFileSystem::from_cbor(&Value::decode(&block).unwrap()).unwrap(), fs);

    let nodes = vectors["finalNodes"].as_object().unwrap();
    for (cid, block) in nodes {
        assert_eq!(store.0[&cid.parse().unwrap()].encode(), bytes(block));
    }
    let docs = published["/alice/docs"].clone();
    for (path, capability) in published {
        let expected = match path.strip_prefix("/alice/docs/") {
            Some(name) => Published { capability: docs.clone(), rest: vec![name] },
            None => Published { capability, rest: vec![] },
        };
        assert_eq!(fs.lookup(&store, path).unwrap(), Some(expected));
    }
    let below = fs.lookup(&store, "/alice/docs/deep/er").unwrap().unwrap();
    assert_eq!(below.rest, ["deep", "er"]);
    for nothing in ["/", "", "/alice", "/alice/a.txt", "/alice/many/f35", "/bob/x", "/alice/many/f1x"] {
        assert_eq!(fs.lookup(&store, nothing).unwrap(), None, "{nothing}");
    }
    assert!(fs.remove(&store, "/alice/nothing/here").unwrap().blocks.is_empty());
}

/// A file system with `paths` published, each as the text of the path.
fn publish(store: &mut Store, paths: &[&str]) -> InodeFileSystem {
    let mut fs = store.add(InodeFileSystem::empty());
    for path in paths {
        fs = store.add(fs.add(store, path, (*path).into()).unwrap());
    }
    fs
}

fn at<'a>(store: &Store, fs: &InodeFileSystem, path: &'a str) -> Option<(Value, Vec<&'a str>)> {
    fs.lookup(store, path).unwrap().map(|found| (found.capability, found.rest))
}

#[test]
fn replacing() {
    let mut store = Store::default();
    let many: Vec<String> = (0..40).map(|i| format!("/u/d/{i}")).collect();
    let mut fs = publish(&mut store, &many.iter().map(String::as_str).collect::<Vec<_>>());
    for path in ["/u/d/7", "/u/d/39"] {
        fs = store.add(fs.add(&store, path, 42i64.into()).unwrap());
        assert_eq!(at(&store, &fs, path), Some((42i64.into(), vec![])));
    }
    // a directory that was a tree once has no list again, but can become empty
    for path in &many {
        assert!(at(&store, &fs, path).is_some());
        fs = store.add(fs.remove(&store, path).unwrap());
        assert_eq!(at(&store, &fs, path), None);
    }
    assert!(fs.directory(&store, &super::Inode::root()).unwrap().unwrap().is_empty());
}

#[test]
fn below_what_is_published() {
    let mut store = Store::default();
    // d is a leaf first; a directory made in between takes the number that the leaf was given
    let mut fs = publish(&mut store, &["/u/d", "/u/e/x", "/u/d/y"]);
    assert_eq!(at(&store, &fs, "/u/d/y"), Some(("/u/d".into(), vec!["y"])));
    fs = store.add(fs.remove(&store, "/u/d/y").unwrap());
    assert_eq!(at(&store, &fs, "/u/d/y"), Some(("/u/d".into(), vec!["y"])), "what is published itself stays");
    fs = store.add(fs.remove(&store, "/u/d").unwrap());
    assert_eq!(at(&store, &fs, "/u/d/y"), None);
    assert_eq!(at(&store, &fs, "/u/e/x"), Some(("/u/e/x".into(), vec![])));
    assert!(matches!(fs.add(&store, "//", 1i64.into()), Err(Error::Invalid(_))));
}

#[test]
fn malformed_directories() {
    for wrong in
        ["f6", "a0", "a16163a0", "a1616381a0", "a1616381a16169a0", "a1616381a16169a2616920616e60", "83404081f6"]
    {
        let value = Value::decode(&hex::decode(wrong).unwrap()).unwrap();
        assert!(Directory::from_cbor(value).is_err(), "{wrong}");
    }
}
