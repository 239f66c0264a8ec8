use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{capability::StreamSecret, cryptree::FileKeys};
use peergos_crypto::{cid::Codec, signing::SecretSigningKey};

fn label() -> impl Strategy<Value = MapKey> {
    any::<[u8; 32]>().prop_map(MapKey)
}

fn time() -> impl Strategy<Value = Time> {
    (-1i64 << 40..1 << 40, 0..1_000_000_000u32).prop_map(|(secs, nanos)| Time { secs, nanos })
}

fn place() -> impl Strategy<Value = Place> {
    (label(), "[a-zü]{1,20}").prop_map(|(directory, name)| Place { directory, name })
}

fn writer(seed: u8) -> KeyHash {
    SecretSigningKey::from_seed(&[seed; 32]).hash().clone()
}

fn cid(seed: u8) -> Cid {
    Cid::of_block(Codec::Raw, &[seed])
}

fn made() -> impl Strategy<Value = Record<'static>> {
    (place(), time(), any::<bool>(), vec(any::<u8>(), 0..50)).prop_map(|(place, at, is_dir, content)| {
        let FileKeys { cap, data_key, .. } = FileKeys::generate(&writer(1), &writer(2)).unwrap();
        let mut properties = Properties::directory(place.name, at);
        properties.is_dir = is_dir;
        properties.stream_secret = (!is_dir).then(|| StreamSecret::generate().unwrap());
        let next = is_dir.then(|| (MapKey([9; 32]), Some(Bat::from_bytes([8; 32]))));
        let (parent_key, directory, content) = (cap.read.clone(), place.directory, content.into());
        Record::Made(Box::new(Made { cap, parent_key, data_key, next, directory, properties, at, content }))
    })
}

fn record() -> impl Strategy<Value = Record<'static>> {
    let pointer = |seed: u8| PointerUpdate { original: None, updated: Some(cid(seed)), sequence: Some(seed.into()) };
    let spaces = vec(any::<u8>(), 0..4);
    let states =
        move |seeds: Vec<u8>| -> Vec<_> { seeds.into_iter().map(|seed| (writer(seed), pointer(seed))).collect() };
    prop_oneof![
        (option::of((0..1u64 << 40, 0..1u64 << 40)), spaces.clone())
            .prop_map(move |(previous, spaces)| Record::Base { previous, spaces: states(spaces) }),
        (0..1u64 << 40, spaces.clone(), vec(label(), 0..4)).prop_map(move |(until, spaces, left_out)| Record::Saved {
            until,
            spaces: states(spaces),
            left_out
        }),
        place().prop_map(|place| Record::Known { cap: Capability::generate(&writer(1), &writer(3)).unwrap(), place }),
        made(),
        (label(), 0..1u64 << 53, time(), vec(any::<u8>(), 0..300))
            .prop_map(|(label, offset, at, data)| { Record::Wrote { label, offset, at, data: data.into() } }),
        (label(), 0..1u64 << 53, 0..1u64 << 53, time())
            .prop_map(|(label, offset, len, at)| { Record::Zeroed { label, offset, len, at } }),
        (label(), 0..1u64 << 53, time()).prop_map(|(label, size, at)| Record::Resized { label, size, at }),
        (label(), option::of(any::<u32>()), option::of(time())).prop_map(|(label, mode, modified)| {
            Record::Attributes { label, posix: mode.map(Value::from), modified }
        }),
        (label(), place(), place(), option::of(label()), option::of("[a-z/]{1,9}"), time())
            .prop_map(|(label, from, to, replaced, mime, at)| Record::Moved { label, from, to, replaced, mime, at }),
        (label(), place(), time()).prop_map(|(label, from, at)| Record::Removed { label, from, at }),
        (label(), label()).prop_map(|(old, new)| Record::Relabelled { old, new }),
        spaces.clone().prop_map(move |spaces| Record::TakenIn { spaces: states(spaces) }),
        (any::<bool>(), spaces).prop_map(|(is_complete, targets)| Record::Committing {
            is_complete,
            targets: targets.into_iter().map(|seed| (writer(seed), (seed > 9).then(|| cid(seed)))).collect()
        }),
        vec((0..1u64 << 40, 0..1u64 << 40), 0..4).prop_map(|segments| Record::Synced { segments }),
    ]
}

fn encoded(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    records.iter().for_each(|record| record.encode_to(&mut out).unwrap());
    out
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(records in vec(record(), 1..5)) {
        let bytes = encoded(&records);
        let mut rest: &[u8] = &bytes;
        for record in &records {
            let (read, after) = Record::decode(rest).unwrap();
            prop_assert!(read == *record, "{record:?}");
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn changed_and_cut_bytes_are_an_error_or_another_record(
        record in record(), at in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = encoded(&[record]);
        let cut = cut.index(bytes.len());
        prop_assert!(Record::decode(&bytes[..cut]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok((record, rest)) = Record::decode(&bytes) {
            prop_assert!(rest.len() < bytes.len());
            prop_assert!(record.encode_to(&mut Vec::new()).is_ok());
        }
    }
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let at = Time::default();
    let place = Place { directory: MapKey([7; 32]), name: "secret".into() };
    let record = Record::Removed { label: MapKey([7; 32]), from: place, at };
    assert_eq!(format!("{record:?}"), "Removed");
}
