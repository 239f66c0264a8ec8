//! Signed times: proof that a key's holder makes a call now (spec 01 §2.15).
//!
//! They are bearer tokens for the length of the window and not bound to a call: send them only to the intended server.

use crate::{
    Error, Result,
    cbor::Value,
    signing::{PublicSigningKey, SecretSigningKey},
};

/// Signs `now`, in milliseconds since the epoch.
pub fn sign(key: &SecretSigningKey, now: i64) -> Vec<u8> {
    key.sign(&Value::Int(now).encode())
}

/// Verifies a signed time and returns it. It may be `window` milliseconds before or after `now`.
///
/// # Errors
/// [`Error::Signature`], [`Error::StaleTime`], or [`Error::Structure`] if it is no time.
pub fn verify(key: &PublicSigningKey, signed: &[u8], now: i64, window: u64) -> Result<i64> {
    let time = Value::decode(key.open(signed)?)?.as_int("signed time")?;
    check_window(time, now, window)?;
    Ok(time)
}

pub(crate) fn check_window(time: i64, now: i64, window: u64) -> Result<()> {
    if time.abs_diff(now) <= window { Ok(()) } else { Err(Error::StaleTime) }
}
