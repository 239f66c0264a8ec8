//! Proofs of work: what a server may ask for before it writes to the PKI (spec 01 §2.10).

use sha2::{Digest, Sha256};

use crate::{Error, Result, cbor::Value, cbor_map};

/// The hardest proof that is worked for: about four thousand million hashes, some minutes. What a server asks for
/// beyond this (it may answer anything up to 256) would never end.
pub const MAX_DIFFICULTY: u32 = 32;

const SHA2_256: i64 = 0x12;
const PREFIX_LEN: usize = 8;

/// A proof that work was done for some data: `{"type": 18, "prefix": bstr}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofOfWork {
    /// 8 bytes, or none where no work was asked for.
    prefix: Vec<u8>,
}

impl ProofOfWork {
    /// The first prefix, counted from zero, that satisfies `difficulty` for `data`.
    ///
    /// # Errors
    /// [`Error::Work`] beyond [`MAX_DIFFICULTY`].
    pub fn find(data: &[u8], difficulty: u32) -> Result<Self> {
        if difficulty > MAX_DIFFICULTY {
            return Err(Error::Work(difficulty));
        }
        (0..=u64::MAX)
            .map(u64::to_le_bytes)
            .find(|prefix| satisfies(prefix, data, difficulty))
            .map(|prefix| Self { prefix: prefix.to_vec() })
            .ok_or(Error::Work(difficulty))
    }

    /// The proof that no work was done.
    pub const fn none() -> Self {
        Self { prefix: Vec::new() }
    }

    /// Whether this is a proof of `difficulty` (0 to 256) for `data`.
    pub fn satisfies(&self, data: &[u8], difficulty: u32) -> bool {
        satisfies(&self.prefix, data, difficulty)
    }

    /// The structure `{"type": 18, "prefix": bstr}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "type" => SHA2_256, "prefix" => self.prefix.as_slice() }
    }

    /// Reads the structure `{"type": 18, "prefix": bstr}`.
    ///
    /// # Errors
    /// [`Error::Structure`], also for another type or a prefix that is neither empty nor 8 bytes.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("proof of work")?;
        let kind = map.require("type", "proof of work type")?.as_int("proof of work type")?;
        let prefix = map.require("prefix", "proof of work prefix")?.as_bytes("proof of work prefix")?;
        if kind != SHA2_256 || ![0, PREFIX_LEN].contains(&prefix.len()) {
            return Err(Error::Structure("proof of work"));
        }
        Ok(Self { prefix: prefix.to_vec() })
    }
}

/// The bits that count are whole bytes from the front, and then the *low-order* bits of the next byte.
fn satisfies(prefix: &[u8], data: &[u8], difficulty: u32) -> bool {
    let hash = Sha256::new().chain_update(prefix).chain_update(data).finalize();
    let (whole, bits) = (difficulty as usize / 8, difficulty % 8);
    let Some((zeros, rest)) = hash.split_at_checked(whole) else {
        return false;
    };
    let low_bits = (1u8 << bits) - 1;
    zeros.iter().all(|byte| *byte == 0)
        && match rest.first() {
            Some(byte) => byte & low_bits == 0,
            None => bits == 0,
        }
}
