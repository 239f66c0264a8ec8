//! Files in all encodings that are no longer written (spec 03 §3.12), read and changed like any other.
//!
//! They are those of `vectors/cryptree-legacy`, whose keys no password opens; so they are moved into the home of a new
//! account, as they are.

use std::{collections::HashMap, fs, sync::Arc};

use bytes::Bytes;
use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    varint,
};
use peergos_fs::{
    account::Account,
    capability::{Capability, RelativeCapability},
    commit,
    cryptree::{Bulk, Children, FromBase, FromParent, Node, bulk, bulk::Payload},
    tree::{self, Changes},
};
use peergos_net::{
    Block, PointerUpdate,
    champ::{self, KeyHasher, NodeSource},
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::{
    damaged::stored,
    drive::{Drive, Watchdog},
    model::{CHUNK, assert_same, write},
};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/cryptree-legacy");

/// What the reference client has stored, and how its content was told.
struct Legacy {
    json: Json,
    blocks: HashMap<Cid, Bytes>,
}

impl NodeSource for Legacy {
    fn node(&self, cid: &Cid) -> peergos_net::Result<Arc<champ::Node>> {
        Ok(Arc::new(champ::Node::decode(&self.blocks[cid])?))
    }
}

impl Legacy {
    fn load() -> Self {
        let car = Bytes::from(fs::read(format!("{VECTORS}/blocks.car")).unwrap());
        let (header, rest) = varint::read(&car).unwrap();
        let mut rest = &rest[header as usize..];
        let mut blocks = HashMap::new();
        while !rest.is_empty() {
            let (len, section) = varint::read(rest).unwrap();
            let (section, next) = section.split_at(len as usize);
            let (cid, data) = section.split_at(36);
            blocks.insert(Cid::from_bytes(cid).unwrap(), car.slice_ref(data));
            rest = next;
        }
        Self { json: serde_json::from_slice(&fs::read(format!("{VECTORS}/account.json")).unwrap()).unwrap(), blocks }
    }

    fn home(&self) -> Capability {
        let cbor = hex::decode(self.json["homeCap"].as_str().unwrap()).unwrap();
        Capability::from_cbor(&Value::decode(&cbor).unwrap()).unwrap()
    }

    /// The node at `cap`, if there is one.
    fn node_at(&self, cap: &Capability) -> Option<(Bytes, Node)> {
        let signed = hex::decode(self.json["pointers"][cap.writer.to_string()].as_str().unwrap()).unwrap();
        let pointer = PointerUpdate::open(&signed, &cap.writer.signing_key().unwrap()).unwrap();
        let data = Value::decode(&self.blocks[pointer.updated.as_ref().unwrap()]).unwrap();
        let root = data.as_map("").unwrap().get("tree").unwrap().as_link("").unwrap().clone();
        let cid = champ::get(self, &root, &cap.map_key.0, KeyHasher::Identity).unwrap()?;
        let block = &self.blocks[cid.as_link("").unwrap()];
        Some((block.clone(), Node::decode(block).unwrap()))
    }

    /// Stores all files in the folder `keys`, whose links then are without names, and returns how they are called.
    fn store(&self, account: &Account, drive: &tree::Drive, keys: &tree::Keys) -> Vec<String> {
        let signer = Arc::new(account.home_signer.clone());
        let transaction = drive.node.start_transaction(&drive.owner).unwrap();
        let put = |codec, blocks| {
            commit::put(drive, &transaction, &signer, codec, blocks, commit::Priority::Ordinary).unwrap()
        };
        let (home, mut changes) = (self.home(), Changes::default());
        let (_, folder) = self.node_at(&home).unwrap();
        let Children::Nameless(children) = folder.children(&home.read, &[]).unwrap() else { panic!("there are names") };
        let (mut links, mut names) = (Vec::new(), Vec::new());
        for child in children {
            let mut cap = child.absolutise(&home).unwrap();
            let moved = Capability { owner: keys.cap.owner.clone(), writer: keys.cap.writer.clone(), ..cap.clone() };
            links.push(RelativeCapability::relativise(&keys.cap, &moved).unwrap());
            while let Some((block, node)) = self.node_at(&cap) {
                changes.put(&signer, cap.map_key, Block::new(Codec::DagCbor, block));
                let opened = node.open(&cap.read).unwrap();
                let links = node.data.fragments();
                match links.iter().map(|(cid, _)| self.blocks.get(cid)).collect::<Option<Vec<_>>>() {
                    Some(data) => {
                        for ((cid, _), data) in links.iter().zip(data) {
                            put(cid.codec(), vec![Block::verified(cid, data.clone()).unwrap()]);
                        }
                    }
                    // one chunk is left out of the vectors: what is in it is known
                    None => put(Codec::Raw, first_chunk_of_chain(&node, &opened.data_key)),
                }
                if cap.map_key == moved.map_key {
                    names.push(opened.properties.name);
                }
                cap = cap.at(opened.next.map_key, opened.next.bat);
            }
        }
        let list = Value::Array(links.iter().map(RelativeCapability::to_cbor).collect());
        let (data, fragments) = bulk::seal(&keys.cap.read, Payload::Item(&list), drive.mirror_id()).unwrap();
        put(Codec::Raw, fragments);
        let old = drive.spaces.node(&keys.cap).unwrap().unwrap().node.open(&keys.cap.read).unwrap();
        let from_base = FromBase { key: keys.parent_key.clone(), next: old.next, signer: None };
        let from_parent = FromParent { parent: old.parent, properties: old.properties };
        let node = Node::seal(&keys.cap, drive.mirror_id(), &from_base, &keys.parent_key, &from_parent, data).unwrap();
        changes.put(&signer, keys.cap.map_key, node.to_block());
        assert!(matches!(
            commit::write(drive, &transaction, changes, commit::Priority::Ordinary, &|_| Ok(())),
            Ok(commit::Written::Committed)
        ));
        names
    }

    fn sha256(&self, name: &str) -> &str {
        let entries = self.json["tree"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["path"].as_str().unwrap().ends_with(&format!("/{name}")));
        entry.unwrap()["sha256"].as_str().unwrap()
    }
}

fn first_chunk_of_chain(node: &Node, key: &peergos_crypto::symmetric::SymmetricKey) -> Vec<Block> {
    let mut content = Sha256::digest(b"1").repeat((CHUNK as usize).div_ceil(32));
    content.truncate(CHUNK as usize);
    let Bulk::Fragments { nonce, links, .. } = &node.data else { panic!("it is inline") };
    let mut bats = links.iter().map(|(_, bat)| bat.as_ref().unwrap().bat.clone());
    let payload = Payload::Bytes(&content);
    let (data, blocks) = bulk::seal_with(key, *nonce, payload, node.bats.get(1), || Ok(bats.next().unwrap())).unwrap();
    assert_eq!(data, node.data);
    blocks
}

/// Checks that nothing of the file at `path` is in an encoding that is not written any more.
fn assert_current(drive: &Drive, path: &str, size: u64) {
    for index in 0..size.div_ceil(CHUNK) {
        let node = stored(drive, path, index).node;
        match &node.data {
            Bulk::Inline { header, .. } => assert!(header.is_empty(), "{path}"),
            Bulk::Fragments { header, links, .. } => {
                assert!(!header.is_empty(), "{path}");
                let len = (size - index * CHUNK).min(CHUNK);
                assert_eq!(links.len() as u64, len.div_ceil(1 << 20), "{path}");
                assert!(links.iter().all(|(cid, bat)| bat.is_some() && cid.codec() == Codec::Raw), "{path}");
            }
        }
    }
}

#[test]
fn legacy_files_are_read_and_become_current_when_they_are_written() {
    let _alive = Watchdog::new("legacy files");
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    let legacy = Legacy::load();
    let mut names = Vec::new();
    let keys = crate::damaged::entry(
        &drive,
        &{
            drive.fs().sync().unwrap();
            drive.tree()
        },
        "d",
    )
    .keys;
    drive.while_unmounted(|account, tree| names = legacy.store(account, tree, &keys));
    names.sort();
    assert_eq!(names.len(), 7);

    let mut contents = HashMap::new();
    for _ in 0..2 {
        assert_eq!(drive.names("d").unwrap(), names);
        for name in &names {
            let content = drive.read(&format!("d/{name}")).unwrap();
            assert_eq!(hex::encode(Sha256::digest(&content)), legacy.sha256(name), "{name}");
            contents.insert(name.clone(), content);
        }
        // what changes nothing of a file leaves it as it is: its folder alone gets names
        drive.write("d/new", 0, b"new").unwrap();
        drive.unlink("d/new").unwrap();
        drive.remount();
    }

    // properties alone, and the name
    for name in &names {
        drive
            .set(&format!("d/{name}"), &peergos_fs::posix::SetAttr { mode: Some(0o600), ..Default::default() })
            .unwrap();
        drive.rename(&format!("d/{name}"), &format!("d/my {name}")).unwrap();
    }
    drive.remount();
    for name in &names {
        let path = format!("d/my {name}");
        assert_same(&drive.read(&path).unwrap(), &contents[name], &path);
        assert_eq!(drive.stat(&path).unwrap().perm, 0o600);
    }

    for (name, content) in &mut contents {
        let path = format!("d/my {name}");
        let end = content.len();
        for (offset, data) in [(5, &b"written"[..]), (end, b"appended")] {
            drive.write(&path, offset as u64, data).unwrap();
            write(content, offset, data);
        }
        drive.fsync(&path).unwrap();
    }
    drive.remount();
    for (name, content) in &contents {
        let path = format!("d/my {name}");
        assert_same(&drive.read(&path).unwrap(), content, &path);
        assert_current(&drive, &path, content.len() as u64);
        assert!(crate::damaged::entry(&drive, &drive.tree(), &path).properties.stream_secret.is_some(), "{path}");
        drive.unlink(&path).unwrap();
    }
    drive.rmdir("d").unwrap();
    drive.remount();
    assert!(drive.names("").unwrap().is_empty());
}
