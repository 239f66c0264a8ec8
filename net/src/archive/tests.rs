//! CARs and account files, whole and damaged.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use peergos_crypto::{
    bat::Bat,
    cbor::Value,
    cid::{Cid, Codec},
    signing::SecretSigningKey,
};
use proptest::prelude::*;

use super::{AccountState, CarReader, CarWriter, SecondFactor};
use crate::{Block, Error, MAX_BLOCK, Result};

fn golden(file: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../tests/golden/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn write(root: &Cid, blocks: &[Block]) -> Vec<u8> {
    let mut car = Vec::new();
    let mut writer = CarWriter::new(&mut car, root).unwrap();
    blocks.iter().for_each(|block| writer.write(block).unwrap());
    writer.finish().unwrap();
    car
}

fn read(car: &[u8]) -> Result<(Cid, Vec<Block>)> {
    let reader = CarReader::new(car)?;
    Ok((reader.root().clone(), reader.collect::<Result<_>>()?))
}

#[test]
fn a_golden_car_byte_for_byte() {
    let car = golden("bob.car");
    let (root, blocks) = read(&car).unwrap();
    assert!(blocks.len() > 10);
    assert!(write(&root, &blocks) == car, "what is written differs from what was read");
}

#[test]
fn golden_account_files() {
    for file in ["ada.json", "bob.json"] {
        let json = golden(file);
        let written = AccountState::from_json(&json).unwrap().to_json();
        let [json, again]: [serde_json::Value; 2] =
            [&json[..], written.as_bytes()].map(|text| serde_json::from_slice(text).unwrap());
        assert_eq!(again, json);
    }
}

#[test]
fn everything_in_an_account_file_comes_back() {
    let golden = AccountState::from_json(&golden("ada.json")).unwrap();
    let bat = Bat::from_bytes([3; 32]);
    let factor = SecondFactor {
        name: "phone \u{1f4f1}".into(),
        id: vec![1, 2],
        kind: 1,
        enabled: true,
        created: 20_000,
        value: vec![9; 32],
    };
    assert_eq!(format!("{factor:?}"), "SecondFactor(1)", "its secret is not shown");
    let key = SecretSigningKey::from_seed(&[4; 32]);
    let state = AccountState {
        factors: vec![factor.clone()],
        bats: vec![peergos_crypto::bat::BatWithId { id: bat.mirror_id(), bat }],
        follow_requests: vec![Value::from("request").encode()],
        pointers: BTreeMap::from([(key.hash().clone(), vec![1, 2, 3])]),
        logins: Vec::new(),
        ..golden
    };
    let again = AccountState::from_json(state.to_json().as_bytes()).unwrap();
    assert_eq!(again.to_json(), state.to_json());
    assert!(again.factors == [factor]);
    assert_eq!(again.follow_requests, state.follow_requests);
}

#[test]
fn malformed_cars_are_refused() {
    let block = Block::new(Codec::Raw, b"content".to_vec());
    let root = Block::new(Codec::DagCbor, b"\x01".to_vec());
    let car = write(root.cid(), std::slice::from_ref(&block));
    let header = car.len() - 1 - 36 - 7;
    assert_eq!(read(&car[..header]).unwrap(), (root.cid().clone(), vec![]));
    for cut in (0..car.len()).filter(|cut| *cut != header) {
        assert!(read(&car[..cut]).is_err(), "cut at {cut}");
    }
    let with_header = |header: Value| {
        let header = header.encode();
        read(&[&[header.len() as u8][..], &header].concat())
    };
    let (roots, link) = (|links: Vec<Value>| Value::from(links), Value::from(root.cid()));
    let header = |roots: Value, version: i64| peergos_crypto::cbor_map! { "roots" => roots, "version" => version };
    with_header(header(roots(vec![link.clone()]), 1)).unwrap();
    for wrong in [
        header(roots(vec![link.clone()]), 2),
        header(roots(vec![]), 1),
        header(roots(vec![link.clone(), link.clone()]), 1),
        header(link.clone(), 1),
        link,
    ] {
        assert!(with_header(wrong).is_err());
    }
    // lengths that are not there, and none of which is believed
    for len in [&[0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0xff; 9], &[0x80; 12], &[0xff; 20], &[0x80, 0x00]] {
        assert!(read(len).is_err());
        assert!(read(&[&car, len].concat()).is_err());
    }
    let huge = Block::new(Codec::Raw, vec![0; MAX_BLOCK + 1]);
    assert!(matches!(read(&write(root.cid(), &[huge])), Err(Error::BlockTooBig)));
}

#[test]
fn troubles_of_the_file_are_reported() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(CarReader::new(Broken), Err(Error::DiskFull)));
    assert!(matches!(CarWriter::new(Broken, &Cid::sha256(Codec::Raw, [0; 32])), Err(Error::DiskFull)));
}

proptest! {
    #[test]
    fn cars_come_back(blocks in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20)) {
        let codec = |raw| if raw { Codec::Raw } else { Codec::DagCbor };
        let blocks: Vec<Block> = blocks.into_iter().map(|(raw, data)| Block::new(codec(raw), data)).collect();
        let root = Cid::sha256(Codec::DagCbor, [1; 32]);
        prop_assert_eq!(read(&write(&root, &blocks)).unwrap(), (root, blocks));
    }

    #[test]
    fn damaged_cars_yield_only_true_blocks(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let blocks: Vec<Block> = (0..4u8).map(|i| Block::new(Codec::Raw, vec![i; 50])).collect();
        let mut car = write(blocks[0].cid(), &blocks);
        let at = at.index(car.len());
        car[at] = byte;
        if let Ok(reader) = CarReader::new(&car[..]) {
            for block in reader.map_while(Result::ok) {
                prop_assert_eq!(Block::new(block.cid().codec(), block.data().clone()), block);
            }
        }
    }

    #[test]
    fn damaged_account_files_do_not_panic(at in any::<prop::sample::Index>(), bytes in any::<[u8; 3]>()) {
        let mut json = golden("bob.json");
        let at = at.index(json.len() - bytes.len());
        json[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok(state) = AccountState::from_json(&json) {
            prop_assert!(AccountState::from_json(state.to_json().as_bytes()).is_ok());
        }
    }
}
