//! Second factors (spec 01 §7): what is said about them, and the answers to a challenge.

use std::fmt;

use peergos_crypto::{
    cbor::{Map, Value},
    cbor_map,
};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// The most UTF-16 units of a factor's name.
pub const MAX_NAME: usize = 32;

/// What kind of thing answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorKind {
    /// An authenticator app.
    Totp,
    /// A security key.
    WebAuthn,
    /// Codes on paper, each good for one login.
    BackupCodes,
    /// A device that mounts the drive: like an authenticator app, but never asked for.
    Mount,
}

impl FactorKind {
    /// The number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Self::Totp => 1,
            Self::WebAuthn => 2,
            Self::BackupCodes => 3,
            Self::Mount => 4,
        }
    }

    /// The kind of a number; none for those to come.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Totp),
            2 => Some(Self::WebAuthn),
            3 => Some(Self::BackupCodes),
            4 => Some(Self::Mount),
            _ => None,
        }
    }
}

/// A second factor as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MfaMethod {
    /// What it is.
    pub kind: FactorKind,
    /// Its credential id.
    pub id: Vec<u8>,
    /// Its name; of backup codes, how many are left.
    pub name: String,
    /// Whether it has been confirmed.
    pub enabled: bool,
    /// The day it was made, counted from 1970-01-01.
    pub created: i64,
}

impl MfaMethod {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        cbor_map! {
            "c" => self.created, "e" => self.enabled, "i" => self.id.as_slice(), "n" => self.name.as_str(),
            "t" => self.kind.number(),
        }
    }

    /// Reads the structure; none for a kind of factor that is not known here.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Option<Self>> {
        const WHAT: &str = "second factor";
        let map = value.as_map(WHAT)?;
        let field = |key| map.require(key, WHAT);
        let Some(kind) = FactorKind::from_number(field("t")?.as_int(WHAT)?) else { return Ok(None) };
        Ok(Some(Self {
            kind,
            id: field("i")?.as_bytes(WHAT)?.to_vec(),
            name: field("n")?.as_text(WHAT)?.to_owned(),
            enabled: field("e")?.as_bool(WHAT)?,
            created: field("c")?.as_int(WHAT)?,
        }))
    }

    /// A list of them.
    pub fn list_to_cbor(methods: &[Self]) -> Value {
        Value::Array(methods.iter().map(Self::to_cbor).collect())
    }

    /// Reads a list; kinds that are not known here are left out.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn list_from_cbor(value: &Value) -> Result<Vec<Self>> {
        value.as_array("second factors")?.iter().filter_map(|method| Self::from_cbor(method).transpose()).collect()
    }
}

/// What a server asks before it gives out entry points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MfaRequest {
    /// What a security key is to sign.
    pub challenge: [u8; 32],
    /// The factors that may answer. Factors of other kinds than were asked for, and mount factors, are not in it.
    pub methods: Vec<MfaMethod>,
}

impl MfaRequest {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "c" => self.challenge, "m" => MfaMethod::list_to_cbor(&self.methods) }
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const WHAT: &str = "request for a second factor";
        let map = value.as_map(WHAT)?;
        Ok(Self {
            challenge: map.require("c", WHAT)?.as_array_of(WHAT)?,
            methods: MfaMethod::list_from_cbor(map.require("m", WHAT)?)?,
        })
    }
}

/// The answer to an [`MfaRequest`].
#[derive(Clone, PartialEq, Eq)]
pub struct MfaResponse {
    /// The credential id of the factor that answers.
    pub id: Vec<u8>,
    /// Its answer.
    pub answer: MfaAnswer,
}

/// What a factor answers.
#[derive(Clone, PartialEq, Eq)]
pub enum MfaAnswer {
    /// The digits of an authenticator app or a mount factor, or a backup code.
    Code(Zeroizing<String>),
    /// What a security key has signed.
    WebAuthn {
        /// Authenticator data; when it is registered, the attestation object.
        authenticator_data: Vec<u8>,
        /// The client data, JSON.
        client_data: Vec<u8>,
        /// The signature; empty when it is registered.
        signature: Vec<u8>,
    },
}

impl MfaResponse {
    /// A code.
    pub fn code(id: &[u8], code: &str) -> Self {
        Self { id: id.to_vec(), answer: MfaAnswer::Code(Zeroizing::new(code.to_owned())) }
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let answer: Value = match &self.answer {
            MfaAnswer::Code(code) => code.as_str().into(),
            MfaAnswer::WebAuthn { authenticator_data, client_data, signature } => {
                let fields = [("a", authenticator_data), ("c", client_data), ("s", signature)];
                fields.into_iter().map(|(key, bytes)| (key, bytes.as_slice())).collect::<Map>().into()
            }
        };
        cbor_map! { "i" => self.id.as_slice(), "r" => answer }
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Crypto`] or [`Error::Invalid`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const WHAT: &str = "answer of a second factor";
        let map = value.as_map(WHAT)?;
        let answer = match map.require("r", WHAT)? {
            Value::Text(code) => MfaAnswer::Code(Zeroizing::new(code.clone())),
            Value::Map(fields) => {
                let field = |key| Ok::<_, Error>(fields.require(key, WHAT)?.as_bytes(WHAT)?.to_vec());
                MfaAnswer::WebAuthn {
                    authenticator_data: field("a")?,
                    client_data: field("c")?,
                    signature: field("s")?,
                }
            }
            _ => return Err(Error::Invalid(WHAT)),
        };
        Ok(Self { id: map.require("i", WHAT)?.as_bytes(WHAT)?.to_vec(), answer })
    }
}

impl fmt::Debug for MfaResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MfaResponse(..)")
    }
}

/// Codes to be kept on paper.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupCodes {
    /// The credential id that they share.
    pub id: Vec<u8>,
    /// Ten codes of ten characters.
    pub codes: Vec<Zeroizing<String>>,
}

impl BackupCodes {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let codes: Vec<Value> = self.codes.iter().map(|code| code.as_str().into()).collect();
        cbor_map! { "c" => codes, "i" => self.id.as_slice() }
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const WHAT: &str = "backup codes";
        let map = value.as_map(WHAT)?;
        let codes = map.require("c", WHAT)?.as_array(WHAT)?;
        let code = |code: &Value| Ok::<_, Error>(Zeroizing::new(code.as_text(WHAT)?.to_owned()));
        Ok(Self {
            id: map.require("i", WHAT)?.as_bytes(WHAT)?.to_vec(),
            codes: codes.iter().map(code).collect::<Result<_>>()?,
        })
    }
}

impl fmt::Debug for BackupCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupCodes({})", self.codes.len())
    }
}

/// What counts of a backup code as a person types it (spec 01 §7).
pub fn normalise_backup_code(typed: &str) -> Zeroizing<String> {
    let lower = typed.chars().flat_map(char::to_lowercase);
    Zeroizing::new(lower.filter(|c| matches!(c, 'a'..='z' | '2'..='7')).collect())
}
