//! Logging in without the password: keys that were derived from it, and a second factor of this device's own that can be
//! revoked (spec 01 §6.8, 04 §9). Whoever has these can open the account: they belong into a keyring.

use std::{fmt, time::SystemTime};

use peergos_crypto::{
    cbor::Value,
    cbor_map, multibase,
    password::LoginKeys,
    signed_request,
    signing::{KeyHash, SecretSigningKey},
    symmetric::SymmetricKey,
    totp::Totp,
};
use peergos_net::Node;
use zeroize::Zeroizing;

use super::{
    ADD_MOUNT, Account, DELETE_MFA, ENABLE_MOUNT, millis,
    person::{codes, refused},
    since_epoch,
};
use crate::{Error, Result};

const VERSION: i64 = 1;

/// What a device keeps of an account; erased when dropped.
#[derive(Clone)]
pub struct Remembered {
    /// The user name.
    pub username: String,
    /// The identity that it belonged to.
    pub owner: KeyHash,
    /// What followed from the password.
    pub keys: LoginKeys,
    /// This device's second factor.
    pub factor: Totp,
}

impl Remembered {
    /// Gives this device, called `device` (up to 32 characters), a second factor of `account`'s.
    ///
    /// # Errors
    /// [`Error::LegacyAccount`]; what the node refuses.
    pub fn enrol(node: &dyn Node, account: &Account, device: &str, now: SystemTime) -> Result<Self> {
        if account.is_legacy {
            return Err(Error::LegacyAccount);
        }
        let auth = |path| signed_request::sign(&account.identity, path, millis(now));
        let factor = node.add_mount_factor(&account.username, device, &auth(ADD_MOUNT))?;
        let mut enabled = Err(Error::SecondFactorRefused);
        for code in codes(&factor, since_epoch(now).as_secs()) {
            let (id, auth) = (&factor.credential_id, auth(ENABLE_MOUNT));
            enabled = node.enable_mount_factor(&account.username, id, &code, &auth).map_err(refused);
            if !matches!(enabled, Err(Error::SecondFactorRefused)) {
                break;
            }
        }
        enabled.map(|()| Self::of(account, factor))
    }

    /// The same device's memory of `account` after a change of its password.
    pub fn renewed(&self, account: &Account) -> Self {
        Self::of(account, self.factor.clone())
    }

    fn of(account: &Account, factor: Totp) -> Self {
        let (username, owner) = (account.username.clone(), account.owner.clone());
        Self { username, owner, keys: account.keys.clone(), factor }
    }

    /// Takes this device's second factor back.
    ///
    /// # Errors
    /// What the node refuses.
    pub fn revoke(&self, node: &dyn Node, identity: &SecretSigningKey, now: SystemTime) -> Result<()> {
        let auth = signed_request::sign(identity, DELETE_MFA, millis(now));
        Ok(node.delete_factor(&self.username, &self.factor.credential_id, &auth)?)
    }

    /// A text to keep in a keyring.
    pub fn to_text(&self) -> Zeroizing<String> {
        let value = Zeroizing::new(cbor_map! {
            "v" => VERSION,
            "username" => self.username.as_str(),
            "owner" => &self.owner,
            "login" => self.keys.signing.to_cbor(),
            "root" => self.keys.root.to_cbor(),
            "factor" => self.factor.to_text().as_str(),
        });
        Zeroizing::new(multibase::hex(&Zeroizing::new(value.encode())))
    }

    /// Reads [`Remembered::to_text`].
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed, or of a newer version of this program.
    pub fn from_text(text: &str) -> Result<Self> {
        const WHAT: &str = "remembered login";
        let value = Zeroizing::new(Value::decode(&Zeroizing::new(multibase::hex_decode(text)?))?);
        let map = value.as_map(WHAT)?;
        if map.require("v", WHAT)?.as_int(WHAT)? != VERSION {
            return Err(peergos_crypto::Error::Structure(WHAT).into());
        }
        Ok(Self {
            username: map.require("username", WHAT)?.as_text(WHAT)?.to_owned(),
            owner: KeyHash::from_cbor(map.require("owner", WHAT)?, WHAT)?,
            keys: LoginKeys {
                signing: SecretSigningKey::from_cbor(map.require("login", WHAT)?)?,
                root: SymmetricKey::from_cbor(map.require("root", WHAT)?)?,
                legacy_boxing: None,
            },
            factor: Totp::from_text(map.require("factor", WHAT)?.as_text(WHAT)?)?,
        })
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({})", self.owner)
    }
}
