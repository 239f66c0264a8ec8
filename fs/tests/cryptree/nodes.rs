use bytes::Bytes;
use peergos_crypto::{Error, cbor::Value};
use peergos_fs::cryptree::{Children, FromBase, Node, Properties, open_signer};
use serde_json::Value as Json;

use crate::support::{case, cbor, hex, key, resealed, structures};

fn fragments(node: &Json) -> Vec<Bytes> {
    node["fragments"].as_array().unwrap().iter().map(|fragment| hex(&fragment["block"]).into()).collect()
}

#[test]
fn complete_nodes_both_ways() {
    let vectors = structures();
    let nodes = vectors["cryptreeNodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 7);
    for expected in nodes {
        let name = expected["case"].as_str().unwrap();
        let block = hex(&expected["cbor"]);
        let node = Node::decode(&block).unwrap();
        assert_eq!(node.encode(), block, "{name}");
        assert_eq!(node.to_block().cid().to_string(), expected["cid"].as_str().unwrap(), "{name}");

        let base = key(&expected["baseKey"]);
        let opened = node.open(&base).unwrap();
        assert_eq!(opened.is_dir, expected["isDirectoryAsDetected"].as_bool().unwrap(), "{name}");
        assert_eq!(opened.parent_key, key(&expected["parentKey"]), "{name}");
        assert_eq!(opened.data_key, key(&expected["dataOrChildrenKey"]), "{name}");

        let from_base = FromBase::open(&node.from_base, &base).unwrap();
        assert_eq!(from_base.to_cbor(), cbor(&expected["fromBasePlainCbor"]), "{name}");
        let from_parent = node.open_from_parent(&opened.parent_key).unwrap();
        assert_eq!(from_parent.to_cbor().unwrap(), cbor(&expected["fromParentPlainCbor"]), "{name}");
        let payload = node.data.open_item(&opened.data_key, &fragments(expected)).unwrap();
        assert_eq!(*payload, cbor(&expected["dPlainCbor"]), "{name}");
        let (rewritten, blocks) = resealed(&node, &base, &fragments(expected));
        assert_eq!(rewritten, node, "{name}");
        assert!(blocks.iter().map(|block| block.data().clone()).eq(fragments(expected)), "{name}");
        if opened.is_dir {
            let Children::Named(children) = node.children(&base, &fragments(expected)).unwrap() else {
                panic!("{name}")
            };
            let list = peergos_fs::cryptree::children::encode(&children).unwrap();
            assert_eq!(*list, *payload, "{name}");
        }

        match (&opened.signer, expected["signerLink"].as_str()) {
            (Some(sealed), Some(signer)) => {
                let write = key(&expected["wBaseKey"]);
                assert_eq!(sealed.open(&write).unwrap().encode(), hex::decode(signer).unwrap(), "{name}");
                let pair = sealed.open(&write).unwrap();
                let hash = pair.as_map("signer").unwrap().get("p").unwrap().as_link("signer").unwrap().clone();
                let hash = peergos_crypto::signing::KeyHash::from_cid(hash).unwrap();
                assert_eq!(open_signer(sealed, &write, &hash).unwrap().hash(), &hash, "{name}");
            }
            (signer, expected) => assert_eq!((signer.is_none(), expected), (true, None), "{name}"),
        }
    }
}

#[test]
fn link_nodes_are_directories_with_the_properties_of_their_target() {
    let vectors = structures();
    let link = case(&vectors["cryptreeNodes"], "linkNode");
    let opened = Node::decode(&hex(&link["cbor"])).unwrap().open(&key(&link["baseKey"])).unwrap();
    assert!(opened.is_dir && opened.properties.is_link);
}

#[test]
fn a_parent_key_opens_the_properties_only() {
    let vectors = structures();
    for name in ["homeDirWithSignerLink", "linkNode"] {
        let directory = case(&vectors["cryptreeNodes"], name);
        let node = Node::decode(&hex(&directory["cbor"])).unwrap();
        let parent_key = key(&directory["parentKey"]);
        assert_eq!(node.open(&parent_key), Err(Error::Decryption));
        assert!(node.open_from_parent(&parent_key).unwrap().properties.is_dir);
    }
}

#[test]
fn legacy_nodes() {
    let vectors = structures();
    let unnamed = case(&vectors["legacyVariants"], "dirChildrenWithoutNames");
    let node = Node::decode(&hex(&unnamed["cbor"])).unwrap();
    let Children::Nameless(children) = node.children(&key(&unnamed["baseKey"]), &[]).unwrap() else {
        panic!("nameless")
    };
    let list = Value::Array(children.iter().map(|child| child.to_cbor()).collect());
    assert_eq!(list, cbor(&unnamed["dPlainCbor"]));

    let tokenless = case(&vectors["legacyVariants"], "fileNodeWithoutBats");
    let node = Node::decode(&hex(&tokenless["cbor"])).unwrap();
    let opened = node.open(&key(&tokenless["baseKey"])).unwrap();
    assert_eq!((node.bats.len(), opened.is_dir, opened.properties.name.as_str()), (0, false, "a file.txt"));
    assert_eq!(node.encode(), hex(&tokenless["cbor"]));
}

fn properties_of(case: &Json) -> Properties {
    Properties::from_cbor(&Value::decode(&hex(&case["cbor"])).unwrap()).unwrap()
}

#[test]
fn file_properties_both_ways() {
    let vectors = structures();
    let cases = vectors["fileProperties"].as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        if name == "unknownKeyIsIgnoredAndDropped" {
            continue;
        }
        let read = properties_of(case);
        assert_eq!(read.to_cbor().unwrap().encode(), hex(&case["cbor"]), "{name}");
        assert_eq!(read.name, case["name"].as_str().unwrap(), "{name}");
        assert_eq!(read.is_dir, case["isDirectory"].as_bool().unwrap(), "{name}");
        assert_eq!(read.is_link, case["isLink"].as_bool().unwrap(), "{name}");
        assert_eq!(read.hidden, case["hidden"].as_bool().unwrap(), "{name}");
        assert_eq!(read.mime, case["mimeType"].as_str().unwrap(), "{name}");
        assert_eq!(read.size, case["size"].as_u64().unwrap(), "{name}");
        assert_eq!(read.modified.secs, case["modifiedSec"].as_i64().unwrap(), "{name}");
        assert_eq!(u64::from(read.modified.nanos), case["modifiedNano"].as_u64().unwrap(), "{name}");
        assert_eq!(read.created.secs, case["createdSec"].as_i64().unwrap(), "{name}");
        assert_eq!(u64::from(read.created.nanos), case["createdNano"].as_u64().unwrap(), "{name}");
        let secret = read.stream_secret.as_ref().map(|secret| hex::encode(secret.as_bytes()));
        assert_eq!(secret.as_deref(), case["streamSecret"].as_str(), "{name}");
        let thumbnail =
            read.thumbnail.as_ref().map(|thumbnail| (hex::encode(&thumbnail.data), thumbnail.mime.as_str()));
        let expected =
            case["thumbnail"].as_object().map(|it| (it["data"].as_str().unwrap(), it["mime"].as_str().unwrap()));
        assert_eq!(thumbnail.as_ref().map(|(data, mime)| (data.as_str(), *mime)), expected, "{name}");
        let tree_hash = read.tree_hash.as_ref().map(|branch| hex::encode(branch.to_cbor().encode()));
        assert_eq!(tree_hash.as_deref(), case["treeHash"].as_str(), "{name}");
    }
    let empty = case(&vectors["fileProperties"], "subsequentDirChunk_EMPTY");
    assert_eq!(Properties::later_directory_chunk(), properties_of(empty));
}

/// The reference drops what it does not know; we keep it.
#[test]
fn unknown_properties_are_kept() {
    let vectors = structures();
    let case = case(&vectors["fileProperties"], "unknownKeyIsIgnoredAndDropped");
    let mut read = Properties::from_cbor(&cbor(&case["inputCbor"])).unwrap();
    assert_eq!(read.to_cbor().unwrap(), cbor(&case["inputCbor"]));
    assert_eq!(read.unknown.remove("zz"), Some("future".into()));
    assert_eq!(read.to_cbor().unwrap(), cbor(&case["reserialisedCbor"]));
}

#[test]
fn old_file_properties() {
    let vectors = structures();
    let old = case(&vectors["legacyVariants"], "oldFileProperties");
    let read = properties_of(old);
    assert_eq!(read.created.secs, old["createdSec"].as_i64().unwrap());
    assert_eq!((read.created.nanos, read.modified.nanos, read.is_link), (0, 0, false));
    assert_eq!(read.thumbnail.as_ref().unwrap().mime, old["thumbMime"].as_str().unwrap());
    let rewritten = Properties::from_cbor(&read.to_cbor().unwrap()).unwrap();
    assert_eq!(rewritten, read);
}
