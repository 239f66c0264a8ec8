//! One claim, and its place in a chain (spec 01 §4.2).

use peergos_crypto::{
    cbor::{Map, Value},
    cid::Cid,
    datastream,
    signing::{KeyHash, SecretSigningKey},
};

use super::{Date, username};
use crate::{Error, Result};

/// The longest provider, in bytes.
const MAX_PROVIDER: usize = 100;

/// An identity's statement that a name is its own, until when, and which node is its home:
/// `[username, expiry, [* provider], signed]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub username: String,
    /// The last day, or [`Date::NEVER`] in superseded claims. A claim that has expired still counts.
    pub expiry: Date,
    /// The ids of the home node: one, or none in superseded claims.
    pub providers: Vec<Cid>,
    signed: Vec<u8>,
}

impl Claim {
    /// Claims `username` for `identity`.
    ///
    /// # Errors
    /// [`Error::Crypto`] for a name that is not ASCII.
    pub fn sign(identity: &SecretSigningKey, username: &str, expiry: Date, providers: Vec<Cid>) -> Result<Self> {
        let mut claim = Self { username: username.to_owned(), expiry, providers, signed: Vec::new() };
        claim.signed = identity.sign(&claim.payload()?);
        Ok(claim)
    }

    /// Checks that this is `owner`'s claim on `username`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it claims something else than it says, [`Error::Crypto`] if its signature does not verify.
    pub fn verify(&self, owner: &KeyHash, username: &str) -> Result<()> {
        let possible = username::is_claimable(&self.username) && self.username == username;
        if !possible || self.providers.len() > 1 || self.providers.iter().any(|id| id.encoded_len() > MAX_PROVIDER) {
            return Err(Error::Invalid("claim on a username"));
        }
        let key = owner.signing_key()?;
        let payload = key.open(&self.signed)?;
        // one key must not pass for several owners by spelling its hash differently
        let agrees = payload == self.payload()? && key.hash() == *owner;
        if agrees { Ok(()) } else { Err(Error::Invalid("claim that differs from what is signed")) }
    }

    /// What is signed.
    fn payload(&self) -> Result<Vec<u8>> {
        let mut out = datastream::Writer::new();
        out.text(&self.username)?.text(&self.expiry.to_string())?.i32(self.providers.len() as i32);
        for id in &self.providers {
            out.bytes(&id.to_bytes());
        }
        Ok(out.finish())
    }

    fn to_cbor(&self) -> Value {
        let providers: Vec<Value> = self.providers.iter().map(|id| id.to_bytes().into()).collect();
        let (username, expiry) = (self.username.as_str(), self.expiry.to_string());
        Value::Array(vec![username.into(), expiry.into(), providers.into(), self.signed.as_slice().into()])
    }

    fn from_cbor(value: &Value) -> Result<Self> {
        let [username, expiry, providers, signed] = value.as_array("claim")? else {
            return Err(Error::Invalid("claim"));
        };
        let provider = |id: &Value| Ok(Cid::from_bytes(id.as_bytes("claim provider")?)?);
        Ok(Self {
            username: username.as_text("claim username")?.to_owned(),
            expiry: expiry.as_text("claim expiry")?.parse()?,
            providers: providers.as_array("claim providers")?.iter().map(provider).collect::<Result<_>>()?,
            signed: signed.as_bytes("claim signature")?.to_vec(),
        })
    }
}

/// A claim with its identity: `{"claim": …, "owner": link, ?"keychange": signed}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimLink {
    /// The claim.
    pub claim: Claim,
    /// The identity that makes it.
    pub owner: KeyHash,
    /// In superseded links: the next link's owner, signed by this one's.
    pub key_change: Option<Vec<u8>>,
}

impl ClaimLink {
    /// Checks that this link hands its name over to `next`.
    pub(super) fn verify_key_change(&self, next: &KeyHash) -> Result<()> {
        let signed = self.key_change.as_ref().ok_or(Error::Invalid("claim chain without a key change"))?;
        let named = Value::decode(self.owner.signing_key()?.open(signed)?)?;
        if named == Value::from(next) { Ok(()) } else { Err(Error::Invalid("claim chain with a wrong key change")) }
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let mut map: Map = [("claim", self.claim.to_cbor()), ("owner", (&self.owner).into())].into_iter().collect();
        map.insert_some("keychange", self.key_change.as_deref());
        Value::Map(map)
    }

    /// Reads the structure. No signature is verified: that is for [`super::ClaimChain`].
    ///
    /// # Errors
    /// [`Error::Crypto`] or [`Error::Invalid`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("claim link")?;
        let key_change = map.get("keychange").map(|signed| signed.as_bytes("key change")).transpose()?;
        Ok(Self {
            claim: Claim::from_cbor(map.require("claim", "claim link")?)?,
            owner: KeyHash::from_cbor(map.require("owner", "claim link")?, "claim owner")?,
            key_change: key_change.map(<[u8]>::to_vec),
        })
    }
}

/// The list of links, as it is sent and stored.
pub fn links_to_cbor(links: &[ClaimLink]) -> Value {
    Value::Array(links.iter().map(ClaimLink::to_cbor).collect())
}

/// Reads a list of links, as [`ClaimLink::from_cbor`] does.
///
/// # Errors
/// As [`ClaimLink::from_cbor`].
pub fn links_from_cbor(value: &Value) -> Result<Vec<ClaimLink>> {
    value.as_array("claim chain")?.iter().map(ClaimLink::from_cbor).collect()
}
