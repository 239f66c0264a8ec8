//! The mutable state of an account, as JSON: texts of CIDs, and base64 of CBOR.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use peergos_crypto::{
    bat::{Bat, BatWithId},
    cbor::Value,
    cid::Cid,
    signing::{KeyHash, PublicSigningKey},
};
use serde_json::{Map, Value as Json, json};

use crate::{Error, Result, claim};

/// What a node keeps of an account besides blocks. As read from a file, nothing in it is verified.
#[derive(Debug, Clone)]
pub struct AccountState {
    /// The name.
    pub username: String,
    /// The current identity.
    pub identity: KeyHash,
    /// The claims on the name, oldest first.
    pub chain: Vec<claim::ClaimLink>,
    /// The signed pointer update of each writer.
    pub pointers: BTreeMap<KeyHash, Vec<u8>>,
    /// The encrypted entry points, and the login key that may fetch them; one pair, or none on old accounts.
    pub logins: Vec<(Value, PublicSigningKey)>,
    /// Second factors.
    pub factors: Vec<SecondFactor>,
    /// Mirror BATs, oldest first.
    pub bats: Vec<BatWithId>,
    /// CBOR of pending follow requests.
    pub follow_requests: Vec<Vec<u8>>,
    /// The id of the server that the claim names as home.
    pub server_id: Cid,
}

/// A second factor with the secret it is checked against (spec 01 §7, §12). Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// Its name.
    pub name: String,
    /// Its credential id.
    pub id: Vec<u8>,
    /// 1 TOTP, 2 WebAuthn, 3 backup codes, 4 mount.
    pub kind: i64,
    /// Whether it was confirmed.
    pub enabled: bool,
    /// The day it was made, counted from 1970-01-01.
    pub created: i64,
    /// A key, a verifier or hashes of codes, as the kind says.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecondFactor({})", self.kind)
    }
}

impl AccountState {
    /// The file's content.
    pub fn to_json(&self) -> String {
        let encode = |bytes: &[u8]| STANDARD.encode(bytes);
        let login = |(entry, reader): &(Value, PublicSigningKey)| json!({ "entry": encode(&entry.encode()), "reader": encode(&reader.to_cbor().encode()) });
        let factor = |factor: &SecondFactor| {
            json!({
                "name": factor.name, "credid": encode(&factor.id), "type": factor.kind, "enabled": factor.enabled,
                "created": factor.created, "value": encode(&factor.value),
            })
        };
        let bat = |bat: &BatWithId| {
            let id = Value::from(bat.id.to_bytes());
            json!({ "id": encode(&id.encode()), "bat": encode(&bat.bat.to_cbor().encode()) })
        };
        let pointers = self.pointers.iter().map(|(writer, signed)| (writer.to_string(), encode(signed).into()));
        let json = json!({
            "username": self.username,
            "identity": self.identity.to_string(),
            "chain_cbor": encode(&claim::links_to_cbor(&self.chain).encode()),
            "pointers": pointers.collect::<Map<String, Json>>(),
            "login": self.logins.iter().map(login).collect::<Vec<_>>(),
            "mfa": self.factors.iter().map(factor).collect::<Vec<_>>(),
            "bats": self.bats.iter().map(bat).collect::<Vec<_>>(),
            "follow_requests": self.follow_requests.iter().map(|request| encode(request)).collect::<Vec<_>>(),
            "server_id": self.server_id.to_string(),
        });
        format!("{json:#}\n")
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Crypto`] for anything else.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let json: Json = serde_json::from_slice(text).map_err(|_| INVALID)?;
        let pointers = json["pointers"].as_object().ok_or(INVALID)?.iter();
        let login = |row: &Json| Ok((cbor(&row["entry"])?, PublicSigningKey::from_cbor(&cbor(&row["reader"])?)?));
        let factor = |row: &Json| {
            Ok(SecondFactor {
                name: text_of(&row["name"])?.to_owned(),
                id: bytes(&row["credid"])?,
                kind: row["type"].as_i64().ok_or(INVALID)?,
                enabled: row["enabled"].as_bool().ok_or(INVALID)?,
                created: row["created"].as_i64().ok_or(INVALID)?,
                value: bytes(&row["value"])?,
            })
        };
        let bat = |row: &Json| {
            let id = Cid::from_bytes(cbor(&row["id"])?.as_bytes("BAT id")?)?;
            Ok(BatWithId { bat: Bat::from_cbor(&cbor(&row["bat"])?)?, id })
        };
        Ok(Self {
            username: text_of(&json["username"])?.to_owned(),
            identity: key_hash(text_of(&json["identity"])?)?,
            chain: claim::links_from_cbor(&cbor(&json["chain_cbor"])?)?,
            pointers: pointers
                .map(|(writer, signed)| Ok((key_hash(writer)?, bytes(signed)?)))
                .collect::<Result<_>>()?,
            logins: rows(&json["login"])?.iter().map(login).collect::<Result<_>>()?,
            factors: rows(&json["mfa"])?.iter().map(factor).collect::<Result<_>>()?,
            bats: rows(&json["bats"])?.iter().map(bat).collect::<Result<_>>()?,
            follow_requests: rows(&json["follow_requests"])?.iter().map(bytes).collect::<Result<_>>()?,
            server_id: Cid::from_peer_id(text_of(&json["server_id"])?)?,
        })
    }
}

const INVALID: Error = Error::Invalid("account file");

fn text_of(json: &Json) -> Result<&str> {
    json.as_str().ok_or(INVALID)
}

fn rows(json: &Json) -> Result<&[Json]> {
    json.as_array().map(Vec::as_slice).ok_or(INVALID)
}

fn bytes(json: &Json) -> Result<Vec<u8>> {
    STANDARD.decode(text_of(json)?).map_err(|_| INVALID)
}

fn cbor(json: &Json) -> Result<Value> {
    Ok(Value::decode(&bytes(json)?)?)
}

fn key_hash(text: &str) -> Result<KeyHash> {
    Ok(KeyHash::from_cid(text.parse()?)?)
}
