//! From a password to keys: scrypt and the structure that names its costs (spec 01 §2.8, §14.4).

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Error, Result,
    boxing::{BoxingKeyPair, CurveSecret},
    cbor::Value,
    cbor_map, multibase, random,
    signing::SecretSigningKey,
    symmetric::SymmetricKey,
};

const RANDOM: i64 = 0;
const SCRYPT: i64 = 1;

/// The least cost of a login, as log₂ N: a server that names less wants to guess the password.
const MIN_LOGIN_COST: u8 = 17;
/// The least cost that the reference derives any key with.
const MIN_COST: u8 = 15;
/// The greatest cost, 4 GiB of memory: more is an attack on this machine.
const MAX_COST: u8 = 22;

const LOGIN_LEN: usize = 64;
const LEGACY_LOGIN_LEN: usize = 96;
const KEY_LEN: usize = 32;

/// How an account's keys come from its password: the `algorithm` of an identity block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// `{"type": 0}`: they do not. Never used for a login.
    Random,
    /// `{"type": 1, …}`: by scrypt.
    Scrypt(Scrypt),
}

impl Algorithm {
    /// What new accounts and new passwords use: the current costs, under a fresh salt.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self> {
        let salt = multibase::hex(&random::bytes::<32>()?);
        Ok(Self::Scrypt(Scrypt { output_len: LOGIN_LEN, salt, ..Scrypt::key(MIN_LOGIN_COST) }))
    }

    /// The encoded structure.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_cbor().encode()
    }

    /// Reads [`Algorithm::to_bytes`].
    ///
    /// # Errors
    /// As [`Algorithm::from_cbor`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_cbor(&Value::decode(bytes)?)
    }

    /// The structure `{"type", …}`.
    pub fn to_cbor(&self) -> Value {
        match self {
            Self::Random => cbor_map! { "type" => RANDOM },
            Self::Scrypt(scrypt) => scrypt.to_cbor(),
        }
    }

    /// Reads the structure `{"type", …}`, whatever costs it names.
    ///
    /// # Errors
    /// [`Error::Structure`], also for an unknown type or a number beyond its range.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("password algorithm")?;
        let number = |key| map.require(key, "password algorithm")?.as_int("password algorithm");
        match number("type")? {
            RANDOM => Ok(Self::Random),
            SCRYPT => Ok(Self::Scrypt(Scrypt {
                log_n: in_range(number("m")?)?,
                r: in_range(number("c")?)?,
                p: in_range(number("p")?)?,
                output_len: in_range(number("o")?)?,
                salt: map.get("s").map_or(Ok(""), |salt| salt.as_text("password salt"))?.to_owned(),
            })),
            _ => Err(Error::Structure("type of password algorithm")),
        }
    }
}

fn in_range<T: TryFrom<i64>>(number: i64) -> Result<T> {
    T::try_from(number).map_err(|_| Error::Structure("password algorithm"))
}

/// The costs and salt of scrypt (RFC 7914): `{"c": r, "m": log₂ N, "o": output length, "p": p, "s": salt, "type": 1}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrypt {
    log_n: u8,
    r: u32,
    p: u32,
    /// In bytes.
    output_len: usize,
    /// Appended to the username; hexadecimal text, used as text. Empty on old data.
    salt: String,
}

impl Scrypt {
    const fn key(log_n: u8) -> Self {
        Self { log_n, r: 8, p: 1, output_len: KEY_LEN, salt: String::new() }
    }

    /// The derivation of the key of a secret link, whose salt is the link's label in decimal (spec 03 §2.7).
    pub const fn secret_link() -> Self {
        Self::key(MIN_COST)
    }

    /// The derivation of the key of a password-protected blob (spec 01 §2.9).
    pub(crate) const fn blob() -> Self {
        Self::key(MIN_LOGIN_COST)
    }

    /// The single key that `password` gives under the salt text `salt`. Takes 128 MiB of memory and half a second at
    /// the cost of a login.
    ///
    /// # Errors
    /// [`Error::Derivation`] for costs out of bounds, or an output that is not one key.
    pub fn derive_key(&self, salt: &str, password: &str) -> Result<SymmetricKey> {
        if self.output_len != KEY_LEN {
            return Err(Error::Derivation("it does not give one key"));
        }
        let mut output = Zeroizing::new([0; KEY_LEN]);
        self.fill(salt, password, output.as_mut_slice())?;
        Ok(SymmetricKey::from_bytes(*output))
    }

    /// The costs are a server's to name, so they are bounded from both sides.
    fn check(&self, min_log_n: u8) -> Result<()> {
        match self {
            Self { log_n, .. } if *log_n < min_log_n => Err(Error::Derivation("the server names too weak a cost")),
            Self { log_n: ..=MAX_COST, r: 8, p: 1, .. } => Ok(()),
            Self { log_n: ..=MAX_COST, .. } => Err(Error::Derivation("the server names unusual costs")),
            _ => Err(Error::Derivation("the server names too high a cost")),
        }
    }

    fn fill(&self, username: &str, password: &str, output: &mut [u8]) -> Result<()> {
        self.check(MIN_COST)?;
        let params = scrypt::Params::new(self.log_n, self.r, self.p)
            .map_err(|_| Error::Derivation("the server names unusual costs"))?;
        let salt = [username, &self.salt].concat();
        let mut hashed: [u8; 32] = Sha256::digest(password).into();
        let done = scrypt::scrypt(&hashed, salt.as_bytes(), &params, output);
        hashed.zeroize();
        done.map_err(|_| Error::Derivation("it gives no output"))
    }

    fn to_cbor(&self) -> Value {
        cbor_map! {
            "c" => self.r,
            "m" => u32::from(self.log_n),
            "o" => self.output_len as i64,
            "p" => self.p,
            "s" => self.salt.as_str(),
            "type" => SCRYPT,
        }
    }
}

/// What a password opens an account with. Every part is erased when dropped.
#[derive(Clone)]
pub struct LoginKeys {
    /// The login key. On a legacy account it is the identity itself.
    pub signing: SecretSigningKey,
    /// What the login blob (on a legacy account the `static` data of the identity block) is encrypted with.
    pub root: SymmetricKey,
    /// The boxing key pair of a legacy account.
    pub legacy_boxing: Option<BoxingKeyPair>,
}

impl fmt::Debug for LoginKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginKeys({})", self.signing.hash())
    }
}

/// Derives the login keys of an account. Takes 128 MiB of memory and half a second: one at a time.
///
/// # Errors
/// [`Error::Derivation`] for an algorithm that is no derivation, or with other costs than spec 01 §14.4 allows.
pub fn derive(username: &str, password: &str, algorithm: &Algorithm) -> Result<LoginKeys> {
    let Algorithm::Scrypt(scrypt) = algorithm else {
        return Err(Error::Derivation("the account has no password"));
    };
    scrypt.check(MIN_LOGIN_COST)?;
    if ![LOGIN_LEN, LEGACY_LOGIN_LEN].contains(&scrypt.output_len) {
        return Err(Error::Derivation("its output has an unknown length"));
    }
    let mut output = Zeroizing::new([[0; KEY_LEN]; LEGACY_LOGIN_LEN / KEY_LEN]);
    scrypt.fill(username, password, &mut output.as_flattened_mut()[..scrypt.output_len])?;
    let [seed, second, third] = &*output;
    let signing = SecretSigningKey::from_seed(seed);
    Ok(if scrypt.output_len == LEGACY_LOGIN_LEN {
        let boxing = BoxingKeyPair::from_curve_secret(CurveSecret::from_bytes(*second));
        LoginKeys { signing, root: SymmetricKey::from_bytes(*third), legacy_boxing: Some(boxing) }
    } else {
        LoginKeys { signing, root: SymmetricKey::from_bytes(*second), legacy_boxing: None }
    })
}

/// Whether `password` may be the new password of `username`.
///
/// # Errors
/// [`Error::Derivation`] if they are the same.
pub fn check_new(username: &str, password: &str) -> Result<()> {
    if username == password {
        return Err(Error::Derivation("your password cannot be the same as your username"));
    }
    Ok(())
}
