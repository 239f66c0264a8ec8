//! Ed25519 signing keys, attached signatures and key hashes (spec 01 §2.2, §2.3).

use std::fmt;

use ed25519_dalek::{Signer as _, Verifier as _};
use zeroize::Zeroizing;

use crate::{
    Error, Result,
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec, MAX_IDENTITY_WRITTEN},
    random,
};

/// The length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

const ED25519: i64 = 1;

/// A public Ed25519 key: `[1, bstr .size 32]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicSigningKey([u8; 32]);

impl PublicSigningKey {
    /// A key from its 32 bytes. Whether they are a point of the curve shows when it verifies.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The structure `[1, bstr]`.
    pub fn to_cbor(&self) -> Value {
        Value::Array(vec![ED25519.into(), self.0.into()])
    }

    /// Reads the structure `[1, bstr]`.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Key`] if it is anything else.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        match value.as_array("public signing key")? {
            [Value::Int(ED25519), key] => Ok(Self(key.as_array_of("public signing key")?)),
            _ => Err(Error::Key("unknown type of public signing key")),
        }
    }

    /// The key's hash: an identity CID that holds the key itself.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.to_cbor())
    }

    /// Verifies an attached signature (`sig(64) ‖ message`) and returns the message.
    ///
    /// # Errors
    /// [`Error::Signature`] if it is too short or does not verify.
    pub fn open<'a>(&self, signed: &'a [u8]) -> Result<&'a [u8]> {
        let (signature, message) = signed.split_first_chunk().ok_or(Error::Signature)?;
        self.verify(signature, message)?;
        Ok(message)
    }

    /// Verifies a detached signature.
    ///
    /// # Errors
    /// [`Error::Signature`] if it does not verify.
    pub fn verify(&self, signature: &[u8; SIGNATURE_LEN], message: &[u8]) -> Result<()> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify(message, &ed25519_dalek::Signature::from_bytes(signature)))
            .map_err(|_| Error::Signature)
    }

    /// Verifies many detached signatures together, at about a third of the cost of one after the other.
    ///
    /// # Errors
    /// [`Error::Signature`] if any of them does not verify. (Which of the odd signatures that only the key's holder can
    /// make are accepted may differ from [`PublicSigningKey::verify`].)
    pub fn verify_all(&self, signed: &[(&[u8; SIGNATURE_LEN], &[u8])]) -> Result<()> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| Error::Signature)?;
        let (signatures, messages): (Vec<_>, Vec<_>) =
            signed.iter().map(|(s, message)| (ed25519_dalek::Signature::from_bytes(s), *message)).unzip();
        let keys = vec![key; signed.len()];
        ed25519_dalek::verify_batch(&messages, &signatures, &keys).map_err(|_| Error::Signature)
    }
}

impl fmt::Debug for PublicSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicSigningKey({})", self.hash())
    }
}

/// A secret Ed25519 key with its public half; erased when dropped, never shown.
#[derive(Clone)]
pub struct SecretSigningKey {
    key: ed25519_dalek::SigningKey,
    hash: KeyHash,
}

impl SecretSigningKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self> {
        Ok(Self::from_seed(&Zeroizing::new(random::bytes()?)))
    }

    /// The key of a 32-byte seed (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let hash = PublicSigningKey(key.verifying_key().to_bytes()).hash();
        Self { key, hash }
    }

    /// The public half.
    pub fn public(&self) -> PublicSigningKey {
        PublicSigningKey(self.key.verifying_key().to_bytes())
    }

    /// The hash of the public half.
    pub const fn hash(&self) -> &KeyHash {
        &self.hash
    }

    /// The structure `[1, seed(32) ‖ public(32)]`.
    pub fn to_cbor(&self) -> Value {
        Value::Array(vec![ED25519.into(), self.key.to_keypair_bytes().into()])
    }

    /// Reads the structure `[1, seed(32) ‖ public(32)]`.
    ///
    /// # Errors
    /// [`Error::Structure`], or [`Error::Key`] if the halves do not belong together.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let [Value::Int(ED25519), bytes] = value.as_array("secret signing key")? else {
            return Err(Error::Key("unknown type of secret signing key"));
        };
        let bytes = Zeroizing::new(bytes.as_array_of::<64>("secret signing key")?);
        let (seed, public) = bytes.split_at(32);
        let key = Self::from_seed(seed.try_into().map_err(|_| Error::Key("seed length"))?);
        if key.public().0[..] != *public {
            return Err(Error::Key("secret and public signing key differ"));
        }
        Ok(key)
    }

    /// The structure `[public key, secret key]` of a login blob.
    pub fn to_pair_cbor(&self) -> Value {
        Value::Array(vec![self.public().to_cbor(), self.to_cbor()])
    }

    /// Reads the structure `[public key, secret key]`.
    ///
    /// # Errors
    /// As [`SecretSigningKey::from_cbor`], also if the public key is another.
    pub fn from_pair_cbor(value: &Value) -> Result<Self> {
        let [public, secret] = value.as_array("signing key pair")? else {
            return Err(Error::Structure("signing key pair"));
        };
        Self::from_cbor(secret)?.expect_public(&PublicSigningKey::from_cbor(public)?.hash())
    }

    /// The structure `{"p": link to the public key, "s": secret key}` of a signer.
    pub fn to_signer_cbor(&self) -> Value {
        cbor_map! { "p" => &self.hash, "s" => self.to_cbor() }
    }

    /// Reads the structure `{"p": link to the public key, "s": secret key}`.
    ///
    /// # Errors
    /// As [`SecretSigningKey::from_cbor`], also if the link is to another key.
    pub fn from_signer_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("signer")?;
        let public = KeyHash::from_cbor(map.require("p", "signer public key")?, "signer public key")?;
        Self::from_cbor(map.require("s", "signer secret key")?)?.expect_public(&public)
    }

    fn expect_public(self, public: &KeyHash) -> Result<Self> {
        if self.hash == *public { Ok(self) } else { Err(Error::Key("secret and public signing key differ")) }
    }

    /// The attached signature: `sig(64) ‖ message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signed = Vec::with_capacity(SIGNATURE_LEN + message.len());
        signed.extend_from_slice(&self.sign_detached(message));
        signed.extend_from_slice(message);
        signed
    }

    /// The signature alone.
    pub fn sign_detached(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSigningKey({})", self.hash)
    }
}

/// The hash of a public key: a CID of its CBOR, an identity CID where that is at most 36 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(Cid);

impl KeyHash {
    /// The hash of a public key (signing or boxing) given as CBOR.
    pub fn of(key: &Value) -> Self {
        let bytes = key.encode();
        if bytes.len() <= MAX_IDENTITY_WRITTEN
            && let Ok(cid) = Cid::identity(Codec::DagCbor, &bytes)
        {
            return Self(cid);
        }
        Self(Cid::of_block(Codec::DagCbor, &bytes))
    }

    /// Takes a CID for a key hash.
    ///
    /// # Errors
    /// [`Error::Key`] unless it is dag-cbor with an identity or sha2-256 multihash.
    pub fn from_cid(cid: Cid) -> Result<Self> {
        let safe = cid.sha256_digest().is_some() || cid.identity_content().is_some();
        if cid.codec() == Codec::DagCbor && safe { Ok(Self(cid)) } else { Err(Error::Key("not a key hash")) }
    }

    /// The CID.
    pub const fn cid(&self) -> &Cid {
        &self.0
    }

    /// The signing key that the hash itself holds.
    ///
    /// # Errors
    /// [`Error::Key`] if the hash is not an identity CID of an Ed25519 key: its block must be fetched.
    pub fn signing_key(&self) -> Result<PublicSigningKey> {
        let content = self.0.identity_content().ok_or(Error::Key("key is not in its hash"))?;
        PublicSigningKey::from_cbor(&Value::decode(content)?)
    }

    /// Reads a link.
    ///
    /// # Errors
    /// [`Error::Structure`] naming `what`, or as [`KeyHash::from_cid`].
    pub fn from_cbor(value: &Value, what: &'static str) -> Result<Self> {
        Self::from_cid(value.as_link(what)?.clone())
    }
}

impl From<&KeyHash> for Value {
    fn from(hash: &KeyHash) -> Self {
        Self::Link(hash.0.clone())
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
