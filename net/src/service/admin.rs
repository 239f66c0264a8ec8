//! `/peergos/v0/admin/` and `/peergos/v0/server-message/`: what this server is, and what it has to say (spec 02 §18).
//!
//! Its operator works on its own machine: nobody is an administrator over HTTP, and there are no messages.

use std::time::{SystemTime, UNIX_EPOCH};

use peergos_crypto::{cbor::Value, cbor_map, signed_request};

use super::{
    call::{Call, Route, unknown},
    reply::Reply,
};
use crate::{Error, Result, http::bodies};

/// The version of the reference whose protocol this is.
const PROTOCOL: &str = "1.32.0";
/// How far a signed request may be from now, in milliseconds.
const WINDOW: u64 = 300_000;
const MAX_MESSAGE: usize = 10 << 10;

pub(super) fn route(method: &str) -> Route {
    match method {
        "version" => Route::get("version", |_| Ok(cbor_map! { "s" => "", "v" => PROTOCOL }.encode().into())),
        "signups" => Route::get("signups", |call| {
            Ok(cbor_map! { "f" => call.node.sign_ups_are_open()?, "p" => false }.encode().into())
        }),
        "waitlist" => Route::get("waitlist", |_| Ok(bodies::boolean(false).into())),
        "pending" => Route::get("pending", |_| Ok(Value::Array(Vec::new()).encode().into())),
        "approve" => Route::get("approve", |_| Err(Error::Refused("Only an admin can do that!".into()))),
        _ => unknown(|_| Err(Error::Refused("Unknown method in admin!".into()))),
    }
}

pub(super) fn messages(method: &str) -> Route {
    match method {
        "retrieve" => Route::get("retrieve", retrieve),
        "send" => Route::post("send", MAX_MESSAGE, |_| Err(Error::Unimplemented)),
        _ => unknown(|_| Err(Error::Refused("Unknown method in server messages!".into()))),
    }
}

fn retrieve(call: &Call<'_>) -> Result<Reply> {
    let identity = call.node.get_public_key(call.query.text("username")?)?;
    let key = identity.ok_or_else(|| Error::Refused("No value present".into()))?.signing_key()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    signed_request::verify(&key, &call.query.hex("auth")?, "peergos/v0/server-message/retrieve", now, WINDOW)?;
    Ok(Value::Array(Vec::new()).encode().into())
}
