//! What the login data holds: where an account begins, and its long-lived keys (spec 01 §6.2).

use std::fmt;

use peergos_crypto::{
    Error, Result,
    boxing::BoxingKeyPair,
    cbor::{Map, Value},
    cbor_map,
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
    symmetric::{CipherText, SymmetricKey},
};
use zeroize::Zeroizing;

use crate::capability::Capability;

/// The newest version that is understood, and the one that is written.
const VERSION: i64 = 2;
/// What the plaintext is padded to, in bytes.
const PADDING: usize = 4096;

/// The entry points of an account with its keys.
#[derive(Clone)]
pub struct EntryPoints {
    /// User names with capabilities: one's own with the home directory.
    pub entries: Vec<(String, Capability)>,
    /// The identity; absent on legacy accounts, where it follows from the password.
    pub identity: Option<SecretSigningKey>,
    /// The boxing key pair; absent on legacy accounts.
    pub boxing: Option<BoxingKeyPair>,
}

impl EntryPoints {
    /// Those of a new account.
    pub fn new(username: &str, home: Capability, identity: SecretSigningKey, boxing: BoxingKeyPair) -> Self {
        Self { entries: vec![(username.to_owned(), home)], identity: Some(identity), boxing: Some(boxing) }
    }

    /// The home directory of `username`, as `owner`'s: the stored owner may be a former identity.
    pub fn home(&self, username: &str, owner: &KeyHash) -> Option<Capability> {
        let (_, home) = self.entries.iter().find(|(name, _)| name == username)?;
        Some(Capability { owner: owner.clone(), ..home.clone() })
    }

    /// Encrypts under the login root key.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn seal(&self, root: &SymmetricKey) -> Result<CipherText> {
        CipherText::seal(root, &Zeroizing::new(self.to_cbor()), PADDING)
    }

    /// Decrypts with the login root key.
    ///
    /// # Errors
    /// [`Error::Decryption`] for another password, [`Error::Structure`] and the like if the content is malformed.
    pub fn open(sealed: &CipherText, root: &SymmetricKey) -> Result<Self> {
        Self::from_cbor(&Zeroizing::new(sealed.open(root)?))
    }

    /// The structure `entry-points`.
    pub fn to_cbor(&self) -> Value {
        let entry = |(name, cap): &(String, Capability)| cbor_map! { "c" => cap.to_cbor(), "n" => name.as_str() };
        let pair = |key: &SecretSigningKey| Value::Array(vec![key.public().to_cbor(), key.to_cbor()]);
        let mut map = Map::new();
        map.insert_some("b", self.boxing.as_ref().map(BoxingKeyPair::to_cbor));
        map.insert("e", self.entries.iter().map(entry).collect::<Vec<_>>());
        map.insert_some("i", self.identity.as_ref().map(pair));
        map.insert("v", VERSION);
        Value::Map(map)
    }

    /// Reads the structure `entry-points`.
    ///
    /// # Errors
    /// [`Error::Structure`], also for a newer version; [`Error::Key`] for key pairs whose halves do not belong together.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("entry points")?;
        if map.require("v", "entry points")?.as_int("entry points")? > VERSION {
            return Err(Error::Structure("entry points of a newer version"));
        }
        let entry = |value: &Value| {
            let map = value.as_map("entry point")?;
            let name = map.require("n", "entry point")?.as_text("entry point")?.to_owned();
            Ok((name, Capability::from_cbor(map.require("c", "entry point")?)?))
        };
        let entries = map.require("e", "entry points")?.as_array("entry points")?;
        Ok(Self {
            entries: entries.iter().map(entry).collect::<Result<_>>()?,
            identity: map.get("i").map(signing_pair).transpose()?,
            boxing: map.get("b").map(BoxingKeyPair::from_cbor).transpose()?,
        })
    }
}

impl fmt::Debug for EntryPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPoints({})", self.entries.len())
    }
}

/// Reads `[public key, secret key]`.
fn signing_pair(value: &Value) -> Result<SecretSigningKey> {
    let [public, secret] = value.as_array("signing key pair")? else {
        return Err(Error::Structure("signing key pair"));
    };
    let secret = SecretSigningKey::from_cbor(secret)?;
    if PublicSigningKey::from_cbor(public)? != secret.public() {
        return Err(Error::Key("secret and public signing key differ"));
    }
    Ok(secret)
}
