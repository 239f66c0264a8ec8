//! Signed requests: proof that a key's holder makes one certain call now (spec 01 §2.15).

use crate::{
    Error, Result,
    cbor::Value,
    cbor_map,
    signed_time::check_window,
    signing::{PublicSigningKey, SecretSigningKey},
};

/// Signs a call of `path` (without leading slash and query) at `now`, in milliseconds since the epoch.
pub fn sign(key: &SecretSigningKey, path: &str, now: i64) -> Vec<u8> {
    key.sign(&to_cbor(path, now).encode())
}

/// The structure `{"p": path, "t": milliseconds}` that is signed.
pub fn to_cbor(path: &str, now: i64) -> Value {
    cbor_map! { "p" => path, "t" => now }
}

/// Verifies that the holder of `key` called `path`, at most `window` milliseconds before or after `now`.
///
/// # Errors
/// [`Error::Signature`], [`Error::StaleTime`], [`Error::RequestPath`], or [`Error::Structure`] if it is no request.
pub fn verify(key: &PublicSigningKey, signed: &[u8], path: &str, now: i64, window: u64) -> Result<()> {
    let value = Value::decode(key.open(signed)?)?;
    let map = value.as_map("signed request")?;
    let signed_path = map.require("p", "signed request path")?.as_text("signed request path")?;
    if signed_path != path {
        return Err(Error::RequestPath(signed_path.to_owned()));
    }
    check_window(map.require("t", "signed request time")?.as_int("signed request time")?, now, window)
}
