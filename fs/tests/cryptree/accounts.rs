//! Whole accounts as the reference wrote them, read entry by entry and written again.
//!
//! `blocks.car` leaves out the fragments of one large chunk each, whose content is known: they are made here, and must
//! come out as the reference's.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    cid::{Cid, Codec},
    hash_tree::HashTree,
    signing::KeyHash,
    varint,
};
use peergos_fs::{
    capability::{Capability, RelativeCapability},
    cryptree::{Bulk, CHUNK_SIZE, Children, Node, Opened, bulk, bulk::Payload, open_signer},
};
use peergos_net::{
    PointerUpdate,
    champ::{self, KeyHasher, NodeSource},
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::support::{VECTORS, cbor, chunk_after, hex, json, mirror, nonce, read_range, resealed};

struct Account {
    json: Json,
    blocks: HashMap<Cid, Bytes>,
}

impl NodeSource for Account {
    fn node(&self, cid: &Cid) -> peergos_net::Result<Arc<champ::Node>> {
        Ok(Arc::new(champ::Node::decode(&self.blocks[cid])?))
    }
}

/// What is compared with the reference's view.
struct Entry {
    path: String,
    cap: Capability,
    opened: Opened,
    via_link: bool,
    content: Option<Vec<u8>>,
}

impl Account {
    fn load(name: &str) -> Self {
        let car = Bytes::from(std::fs::read(format!("{VECTORS}/{name}/blocks.car")).unwrap());
        let mut blocks = HashMap::new();
        let (header, mut rest) = varint::read(&car).unwrap();
        rest = &rest[header as usize..];
        while !rest.is_empty() {
            let (len, section) = varint::read(rest).unwrap();
            let (section, next) = section.split_at(len as usize);
            let (cid, data) = section.split_at(36);
            let cid = Cid::from_bytes(cid).unwrap();
            assert!(cid.verifies(data));
            blocks.insert(cid, car.slice_ref(data));
            rest = next;
        }
        Self { json: json(&format!("{name}/account.json")), blocks }
    }

    fn home(&self) -> Capability {
        Capability::from_cbor(&cbor(&self.json["homeCap"])).unwrap()
    }

    fn champ_root(&self, writer: &KeyHash) -> Cid {
        let signed = hex(&self.json["pointers"][writer.to_string()]);
        let pointer = PointerUpdate::open(&signed, &writer.signing_key().unwrap()).unwrap();
        let data = Value::decode_canonical(&self.blocks[pointer.updated.as_ref().unwrap()]).unwrap();
        data.as_map("writer data").unwrap().get("tree").unwrap().as_link("tree").unwrap().clone()
    }

    fn node(&self, cap: &Capability) -> Option<Node> {
        let root = self.champ_root(&cap.writer);
        let value = champ::get(self, &root, &cap.map_key.0, KeyHasher::Identity).unwrap()?;
        let node = Node::decode(&self.blocks[value.as_link("node").unwrap()]).unwrap();
        assert_eq!(node.bats.first(), cap.bat.as_ref().map(|bat| bat.inline_id()).as_ref());
        Some(node)
    }

    fn fragments(&self, node: &Node) -> Vec<Bytes> {
        node.data.fragments().iter().map(|(cid, _)| self.blocks[cid].clone()).collect()
    }

    /// Makes the left out fragments of the first chunk of the file at `cap` from its content.
    fn restore(&mut self, cap: &Capability, content: &[u8]) {
        let node = self.node(cap).unwrap();
        let data_key = node.open(&cap.read).unwrap().data_key;
        let mut bats = node.data.fragments().iter().map(|(_, bat)| bat.as_ref().unwrap().bat.clone());
        let next_bat = || Ok(bats.next().unwrap());
        let payload = Payload::Bytes(content);
        let (data, blocks) = bulk::seal_with(&data_key, nonce(&node), payload, mirror(&node), next_bat).unwrap();
        assert_eq!(data, node.data);
        assert_eq!(blocks.len(), 5);
        for block in blocks {
            assert!(self.blocks.insert(block.cid().clone(), block.data().clone()).is_none());
        }
    }

    fn content(&self, first: &Capability, opened: &Opened) -> Vec<u8> {
        let size = opened.properties.size as usize;
        let mut content = Vec::new();
        let mut cap = first.clone();
        while content.len() < size {
            let node = self.node(&cap).unwrap();
            let chunk = node.open(&cap.read).unwrap();
            let fragments = self.fragments(&node);
            let plaintext = node.data.open_whole(&chunk.data_key, &fragments).unwrap();
            check_range(&node.data, &chunk, &fragments, &plaintext);
            let wanted = CHUNK_SIZE.min(size - content.len());
            content.extend_from_slice(&plaintext[..wanted]);
            let next = cap.at(chunk.next.map_key, chunk.next.bat);
            if let Some(secret) = &opened.properties.stream_secret {
                assert_eq!(chunk_after(secret, &cap, 1), next);
            }
            cap = next;
        }
        content
    }

    fn children(&self, first: &Capability) -> Vec<(Option<String>, RelativeCapability)> {
        let mut all = Vec::new();
        let mut cap = first.clone();
        while let Some(node) = self.node(&cap) {
            match node.children(&cap.read, &self.fragments(&node)).unwrap() {
                Children::Named(named) => all.extend(named.into_iter().map(|child| (Some(child.name), child.cap))),
                Children::Nameless(bare) => all.extend(bare.into_iter().map(|cap| (None, cap))),
            }
            let next = node.open(&cap.read).unwrap().next;
            cap = cap.at(next.map_key, next.bat);
        }
        all
    }

    /// Finds the child called `name`.
    fn lookup(&self, directory: &Capability, name: &str) -> Capability {
        let children = self.children(directory).into_iter().map(|(_, child)| child.absolutise(directory).unwrap());
        let mut named = children.filter(|cap| self.node(cap).unwrap().open(&cap.read).unwrap().properties.name == name);
        named.next().unwrap()
    }

    /// The entry at `cap` and all below it.
    fn walk(&self, cap: &Capability, parent: &str, link: Option<&Opened>, found: &mut Vec<Entry>) {
        let opened = self.node(cap).unwrap().open(&cap.read).unwrap();
        if opened.properties.is_link {
            let [(_, target)] = &self.children(cap)[..] else { panic!("a link has one target") };
            return self.walk(&target.absolutise(cap).unwrap(), parent, Some(&opened), found);
        }
        if let Some(signer) = &opened.signer {
            assert_eq!(open_signer(signer, cap.write.as_ref().unwrap(), &cap.writer).unwrap().hash(), &cap.writer);
        }
        let name = &link.unwrap_or(&opened).properties.name;
        let path = format!("{parent}/{name}");
        if opened.is_dir {
            for (name, child) in self.children(cap) {
                let child = child.absolutise(cap).unwrap();
                let own = self.node(&child).unwrap().open(&child.read).unwrap().properties.name;
                assert_eq!(name.unwrap_or(own.clone()), own);
                self.walk(&child, &path, None, found);
            }
        }
        let content = (!opened.is_dir).then(|| self.content(cap, &opened));
        found.push(Entry { path, cap: cap.clone(), opened, via_link: link.is_some(), content });
    }

    /// The path that the parent links of the entry at `cap` lead up (spec 03 §6.7).
    fn path_of(&self, cap: &Capability, opened: &Opened) -> String {
        let mut path = format!("/{}", opened.properties.name);
        let mut at = cap.read_only();
        let mut link = opened.parent.clone();
        while let Some(parent) = link {
            at = parent.absolutise(&at).unwrap();
            let from_parent = self.node(&at).unwrap().open_from_parent(&at.read).unwrap();
            if !from_parent.properties.is_link {
                path = format!("/{}{path}", from_parent.properties.name);
            }
            link = from_parent.parent;
        }
        path
    }

    /// Every CBOR block comes out as it went in.
    fn check_encodings(&self) {
        for (cid, block) in self.blocks.iter().filter(|(cid, _)| cid.codec() == Codec::DagCbor) {
            let value = Value::decode_canonical(block).unwrap();
            let is_node = value.as_map("block").is_ok_and(|map| map.get("v").is_some());
            if is_node && !has_identity_fragment(&value) {
                assert!(Node::decode(block).unwrap().encode() == *block, "{cid}");
            }
        }
    }

    fn walk_home(&self) -> HashMap<String, Entry> {
        let mut found = Vec::new();
        self.walk(&self.home(), "", None, &mut found);
        let expected = self.json["tree"].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        let found: HashMap<String, Entry> = found.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        for expected in expected {
            let path = expected["path"].as_str().unwrap();
            let entry = &found[path];
            assert_eq!(entry.opened.is_dir, expected["dir"].as_bool().unwrap(), "{path}");
            if let Some(content) = &entry.content {
                assert_eq!(content.len() as u64, expected["size"].as_u64().unwrap(), "{path}");
                assert_eq!(Sha256::digest(content)[..], hex(&expected["sha256"]), "{path}");
            }
        }
        found
    }
}

/// Old nodes that hold their payload in a CID, and are written with the payload inline.
fn has_identity_fragment(node: &Value) -> bool {
    node.links().iter().any(|cid| cid.codec() == Codec::Raw && cid.identity_content().is_some())
}

/// Any part of a chunk in fragments is what the whole has there.
fn check_range(data: &Bulk, chunk: &Opened, fragments: &[Bytes], plaintext: &[u8]) {
    let Some(seekable) = data.seekable(&chunk.data_key) else { return };
    assert_eq!(seekable.len(), plaintext.len());
    for start in (0..plaintext.len()).step_by(300_007) {
        let range = start..plaintext.len().min(start + 5000);
        assert!(read_range(data, &seekable, fragments, range.clone()).unwrap() == plaintext[range]);
    }
}

/// The bytes of `java.util.Random`.
fn java_random(seed: u64, len: usize) -> Vec<u8> {
    const MULTIPLIER: u64 = 0x5_deec_e66d;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (seed ^ MULTIPLIER) & MASK;
    let ints = std::iter::repeat_with(|| {
        state = (state.wrapping_mul(MULTIPLIER) + 11) & MASK;
        ((state >> 16) as u32).to_le_bytes()
    });
    ints.flatten().take(len).collect()
}

#[test]
fn current_account() {
    let mut account = Account::load("cryptree-account");
    let docs = account.lookup(&account.home(), "docs");
    let large = account.lookup(&docs, "two-chunks.bin");
    account.restore(&large, &java_random(3, CHUNK_SIZE));
    account.check_encodings();

    let found = account.walk_home();
    for expected in account.json["tree"].as_array().unwrap() {
        let path = expected["path"].as_str().unwrap();
        let Entry { cap, opened, via_link, content, .. } = &found[path];
        let properties = &opened.properties;
        assert_eq!(cap.to_cbor(), cbor(&expected["capCbor"]), "{path}");
        assert_eq!(cap.map_key.0[..], hex(&expected["mapKey"]), "{path}");
        assert_eq!(cap.writer.to_string(), expected["writer"].as_str().unwrap(), "{path}");
        assert_eq!(*via_link, expected["viaLinkNode"].as_bool().unwrap(), "{path}");
        assert_eq!(!opened.is_dir && opened.data_key.is_dirty(), expected["dirty"].as_bool().unwrap(), "{path}");
        assert_eq!(properties.size, expected["size"].as_u64().unwrap(), "{path}");
        assert_eq!(properties.hidden, expected["hidden"].as_bool().unwrap(), "{path}");
        assert_eq!(properties.mime, expected["mime"].as_str().unwrap(), "{path}");
        assert_eq!(properties.modified.secs, expected["modifiedSec"].as_i64().unwrap(), "{path}");
        assert_eq!(u64::from(properties.modified.nanos), expected["modifiedNano"].as_u64().unwrap(), "{path}");
        assert_eq!(properties.created.secs, expected["createdSec"].as_i64().unwrap(), "{path}");
        assert_eq!(u64::from(properties.created.nanos), expected["createdNano"].as_u64().unwrap(), "{path}");
        let root = properties.tree_hash.as_ref().map(|branch| hex::encode(branch.root()));
        assert_eq!(root.as_deref(), expected["treeHash"].as_str(), "{path}");
        if let (Some(branch), Some(content)) = (&properties.tree_hash, content) {
            let chunks = content.chunks(CHUNK_SIZE).map(|chunk| Sha256::digest(chunk).into());
            let hashes = if content.is_empty() { vec![Sha256::digest(b"").into()] } else { chunks.collect() };
            assert_eq!(*branch, HashTree::from_chunk_hashes(&hashes).unwrap().branch(0), "{path}");
        }
        assert_eq!(account.path_of(cap, opened), path);

        let node = account.node(cap).unwrap();
        let fragments = account.fragments(&node);
        let (rewritten, blocks) = resealed(&node, &cap.read, &fragments);
        assert_eq!(rewritten, node, "{path}");
        assert!(blocks.iter().map(|block| block.data()).eq(&fragments), "{path}");
        for (_, bat) in node.data.fragments() {
            let BatWithId { bat, id } = bat.as_ref().unwrap();
            assert_eq!(bat.chunk_id(), *id, "{path}");
        }
    }
}

#[test]
fn legacy_account() {
    let mut account = Account::load("cryptree-legacy");
    let chain = account.lookup(&account.home(), "chain.bin");
    let mut pattern = Sha256::digest(b"1").repeat(CHUNK_SIZE.div_ceil(32));
    pattern.truncate(CHUNK_SIZE);
    account.restore(&chain, &pattern);
    account.check_encodings();
    let found = account.walk_home();
    let entry = |name: &str| &found[&format!("/{}/{name}", account.json["username"].as_str().unwrap())];
    assert_eq!(entry("nobat.txt").cap.bat, None);
    assert_eq!(entry("chain.bin").opened.properties.stream_secret, None);
    let old = &entry("oldprops.bin").opened.properties;
    assert_eq!((old.created, old.modified.nanos), (old.modified, 0));
}
