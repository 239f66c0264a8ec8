use peergos_crypto::{
    cid::{Cid, Codec},
    multibase, varint,
};
use proptest::prelude::*;

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![Codec::Raw, Codec::DagPb, Codec::DagCbor, Codec::LibP2pKey])
}

fn code(codec: Codec) -> u64 {
    match codec {
        Codec::Raw => 0x55,
        Codec::DagPb => 0x70,
        Codec::DagCbor => 0x71,
        Codec::LibP2pKey => 0x72,
    }
}

proptest! {
    /// The `cid` crate is a second opinion on everything that it can hold.
    #[test]
    fn as_the_cid_crate(codec in codecs(), block in prop::collection::vec(any::<u8>(), 0..100)) {
        let ours = Cid::of_block(codec, &block);
        let theirs = cid::Cid::try_from(&ours.to_bytes()[..]).unwrap();
        prop_assert_eq!(theirs.codec(), code(codec));
        prop_assert_eq!(theirs.hash().to_bytes(), ours.multihash());
        prop_assert_eq!(theirs.hash().digest(), ours.sha256_digest().unwrap());
        prop_assert_eq!(theirs.to_bytes(), ours.to_bytes());
        let base58 = theirs.to_string_of_base(cid::multibase::Base::Base58Btc).unwrap();
        prop_assert_eq!(&base58, &ours.to_string());
        prop_assert_eq!(base58.parse::<Cid>().unwrap(), ours.clone());
        prop_assert_eq!(theirs.to_string().parse::<Cid>().unwrap(), ours.clone());
        prop_assert!(ours.verifies(&block));

        let old = cid::Cid::new_v0(*theirs.hash()).unwrap();
        let ours = Cid::from_bytes(&old.to_bytes()).unwrap();
        prop_assert_eq!(old.to_string(), ours.to_string());
        prop_assert_eq!(ours.to_string().parse::<Cid>().unwrap(), ours.clone());
        prop_assert_eq!(ours.codec(), Codec::DagPb);
        prop_assert!(ours.verifies(&block));
    }

    #[test]
    fn identity(codec in codecs(), content in prop::collection::vec(any::<u8>(), 0..=36)) {
        let ours = Cid::identity(codec, &content).unwrap();
        let theirs = cid::Cid::try_from(&ours.to_bytes()[..]).unwrap();
        prop_assert_eq!((theirs.codec(), theirs.hash().code()), (code(codec), 0));
        prop_assert_eq!(theirs.hash().digest(), &content);
        prop_assert_eq!(ours.identity_content(), Some(&content[..]));
        prop_assert_eq!(ours.codec(), codec);
        prop_assert_eq!(&Cid::from_bytes(&ours.to_bytes()).unwrap(), &ours);
        prop_assert_eq!(ours.to_string().parse::<Cid>().unwrap(), ours);
    }

    /// Whatever is read is written back the same, and the accessors hold.
    #[test]
    fn any_bytes(mut input in prop::collection::vec(any::<u8>(), 0..80), plausible: bool) {
        if plausible && input.len() > 3 {
            input[..2].copy_from_slice(&[1, 0x55]);
            input[2] &= 0x1f;
            input[3] = (input.len() - 4) as u8;
        }
        if let Ok(cid) = Cid::from_bytes(&input) {
            prop_assert_eq!(cid.to_bytes().len(), cid.encoded_len());
            prop_assert_eq!(&cid.to_bytes(), &input);
            prop_assert_eq!(&cid.to_string().parse::<Cid>().unwrap(), &cid);
            prop_assert!(cid.multihash().len() <= input.len());
            prop_assert_eq!(cid.verifies(&input), cid.identity_content() == Some(&input));
        }
    }

    #[test]
    fn changed_or_cut(digest: [u8; 32], at in 0..36usize, byte: u8) {
        let bytes = Cid::sha256(Codec::DagCbor, digest).to_bytes();
        prop_assert!(Cid::from_bytes(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] = byte;
        if let Ok(cid) = Cid::from_bytes(&changed) {
            prop_assert_eq!(cid.to_bytes(), changed);
        }
        prop_assert!(Cid::from_bytes(&[&bytes[..], &[byte]].concat()).is_err());
    }

    #[test]
    fn any_text(text in "\\PC{0,80}", peer in "1[1-9A-HJ-NP-Za-km-z]{0,60}") {
        for text in [text, peer] {
            if let Ok(cid) = text.parse::<Cid>() {
                prop_assert_eq!(cid.to_string().parse::<Cid>().unwrap(), cid);
            }
            if let Ok(cid) = Cid::from_peer_id(&text) {
                prop_assert_eq!(Cid::from_peer_id(&cid.to_string()).unwrap(), cid);
            }
        }
    }

    #[test]
    fn texts(bytes in prop::collection::vec(any::<u8>(), 0..100), zeros in 0..5usize) {
        let bytes = [vec![0; zeros], bytes].concat();
        prop_assert_eq!(&multibase::decode(&multibase::encode(&bytes)).unwrap(), &bytes);
        prop_assert_eq!(&multibase::base58_decode(&multibase::base58_encode(&bytes)).unwrap(), &bytes);
        prop_assert_eq!(&multibase::base32_decode(&multibase::base32_upper(&bytes)).unwrap(), &bytes);
        prop_assert_eq!(&multibase::hex_decode(&multibase::hex(&bytes)).unwrap(), &bytes);
        prop_assert_eq!(multibase::hex(&bytes), hex::encode(&bytes));
        use cid::multibase::Base;
        for base in [Base::Base16Lower, Base::Base32Lower, Base::Base32Upper, Base::Base32HexLower, Base::Base32HexUpper,
            Base::Base36Lower, Base::Base58Btc, Base::Base64] {
            let text = cid::multibase::encode(base, &bytes);
            prop_assert_eq!(&multibase::decode(&text).unwrap(), &bytes, "{}", text);
        }
    }

    #[test]
    fn varints(number: u64, rest in prop::collection::vec(any::<u8>(), 0..4)) {
        let mut bytes = Vec::new();
        varint::write(number, &mut bytes);
        for cut in 0..bytes.len() {
            prop_assert!(varint::read(&bytes[..cut]).is_err());
        }
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(varint::read(&bytes).unwrap(), (number, &rest[..]));
    }

    /// There is one encoding of each number.
    #[test]
    fn any_varint(input in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok((number, rest)) = varint::read(&input) {
            let mut bytes = Vec::new();
            varint::write(number, &mut bytes);
            prop_assert_eq!([&bytes[..], rest].concat(), input);
        }
    }
}

#[test]
fn overlong_texts() {
    let text = "z".repeat(multibase::MAX_TEXT + 1);
    assert!(multibase::decode(&text).is_err());
    assert!(multibase::base58_decode(&text).is_err());
    assert!(varint::read(&[0xff; 10]).is_err());
    assert!(varint::read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]).is_err());
}
