//! The two implementations against each other, and parts against the whole.

use proptest::prelude::*;

use super::{OVERHEAD, cipher, encrypt_range, open_in_place, open_range_unauthenticated, portable, seal_in_place, tag};

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![0..300usize, (0..40usize).prop_map(|blocks| blocks * 64), 4000..70_000usize]
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8)) as u8).collect()
}

proptest! {
    #[test]
    fn same_ciphertext(key: [u8; 32], nonce: [u8; 24], len in lengths()) {
        let (mut one, mut other) = (text(len), text(len));
        let tag = cipher::seal(&key, &nonce, &mut one);
        prop_assert_eq!(tag, portable::seal(&key, &nonce, &mut other));
        prop_assert_eq!(&one, &other);
        prop_assert!(cipher::open(&key, &nonce, &tag, &mut other));
        prop_assert!(portable::open(&key, &nonce, &tag, &mut one));
        prop_assert_eq!(&one, &text(len));
        prop_assert_eq!(&other, &text(len));
    }

    #[test]
    fn same_keystream(key: [u8; 32], nonce: [u8; 24], offset in 0..1u64 << 32, len in lengths()) {
        let (mut one, mut other) = (text(len), text(len));
        cipher::xor_keystream(&key, &nonce, offset, &mut one);
        portable::xor_keystream(&key, &nonce, offset, &mut other);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn range_of_the_whole(
        key: [u8; 32],
        nonce: [u8; 24],
        len in lengths(),
        range in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut sealed = [vec![0; OVERHEAD], text(len)].concat();
        seal_in_place(&key, &nonce, &mut sealed);
        let (a, b) = (range.0.index(len + 1), range.1.index(len + 1));
        let (from, to) = (a.min(b), a.max(b));
        let mut part = sealed[OVERHEAD + from..OVERHEAD + to].to_vec();
        open_range_unauthenticated(&key, &nonce, from as u64, &mut part);
        prop_assert_eq!(&part, &text(len)[from..to]);
    }

    #[test]
    fn parts_of_the_whole(
        key: [u8; 32],
        nonce: [u8; 24],
        len in lengths(),
        cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut whole = [vec![0; OVERHEAD], text(len)].concat();
        seal_in_place(&key, &nonce, &mut whole);
        let (a, b) = (cuts.0.index(len + 1), cuts.1.index(len + 1));
        let cuts = [0, a.min(b), a.max(b), len];
        let mut parts: Vec<Vec<u8>> = cuts.windows(2).map(|cut| text(len)[cut[0]..cut[1]].to_vec()).collect();
        for (part, at) in parts.iter_mut().zip(cuts) {
            encrypt_range(&key, &nonce, at as u64, part);
        }
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(&tag(&key, &nonce, &slices)[..], &whole[..OVERHEAD]);
        prop_assert_eq!(parts.concat(), &whole[OVERHEAD..]);
        prop_assert_eq!(portable::authenticate(&key, &slices), cipher::authenticate(&key, &slices));
    }

    #[test]
    fn changed_bit(key: [u8; 32], nonce: [u8; 24], len in 0..300usize, bit in any::<prop::sample::Index>()) {
        let mut sealed = [vec![0; OVERHEAD], text(len)].concat();
        seal_in_place(&key, &nonce, &mut sealed);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open_in_place(&key, &nonce, &mut sealed).is_err());
    }
}

#[test]
fn too_short_for_a_tag() {
    for len in 0..OVERHEAD {
        assert!(open_in_place(&[0; 32], &[0; 24], &mut vec![0; len]).is_err());
    }
}

/// The nonce's last block is 2³⁸ bytes away, so that the block counter passes 32 bits.
#[test]
fn far_offsets() {
    for offset in [(1 << 38) - 100, (1 << 38) - 64, 1 << 38, (1 << 38) + 1] {
        let (mut one, mut other) = (text(200), text(200));
        cipher::xor_keystream(&[1; 32], &[2; 24], offset, &mut one);
        portable::xor_keystream(&[1; 32], &[2; 24], offset, &mut other);
        assert_eq!(one, other, "{offset}");
    }
}
