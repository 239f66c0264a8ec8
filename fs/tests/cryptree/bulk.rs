use bytes::Bytes;
use peergos_crypto::{
    bat::{self, Bat},
    cbor::Value,
    cid::{Cid, Codec},
    symmetric::SymmetricKey,
};
use peergos_fs::cryptree::{
    Bulk,
    bulk::{Payload, seal, seal_with},
};
use peergos_net::Block;
use proptest::prelude::*;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::support::{array, bat as bat_of, case, cbor, hex, key, pattern, read_range, structures};

fn data(blocks: &[Block]) -> Vec<Bytes> {
    blocks.iter().map(|block| block.data().clone()).collect()
}

fn mirror(bulk: &Json) -> Cid {
    Cid::from_bytes(cbor(&bulk["mirrorBatIdCbor"]).as_bytes("mirror").unwrap()).unwrap()
}

fn texts(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap())
}

#[test]
fn every_boundary_size() {
    let vectors = &structures()["fragmentedPaddedCipherText"];
    let (key, mirror) = (key(&vectors["key"]), mirror(vectors));
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let len = case["dataLen"].as_u64().unwrap() as usize;
        let content = pattern(len);
        let mut bats = case["fragmentBats"].as_array().unwrap().iter().map(bat_of);
        let next_bat = || Ok(bats.next().unwrap());
        let payload = Payload::Bytes(&content);
        let (bulk, blocks) = seal_with(&key, array(&case["nonce"]), payload, Some(&mirror), next_bat).unwrap();

        let cids: Vec<String> = blocks.iter().map(|block| block.cid().to_string()).collect();
        assert_eq!(cids, texts(&case["fragmentCids"]).collect::<Vec<_>>(), "{len}");
        let lengths: Vec<usize> = blocks.iter().map(|block| block.data().len()).collect();
        let expected = case["fragmentBlockLens"].as_array().unwrap().iter().map(|len| len.as_u64().unwrap() as usize);
        assert_eq!(lengths, expected.collect::<Vec<_>>(), "{len}");
        let encoded = bulk.to_cbor().encode();
        assert_eq!(Sha256::digest(&encoded)[..], hex(&case["cborSha256"]), "{len}");
        if !case["cbor"].is_null() {
            assert_eq!(encoded, hex(&case["cbor"]), "{len}");
        }

        let read = Bulk::from_cbor(&Value::decode_canonical(&encoded).unwrap()).unwrap();
        assert_eq!(read, bulk, "{len}");
        let fetched: Vec<&Cid> = read.fragments().iter().map(|(cid, _)| cid).collect();
        assert_eq!(fetched, blocks.iter().map(Block::cid).collect::<Vec<_>>(), "{len}");
        assert!(read.open_whole(&key, &data(&blocks)).unwrap() == content, "{len}");
    }
}

#[test]
fn legacy_fragments_without_header_or_tokens() {
    let vectors = structures();
    let legacy = case(&vectors["legacyVariants"], "fragmentsWithoutHeaderOrBats");
    let key = key(&legacy["key"]);
    let content = pattern(legacy["dataLen"].as_u64().unwrap() as usize);
    let mut plaintext = Value::Bytes(content.clone()).encode();
    plaintext.resize(plaintext.len().next_multiple_of(4096), 0);
    let ciphertext = key.seal(&array(&legacy["nonce"]), &plaintext);
    let pieces: Vec<Bytes> = ciphertext.chunks(128 << 10).map(Bytes::copy_from_slice).collect();

    let encoded = cbor(&legacy["cbor"]);
    let bulk = Bulk::from_cbor(&encoded).unwrap();
    assert_eq!(bulk.to_cbor(), encoded);
    for ((cid, bat), piece) in bulk.fragments().iter().zip(&pieces) {
        assert!(cid.verifies(piece));
        assert_eq!(*bat, None);
    }
    assert!(bulk.seekable(&key).is_none());
    assert!(bulk.open_whole(&key, &pieces).unwrap() == content);
    assert!(bulk.open_whole(&key, &pieces[..1]).is_err());
}

#[test]
fn legacy_identity_cid_is_inline() {
    let vectors = structures();
    let legacy = case(&vectors["legacyVariants"], "identityCidFragment");
    let bulk = Bulk::from_cbor(&cbor(&legacy["cbor"])).unwrap();
    assert_eq!(bulk.fragments(), []);
    assert_eq!(bulk.to_cbor(), cbor(&legacy["reserialised"]));
    assert_eq!(bulk.open_whole(&key(&legacy["key"]), &[]).unwrap()[..], pattern(24));
}

#[test]
fn legacy_header_with_inline_bytes() {
    let key = SymmetricKey::from_bytes([7; 32]);
    let (bulk, _) = seal(&key, Payload::Bytes(b"content"), None).unwrap();
    let Bulk::Inline { nonce, data, .. } = bulk else { panic!("inline") };
    let split = Bulk::Inline { nonce, header: data[..22].to_vec(), data: data.slice(22..) };
    let read = Bulk::from_cbor(&split.to_cbor()).unwrap();
    assert_eq!(read, split);
    assert_eq!(read.open_whole(&key, &[]).unwrap()[..], *b"content");
}

#[test]
fn legacy_dag_cbor_fragments_and_missing_tokens() {
    let key = SymmetricKey::from_bytes([7; 32]);
    let content = pattern(1_500_000);
    let (bulk, blocks) = seal(&key, Payload::Bytes(&content), None).unwrap();
    let Bulk::Fragments { nonce, header, links } = &bulk else { panic!("fragments") };
    let wrapped: Vec<Block> = blocks
        .iter()
        .map(|block| {
            let (_, piece) = bat::split_raw(block.data()).unwrap();
            Block::new(Codec::DagCbor, Value::from(piece).encode())
        })
        .collect();
    // the second fragment has lost its token
    let links = wrapped.iter().zip(links).map(|(block, (_, bat))| (block.cid().clone(), bat.clone()));
    let mut links: Vec<_> = links.collect();
    links[1].1 = None;
    let legacy = Bulk::Fragments { nonce: *nonce, header: header.clone(), links };
    let read = Bulk::from_cbor(&legacy.to_cbor()).unwrap();
    assert_eq!(read, legacy);
    assert!(read.open_whole(&key, &data(&wrapped)).unwrap() == content);
    let seekable = read.seekable(&key).unwrap();
    let range = read_range(&read, &seekable, &data(&wrapped), 1_400_000..1_400_100);
    assert_eq!(range.unwrap(), content[1_400_000..1_400_100]);
}

#[test]
fn fragments_have_tokens_of_their_own_and_the_mirrors() {
    let key = SymmetricKey::generate().unwrap();
    let mirror = Bat::from_bytes([5; 32]).mirror_id();
    let content = pattern(2 << 20);
    for mirror in [None, Some(&mirror)] {
        let (bulk, blocks) = seal(&key, Payload::Bytes(&content), mirror).unwrap();
        for ((_, bat), block) in bulk.fragments().iter().zip(&blocks) {
            let (ids, piece) = bat::split_raw(block.data()).unwrap();
            let own = bat.as_ref().unwrap();
            assert_eq!(own.id, own.bat.chunk_id());
            assert_eq!(ids, [own.bat.inline_id()].into_iter().chain(mirror.cloned()).collect::<Vec<_>>());
            assert!(piece.len() <= 1 << 20);
        }
        let bats: Vec<&[u8; 32]> =
            bulk.fragments().iter().map(|(_, bat)| bat.as_ref().unwrap().bat.as_bytes()).collect();
        assert!(bats.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn equal_content_never_looks_equal() {
    let key = SymmetricKey::generate().unwrap();
    let (one, _) = seal(&key, Payload::Bytes(b"content"), None).unwrap();
    let (two, _) = seal(&key, Payload::Bytes(b"content"), None).unwrap();
    assert_ne!(one, two);
}

#[test]
fn damage_and_wrong_keys_do_not_open() {
    let key = SymmetricKey::from_bytes([7; 32]);
    let content = pattern(5000);
    let (bulk, blocks) = seal(&key, Payload::Bytes(&content), None).unwrap();
    assert!(bulk.open_whole(&SymmetricKey::from_bytes([8; 32]), &data(&blocks)).is_err());
    let mut damaged = blocks[0].data().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(bulk.open_whole(&key, &[damaged.into()]).is_err());
    assert!(bulk.open_whole(&key, &[]).is_err());
    assert!(bulk.open_whole(&key, &[blocks[0].data().slice(..100)]).is_err());
    // a children list is not a file's content
    let (list, _) = seal(&key, Payload::Item(&Value::Array(vec![])), None).unwrap();
    assert!(list.open_whole(&key, &[]).is_err());
}

#[test]
fn a_length_beyond_the_plaintext_is_refused() {
    let key = SymmetricKey::from_bytes([7; 32]);
    for head in [&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x59, 0xff, 0xff], &[0x5f]] {
        let mut plaintext = head.to_vec();
        plaintext.resize(4096, 0);
        let bulk = Bulk::Inline { nonce: [1; 24], header: Vec::new(), data: key.seal(&[1; 24], &plaintext).into() };
        assert!(bulk.open_whole(&key, &[]).is_err());
    }
}

/// Lengths of content, with those where the layout changes made likely.
fn length() -> impl Strategy<Value = usize> {
    let boundaries = prop::sample::select(vec![0, 24, 256, 4093, 4096, 4099, 8192, 65_536, 1 << 20, 2 << 20, 3 << 20]);
    prop_oneof![0..20_000_usize, (boundaries, 0..16_usize).prop_map(|(at, more)| (at + more).saturating_sub(8))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sealed_content_opens(len in length()) {
        let key = SymmetricKey::from_bytes([3; 32]);
        let content = pattern(len);
        let (bulk, blocks) = seal(&key, Payload::Bytes(&content), None).unwrap();
        let read = Bulk::from_cbor(&bulk.to_cbor()).unwrap();
        prop_assert!(read.open_whole(&key, &data(&blocks)).unwrap() == content);
        prop_assert_eq!(read.seekable(&key).is_some(), len >= 4100);
    }

    #[test]
    fn ranges_are_slices_of_the_whole(len in length(), a in 0..3_200_000_usize, b in 0..3_200_000_usize) {
        let key = SymmetricKey::from_bytes([3; 32]);
        let content = pattern(len);
        let (bulk, blocks) = seal(&key, Payload::Bytes(&content), None).unwrap();
        if let Some(seekable) = bulk.seekable(&key) {
            prop_assert_eq!(seekable.len(), len);
            let (a, b) = (a % (len + 10), b % (len + 10));
            for range in [a.min(b)..a.max(b), a..a + 1, 0..b, 0..len, a..usize::MAX] {
                let part = read_range(&bulk, &seekable, &data(&blocks), range.clone()).unwrap();
                let end = range.end.min(len);
                prop_assert!(part == content[range.start.min(end)..end]);
            }
        }
    }

    #[test]
    fn a_range_of_wrong_blocks_is_an_error(len in 4100..3_000_000_usize, cut in 0..1000_usize) {
        // more of the last fragment is wanted than is left of it
        prop_assume!(len % (1 << 20) > 1100);
        let key = SymmetricKey::from_bytes([3; 32]);
        let (bulk, blocks) = seal(&key, Payload::Bytes(&pattern(len)), None).unwrap();
        let seekable = bulk.seekable(&key).unwrap();
        prop_assert!(read_range(&bulk, &seekable, &[], 0..len).is_err());
        let mut short = data(&blocks);
        let last = short.pop().unwrap();
        short.push(last.slice(..last.len().min(cut)));
        prop_assert!(read_range(&bulk, &seekable, &short, 0..len).is_err());
    }
}
