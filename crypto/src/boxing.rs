//! Boxing keys: what others encrypt to, so that only one person can read it (spec 01 §2.4, §2.5).
//!
//! New accounts hold a hybrid of X25519 and ML-KEM-1024; accounts from before hold Curve25519 alone. A box goes from
//! a pair of one kind to a public key of the same kind.

mod curve25519;
mod hybrid;

pub use curve25519::{CurvePublic, CurveSecret};
pub use hybrid::{HybridPublic, HybridSecret};
use zeroize::Zeroizing;

use crate::{Error, Result, cbor::Value, signing::KeyHash};

const CURVE25519: i64 = 1;
const HYBRID: i64 = 2;

/// A public boxing key of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicBoxingKey {
    /// A legacy key: `[1, bstr .size 32]`.
    Curve25519(CurvePublic),
    /// `[2, {"c": Curve25519 key, "m": {"p": bstr .size 1568}}]`.
    Hybrid(Box<HybridPublic>),
}

impl PublicBoxingKey {
    /// The key's hash. That of a legacy key holds the key; that of a hybrid key names a block.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.to_cbor())
    }

    /// The structure `[type, key]`.
    pub fn to_cbor(&self) -> Value {
        match self {
            Self::Curve25519(key) => key.to_cbor(),
            Self::Hybrid(key) => Value::Array(vec![HYBRID.into(), key.to_cbor()]),
        }
    }

    /// Reads the structure `[type, key]`.
    ///
    /// # Errors
    /// [`Error::Structure`], or [`Error::Key`] for an unknown type or an invalid ML-KEM key.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        match value.as_array("public boxing key")? {
            [Value::Int(CURVE25519), _] => CurvePublic::from_cbor(value).map(Self::Curve25519),
            [Value::Int(HYBRID), key] => HybridPublic::from_cbor(key).map(Box::new).map(Self::Hybrid),
            _ => Err(Error::Key("unknown type of public boxing key")),
        }
    }
}

#[derive(Clone)]
enum Secret {
    Curve25519(CurveSecret),
    Hybrid(Box<HybridSecret>),
}

/// A boxing key pair of either kind; the secret half is erased when dropped, and never shown.
#[derive(Clone)]
pub struct BoxingKeyPair {
    public: PublicBoxingKey,
    secret: Secret,
}

impl BoxingKeyPair {
    /// A fresh random hybrid pair.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self> {
        let secret = HybridSecret::generate()?;
        let public = PublicBoxingKey::Hybrid(Box::new(secret.public()));
        Ok(Self { public, secret: Secret::Hybrid(Box::new(secret)) })
    }

    /// A fresh random pair of the kind of `key`, with which alone something can be sent to its holder.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate_like(key: &PublicBoxingKey) -> Result<Self> {
        match key {
            PublicBoxingKey::Curve25519(_) => Ok(Self::from_curve_secret(CurveSecret::generate()?)),
            PublicBoxingKey::Hybrid(_) => Self::generate(),
        }
    }

    /// The legacy pair of a Curve25519 secret.
    pub fn from_curve_secret(secret: CurveSecret) -> Self {
        Self { public: PublicBoxingKey::Curve25519(secret.public()), secret: Secret::Curve25519(secret) }
    }

    /// The public half.
    pub const fn public(&self) -> &PublicBoxingKey {
        &self.public
    }

    /// Encrypts `message` so that only the holder of `to` can read it, and knows that it comes from this pair.
    ///
    /// # Errors
    /// [`Error::Key`] if `to` is of another kind, [`Error::Randomness`].
    pub fn seal(&self, message: &[u8], to: &PublicBoxingKey) -> Result<Vec<u8>> {
        match (&self.secret, to) {
            (Secret::Curve25519(secret), PublicBoxingKey::Curve25519(to)) => secret.seal(message, to),
            (Secret::Hybrid(secret), PublicBoxingKey::Hybrid(to)) => secret.seal(message, to),
            _ => Err(KINDS_DIFFER),
        }
    }

    /// Decrypts what the holder of `from` sealed to this pair.
    ///
    /// # Errors
    /// [`Error::Decryption`], [`Error::Key`] if `from` is of another kind, [`Error::Structure`] if it is no box.
    pub fn open(&self, sealed: &[u8], from: &PublicBoxingKey) -> Result<Zeroizing<Vec<u8>>> {
        match (&self.secret, from) {
            (Secret::Curve25519(secret), PublicBoxingKey::Curve25519(from)) => secret.open(sealed, from),
            (Secret::Hybrid(secret), PublicBoxingKey::Hybrid(from)) => secret.open(sealed, from),
            _ => Err(KINDS_DIFFER),
        }
    }

    /// The structure `[public key, secret key]`.
    pub fn to_cbor(&self) -> Value {
        let secret = match &self.secret {
            Secret::Curve25519(key) => key.to_cbor(),
            Secret::Hybrid(key) => Value::Array(vec![HYBRID.into(), key.to_cbor()]),
        };
        Value::Array(vec![self.public.to_cbor(), secret])
    }

    /// Reads the structure `[public key, secret key]`.
    ///
    /// # Errors
    /// [`Error::Structure`], or [`Error::Key`] for an unknown type, an invalid ML-KEM key, or halves that do not
    /// belong together.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let [public, secret] = value.as_array("boxing key pair")? else {
            return Err(Error::Structure("boxing key pair"));
        };
        let pair = match secret.as_array("secret boxing key")? {
            [Value::Int(CURVE25519), _] => Self::from_curve_secret(CurveSecret::from_cbor(secret)?),
            [Value::Int(HYBRID), key] => {
                let secret = HybridSecret::from_cbor(key)?;
                let public = PublicBoxingKey::Hybrid(Box::new(secret.public()));
                Self { public, secret: Secret::Hybrid(Box::new(secret)) }
            }
            _ => return Err(Error::Key("unknown type of secret boxing key")),
        };
        if PublicBoxingKey::from_cbor(public)? == pair.public {
            Ok(pair)
        } else {
            Err(Error::Key("secret and public boxing key differ"))
        }
    }
}

const KINDS_DIFFER: Error = Error::Key("boxing keys of different kinds");

impl std::fmt::Debug for BoxingKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BoxingKeyPair({})", self.public.hash())
    }
}

#[cfg(test)]
mod tests;
