//! SHA-256 by the SHA extensions of x86-64, of two messages in turns.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi8, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::Hash;

const BLOCK: usize = 64;

/// The hash of nothing yet (FIPS 180-4 §5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The constants of the rounds (FIPS 180-4 §4.2.2).
const ROUNDS: [[u32; 4]; 16] = [
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5],
    [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3],
    [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc],
    [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7],
    [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13],
    [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3],
    [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5],
    [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208],
    [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
];

/// A message that is being hashed: its front as far as it must be joined, whole blocks of the rest, and its end with the
/// padding.
struct Lane<'a> {
    message: usize,
    state: [u32; 8],
    front: Vec<[u8; BLOCK]>,
    front_done: usize,
    blocks: &'a [[u8; BLOCK]],
    end: [[u8; BLOCK]; 2],
    /// How many blocks the end has, and how many of them are hashed.
    end_len: usize,
    end_done: usize,
}

impl<'a> Lane<'a> {
    fn new((message, [front, rest]): (usize, [&'a [u8]; 2])) -> Self {
        let len = (front.len() + rest.len()) as u64 * 8;
        let (joined, rest) =
            rest.split_at(front.len().next_multiple_of(BLOCK).saturating_sub(front.len()).min(rest.len()));
        let joined = [front, joined].concat();
        let (front, unfilled) = joined.as_chunks();
        let (blocks, rest) = rest.as_chunks();
        let rest = [unfilled, rest].concat();
        let mut end = [[0; BLOCK]; 2];
        let flat = end.as_flattened_mut();
        flat[..rest.len()].copy_from_slice(&rest);
        flat[rest.len()] = 0x80;
        let end_len = (rest.len() + 9).div_ceil(BLOCK);
        flat[end_len * BLOCK - 8..end_len * BLOCK].copy_from_slice(&len.to_be_bytes());
        Self { message, state: INITIAL, front: front.to_vec(), front_done: 0, blocks, end, end_len, end_done: 0 }
    }

    /// What remains to be hashed, in one place.
    fn run(&self) -> &[[u8; BLOCK]] {
        match (&self.front[self.front_done..], self.blocks) {
            ([], []) => &self.end[self.end_done..self.end_len],
            ([], blocks) => blocks,
            (front, _) => front,
        }
    }

    fn advance(&mut self, state: [u32; 8], count: usize) {
        self.state = state;
        match (&self.front[self.front_done..], self.blocks) {
            ([], []) => self.end_done += count,
            ([], blocks) => self.blocks = &blocks[count..],
            _ => self.front_done += count,
        }
    }

    fn hash(&self) -> Option<Hash> {
        let is_done = self.end_done == self.end_len;
        let words = self.state.map(u32::to_be_bytes);
        is_done.then(|| words.as_flattened().try_into().expect("eight words of four bytes"))
    }
}

/// The hashes of messages; none if this processor lacks the instructions.
pub fn digest_parts(messages: &[[&[u8]; 2]]) -> Option<Vec<Hash>> {
    if !(is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")) {
        return None;
    }
    let mut hashes = vec![[0; 32]; messages.len()];
    let mut waiting = messages.iter().copied().enumerate().map(Lane::new);
    let mut lanes: Vec<Lane<'_>> = waiting.by_ref().take(2).collect();
    while !lanes.is_empty() {
        match &mut lanes[..] {
            [one, other] => {
                let count = one.run().len().min(other.run().len());
                let (states, runs) = ([one.state, other.state], [&one.run()[..count], &other.run()[..count]]);
                // SAFETY: the processor has the instructions.
                let [first, second] = unsafe { compress(states, runs) };
                one.advance(first, count);
                other.advance(second, count);
            }
            lanes => {
                for lane in lanes {
                    let count = lane.run().len();
                    // SAFETY: as above.
                    let [state] = unsafe { compress([lane.state], [lane.run()]) };
                    lane.advance(state, count);
                }
            }
        }
        lanes.retain(|lane| match lane.hash() {
            Some(hash) => {
                hashes[lane.message] = hash;
                false
            }
            None => true,
        });
        let free = 2 - lanes.len();
        lanes.extend(waiting.by_ref().take(free));
    }
    Some(hashes)
}

/// Takes the blocks of messages, equally many of each, into their states.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const N: usize>(states: [[u32; 8]; N], blocks: [&[[u8; BLOCK]]; N]) -> [[u32; 8]; N] {
    let count = blocks.first().map_or(0, |blocks| blocks.len());
    let mut states = states.map(|state| pack(state));
    for at in 0..count {
        let before = states;
        let mut words = [[_mm_set_epi64x(0, 0); 4]; N];
        for (words, blocks) in words.iter_mut().zip(&blocks) {
            *words = load(&blocks[at]);
        }
        for (round, constants) in ROUNDS.iter().enumerate() {
            let [k0, k1, k2, k3] = constants.map(u32::cast_signed);
            let constants = _mm_set_epi32(k3, k2, k1, k0);
            for ([abef, cdgh], words) in states.iter_mut().zip(&mut words) {
                let [w0, w1, w2, w3] = *words;
                let sum = _mm_add_epi32(w0, constants);
                *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
                *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0e));
                // the words of the rounds after the next twelve, where there are any
                let next = if round < 12 {
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
                    _mm_sha256msg2_epu32(sum, w3)
                } else {
                    w0
                };
                *words = [w1, w2, w3, next];
            }
        }
        for (state, before) in states.iter_mut().zip(before) {
            *state = [_mm_add_epi32(state[0], before[0]), _mm_add_epi32(state[1], before[1])];
        }
    }
    states.map(|state| unpack(state))
}

/// The sixteen words of a block.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load(block: &[u8; BLOCK]) -> [__m128i; 4] {
    let big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let (halves, _) = block.as_chunks::<8>();
    let half = |at: usize| i64::from_le_bytes(halves[at]);
    [0, 2, 4, 6].map(|at| _mm_shuffle_epi8(_mm_set_epi64x(half(at + 1), half(at)), big_endian))
}

/// A state in the order that the instructions want: the words a, b, e, f and c, d, g, h, each from the highest on.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn pack(state: [u32; 8]) -> [__m128i; 2] {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    [_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h)]
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn unpack([abef, cdgh]: [__m128i; 2]) -> [u32; 8] {
    let words = |from: __m128i| {
        [_mm_extract_epi32(from, 3), _mm_extract_epi32(from, 2), _mm_extract_epi32(from, 1), _mm_extract_epi32(from, 0)]
            .map(i32::cast_unsigned)
    };
    let ([a, b, e, f], [c, d, g, h]) = (words(abef), words(cdgh));
    [a, b, c, d, e, f, g, h]
}
