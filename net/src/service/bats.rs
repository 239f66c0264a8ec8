//! `/peergos/v0/bats/`: mirror BATs (spec 02 §15).

use peergos_crypto::bat::{Bat, BatWithId};

use super::{
    call::{Call, Route, unknown},
    query,
    reply::Reply,
};
use crate::{Error, Result, http::bodies};

pub(super) fn route(method: &str) -> Route {
    match method {
        "addBat" => Route::get("addBat", add),
        "getUserBats" => Route::get("getUserBats", list),
        _ => unknown(|_| Err(Error::Refused("Unknown method in bats!".into()))),
    }
}

fn add(call: &Call<'_>) -> Result<Reply> {
    let bat = BatWithId { bat: Bat::from_text(call.query.text("bat")?)?, id: query::cid(call.query.text("batid")?)? };
    call.node.add_bat(call.query.text("username")?, &bat, &call.query.hex("auth")?)?;
    Ok(bodies::boolean(true).into())
}

fn list(call: &Call<'_>) -> Result<Reply> {
    Ok(bodies::bats(&call.node.get_user_bats(call.query.text("username")?, &call.query.hex("auth")?)?).into())
}
