//! Fingerprints of a friendship: what two people compare to know that no server stands between them
//! (spec 01 §2.14, 04 §3.7).

use blake2::{Blake2b512, Digest};

use crate::{Error, Result, cbor::Value, cbor_map, multibase, signing::KeyHash};

const ROUNDS: usize = 5200;
const VERSION: i64 = 1;
const GROUP_LEN: usize = 5;

/// One person's half: 32 bytes of an iterated hash over the name and keys.
pub type Half = [u8; 32];

/// The half of a person with these keys: the hashes of the identity and of the boxing key.
pub fn half(username: &str, keys: &[KeyHash]) -> Half {
    let mut keys: Vec<Vec<u8>> = keys.iter().map(|key| Value::from(key).encode()).collect();
    keys.sort_by_key(|key| (key.len(), key.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>()));
    let start = [&[0, 0], username.as_bytes(), &keys.concat()].concat();
    let first: [u8; 64] = Blake2b512::digest(start).into();
    let last = (1..ROUNDS).fold(first, |hash, _| Blake2b512::digest(hash).into());
    std::array::from_fn(|i| last[i])
}

/// Both halves, as one of the two people sees them: `{"f": friend, "u": us, "v": 1}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The friend's half.
    pub friend: Half,
    /// Our own half.
    pub us: Half,
}

impl Fingerprint {
    /// The 60 digits to read out, the same for both people.
    pub fn digits(&self) -> String {
        let mut halves = [digits(&self.us), digits(&self.friend)];
        halves.sort();
        halves.concat()
    }

    /// Whether `other` is how the friend sees this friendship.
    pub fn matches(&self, other: &Self) -> bool {
        self.us == other.friend && self.friend == other.us
    }

    /// The structure `{"f": friend, "u": us, "v": 1}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "f" => self.friend, "u" => self.us, "v" => VERSION }
    }

    /// Reads the structure `{"f": friend, "u": us, "v": 1}`.
    ///
    /// # Errors
    /// [`Error::Structure`], also for another version.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("fingerprint")?;
        if map.require("v", "fingerprint version")? != &Value::Int(VERSION) {
            return Err(Error::Structure("fingerprint version"));
        }
        let half = |key| map.require(key, "fingerprint half")?.as_array_of("fingerprint half");
        Ok(Self { friend: half("f")?, us: half("u")? })
    }

    /// The text of the QR code: the CBOR in hexadecimal.
    pub fn to_text(&self) -> String {
        multibase::hex(&self.to_cbor().encode())
    }

    /// Reads [`Fingerprint::to_text`].
    ///
    /// # Errors
    /// [`Error::Cid`], [`Error::Cbor`] or [`Error::Structure`].
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_cbor(&Value::decode(&multibase::hex_decode(text)?)?)
    }
}

/// Six groups of five digits, each from five little-endian bytes.
fn digits(half: &Half) -> String {
    let groups = half.chunks_exact(GROUP_LEN);
    groups
        .map(|group| group.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        .map(|number| format!("{:05}", number % 100_000))
        .collect()
}
