//! Time-based one-time passwords (RFC 6238): authenticator apps and the drive mount's own second factor (spec 01 §7).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, Result, multibase, random};

const STEP_SECONDS: u64 = 30;
const DIGITS: usize = 6;

/// A credential of type TOTP or MOUNT: its id, and the key that only its holder and the server have.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Totp {
    /// The credential id that a response names.
    #[zeroize(skip)]
    pub credential_id: [u8; 32],
    key: [u8; 32],
}

impl Totp {
    /// A fresh random credential.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self> {
        Ok(Self { credential_id: random::bytes()?, key: random::bytes()? })
    }

    /// A credential from its parts.
    pub const fn new(credential_id: [u8; 32], key: [u8; 32]) -> Self {
        Self { credential_id, key }
    }

    /// The secret key.
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The six digits at `unix_seconds`, the server's time.
    pub fn code(&self, unix_seconds: u64) -> String {
        self.code_of_step(unix_seconds / STEP_SECONDS)
    }

    /// Whether `code` is that of the step of `unix_seconds` or of the one before.
    pub fn verify(&self, code: &str, unix_seconds: u64) -> bool {
        let step = unix_seconds / STEP_SECONDS;
        [Some(step), step.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|step| self.code_of_step(step).as_bytes().ct_eq(code.as_bytes()).into())
    }

    fn code_of_step(&self, step: u64) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&step.to_be_bytes());
        let hash: [u8; 20] = mac.finalize().into_bytes().into();
        // RFC 4226 §5.3: the last four bits say where the four bytes of the number are
        let at = usize::from(hash[19] & 15);
        let number = hash[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
        format!("{:0DIGITS$}", number % 10u32.pow(DIGITS as u32))
    }

    /// What a server answers to a new credential: `BASE32(id):BASE32(key)`.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", multibase::base32_upper(&self.credential_id), self.base32_key()))
    }

    /// Reads [`Totp::to_text`].
    ///
    /// # Errors
    /// [`Error::Cid`] or [`Error::Structure`].
    pub fn from_text(text: &str) -> Result<Self> {
        let (id, key) = text.trim().split_once(':').ok_or(Error::Structure("TOTP credential"))?;
        Ok(Self { credential_id: part(id)?, key: part(key)? })
    }

    /// What an authenticator app scans.
    pub fn uri(&self, username: &str) -> Zeroizing<String> {
        Zeroizing::new(format!("otpauth://totp/peergos:{username}@peergos?secret={}&issuer=peergos", self.base32_key()))
    }

    fn base32_key(&self) -> String {
        multibase::base32_upper(&self.key)
    }
}

fn part(text: &str) -> Result<[u8; 32]> {
    let bytes = Zeroizing::new(multibase::base32_decode(text)?);
    bytes.as_slice().try_into().map_err(|_| Error::Structure("TOTP credential"))
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Totp({})", multibase::hex(&self.credential_id))
    }
}
