//! Reproducible randomness: file content that can be regenerated at any offset, and seeded choices.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// splitmix64: the `n`th output for a seed is computed directly, so that content is addressable.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fills `buf` with bytes `offset..offset + buf.len()` of the endless incompressible stream `seed`.
pub fn fill(seed: u64, offset: u64, buf: &mut [u8]) {
    let base = mix(seed);
    let (mut word, skip) = (offset / 8, (offset % 8) as usize);
    let head = buf.len().min((8 - skip) % 8);
    let (first, rest) = buf.split_at_mut(head);
    if head > 0 {
        first.copy_from_slice(&mix(base.wrapping_add(word)).to_le_bytes()[skip..skip + head]);
        word += 1;
    }
    for chunk in rest.chunks_mut(8) {
        chunk.copy_from_slice(&mix(base.wrapping_add(word)).to_le_bytes()[..chunk.len()]);
        word += 1;
    }
}

/// The first `len` bytes of stream `seed`.
pub fn filled(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(seed, 0, &mut bytes);
    bytes
}

/// Whether `reader` yields exactly the first `len` bytes of stream `seed`. Takes constant memory.
pub fn holds(mut reader: impl Read, seed: u64, len: u64) -> Result<(), String> {
    let (mut got, mut want, mut at) = (vec![0; 1 << 20], vec![0; 1 << 20], 0u64);
    loop {
        let n = reader.read(&mut got).map_err(|e| format!("read error at {at}: {e}"))?;
        if n == 0 {
            return if at == len { Ok(()) } else { Err(format!("{at} bytes long instead of {len}")) };
        }
        fill(seed, at, &mut want[..n]);
        if let Some(i) = (0..n).find(|&i| got[i] != want[i]) {
            return Err(format!("differs at byte {} of {len}", at + i as u64));
        }
        at += n as u64;
    }
}

/// Writes a file, and has it saved.
pub fn write_synced(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).and_then(|()| File::open(path)?.sync_all()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
}

/// A seeded source of choices.
#[derive(Clone)]
pub struct Rng(u64, u64);

impl Rng {
    /// Always the same choices for a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed), 0)
    }

    /// As [`new`](Self::new), but `PEERGOS_TEST_SEED` overrides the seed, which is printed with a failure.
    pub fn overridable(default: u64) -> Self {
        let seed = std::env::var("PEERGOS_TEST_SEED").ok().map(|s| s.parse().expect("PEERGOS_TEST_SEED is a number"));
        let seed = seed.unwrap_or(default);
        println!("PEERGOS_TEST_SEED={seed}");
        Self::new(seed)
    }

    /// The next 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.1 += 1;
        mix(self.0.wrapping_add(self.1))
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

#[test]
fn content_is_the_same_whichever_way_it_is_cut() {
    let whole = filled(7, 1000);
    for (offset, len) in [(0, 1000), (1, 7), (3, 2), (8, 8), (5, 900), (999, 1), (16, 0)] {
        let mut part = vec![0; len];
        fill(7, offset as u64, &mut part);
        assert_eq!(part, whole[offset..offset + len], "{offset}+{len}");
    }
    assert!(holds(&whole[..], 7, 1000).is_ok());
    assert!(holds(&whole[..999], 7, 1000).is_err());
    assert!(holds(&whole[1..], 7, 999).is_err());
}
