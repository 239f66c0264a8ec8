//! A node that lies, and one that counts how often it is asked.

mod remembered;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::{Bat, BatWithId},
    cbor::Value,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
};

use super::{CacheSizes, Verified};
use crate::{
    Admission, Block, ChampCap, Error, Node, PointerUpdate, PointerWrite, Result, SignUp, SignedBlock, TransactionId,
    WriterData,
    champ::{self, KeyHasher, NodeSource},
};

/// Says what it is told to say.
#[derive(Default)]
struct Puppet {
    blocks: Mutex<HashMap<Cid, Bytes>>,
    /// What CHAMP lookups answer.
    champ: Mutex<Vec<Bytes>>,
    unauthorised: Mutex<bool>,
    pointer: Mutex<Option<Vec<u8>>>,
    chain: Mutex<Vec<u8>>,
    /// Out of reach.
    down: Mutex<bool>,
    /// Whether it is far away, so that several requests at a time are worth having.
    far: Mutex<bool>,
    /// Answers that arrive damaged before those that do not.
    damaged: Mutex<usize>,
    /// Blocks that were asked for one by one or in groups, and CHAMP lookups.
    asked: Mutex<(usize, Vec<usize>)>,
}

impl Puppet {
    fn put(&self, blocks: &[Block]) {
        self.blocks.lock().extend(blocks.iter().map(|block| (block.cid().clone(), block.data().clone())));
    }

    fn asked(&self) -> (usize, Vec<usize>) {
        std::mem::take(&mut *self.asked.lock())
    }

    fn reached(&self) -> Result<()> {
        match *self.down.lock() {
            true => Err(Error::Unreachable { server: "puppet".into(), reason: "down".into() }),
            false => Ok(()),
        }
    }
}

impl Node for Puppet {
    fn get_block(&self, _: &KeyHash, cid: &Cid, _: Option<&BatWithId>) -> Result<Option<Bytes>> {
        self.reached()?;
        self.asked.lock().0 += 1;
        let mut damaged = self.damaged.lock();
        if *damaged > 0 {
            *damaged -= 1;
            return Ok(Some(Bytes::from_static(b"damaged")));
        }
        Ok(self.blocks.lock().get(cid).cloned())
    }

    fn parallelism(&self) -> usize {
        if *self.far.lock() { 16 } else { 1 }
    }

    fn champ_get(&self, _: &KeyHash, _: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        self.reached()?;
        self.asked.lock().1.push(caps.len());
        if *self.unauthorised.lock() { Err(Error::Unauthorised) } else { Ok(self.champ.lock().clone()) }
    }

    fn get_pointer(&self, _: &KeyHash, _: &KeyHash) -> Result<Option<Vec<u8>>> {
        self.reached()?;
        Ok(self.pointer.lock().clone())
    }

    fn set_pointers(&self, _: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        *self.pointer.lock() = pointers.last().map(|write| write.signed.clone());
        Ok(())
    }

    fn put_blocks(&self, _: &KeyHash, _: &KeyHash, _: &TransactionId, _: Codec, _: Vec<SignedBlock>) -> Result<()> {
        if *self.unauthorised.lock() { Err(Error::DiskFull) } else { Ok(()) }
    }

    fn id(&self) -> Result<Cid> {
        unreachable!()
    }

    fn start_transaction(&self, _: &KeyHash) -> Result<TransactionId> {
        unreachable!()
    }

    fn close_transaction(&self, _: &KeyHash, _: &TransactionId) -> Result<()> {
        unreachable!()
    }

    fn get_public_key(&self, _: &str) -> Result<Option<KeyHash>> {
        unreachable!()
    }

    fn get_username(&self, _: &KeyHash) -> Result<String> {
        unreachable!()
    }

    fn get_chain(&self, _: &str) -> Result<Vec<u8>> {
        self.reached()?;
        Ok(self.chain.lock().clone())
    }

    fn update_chain(&self, _: &str, _: &[u8], _: &[u8], _: &str) -> Result<Admission> {
        unreachable!()
    }

    fn sign_up(&self, _: &SignUp) -> Result<Admission> {
        unreachable!()
    }

    fn get_login(&self, _: &str, _: &PublicSigningKey, _: &[u8], _: Option<&[u8]>) -> Result<Vec<u8>> {
        unreachable!()
    }

    fn set_login(&self, _: &str, _: &[u8], _: &[u8; 64]) -> Result<()> {
        unreachable!()
    }

    fn get_user_bats(&self, _: &str, _: &[u8]) -> Result<Vec<BatWithId>> {
        unreachable!()
    }

    fn add_bat(&self, _: &str, _: &BatWithId, _: &[u8]) -> Result<()> {
        unreachable!()
    }

    fn usage(&self, _: &KeyHash, _: &[u8]) -> Result<u64> {
        unreachable!()
    }

    fn quota(&self, _: &KeyHash, _: &[u8]) -> Result<u64> {
        unreachable!()
    }
}

fn puppet() -> (Arc<Puppet>, Verified, SecretSigningKey) {
    let puppet = Arc::new(Puppet::default());
    let verified = Verified::new(Arc::clone(&puppet) as Arc<dyn Node>, CacheSizes::default());
    (puppet, verified, SecretSigningKey::from_seed(&[1; 32]))
}

fn raw(len: usize, fill: u8) -> Block {
    Block::new(Codec::Raw, vec![fill; len])
}

#[test]
fn blocks_are_checked_and_asked_for_once() {
    let (puppet, verified, key) = puppet();
    let owner = key.hash();
    let blocks = [raw(10, 1), raw(100_000, 2), raw(20, 3)];
    puppet.put(&blocks);
    for _ in 0..2 {
        for block in &blocks {
            assert_eq!(verified.block(owner, block.cid(), None).unwrap(), *block);
        }
    }
    assert_eq!(puppet.asked().0, 3);

    let (absent, changed) = (raw(10, 8), raw(10, 9));
    puppet.blocks.lock().insert(changed.cid().clone(), Bytes::from_static(b"something else"));
    for _ in 0..2 {
        assert!(
            matches!(verified.block(owner, absent.cid(), None), Err(Error::MissingBlock(cid)) if cid == *absent.cid())
        );
        assert!(
            matches!(verified.block(owner, changed.cid(), None), Err(Error::WrongBlock(cid)) if cid == *changed.cid())
        );
    }
    let huge = raw(crate::MAX_BLOCK + 1, 0);
    puppet.put(std::slice::from_ref(&huge));
    assert!(matches!(verified.block(owner, huge.cid(), None), Err(Error::BlockTooBig)));
    puppet.asked();
    let inline = Cid::identity(Codec::Raw, b"inline").unwrap();
    assert_eq!(&verified.block(owner, &inline, None).unwrap().data()[..], b"inline");
    assert_eq!(puppet.asked().0, 0, "what is in its name need not be asked for");
}

#[test]
fn groups_of_blocks_keep_their_order() {
    let (puppet, verified, key) = puppet();
    let blocks: Vec<Block> = (0..6).map(|i| raw(10, i)).collect();
    puppet.put(&blocks);
    let inline = Block::verified(&Cid::identity(Codec::Raw, b"x").unwrap(), Bytes::from_static(b"x")).unwrap();
    verified.block(key.hash(), blocks[2].cid(), None).unwrap();
    let expected = [&blocks[5], &inline, &blocks[2], &blocks[0], &blocks[5]];
    let wanted: Vec<_> = expected.iter().map(|block| (block.cid().clone(), None)).collect();
    let found = verified.blocks(key.hash(), &wanted).unwrap();
    assert!(found.iter().eq(expected));
    let with_absent = [wanted[0].clone(), (raw(10, 99).cid().clone(), None)];
    assert!(matches!(verified.blocks(key.hash(), &with_absent), Err(Error::MissingBlock(_))));
}

/// Map keys, and the blocks that their values name.
type Entries = Vec<([u8; 32], Block)>;

/// A tree of `count` entries: its root, its nodes, and its entries.
fn tree(count: u32) -> (Cid, Vec<Block>, Entries) {
    struct Nothing;
    impl NodeSource for Nothing {
        fn node(&self, cid: &Cid) -> Result<Arc<champ::Node>> {
            Err(Error::MissingBlock(cid.clone()))
        }
    }
    let entries: Entries = (0..count)
        .map(|i| {
            let block = Block::new(Codec::DagCbor, Value::Int(i.into()).encode());
            (*block.cid().sha256_digest().unwrap(), block)
        })
        .collect();
    let changes = entries.iter().map(|(key, block)| (key.to_vec(), Some(Value::from(block.cid()))));
    let applied = champ::apply(&Nothing, None, changes, KeyHasher::Identity, None).unwrap();
    (applied.root, applied.blocks, entries)
}

fn cap(map_key: [u8; 32]) -> ChampCap {
    ChampCap { map_key, bat: Some(Bat::from_bytes([0; 32]).with_chunk_id()) }
}

#[test]
fn lookups_ask_in_bulk_and_only_for_what_is_unknown() {
    let (puppet, verified, key) = puppet();
    let (root, nodes, entries) = tree(200);
    let values = entries.iter().map(|(_, block)| block);
    *puppet.champ.lock() = nodes.iter().chain(values).map(|block| block.data().clone()).collect();
    let mut caps: Vec<ChampCap> = entries[..45].iter().map(|(key, _)| cap(*key)).collect();
    caps.push(cap([0xee; 32]));
    let expected: Vec<Option<Cid>> =
        entries[..45].iter().map(|(_, block)| Some(block.cid().clone())).chain([None]).collect();
    assert_eq!(verified.lookup(key.hash(), &root, &caps).unwrap(), expected);
    assert_eq!(puppet.asked(), (0, vec![20, 20, 6]));
    // everything came along: nodes and values
    assert_eq!(verified.lookup(key.hash(), &root, &caps).unwrap(), expected);
    verified.block(key.hash(), entries[7].1.cid(), None).unwrap();
    assert_eq!(puppet.asked(), (0, vec![]));
    assert_eq!(verified.lookup(key.hash(), &root, &[]).unwrap(), []);
}

#[test]
fn paths_to_new_keys_are_fetched_in_bulk_from_far_away() {
    let (puppet, verified, key) = puppet();
    let (root, nodes, _) = tree(200);
    puppet.put(&nodes);
    *puppet.champ.lock() = nodes.iter().map(|block| block.data().clone()).collect();
    let new = || (0..45).map(|i| [i * 5; 32]);
    let fetch = || verified.fetch_paths(key.hash(), &root, new()).unwrap();
    fetch();
    assert_eq!(puppet.asked(), (0, vec![]));
    *puppet.far.lock() = true;
    fetch();
    assert_eq!(puppet.asked(), (0, vec![20, 20, 5]));
    fetch();
    let value = || Some(Value::Link(root.clone()));
    let changes = new().map(|key| (key, value()));
    champ::apply(&verified.of(key.hash()), Some(&root), changes, KeyHasher::Identity, None).unwrap();
    assert_eq!(puppet.asked(), (0, vec![]));
}

#[test]
fn lookups_find_their_way_when_the_node_does_not_help() {
    let (root, nodes, entries) = tree(200);
    let small = CacheSizes { blocks: 0, champ: 0, fragments: 0 };
    for (sizes, junk, unauthorised) in
        [(CacheSizes::default(), true, false), (CacheSizes::default(), false, true), (small, true, false)]
    {
        let puppet = Arc::new(Puppet::default());
        let verified = Verified::new(Arc::clone(&puppet) as Arc<dyn Node>, sizes);
        let key = SecretSigningKey::from_seed(&[1; 32]);
        puppet.put(&nodes);
        *puppet.unauthorised.lock() = unauthorised;
        if junk {
            *puppet.champ.lock() = vec![Bytes::from_static(b"\xff"), Bytes::new(), nodes[0].data().clone()];
        }
        let caps = [cap(entries[3].0), cap([0xee; 32])];
        let found = verified.lookup(key.hash(), &root, &caps).unwrap();
        assert_eq!(found, [Some(entries[3].1.cid().clone()), None]);
        *puppet.champ.lock() = vec![Bytes::from(vec![0; crate::MAX_BLOCK + 1])];
        puppet.blocks.lock().clear();
        if sizes.champ == 0 {
            assert!(verified.lookup(key.hash(), &root, &caps).is_err());
        }
    }
}

#[test]
fn pointers_do_not_go_back() {
    let (puppet, verified, key) = puppet();
    let owner = key.hash();
    let target = |i: u8| Some(Cid::sha256(Codec::DagCbor, [i; 32]));
    let update = |i: u8, sequence: Option<u64>| PointerUpdate { original: None, updated: target(i), sequence };
    let present = |update: &PointerUpdate| {
        *puppet.pointer.lock() = Some(update.sign(&key));
        verified.pointer(owner, owner)
    };
    assert_eq!(verified.pointer(owner, owner).unwrap(), None);
    let (first, third) = (update(1, Some(1)), update(3, Some(3)));
    assert_eq!(present(&first).unwrap(), Some(first.clone()));
    assert_eq!(present(&third).unwrap(), Some(third.clone()));
    assert_eq!(present(&third).unwrap(), Some(third.clone()));
    for old in [first, update(2, Some(2)), update(2, None), update(4, Some(3))] {
        let error = present(&old).unwrap_err();
        let presented = old.sequence.unwrap_or(0);
        assert!(matches!(error, Error::Rollback { seen: 3, presented: p, .. } if p == presented), "{error}");
    }
    for nothing in [None, Some(Vec::new())] {
        *puppet.pointer.lock() = nothing;
        assert!(matches!(verified.pointer(owner, owner), Err(Error::Rollback { seen: 3, presented: 0, .. })));
    }
    let forged = PointerUpdate { sequence: Some(4), ..third.clone() }.sign(&SecretSigningKey::from_seed(&[2; 32]));
    *puppet.pointer.lock() = Some(forged);
    assert!(matches!(verified.pointer(owner, owner), Err(Error::Crypto(peergos_crypto::Error::Signature))));

    // our own updates count as seen
    let fifth = update(5, Some(5));
    let write = PointerWrite { writer: owner.clone(), signed: fifth.sign(&key) };
    verified.set_pointers(owner, &[write]).unwrap();
    assert!(matches!(present(&third), Err(Error::Rollback { seen: 5, .. })));
    assert_eq!(present(&fifth).unwrap(), Some(fifth));
}

#[test]
fn old_pointers_have_no_order() {
    let (puppet, verified, key) = puppet();
    for i in [1, 2, 1] {
        let update =
            PointerUpdate { original: None, updated: Some(Cid::sha256(Codec::DagCbor, [i; 32])), sequence: None };
        *puppet.pointer.lock() = Some(update.sign(&key));
        assert_eq!(verified.pointer(key.hash(), key.hash()).unwrap(), Some(update));
    }
}

#[test]
fn writer_data_must_be_the_writers() {
    let (puppet, verified, key) = puppet();
    let (mine, theirs) = (WriterData::new(key.hash().clone()), SecretSigningKey::from_seed(&[2; 32]));
    puppet.put(&[mine.block()]);
    assert_eq!(verified.writer_data(key.hash(), key.hash(), mine.block().cid()).unwrap(), mine);
    assert!(verified.writer_data(key.hash(), theirs.hash(), mine.block().cid()).is_err());
}

#[test]
fn what_was_put_is_known_and_what_was_refused_is_not() {
    let (puppet, verified, key) = puppet();
    let put = |block: &Block| {
        let transaction = TransactionId("t".into());
        verified.put_blocks(key.hash(), key.hash(), &transaction, Codec::Raw, vec![block.clone().sign(&key)])
    };
    let (small, large, refused) = (raw(100, 1), raw(200_000, 2), raw(100, 3));
    put(&small).unwrap();
    put(&large).unwrap();
    *puppet.unauthorised.lock() = true;
    put(&refused).unwrap_err();
    assert!(verified.block(key.hash(), small.cid(), None).is_ok());
    assert!(verified.block(key.hash(), large.cid(), None).is_err());
    assert!(verified.block(key.hash(), refused.cid(), None).is_err());
}
