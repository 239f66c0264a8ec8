//! What other people's accounts may hold: damage, lies, and what a later version writes.

use std::sync::LazyLock;

use peergos_crypto::{
    cbor::{Map, Value},
    hash_tree::HashTree,
    symmetric::SymmetricKey,
};
use peergos_fs::{
    capability::{Capability, ChildLink, StreamSecret},
    cryptree::{Bulk, FromBase, FromParent, Node, Properties, Thumbnail, Time, check_name, children, mime},
};
use proptest::prelude::*;

use crate::support::{file_properties, hex, key, structures};

/// Blocks and plaintexts of every kind.
static ENCODINGS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let vectors = structures();
    let nodes = vectors["cryptreeNodes"].as_array().unwrap();
    let parts = ["cbor", "fromBasePlainCbor", "fromParentPlainCbor", "dPlainCbor"];
    let nodes = nodes.iter().flat_map(|node| parts.iter().map(|part| hex(&node[part])));
    let legacy = vectors["legacyVariants"].as_array().unwrap().iter().map(|case| hex(&case["cbor"]));
    let rest = [&vectors["capabilities"]["absoluteWriteCbor"], &vectors["fileUploadTransaction"]["cbor"]];
    nodes.chain(legacy).chain(rest.into_iter().map(hex)).filter(|bytes| bytes.len() < 20_000).collect()
});

/// Reads `bytes` as everything; what is read must be writable and come back the same.
fn read_as_everything(bytes: &[u8], key: &SymmetricKey) {
    if let Ok(node) = Node::decode(bytes) {
        assert_eq!(Node::decode(&node.encode()).unwrap(), node);
        let _ = node.open(key);
        let _ = node.data.open_whole(key, &[]);
        let _ = node.data.seekable(key);
    }
    let Ok(value) = Value::decode(bytes) else { return };
    if let Ok(cap) = Capability::from_cbor(&value) {
        assert_eq!(Capability::from_cbor(&cap.to_cbor()).unwrap(), cap);
    }
    if let Ok(link) = ChildLink::from_cbor(&value) {
        assert_eq!(ChildLink::from_cbor(&link.to_cbor()).unwrap(), link);
    }
    if let Ok(properties) = Properties::from_cbor(&value) {
        assert_eq!(Properties::from_cbor(&properties.to_cbor().unwrap()).unwrap(), properties);
    }
    if let Ok(from_base) = FromBase::from_cbor(&value) {
        assert_eq!(FromBase::from_cbor(&from_base.to_cbor()).unwrap(), from_base);
    }
    if let Ok(from_parent) = FromParent::from_cbor(&value) {
        assert_eq!(FromParent::from_cbor(&from_parent.to_cbor().unwrap()).unwrap(), from_parent);
    }
    if let Ok(bulk) = Bulk::from_cbor(&value) {
        assert_eq!(Bulk::from_cbor(&bulk.to_cbor()).unwrap(), bulk);
    }
    let _ = children::decode(&value);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_encodings_do_no_harm(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = ENCODINGS[which.index(ENCODINGS.len())].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_as_everything(&bytes, &SymmetricKey::from_bytes([0x21; 32]));
    }

    #[test]
    fn noise_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), name in ".{0,20}") {
        read_as_everything(&bytes, &SymmetricKey::from_bytes([1; 32]));
        let _ = Capability::from_link(&name);
        let mime = mime::detect(&name, &bytes);
        prop_assert!(mime.contains('/'));
    }

    #[test]
    fn properties_round_trip(properties in properties()) {
        let encoded = properties.to_cbor().unwrap().encode();
        let read = Properties::from_cbor(&Value::decode_canonical(&encoded).unwrap()).unwrap();
        prop_assert_eq!(&read, &properties);
        prop_assert_eq!(read.to_cbor().unwrap().encode(), encoded);
    }
}

fn time() -> impl Strategy<Value = Time> {
    (Time::MIN_SECS..=Time::MAX_SECS, 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Time { secs, nanos })
}

fn unknown() -> impl Strategy<Value = Map> {
    // known keys have one or two characters, or are "posix"
    prop::collection::btree_map("[a-z]{6,9}|é|😀.", any::<i64>(), 0..3).prop_map(Map::from_iter)
}

fn properties() -> impl Strategy<Value = Properties> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let optional = (
        prop::option::of((prop::collection::vec(any::<u8>(), 0..50), "image/[a-z]{3,4}")),
        prop::option::of(1..40_u64),
        prop::option::of(any::<i64>()),
        prop::option::of(any::<[u8; 32]>()),
    );
    ("[^/]{1,120}", flags, "[a-z/]{0,20}", 0..=1_u64 << 53, time(), time(), optional, unknown())
        .prop_filter("a name", |(name, ..)| check_name(name).is_ok())
        .prop_map(|(name, (is_dir, is_link, hidden), mime, size, created, modified, optional, unknown)| {
            let (thumbnail, chunks, posix, secret) = optional;
            let hashes = |chunks| (0..chunks).map(|i: u64| [i as u8; 32]).collect::<Vec<_>>();
            Properties {
                name,
                is_dir,
                is_link,
                hidden,
                mime,
                size,
                created,
                modified,
                stream_secret: secret.filter(|_| !is_dir).map(StreamSecret::from_bytes),
                thumbnail: thumbnail.map(|(data, mime)| Thumbnail { data, mime }),
                tree_hash: chunks.map(|chunks| HashTree::from_chunk_hashes(&hashes(chunks)).unwrap().branch(0)),
                posix: posix.map(Value::from),
                unknown,
            }
        })
}

#[test]
fn nothing_is_written_that_others_choke_on() {
    let fine = file_properties("f", "text/plain", 1, Time::default(), StreamSecret::from_bytes([1; 32]));
    assert!(fine.to_cbor().is_ok());
    let thumbnail = |len| Some(Thumbnail { data: vec![0; len], mime: "image/png".into() });
    assert!(Properties { thumbnail: thumbnail(100 << 10), ..fine.clone() }.to_cbor().is_ok());
    let time = |secs, nanos| Time { secs, nanos };
    let wrong = [
        Properties { name: String::new(), ..fine.clone() },
        Properties { name: "a/b".into(), ..fine.clone() },
        Properties { is_dir: true, ..fine.clone() },
        Properties { size: (1 << 53) + 1, ..fine.clone() },
        Properties { thumbnail: thumbnail((100 << 10) + 1), ..fine.clone() },
        Properties { modified: time(0, 1_000_000_000), ..fine.clone() },
        Properties { created: time(i64::MAX, 0), ..fine.clone() },
        Properties { created: time(i64::MIN, 0), ..fine.clone() },
    ];
    for properties in wrong {
        assert!(properties.to_cbor().is_err());
        let from_parent = FromParent { parent: None, properties };
        assert!(from_parent.seal(&SymmetricKey::from_bytes([1; 32])).is_err());
    }
}

#[test]
fn names() {
    for name in ["a", "...", ".a", "a\\b", " ", "\u{0}", "é中😀", &"中".repeat(255), &"😀".repeat(127)] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    for name in ["", ".", "..", "/", "a/", &"a".repeat(256), &"😀".repeat(128)] {
        assert!(check_name(name).is_err(), "{name}");
    }
}

#[test]
fn properties_that_lie_are_refused() {
    let fine = file_properties("f", "text/plain", 1, Time::default(), StreamSecret::from_bytes([1; 32]));
    let Value::Map(fine) = fine.to_cbor().unwrap() else { panic!("map") };
    let wrong: [(&str, Value); 9] = [
        ("n", "..".into()),
        ("s", (-1_i64).into()),
        ("s", i64::MAX.into()),
        ("tn", (-1_i64).into()),
        ("cn", 1_000_000_000_i64.into()),
        ("t", i64::MAX.into()),
        ("p", vec![1_u8; 31].into()),
        ("d", true.into()),
        ("th", Map::new().into()),
    ];
    for (name, value) in wrong {
        let mut map = fine.clone();
        map.insert(name, value);
        assert!(Properties::from_cbor(&Value::Map(map)).is_err(), "{name}");
    }
    for name in ["n", "m", "s", "t"] {
        let mut map = fine.clone();
        map.remove(name);
        assert!(Properties::from_cbor(&Value::Map(map)).is_err(), "{name}");
    }
}

#[test]
fn other_versions_and_shapes_are_refused() {
    let vectors = structures();
    let file = crate::support::case(&vectors["cryptreeNodes"], "smallFileInline");
    let block = Value::decode(&hex(&file["cbor"])).unwrap();
    let mut map = block.as_map("node").unwrap().clone();
    for version in [0_i64, 2] {
        map.insert("v", version);
        assert!(Node::decode(&Value::Map(map.clone()).encode()).is_err());
    }

    // a file that says it is a directory
    let read = key(&file["baseKey"]);
    let node = Node::decode(&hex(&file["cbor"])).unwrap();
    let FromParent { parent, properties } = node.open_from_parent(&read).unwrap();
    let directory = Properties { is_dir: true, stream_secret: None, ..properties };
    let node = node.with_from_parent(&read, &FromParent { parent, properties: directory }).unwrap();
    assert!(node.open(&read).is_err());
}

#[test]
fn fragment_lists_have_an_end() {
    let link = peergos_crypto::cid::Cid::of_block(peergos_crypto::cid::Codec::Raw, b"");
    let bulk = |count| {
        let links = vec![Value::from(&link); count];
        let mut map = Map::new();
        map.insert("f", links);
        map.insert("n", [0; 24]);
        Bulk::from_cbor(&Value::Map(map))
    };
    assert!(bulk(41).is_ok());
    assert!(bulk(10_000).is_err());
}
