//! `/peergos/v0/social/`: follow requests (spec 02 §16).

use super::{
    call::{Call, Guard, Route, unknown},
    reply::Reply,
};
use crate::{Error, Result, http::bodies};

const MAX_REQUEST: usize = 4096;

pub(super) fn route(method: &str) -> Route {
    match method {
        "followRequest" => Route::post("followRequest", MAX_REQUEST, send).guarded(Guard::Each),
        "getFollowRequests" => Route::get("getFollowRequests", list),
        "removeFollowRequest" => Route::post("removeFollowRequest", MAX_REQUEST, remove),
        _ => unknown(|_| Err(Error::Refused("Unknown method in social!".into()))),
    }
}

fn send(call: &Call<'_>) -> Result<Reply> {
    Ok(bodies::yes(call.node.send_follow_request(&call.query.owner()?, &call.body)?).to_vec().into())
}

fn list(call: &Call<'_>) -> Result<Reply> {
    let requests = call.node.follow_requests(&call.query.owner()?, &call.query.hex("auth")?)?;
    Ok(bodies::follow_requests(&requests)?.into())
}

fn remove(call: &Call<'_>) -> Result<Reply> {
    Ok(bodies::yes(call.node.remove_follow_request(&call.query.owner()?, &call.body)?).to_vec().into())
}
