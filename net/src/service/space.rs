//! `/peergos/v0/storage/`: usage, quotas, payment (spec 02 §17).

use super::{
    call::{Call, Route, unknown},
    reply::Reply,
};
use crate::{Error, Result, http::bodies};

pub(super) fn route(method: &str) -> Route {
    match method {
        "usage" => Route::get("usage", |call| {
            Ok(bodies::number(call.node.usage(&call.query.owner()?, &call.query.hex("auth")?)?).into())
        }),
        "quota" => Route::get("quota", |call| {
            Ok(bodies::number(call.node.quota(&call.query.owner()?, &call.query.hex("auth")?)?).into())
        }),
        "payment-properties" => Route::get("payment-properties", payment),
        "request" => Route::get("request", request),
        _ => unknown(|_| Err(Error::Refused("Unknown method in storage!".into()))),
    }
}

fn payment(call: &Call<'_>) -> Result<Reply> {
    let new_secret = call.query.flag("new-client-secret");
    let properties = call.node.payment_properties(&call.query.owner()?, new_secret, &call.query.hex("auth")?)?;
    Ok(properties.to_cbor().encode().into())
}

fn request(call: &Call<'_>) -> Result<Reply> {
    let properties = call.node.request_space(&call.query.owner()?, &call.query.hex("req")?)?;
    Ok(properties.to_cbor().encode().into())
}
