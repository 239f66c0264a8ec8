use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    signing::{KeyHash, SecretSigningKey},
    symmetric::{CipherText, SymmetricKey},
};
use peergos_fs::{
    capability::{Capability, ChildLink, MapKey, RelativeCapability, StreamSecret},
    cryptree::{Time, open_signer},
};
use serde_json::Value as Json;

use crate::support::{array, bat, cbor, chunk_after, file_properties, hex, key, map_key, structures};

fn writer(vectors: &Json, which: &str) -> KeyHash {
    let pair = cbor(&vectors["signers"][which]);
    KeyHash::from_cbor(pair.as_map("signer").unwrap().get("p").unwrap(), "signer").unwrap()
}

fn parent(vectors: &Json) -> Capability {
    let caps = &vectors["capabilities"];
    Capability {
        owner: KeyHash::from_cbor(&cbor(&vectors["signers"]["ownerHashCbor"]), "owner").unwrap(),
        writer: writer(vectors, "writerPrivateAndPublicHashCbor"),
        map_key: map_key(&caps["mapKey"]),
        bat: Some(bat(&caps["bat"])),
        read: key(&caps["rBase"]),
        write: Some(key(&caps["wBase"])),
    }
}

fn child(vectors: &Json) -> Capability {
    let caps = &vectors["capabilities"];
    Capability {
        map_key: map_key(&caps["childMapKey"]),
        bat: Some(bat(&caps["childBat"])),
        read: key(&caps["childRBase"]),
        write: Some(key(&caps["childWBase"])),
        ..parent(vectors)
    }
}

#[test]
fn absolute_capabilities_and_links() {
    let vectors = structures();
    let caps = &vectors["capabilities"];
    let cases = [
        ("absoluteWrite", parent(&vectors)),
        ("absoluteRead", parent(&vectors).read_only()),
        ("absoluteLegacyNoBat", Capability { bat: None, ..parent(&vectors).read_only() }),
    ];
    for (name, cap) in cases {
        let encoded = cbor(&caps[format!("{name}Cbor")]);
        assert_eq!(cap.to_cbor(), encoded, "{name}");
        assert_eq!(Capability::from_cbor(&encoded).unwrap(), cap, "{name}");
        let link = caps[format!("{name}Link")].as_str().unwrap();
        assert_eq!(cap.to_link().as_str(), link, "{name}");
        assert_eq!(Capability::from_link(link).unwrap(), cap, "{name}");
        assert_eq!(Capability::from_link(&link[1..]).unwrap(), cap, "{name}");
    }
    let null = cbor(&caps["nullCapCbor"]);
    assert_eq!(Capability::from_cbor(&null).unwrap().to_cbor(), null);
}

#[test]
fn damaged_links_are_refused() {
    let link = parent(&structures()).to_link();
    for end in 0..link.len() {
        // cut within the optional last part, what is left may be a link of four
        if let Ok(cap) = Capability::from_link(&link[..end]) {
            assert!(cap.write.is_none(), "cut at {end}");
        }
    }
    assert!(Capability::from_link(&format!("{}/{}", *link, "1")).is_err());
    assert!(Capability::from_link("#////").is_err());
}

#[test]
fn relative_capabilities() {
    let vectors = structures();
    let caps = &vectors["capabilities"];
    let other = Capability { writer: writer(&vectors, "writer2PrivateAndPublicHashCbor"), ..child(&vectors) };
    for (name, target) in [("relativeSameWriterCbor", child(&vectors)), ("relativeOtherWriterCbor", other)] {
        let encoded = cbor(&caps[name]);
        let relative = RelativeCapability::from_cbor(&encoded).unwrap();
        assert_eq!(relative.to_cbor(), encoded, "{name}");
        assert_eq!(relative.absolutise(&parent(&vectors)).unwrap(), target, "{name}");
        assert_eq!(relative.absolutise(&parent(&vectors).read_only()).unwrap(), target.read_only(), "{name}");

        // ours differs in the nonce of the write key alone
        let mut ours = RelativeCapability::relativise(&parent(&vectors), &target).unwrap();
        let sealed = ours.write.as_mut().unwrap();
        let (outer, inner) = (key(&caps["wBase"]), key(&caps["childWBase"]));
        let nonce = relative.write.as_ref().unwrap().nonce;
        assert_ne!(sealed.nonce, nonce);
        assert_eq!(sealed.open(&outer).unwrap(), inner.to_cbor());
        *sealed = CipherText::seal_with(&outer, nonce, &inner.to_cbor(), 1);
        assert_eq!(ours, relative, "{name}");
    }
    let next = cbor(&caps["relativeNextChunkCbor"]);
    let relative = RelativeCapability::from_cbor(&next).unwrap();
    assert_eq!(relative.to_cbor(), next);
    assert_eq!((&relative.write, &relative.writer), (&None, &None));
}

#[test]
fn links_stay_within_an_account_and_pass_on_no_equal_write_keys() {
    let vectors = structures();
    let foreign = Capability { owner: writer(&vectors, "writerPrivateAndPublicHashCbor"), ..child(&vectors) };
    assert!(RelativeCapability::relativise(&parent(&vectors), &foreign).is_err());

    let same_key = Capability { write: parent(&vectors).write, ..child(&vectors) };
    assert_eq!(RelativeCapability::relativise(&parent(&vectors), &same_key).unwrap().write, None);
    let read_only = child(&vectors).read_only();
    assert_eq!(RelativeCapability::relativise(&parent(&vectors), &read_only).unwrap().write, None);
    let wrong_key = Capability { write: Some(SymmetricKey::from_bytes([9; 32])), ..parent(&vectors) };
    let link = RelativeCapability::relativise(&parent(&vectors), &child(&vectors)).unwrap();
    assert!(link.absolutise(&wrong_key).is_err());
}

#[test]
fn child_links() {
    let vectors = structures();
    let caps = &vectors["capabilities"];
    for name in ["namedRelativeCbor", "namedRelativeLegacyCbor", "namedRelativeOtherWriterCbor"] {
        let encoded = cbor(&caps[name]);
        assert_eq!(ChildLink::from_cbor(&encoded).unwrap().to_cbor(), encoded, "{name}");
    }
    let named = ChildLink::from_cbor(&cbor(&caps["namedRelativeCbor"])).unwrap();
    assert_eq!(named.name, "a file.txt");
    assert_eq!(
        (named.created, named.is_dir, named.mime.as_deref()),
        (Some(1_709_210_096), Some(false), Some("text/plain"))
    );
    let legacy = ChildLink::from_cbor(&cbor(&caps["namedRelativeLegacyCbor"])).unwrap();
    assert_eq!((legacy.created, legacy.is_dir, legacy.mime), (None, None, None));

    let time = Time { secs: 1_709_210_096, nanos: 5 };
    let secret = StreamSecret::generate().unwrap();
    let properties = file_properties("a file.txt", "text/plain", 7, time, secret);
    let ours = ChildLink::new(&parent(&vectors), &child(&vectors), &properties).unwrap();
    assert_eq!(ChildLink { cap: named.cap.clone(), ..ours }, named);
}

#[test]
fn unknown_keys_of_child_links_are_kept() {
    let vectors = structures();
    let mut map = cbor(&vectors["capabilities"]["namedRelativeCbor"]).as_map("child link").unwrap().clone();
    map.insert("later", vec![Value::Int(1), Value::Bool(true)]);
    map.insert("z", "short");
    let encoded = Value::Map(map);
    let link = ChildLink::from_cbor(&encoded).unwrap();
    assert_eq!(link.unknown.len(), 2);
    assert_eq!(link.to_cbor().encode(), encoded.encode());
}

#[test]
fn chunk_places_are_derived() {
    let vectors = structures();
    let chain = &vectors["mapKeyChain"];
    let secret = StreamSecret::from_bytes(array(&chain["streamSecret"]));
    let chunks = chain["chunks"].as_array().unwrap();
    let first =
        Capability { map_key: map_key(&chunks[0]["mapKey"]), bat: Some(bat(&chunks[0]["bat"])), ..parent(&vectors) };
    let (mut place, mut token) = (first.map_key, first.bat.clone());
    for (i, chunk) in chunks.iter().enumerate() {
        assert_eq!((place, token.as_ref()), (map_key(&chunk["mapKey"]), Some(&bat(&chunk["bat"]))), "chunk {i}");
        let cap = chunk_after(&secret, &first, i);
        assert_eq!(cap, first.at(place, token.clone()), "chunk {i}");
        (place, token) = secret.next_chunk(place, token.as_ref());
    }
    assert_eq!(secret.next_chunk(MapKey([0; 32]), None).1, None);
}

#[test]
fn lookups_name_the_token_by_the_hash_of_its_cbor() {
    let vectors = structures();
    let cap = parent(&vectors).champ_cap();
    assert_eq!(cap.map_key, parent(&vectors).map_key.0);
    let id = Cid::from_bytes(&hex(&vectors["bat"]["chunkBatId_sha256ofCbor"])).unwrap();
    assert_eq!(id.codec(), Codec::Raw);
    assert_eq!(cap.bat.unwrap().id, id);
}

#[test]
fn signer_links() {
    let vectors = structures();
    let link = &vectors["symmetricLinkToSigner"];
    let write = key(&link["wBase"]);
    let sealed = CipherText::from_cbor(&cbor(&link["cbor"])).unwrap();
    let plaintext = cbor(&link["plaintextCbor"]);
    assert_eq!(sealed.open(&write).unwrap(), plaintext);
    assert_eq!(CipherText::seal_with(&write, sealed.nonce, &plaintext, 1), sealed);

    let expected = writer(&vectors, "writerPrivateAndPublicHashCbor");
    let signer = open_signer(&sealed, &write, &expected).unwrap();
    assert_eq!(signer.hash(), &expected);
    assert_eq!(signer.to_cbor(), cbor(&vectors["signers"]["writerSecretCbor"]));
    assert!(open_signer(&sealed, &write, &writer(&vectors, "writer2PrivateAndPublicHashCbor")).is_err());

    let ours = peergos_fs::cryptree::seal_signer(&signer, &write).unwrap();
    assert_eq!(ours.open(&write).unwrap(), plaintext);
    let other = SecretSigningKey::generate().unwrap();
    let foreign = peergos_fs::cryptree::seal_signer(&other, &write).unwrap();
    assert!(open_signer(&foreign, &write, &expected).is_err());
}
