//! Putting and getting blocks, and what is refused (spec 02 §3, §4, §19.4).

use peergos_crypto::{
    bat::{Bat, RAW_MAGIC},
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    signing::SecretSigningKey,
};

use super::support::*;
use crate::{
    Block, ChampCap, EmbeddedNode, Error, MAX_BLOCK, Node, Result, SignedBlock, TransactionId,
    champ::{self, Entry, Slot},
    http::bodies,
};

fn put(node: &EmbeddedNode, client: &Client, codec: Codec, blocks: Vec<SignedBlock>) -> Result<()> {
    let transaction = node.start_transaction(client.owner()).unwrap();
    node.put_blocks(client.owner(), client.writer.hash(), &transaction, codec, blocks)
}

#[test]
fn blocks_are_visible_at_once() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let blocks = [fragment(1, FRAGMENT, &[]), fragment(2, 100, &[]), entry(3, 100, &[])];
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &blocks).unwrap();
    for block in &blocks {
        assert_eq!(node.get_block(client.owner(), block.cid(), None).unwrap().as_ref(), Some(block.data()));
    }
    let absent = Cid::sha256(Codec::Raw, [7; 32]);
    assert_eq!(node.get_block(client.owner(), &absent, None).unwrap(), None);
    // keys and legacy fragments are in their names
    let inline = Cid::identity(Codec::Raw, b"content").unwrap();
    assert_eq!(&node.get_block(client.owner(), &inline, None).unwrap().unwrap()[..], b"content");
    assert_eq!(transaction.0.len(), 36);
}

/// Twenty entries below thirteen nodes, all of a MiB: what an account can make its tree of.
#[test]
fn lookups_are_bounded() {
    const FAT: usize = (1 << 20) - 2000;
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let transaction = node.start_transaction(client.owner()).unwrap();
    let store = |block: &Block| client.put(&*node, &transaction, std::slice::from_ref(block)).unwrap();
    // the path goes through the first place of each node, to the last of which bits 36 to 38 choose
    let keys: Vec<[u8; 32]> = (0..20u8)
        .map(|n| {
            let mut key = [0; 32];
            (key[4], key[5]) = ((n / 4) << 4, n % 4);
            key
        })
        .collect();
    let bucket = |entries: &[([u8; 32], Value)]| {
        Slot::Bucket(entries.iter().cloned().map(|(key, value)| Entry { key: key.into(), value }).collect())
    };
    let fat = || bucket(&[([0xff; 32], Value::from(noise(1, FAT)))]);
    let entries: Vec<Block> = (0..20).map(|seed| entry(seed, FAT, &[])).collect();
    entries.iter().for_each(store);
    let mappings: Vec<_> = keys.iter().zip(&entries).map(|(key, entry)| (*key, Value::from(entry.cid()))).collect();
    let mut tree = champ::Node::default();
    tree.slots[7] = fat();
    mappings.chunks(4).zip(&mut tree.slots).for_each(|(four, slot)| *slot = bucket(four));
    let mut root = tree.block();
    store(&root);
    for _ in 0..12 {
        let mut above = champ::Node::default();
        (above.slots[0], above.slots[7]) = (Slot::Child(root.cid().clone()), fat());
        root = above.block();
        store(&root);
    }
    let look = |keys: &[[u8; 32]]| {
        let caps: Vec<ChampCap> = keys.iter().map(|key| ChampCap { map_key: *key, bat: None }).collect();
        node.champ_get(client.owner(), root.cid(), &caps)
    };
    let most = look(&keys[..18]).unwrap();
    assert_eq!(most.len(), 13 + 18);
    assert!(bodies::block_list(&most).len() < 32 << 20);
    let error = look(&keys).unwrap_err().to_string();
    assert!(error.starts_with("Too many caps in bulk champ get call!"), "{error}");
}

#[test]
fn accounts_do_not_see_each_others_blocks() {
    let (_dir, node) = fresh();
    let (alice, bob) = (Client::new("alice"), Client::new("bob"));
    alice.sign_up(&*node).unwrap();
    bob.sign_up(&*node).unwrap();
    let block = fragment(1, 100, &[]);
    put(&node, &alice, Codec::Raw, vec![block.clone().sign(&alice.writer)]).unwrap();
    assert_eq!(node.get_block(bob.owner(), block.cid(), None).unwrap(), None);
}

#[test]
fn only_writers_of_the_account_may_put() {
    let (_dir, node) = fresh();
    let (alice, bob, stranger) = (Client::new("alice"), Client::new("bob"), Client::new("mallory"));
    alice.sign_up(&*node).unwrap();
    bob.sign_up(&*node).unwrap();
    let transaction = TransactionId("a client's own idea".into());
    let block = entry(1, 100, &[]);
    let by = |owner: &Client, writer: &SecretSigningKey| {
        let blocks = vec![block.clone().sign(writer)];
        node.put_blocks(owner.owner(), writer.hash(), &transaction, Codec::DagCbor, blocks)
    };
    assert!(matches!(by(&stranger, &stranger.writer), Err(Error::UnknownOwner(owner)) if owner == *stranger.owner()));
    for writer in [&stranger.writer, &bob.writer, &bob.identity] {
        assert!(matches!(by(&alice, writer), Err(Error::UnknownWriter(refused)) if refused == *writer.hash()));
    }
    // the owner is always an identity
    assert!(matches!(node.start_transaction(alice.writer.hash()), Err(Error::UnknownOwner(_))));
    by(&alice, &alice.writer).unwrap();
    by(&alice, &alice.identity).unwrap();
}

#[test]
fn one_bad_signature_keeps_a_whole_group_out() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    for count in [1, 2, 500] {
        let group: Vec<SignedBlock> =
            (0..count).map(|i| entry(1000 * count + i, 50, &[]).sign(&client.writer)).collect();
        for wrong in [0, count as usize / 2, count as usize - 1] {
            let mut damaged = group.clone();
            damaged[wrong].signature[40] ^= 1;
            assert!(matches!(put(&node, &client, Codec::DagCbor, damaged), Err(Error::BlockSignature)));
            let mut swapped = group.clone();
            swapped[wrong] = swapped[wrong].block.clone().sign(&client.identity);
            assert!(matches!(put(&node, &client, Codec::DagCbor, swapped), Err(Error::BlockSignature)));
        }
        for block in &group {
            assert_eq!(node.get_block(client.owner(), block.block.cid(), None).unwrap(), None);
        }
        put(&node, &client, Codec::DagCbor, group).unwrap();
    }
}

#[test]
fn malformed_blocks_are_refused() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let refuse = |codec: Codec, block: Block| {
        let cid = block.cid().clone();
        let error = put(&node, &client, codec, vec![block.sign(&client.writer)]).unwrap_err();
        if cid.identity_content().is_none() {
            assert_eq!(node.get_block(client.owner(), &cid, None).unwrap(), None);
        }
        error
    };
    let cbor = |bytes: &[u8]| Block::new(Codec::DagCbor, bytes.to_vec());
    // not CBOR, cut short, padded, a number not in its shortest form, keys in the wrong order, a key twice
    for bytes in
        [&b"\xff"[..], b"\x82\x01", b"\x01\x00", b"\x18\x01", b"\xa2\x61b\x01\x61a\x02", b"\xa2\x61a\x01\x61a\x02"]
    {
        assert!(matches!(refuse(Codec::DagCbor, cbor(bytes)), Error::Crypto(_)), "{bytes:x?}");
    }
    let bad_bats = cbor_map! { "bats" => "anything" };
    assert!(matches!(refuse(Codec::DagCbor, cbor_block(&bad_bats)), Error::Crypto(_)));

    let raw = |bytes: Vec<u8>| Block::new(Codec::Raw, bytes);
    assert!(matches!(refuse(Codec::Raw, raw([&RAW_MAGIC[..], b"\x00"].concat())), Error::Crypto(_)));
    let ids: Vec<Cid> = (0..3).map(|i| Bat::from_bytes([i; 32]).inline_id()).collect();
    assert!(matches!(refuse(Codec::Raw, fragment(1, 10, &ids)), Error::Invalid(_)));
    assert!(matches!(refuse(Codec::Raw, raw(vec![0; MAX_BLOCK + 1])), Error::BlockTooBig));
    put(&node, &client, Codec::Raw, vec![raw(vec![0; MAX_BLOCK]).sign(&client.writer)]).unwrap();

    // a block of another codec than the call says, or one that is not named by its hash
    assert!(matches!(refuse(Codec::Raw, cbor(b"\x01")), Error::Invalid(_)));
    assert!(matches!(refuse(Codec::DagCbor, raw(vec![1])), Error::Invalid(_)));
    let inline = Cid::identity(Codec::Raw, b"x").unwrap();
    assert!(matches!(refuse(Codec::Raw, Block::verified(&inline, b"x"[..].into()).unwrap()), Error::Invalid(_)));
}

#[test]
fn a_group_is_limited_in_size() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    // one block many times over: the sum is what counts
    let block = Block::new(Codec::Raw, vec![0; 1 << 20]).sign(&client.writer);
    let error = put(&node, &client, Codec::Raw, vec![block; 2048]).unwrap_err();
    assert_eq!(error.to_string(), "Total write size too large: 2147483648");
}

#[test]
fn tokens_decide_who_may_read() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let (inline, wrong) = (Bat::from_bytes([1; 32]), Bat::from_bytes([2; 32]));
    let ids = [inline.inline_id(), client.bat.mirror_id()];
    let with_bats = cbor_map! { "bats" => peergos_crypto::bat::ids_to_cbor(&ids), "v" => 1i64 };
    let blocks = [cbor_block(&with_bats), fragment(1, 10, &ids), fragment(2, FRAGMENT, &ids)];
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &blocks).unwrap();
    let (by_inline, by_mirror, wrong_token) = (inline.with_chunk_id(), client.mirror_bat(), wrong.with_chunk_id());
    let posing = peergos_crypto::bat::BatWithId { bat: wrong.clone(), id: client.bat.mirror_id() };
    for block in &blocks {
        let get = |token| node.get_block(client.owner(), block.cid(), token);
        assert_eq!(get(Some(&by_inline)).unwrap().as_ref(), Some(block.data()));
        assert_eq!(get(Some(&by_mirror)).unwrap().as_ref(), Some(block.data()));
        // the id that comes with a token is not believed
        for token in [None, Some(&wrong_token), Some(&posing)] {
            assert!(matches!(get(token), Err(Error::Unauthorised)));
        }
    }
    let mut part = Vec::new();
    let mut get_part = |token| node.get_payload(client.owner(), blocks[2].cid(), token, 5..50, &mut part);
    assert!(get_part(Some(&by_mirror)).unwrap());
    for token in [None, Some(&wrong_token), Some(&posing)] {
        assert!(matches!(get_part(token), Err(Error::Unauthorised)));
    }
    let prefix = blocks[2].data().len() - FRAGMENT;
    assert_eq!(part, blocks[2].data()[prefix + 5..prefix + 50]);

    let (key, absent) = (map_key(1), map_key(2));
    let (mut tree, pointer) = client.change(&node, vec![(key, Some(blocks[0].cid().clone()))]);
    tree.extend_from_slice(&blocks);
    client.put(&*node, &transaction, &tree).unwrap();
    node.set_pointer(client.owner(), &pointer).unwrap();
    let root = client.data(&node, &client.writer).2.tree.unwrap();
    let cap = |map_key, bat: Option<&Bat>| ChampCap { map_key, bat: bat.map(Bat::with_chunk_id) };
    let get = |caps: &[ChampCap]| node.champ_get(client.owner(), &root, caps);
    let found = get(&[cap(key, Some(&inline)), cap(absent, None), cap(key, Some(&inline))]).unwrap();
    assert_eq!(found.len(), 2, "the root and the value, each once");
    assert!(found.contains(blocks[0].data()));
    assert_eq!(get(&[cap(absent, None)]).unwrap().len(), 1);
    assert!(matches!(get(&[cap(absent, None), cap(key, Some(&wrong))]), Err(Error::Unauthorised)));
    assert!(matches!(get(&[cap(key, None)]), Err(Error::Unauthorised)));
    let many = vec![cap(absent, None); 21];
    assert_eq!(get(&many).unwrap_err().to_string(), "Too many caps in bulk champ get call! 21");
    let nowhere = Cid::sha256(Codec::DagCbor, [3; 32]);
    let missing = node.champ_get(client.owner(), &nowhere, &[cap(key, None)]);
    assert!(matches!(missing, Err(Error::ChampRootMissing(root)) if root == nowhere));
    // something that is no tree
    let no_tree = node.champ_get(client.owner(), blocks[2].cid(), &[cap(key, None)]);
    assert!(no_tree.is_err());
}

#[test]
fn committed_blocks_survive_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new("alice");
    let large = fragment(1, FRAGMENT, &[]);
    let kept = entry(2, 4000, &[&large]);
    {
        let node = std::sync::Arc::new(EmbeddedNode::open(dir.path()).unwrap());
        client.sign_up(&*node).unwrap();
        client.commit(&node, &[(map_key(1), Some(kept.clone()))], std::slice::from_ref(&large)).unwrap();
        assert!(matches!(EmbeddedNode::open(dir.path()), Err(Error::Locked(_))));
    }
    let node = std::sync::Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert_eq!(client.read(&node, map_key(1)), Some(kept));
    assert_eq!(client.read(&node, map_key(2)), None);
    assert_eq!(Value::decode(&node.get_chain("alice").unwrap()).unwrap().as_array("chain").unwrap().len(), 1);
}
