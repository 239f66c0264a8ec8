//! The keyring of the person's desktop (the Secret Service of D-Bus), which keeps logins over restarts. There is no other
//! place for them: without a keyring nothing is kept.

use std::{env, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use keyring_core::{CredentialStore, Entry, Error};
use peergos_fs::account::Remembered;
use zeroize::Zeroizing;

/// What the entries belong to.
const SERVICE: &str = "peergos-mount";

/// An open keyring.
pub struct Keyring {
    store: Arc<CredentialStore>,
}

impl Keyring {
    /// Opens the keyring of the session.
    pub fn open() -> Result<Self> {
        // else D-Bus would start a session of its own, with an empty keyring
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("bus"));
        if env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() && !runtime.is_some_and(|bus| bus.exists()) {
            bail!("there is no keyring here: this is not a desktop session (D-Bus with a Secret Service)");
        }
        let store = dbus_secret_service_keyring_store::Store::new().context("there is no keyring here")?;
        Ok(Self { store })
    }

    fn entry(&self, server: &str, username: &str) -> Result<Entry> {
        self.store.build(SERVICE, &format!("{username}@{server}"), None).context("the keyring")
    }

    /// What was kept of the account `username` at `server`.
    pub fn load(&self, server: &str, username: &str) -> Result<Option<Remembered>> {
        match self.entry(server, username)?.get_password() {
            Ok(text) => Ok(Some(Remembered::from_text(&Zeroizing::new(text)).context("the keyring")?)),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error).context("the keyring"),
        }
    }

    /// Keeps the login of an account at `server`, in place of an earlier one.
    pub fn save(&self, server: &str, remembered: &Remembered) -> Result<()> {
        let entry = self.entry(server, &remembered.username)?;
        entry.set_password(&remembered.to_text()).context("the keyring would not take the login")
    }

    /// Forgets the account.
    pub fn forget(&self, server: &str, username: &str) -> Result<()> {
        match self.entry(server, username)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(error).context("the keyring"),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyring_core::mock;
    use peergos_crypto::{password::LoginKeys, signing::SecretSigningKey, symmetric::SymmetricKey, totp::Totp};

    use super::*;

    fn remembered(username: &str) -> Remembered {
        let signing = SecretSigningKey::generate().unwrap();
        Remembered {
            username: username.to_owned(),
            owner: SecretSigningKey::generate().unwrap().hash().clone(),
            keys: LoginKeys { signing, root: SymmetricKey::generate().unwrap(), legacy_boxing: None },
            factor: Totp::generate().unwrap(),
        }
    }

    fn keyring() -> Keyring {
        Keyring { store: mock::Store::new().unwrap() }
    }

    #[test]
    fn logins_are_kept_by_server_and_name() {
        let keyring = keyring();
        let (ada, other) = (remembered("ada"), remembered("ada"));
        assert!(keyring.load("https://a", "ada").unwrap().is_none());
        keyring.save("https://a", &ada).unwrap();
        keyring.save("https://b", &other).unwrap();
        for (server, expected) in [("https://a", &ada), ("https://b", &other)] {
            let loaded = keyring.load(server, "ada").unwrap().unwrap();
            assert_eq!(loaded.to_text(), expected.to_text());
            assert_eq!(loaded.factor, expected.factor);
        }
        assert!(keyring.load("https://a", "bob").unwrap().is_none());
        keyring.save("https://a", &other).unwrap();
        assert_eq!(keyring.load("https://a", "ada").unwrap().unwrap().owner, other.owner);
        keyring.forget("https://a", "ada").unwrap();
        keyring.forget("https://a", "ada").unwrap();
        assert!(keyring.load("https://a", "ada").unwrap().is_none());
        assert!(keyring.load("https://b", "ada").unwrap().is_some());
    }

    #[test]
    fn a_keyring_that_refuses_is_named() {
        let keyring = keyring();
        let entry = keyring.entry("s", "ada").unwrap();
        let locked = || {
            let credential = entry.as_any().downcast_ref::<mock::Cred>().unwrap();
            credential.set_error(Error::NoStorageAccess("it is locked".into()));
        };
        locked();
        assert!(format!("{:#}", keyring.save("s", &remembered("ada")).unwrap_err()).contains("locked"));
        locked();
        assert!(format!("{:#}", keyring.load("s", "ada").unwrap_err()).contains("locked"));
        entry.set_password("no login").unwrap();
        assert!(keyring.load("s", "ada").is_err());
    }
}
