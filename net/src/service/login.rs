//! `/peergos/v0/login/`: login data and second factors (spec 02 §14).

use peergos_crypto::{cbor::Value, multibase, signing::PublicSigningKey};

use super::{
    call::{Call, Guard, Route, unknown},
    reply::Reply,
};
use crate::{
    Error, Result,
    http::bodies,
    login::LoginResponse,
    mfa::{FactorKind, MfaMethod, MfaRequest},
};

const MAX_LOGIN_DATA: usize = 16_384;
const MAX_WEBAUTHN: usize = 2048;

pub(super) fn route(method: &str) -> Route {
    match method {
        "setLogin" => Route::post("setLogin", MAX_LOGIN_DATA, set),
        "getLogin" => Route::get("getLogin", get).guarded(Guard::Failures),
        "listMfa" => Route::get("listMfa", list),
        "addTotp" => Route::get("addTotp", |call| {
            Ok(call.node.add_totp(username(call)?, &auth(call)?)?.to_text().to_string().into())
        }),
        "addMount" => Route::get("addMount", |call| {
            let name = call.query.first("name")?;
            Ok(call.node.add_mount_factor(username(call)?, name, &auth(call)?)?.to_text().to_string().into())
        }),
        "enableTotp" => Route::get("enableTotp", |call| {
            let (credential, code) = (hex(call, "credid")?, call.query.first("code")?);
            done(call.node.enable_totp(username(call)?, &credential, code, &auth(call)?))
        }),
        "enableMount" => Route::get("enableMount", |call| {
            let (credential, code) = (hex(call, "credid")?, call.query.first("code")?);
            done(call.node.enable_mount_factor(username(call)?, &credential, code, &auth(call)?))
        }),
        "genBackupCodes" => Route::get("genBackupCodes", |call| {
            Ok(call.node.generate_backup_codes(username(call)?, &auth(call)?)?.to_cbor().encode().into())
        }),
        "deleteMfa" => Route::get("deleteMfa", |call| {
            done(call.node.delete_factor(username(call)?, &hex(call, "credid")?, &auth(call)?))
        }),
        "registerWebauthnStart" | "registerWebauthnComplete" => {
            Route::post("registerWebauthn", MAX_WEBAUTHN, |_| Err(Error::Unimplemented))
        }
        _ => unknown(|_| Err(Error::Refused("Unknown method in login!".into()))),
    }
}

fn username<'a>(call: &'a Call<'_>) -> Result<&'a str> {
    call.query.first("username")
}

fn hex(call: &Call<'_>, key: &str) -> Result<Vec<u8>> {
    Ok(multibase::hex_decode(call.query.first(key)?)?)
}

fn auth(call: &Call<'_>) -> Result<Vec<u8>> {
    hex(call, "auth")
}

fn done(result: Result<()>) -> Result<Reply> {
    result.map(|()| bodies::boolean(true).into())
}

fn set(call: &Call<'_>) -> Result<Reply> {
    let auth = auth(call)?.try_into().map_err(|_| Error::Invalid("login authorisation"))?;
    call.node.set_login(username(call)?, &call.body, &auth)?;
    Ok(bodies::yes(true).to_vec().into())
}

fn get(call: &Call<'_>) -> Result<Reply> {
    let reader = PublicSigningKey::from_cbor(&Value::decode(&hex(call, "author")?)?)?;
    let mfa = call.query.get("mfa").map(multibase::hex_decode).transpose()?;
    let kinds = call.query.get("mfaTypes").unwrap_or("1,2");
    let kinds: Vec<FactorKind> =
        kinds.split(',').filter_map(|kind| FactorKind::from_number(kind.parse().ok()?)).collect();
    let response = call.node.get_login(username(call)?, &reader, &auth(call)?, mfa.as_deref())?;
    Ok(offer(response, &kinds)?.into())
}

/// Leaves only those factors in a request for one that the client can ask its user for.
fn offer(response: Vec<u8>, kinds: &[FactorKind]) -> Result<Vec<u8>> {
    match LoginResponse::from_cbor(&Value::decode(&response)?)? {
        LoginResponse::EntryPoints(_) => Ok(response),
        LoginResponse::SecondFactor(request) => {
            let mut request = MfaRequest::from_cbor(&request)?;
            request.methods.retain(|method| kinds.contains(&method.kind));
            Ok(LoginResponse::SecondFactor(request.to_cbor()).to_cbor().encode())
        }
    }
}

fn list(call: &Call<'_>) -> Result<Reply> {
    let factors = call.node.list_factors(username(call)?, &auth(call)?)?;
    Ok(MfaMethod::list_to_cbor(&factors).encode().into())
}
