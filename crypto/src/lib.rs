//! Peergos encodings, keys, ciphers and password derivation (spec 01 §1–§2).
//!
//! No I/O, no async, no clock. Randomness comes from the operating system or is passed in.

pub mod aes_gcm;
pub mod bat;
pub mod bat_auth;
pub mod boxing;
pub mod cbor;
pub mod cid;
pub mod container;
pub mod datastream;
mod error;
pub mod fingerprint;
pub mod hash_tree;
pub mod hkdf;
pub mod multibase;
pub mod password;
pub mod pow;
pub mod random;
pub mod secretbox;
pub mod sha256;
pub mod signed_request;
pub mod signed_time;
pub mod signing;
pub mod symmetric;
pub mod totp;
pub mod varint;

pub use error::{Error, Result};
