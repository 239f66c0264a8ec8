//! `/peergos/v0/core/`: names, claims, sign-ups (spec 02 §12).

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::{
    call::{Call, Guard, Route, unknown},
    reply::Reply,
};
use crate::{
    Error, Result,
    http::bodies::{self, ChainUpdate},
};

/// The limits of the parts of a sign-up together.
const MAX_SIGN_UP: usize = (4 << 20) + 65_536 + 4096;
const MAX_CLAIMS: usize = (4 << 20) + 4096;
const MAX_NAME: usize = 2048;

pub(super) fn route(method: &str) -> Route {
    match method.split_once('/').map_or(method, |(method, _)| method) {
        "getPublicKey" => Route::post("getPublicKey", MAX_NAME, public_key),
        "getUsername" => Route::post("getUsername", MAX_NAME, username),
        "getChain" => Route::post("getChain", MAX_NAME, chain),
        "getUsernamesGzip" => Route::get("getUsernamesGzip", usernames),
        "signup" => Route::post("signup", MAX_SIGN_UP, sign_up).guarded(Guard::Failures),
        "updateChain" => Route::post("updateChain", MAX_CLAIMS, update_chain),
        "startPaidSignup" | "completePaidSignup" => unimplemented("paid sign-up"),
        "mirror" | "startPaidMirror" | "completePaidMirror" => unimplemented("mirror"),
        "getUserSnapshots" | "migrateUser" => unimplemented("migration"),
        _ => unknown(|_| Err(Error::Refused("Unknown pkinode method!".into()))),
    }
}

const fn unimplemented(name: &'static str) -> Route {
    Route::post(name, MAX_SIGN_UP, |_| Err(Error::Unimplemented))
}

fn public_key(call: &Call<'_>) -> Result<Reply> {
    let identity = call.node.get_public_key(&bodies::read_username(&call.body)?)?;
    Ok(bodies::public_key(identity.as_ref()).into())
}

fn username(call: &Call<'_>) -> Result<Reply> {
    let username = call.node.get_username(&bodies::read_identity(&call.body)?)?;
    Ok(bodies::username(&username)?.into())
}

fn chain(call: &Call<'_>) -> Result<Reply> {
    Ok(call.node.get_chain(&bodies::read_username(&call.body)?)?.into())
}

fn usernames(call: &Call<'_>) -> Result<Reply> {
    // the reference ignores the prefix that may be in the path
    let names = serde_json::json!(call.node.usernames("")?).to_string();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = gzip.write_all(names.as_bytes()).and_then(|()| gzip.finish());
    Ok(Reply::gzip(compressed.map_err(Error::io("compressing names"))?))
}

fn sign_up(call: &Call<'_>) -> Result<Reply> {
    Ok(bodies::admission(call.node.sign_up(&bodies::read_sign_up(&call.body)?)?).into())
}

fn update_chain(call: &Call<'_>) -> Result<Reply> {
    let ChainUpdate { username, links, proof_of_work, token } = ChainUpdate::from_bytes(&call.body)?;
    Ok(bodies::admission(call.node.update_chain(&username, &links, &proof_of_work, &token)?).into())
}
