//! Boxing keys of X25519 and ML-KEM-1024 together: a box stays closed as long as one of the two holds (spec 01 §2.5).
//!
//! Peergos keeps the expanded decapsulation key of FIPS 203 (3168 bytes), so the form that `ml_kem` calls deprecated
//! is the one needed here.
#![allow(deprecated)]

use std::fmt;

use ml_kem::{
    B32, Decapsulate, DecapsulationKey1024, EncapsulationKey1024, ExpandedKeyEncoding, KeyExport, Seed,
    array::{Array, ArraySize},
};
use zeroize::{Zeroize, Zeroizing};

use super::curve25519::{CurvePublic, CurveSecret};
use crate::{
    Error, Result,
    cbor::{Map, Value},
    cbor_map,
    hkdf::hkdf,
    random,
    secretbox::{self, NONCE_LEN},
};

/// A public hybrid key, 1617 bytes with its type: `{"c": Curve25519 key, "m": {"p": bstr .size 1568}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HybridPublic {
    curve: CurvePublic,
    kem: EncapsulationKey1024,
}

impl HybridPublic {
    pub(super) fn to_cbor(&self) -> Value {
        cbor_map! { "c" => self.curve.to_cbor(), "m" => cbor_map! { "p" => self.kem.to_bytes().as_slice() } }
    }

    pub(super) fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("hybrid public key")?;
        let kem = part(map, "p")?;
        Ok(Self {
            curve: CurvePublic::from_cbor(map.require("c", "hybrid public key")?)?,
            kem: EncapsulationKey1024::new(array(kem)?).map_err(|_| Error::Key("invalid ML-KEM public key"))?,
        })
    }
}

/// A secret hybrid key: `{"c": Curve25519 key, "m": {"s": bstr .size 3168}}`. Erased when dropped, never shown.
#[derive(Clone)]
pub struct HybridSecret {
    curve: CurveSecret,
    kem: DecapsulationKey1024,
}

/// What a box draws at random.
pub(super) struct Randomness {
    /// The part of the key that travels under X25519.
    pub share: [u8; 32],
    /// What ML-KEM derives the other part from.
    pub encapsulation: [u8; 32],
    pub share_nonce: [u8; NONCE_LEN],
    pub nonce: [u8; NONCE_LEN],
}

impl Drop for Randomness {
    fn drop(&mut self) {
        self.share.zeroize();
        self.encapsulation.zeroize();
    }
}

impl HybridSecret {
    pub(super) fn generate() -> Result<Self> {
        let mut seed = Seed::from(random::bytes()?);
        let kem = DecapsulationKey1024::from_seed(seed);
        seed.zeroize();
        Ok(Self { curve: CurveSecret::generate()?, kem })
    }

    /// The public half.
    pub fn public(&self) -> HybridPublic {
        HybridPublic { curve: self.curve.public(), kem: self.kem.encapsulation_key().clone() }
    }

    /// CBOR `{"c": boxed share, "i": secretbox of the message, "m": ML-KEM ciphertext, "n": nonce}`.
    pub(super) fn seal(&self, message: &[u8], to: &HybridPublic) -> Result<Vec<u8>> {
        let randomness = Randomness {
            share: random::bytes()?,
            encapsulation: random::bytes()?,
            share_nonce: random::bytes()?,
            nonce: random::bytes()?,
        };
        Ok(self.seal_with(&randomness, message, to))
    }

    pub(super) fn seal_with(&self, randomness: &Randomness, message: &[u8], to: &HybridPublic) -> Vec<u8> {
        let (encapsulated, shared) = to.kem.encapsulate_deterministic(&B32::from(randomness.encapsulation));
        let key = combine(&randomness.share, shared);
        let sealed = secretbox::seal(&key, &randomness.nonce, message);
        let share = self.curve.seal_with(randomness.share_nonce, &randomness.share, &to.curve);
        cbor_map! { "c" => share, "i" => sealed, "m" => encapsulated.as_slice(), "n" => randomness.nonce }.encode()
    }

    /// The inverse of [`HybridSecret::seal`].
    pub(super) fn open(&self, sealed: &[u8], from: &HybridPublic) -> Result<Zeroizing<Vec<u8>>> {
        let value = Value::decode(sealed)?;
        let map = value.as_map("hybrid box")?;
        let field = |key| map.require(key, "hybrid box");
        let share = self.curve.open(field("c")?.as_bytes("hybrid box")?, &from.curve)?;
        let shared = self.kem.decapsulate(array(field("m")?.as_bytes("hybrid box")?)?);
        let nonce = field("n")?.as_array_of("hybrid box nonce")?;
        secretbox::open(&combine(&share, shared), &nonce, field("i")?.as_bytes("hybrid box")?)
    }

    pub(super) fn to_cbor(&self) -> Value {
        let expanded = Zeroizing::new(self.kem.to_expanded_bytes());
        cbor_map! { "c" => self.curve.to_cbor(), "m" => cbor_map! { "s" => expanded.as_slice() } }
    }

    pub(super) fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("hybrid secret key")?;
        let kem = part(map, "s")?;
        Ok(Self {
            curve: CurveSecret::from_cbor(map.require("c", "hybrid secret key")?)?,
            kem: DecapsulationKey1024::from_expanded_bytes(array(kem)?)
                .map_err(|_| Error::Key("invalid ML-KEM secret key"))?,
        })
    }
}

impl fmt::Debug for HybridSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HybridSecret")
    }
}

/// The key of the message, from the share that X25519 carries and the one that ML-KEM does.
pub(super) fn combine(share: &[u8], mut shared: ml_kem::SharedKey) -> Zeroizing<[u8; 32]> {
    let input = Zeroizing::new([share, shared.as_slice()].concat());
    shared.zeroize();
    hkdf(&input)
}

fn part<'a>(map: &'a Map, field: &str) -> Result<&'a [u8]> {
    let kem = map.require("m", "ML-KEM key")?.as_map("ML-KEM key")?;
    kem.require(field, "ML-KEM key")?.as_bytes("ML-KEM key")
}

fn array<N: ArraySize>(bytes: &[u8]) -> Result<&Array<u8, N>> {
    bytes.try_into().map_err(|_| Error::Key("length of ML-KEM key or ciphertext"))
}
