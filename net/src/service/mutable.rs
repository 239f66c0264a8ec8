//! `/peergos/v0/mutable/`: pointers (spec 02 §8).

use super::{
    call::{Call, Route, unknown},
    query,
    reply::Reply,
};
use crate::{Error, PointerWrite, Result, http::bodies};

const MAX_POINTER: usize = 1024;
const MAX_POINTERS: usize = 1 << 20;

pub(super) fn route(method: &str) -> Route {
    match method {
        "getPointer" => Route::get("getPointer", get),
        "setPointer" => Route::post("setPointer", MAX_POINTER, set),
        "setPointers" => Route::post("setPointers", MAX_POINTERS, set_all),
        _ => unknown(|_| Err(Error::Refused("Unknown method in mutable pointers!".into()))),
    }
}

fn get(call: &Call<'_>) -> Result<Reply> {
    let writer = query::key_hash(call.query.first("writer")?)?;
    let owner = query::key_hash(call.query.first("owner")?)?;
    Ok(call.node.get_pointer(&owner, &writer)?.unwrap_or_default().into())
}

fn set(call: &Call<'_>) -> Result<Reply> {
    let owner = query::key_hash(call.query.first("owner")?)?;
    let writer = query::key_hash(call.query.first("writer")?)?;
    let set = call.node.set_pointer(&owner, &PointerWrite { writer, signed: call.body.to_vec() });
    match set {
        // whoever is no writer gets a plain no from the reference here
        Err(Error::UnknownWriter(_) | Error::WrongController(_) | Error::Crypto(peergos_crypto::Error::Signature)) => {
            Ok(bodies::yes(false).to_vec().into())
        }
        set => set.map(|()| bodies::yes(true).to_vec().into()),
    }
}

fn set_all(call: &Call<'_>) -> Result<Reply> {
    let owner = query::key_hash(call.query.first("owner")?)?;
    call.node.set_pointers(&owner, &bodies::read_pointers(&call.body)?)?;
    Ok(bodies::yes(true).to_vec().into())
}
