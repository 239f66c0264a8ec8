use peergos_crypto::hash_tree::{Hash, HashBranch, HashTree};
use sha2::{Digest, Sha256};

use crate::{Field, vectors};

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| Sha256::digest(format!("chunk{i}")).into()).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[test]
fn trees() {
    let cases = vectors("cryptree-structures")["hashTree"].clone();
    let (counted, empty): (Vec<_>, Vec<_>) = cases.items().iter().partition(|case| case.get("nChunks").is_some());
    assert_eq!((counted.len(), empty.len()), (5, 1));
    for case in counted {
        let tree = HashTree::from_chunk_hashes(&leaves(case["nChunks"].number())).unwrap();
        assert_eq!(tree.root()[..], case["rootHash"].bytes());
        let (cbor, branch) = (tree.to_cbor(), tree.branch(0).to_cbor());
        assert_eq!(sha256(&cbor.encode()), case["hashTreeCborSha256"].bytes());
        assert_eq!(sha256(&branch.encode()), case["branch0CborSha256"].bytes());
        assert_eq!(branch.encode().len() as u64, case["branch0CborLen"].number());
        if let Some(expected) = case.get("hashTreeCbor") {
            assert_eq!((&cbor, &branch), (&expected.cbor(), &case["branch0Cbor"].cbor()));
        }
        if let Some(hash) = case.get("branch1024CborSha256") {
            assert_eq!(sha256(&tree.branch(1024).to_cbor().encode()), hash.bytes());
        }
        assert_eq!(HashTree::from_cbor(&cbor).unwrap(), tree);
        assert_eq!(HashBranch::from_cbor(&branch).unwrap(), tree.branch(0));
    }
    let tree = HashTree::from_chunk_hashes(&[Sha256::digest([]).into()]).unwrap();
    assert_eq!(tree.root()[..], empty[0]["rootHash"].bytes());
    assert_eq!(tree.branch(0).to_cbor(), empty[0]["branch0Cbor"].cbor());
}

#[test]
fn roots() {
    let cases = vectors("01-hashtree");
    assert_eq!(cases.items().len(), 5);
    for case in cases.items() {
        let tree = HashTree::from_chunk_hashes(&leaves(case["n_chunks"].number())).unwrap();
        assert_eq!(tree.root()[..], case["root"].bytes());
        assert_eq!(sha256(&tree.branch(0).to_cbor().encode()), case["branch0_cbor_sha256"].bytes());
        let cbor = tree.to_cbor();
        for (key, count) in [("ll1", "level1_lists"), ("ll2", "level2_lists")] {
            let lists = cbor.as_map("tree").unwrap().get(key).unwrap().as_array("lists").unwrap();
            assert_eq!(lists.len() as u64, case[count].number());
        }
    }
}

#[test]
fn replaced_chunk() {
    for count in [1, 2, 1023, 1024, 1025, 2049] {
        let mut hashes = leaves(count);
        let tree = HashTree::from_chunk_hashes(&hashes).unwrap();
        for chunk in [0, count / 2, count - 1] {
            let mut branch = tree.branch(chunk);
            assert_eq!(branch.chunk_hashes().unwrap()[chunk as usize % 1024], hashes[chunk as usize]);
            branch.replace(chunk, [7; 32]).unwrap();
            let before = std::mem::replace(&mut hashes[chunk as usize], [7; 32]);
            assert_eq!(branch, HashTree::from_chunk_hashes(&hashes).unwrap().branch(chunk));
            branch.replace(chunk, before).unwrap();
            assert_eq!(branch, tree.branch(chunk));
            hashes[chunk as usize] = before;
        }
        let mut branch = tree.branch(0);
        for outside in [count.max(1024), 1 << 20, u64::MAX] {
            assert!(outside < count || branch.replace(outside, [7; 32]).is_err(), "{outside} of {count}");
            assert!(branch == tree.branch(0) || outside < count);
        }
    }
}

#[test]
fn malformed() {
    assert!(HashTree::from_chunk_hashes(&[]).is_err());
    let root = "a161685820".to_owned() + &"00".repeat(32);
    let list = |len: usize| format!("a1616859{:04x}{}", len, "00".repeat(len));
    for l1 in [list(0), list(31), list(33), list(32 * 1025)] {
        let branch = hex::decode(format!("a26172{root}626c31{l1}")).unwrap();
        let value = peergos_crypto::cbor::Value::decode(&branch).unwrap();
        assert!(HashBranch::from_cbor(&value).is_err());
    }
    let gap = format!("a46172{root}636c6c3181{}636c6c3280636c6c3381{}", list(32), list(32));
    let value = peergos_crypto::cbor::Value::decode(&hex::decode(gap).unwrap()).unwrap();
    assert!(HashTree::from_cbor(&value).is_err());
    for gap in [format!("a26172{root}626c32{}", list(32)), format!("a36172{root}626c31{0}626c33{0}", list(32))] {
        let value = peergos_crypto::cbor::Value::decode(&hex::decode(gap).unwrap()).unwrap();
        assert!(HashBranch::from_cbor(&value).is_err());
    }
}
