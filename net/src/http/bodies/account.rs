//! What belongs to an account besides its data: BATs, follow requests, numbers, yes and no (spec 02 §14–§18).

use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    datastream::{Reader, Writer},
};

use crate::{Error, Result};

/// The most bytes of a reply with follow requests: a hundred of them, and some room.
const MAX_REQUESTS: usize = 1 << 20;

/// The reply of pointer, login and social calls: one byte.
pub const fn yes(yes: bool) -> [u8; 1] {
    [yes as u8]
}

/// Reads [`yes`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_yes(reply: &[u8]) -> Result<bool> {
    let mut stream = Reader::new(reply);
    let yes = stream.bool()?;
    stream.finish()?;
    Ok(yes)
}

/// The reply of BAT and second factor calls: `true` or `false`.
pub fn boolean(value: bool) -> Vec<u8> {
    Value::from(value).encode()
}

/// Reads [`boolean`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_boolean(reply: &[u8]) -> Result<bool> {
    Ok(Value::decode(reply)?.as_bool("reply")?)
}

/// The reply of `usage` and `quota`.
pub fn number(number: u64) -> Vec<u8> {
    Value::from(i64::try_from(number).unwrap_or(i64::MAX)).encode()
}

/// Reads [`number`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_number(reply: &[u8]) -> Result<u64> {
    Ok(Value::decode(reply)?.as_uint("number of bytes")?)
}

/// The reply of `getUserBats`.
pub fn bats(bats: &[BatWithId]) -> Vec<u8> {
    Value::Array(bats.iter().map(BatWithId::to_cbor).collect()).encode()
}

/// Reads [`bats`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_bats(reply: &[u8]) -> Result<Vec<BatWithId>> {
    let value = Value::decode(reply)?;
    value.as_array("BATs")?.iter().map(|bat| Ok(BatWithId::from_cbor(bat)?)).collect()
}

/// The reply of `getFollowRequests`: CBOR of each request.
///
/// # Errors
/// [`Error::Crypto`] if one is not CBOR.
pub fn follow_requests(requests: &[Vec<u8>]) -> Result<Vec<u8>> {
    let requests = requests.iter().map(|request| Ok(Value::decode(request)?)).collect::<Result<Vec<_>>>()?;
    Ok(Writer::new().bytes(&Value::Array(requests).encode()).finish())
}

/// Reads [`follow_requests`].
///
/// # Errors
/// [`Error::Crypto`] or [`Error::Invalid`] for anything else.
pub fn read_follow_requests(reply: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut stream = Reader::new(reply);
    let list = Value::decode(stream.bytes(MAX_REQUESTS)?)?;
    stream.finish()?;
    let list = list.as_array("follow requests").map_err(|_| Error::Invalid("follow requests"))?;
    Ok(list.iter().map(Value::encode).collect())
}
