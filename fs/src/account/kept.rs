//! What a device keeps of an account, so that it can be used while its server is out of reach (spec 01 §6.8).

use peergos_crypto::{
    Error as CryptoError,
    bat::BatWithId,
    cbor::{Map, Value},
    password::{Algorithm, LoginKeys},
    signing::{KeyHash, SecretSigningKey},
    symmetric::CipherText,
};
use peergos_net::{Error as NetError, Verified};
use zeroize::Zeroizing;

use super::{
    Account, EntryPoints,
    log_in::{home, identity},
};
use crate::{Error, Result};

const WHAT: &str = "account that is kept";
const VERSION: i64 = 1;
/// What the plaintext is padded to, in bytes.
const PADDING: usize = 4096;

impl Account {
    /// All that opens the account without asking its server, encrypted under the key that opens the login data: to be
    /// kept next to the cache.
    ///
    /// # Errors
    /// [`Error::Crypto`] without randomness.
    pub fn to_kept(&self) -> Result<Vec<u8>> {
        let mut map = Map::new();
        map.insert("v", VERSION);
        map.insert("owner", &self.owner);
        map.insert("points", self.points.to_cbor());
        map.insert("signer", self.home_signer.to_cbor());
        map.insert_some("mirror", self.mirror_bat.as_ref().map(BatWithId::to_cbor));
        map.insert("algorithm", self.algorithm.to_bytes());
        map.insert("legacy", self.is_legacy);
        Ok(CipherText::seal(&self.keys.root, &Zeroizing::new(Value::Map(map)), PADDING)?.to_cbor().encode())
    }

    /// Opens what [`Account::to_kept`] gave, without asking the server.
    ///
    /// # Errors
    /// [`Error::Net`] with [`NetError::IncorrectLogin`] if it was kept under other keys; [`Error::IdentityChanged`] if
    /// the name is known to be another's now; [`Error::Crypto`] and [`Error::Damaged`] if it is malformed.
    pub fn from_kept(node: &Verified, username: &str, keys: LoginKeys, kept: &[u8]) -> Result<Self> {
        let value = match CipherText::from_cbor(&Value::decode(kept)?)?.open(&keys.root) {
            Err(CryptoError::Decryption) => return Err(NetError::IncorrectLogin.into()),
            value => Zeroizing::new(value?),
        };
        let map = value.as_map(WHAT)?;
        if map.require("v", WHAT)?.as_int(WHAT)? != VERSION {
            return Err(CryptoError::Structure(WHAT).into());
        }
        let owner = KeyHash::from_cbor(map.require("owner", WHAT)?, WHAT)?;
        let claims = node.claims(username)?.ok_or(Error::UnknownUser)?;
        if *claims.identity() != owner {
            return Err(Error::IdentityChanged);
        }
        let points = EntryPoints::from_cbor(map.require("points", WHAT)?)?;
        Ok(Self {
            username: username.to_owned(),
            claims,
            is_legacy: map.require("legacy", WHAT)?.as_bool(WHAT)?,
            identity: identity(&points, &owner)?,
            home: home(&points, username, &owner)?,
            home_signer: SecretSigningKey::from_cbor(map.require("signer", WHAT)?)?,
            mirror_bat: map.get("mirror").map(BatWithId::from_cbor).transpose()?,
            boxing: points.boxing.clone().ok_or(Error::Damaged("entry points without keys"))?,
            algorithm: Algorithm::from_bytes(map.require("algorithm", WHAT)?.as_bytes(WHAT)?)?,
            code_was_typed: false,
            keys,
            points,
            owner,
        })
    }
}
