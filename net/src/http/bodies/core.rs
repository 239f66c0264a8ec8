//! Names, claims and sign-ups: data streams (spec 02 §12).

use peergos_crypto::{
    cbor::Value,
    datastream::{Reader, Writer},
    signing::KeyHash,
};

use crate::{Admission, Error, Result, SignUp};

/// The most bytes of a name, an identity, claims, an operation log, a proof of work and a token.
const MAX_NAME: usize = 1024;
const MAX_IDENTITY: usize = 1024;
const MAX_CLAIMS: usize = 4 << 20;
const MAX_OP_LOG: usize = 65_536;
const MAX_PROOF: usize = 100;
const MAX_TOKEN: usize = 1024;

/// The body of calls that take a name, and the reply of `getUsername`.
///
/// # Errors
/// [`Error::Crypto`] for a name that is not ASCII.
pub fn username(username: &str) -> Result<Vec<u8>> {
    Ok(Writer::new().text(username)?.finish())
}

/// Reads [`username()`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_username(bytes: &[u8]) -> Result<String> {
    let mut stream = Reader::new(bytes);
    let name = stream.text(MAX_NAME)?.to_owned();
    stream.finish()?;
    Ok(name)
}

/// The body of `getUsername`.
pub fn identity(identity: &KeyHash) -> Vec<u8> {
    Writer::new().bytes(&Value::from(identity).encode()).finish()
}

/// Reads [`identity()`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_identity(body: &[u8]) -> Result<KeyHash> {
    let mut stream = Reader::new(body);
    let identity = key_hash(stream.bytes(MAX_IDENTITY)?)?;
    stream.finish()?;
    Ok(identity)
}

/// The reply to `getPublicKey`.
pub fn public_key(identity: Option<&KeyHash>) -> Vec<u8> {
    let mut stream = Writer::new();
    stream.bool(identity.is_some());
    if let Some(identity) = identity {
        stream.bytes(&Value::from(identity).encode());
    }
    stream.finish()
}

/// Reads [`public_key`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_public_key(reply: &[u8]) -> Result<Option<KeyHash>> {
    let mut stream = Reader::new(reply);
    let identity = if stream.bool()? { Some(key_hash(stream.bytes(MAX_IDENTITY)?)?) } else { None };
    stream.finish()?;
    Ok(identity)
}

fn key_hash(bytes: &[u8]) -> Result<KeyHash> {
    Ok(KeyHash::from_cbor(&Value::decode(bytes)?, "identity")?)
}

/// The body of `signup`.
///
/// # Errors
/// [`Error::Crypto`] if the name or the token is not ASCII.
pub fn sign_up(request: &SignUp) -> Result<Vec<u8>> {
    let mut stream = Writer::new();
    stream.text(&request.username)?.bytes(&request.claim).bytes(&request.op_log).bytes(&request.proof_of_work);
    Ok(stream.text(&request.token)?.finish())
}

/// Reads [`sign_up`].
///
/// # Errors
/// [`Error::Crypto`] for anything else.
pub fn read_sign_up(body: &[u8]) -> Result<SignUp> {
    let mut stream = Reader::new(body);
    let request = SignUp {
        username: stream.text(MAX_NAME)?.to_owned(),
        claim: stream.bytes(MAX_CLAIMS)?.to_vec(),
        op_log: stream.bytes(MAX_OP_LOG)?.to_vec(),
        proof_of_work: stream.bytes(MAX_PROOF)?.to_vec(),
        token: stream.text(MAX_TOKEN)?.to_owned(),
    };
    stream.finish()?;
    Ok(request)
}

/// What `updateChain` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainUpdate {
    /// Whose claims.
    pub username: String,
    /// CBOR of the new links.
    pub links: Vec<u8>,
    /// CBOR of the proof of work over them.
    pub proof_of_work: Vec<u8>,
    /// Empty for updates.
    pub token: String,
}

impl ChainUpdate {
    /// The body.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the name or the token is not ASCII.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut stream = Writer::new();
        stream.text(&self.username)?.bytes(&self.links).bytes(&self.proof_of_work);
        Ok(stream.text(&self.token)?.finish())
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::Crypto`] for anything else.
    pub fn from_bytes(body: &[u8]) -> Result<Self> {
        let mut stream = Reader::new(body);
        let update = Self {
            username: stream.text(MAX_NAME)?.to_owned(),
            links: stream.bytes(MAX_CLAIMS)?.to_vec(),
            proof_of_work: stream.bytes(MAX_PROOF)?.to_vec(),
            token: stream.text(MAX_TOKEN)?.to_owned(),
        };
        stream.finish()?;
        Ok(update)
    }
}

/// The reply to `signup` and `updateChain`.
pub fn admission(admission: Admission) -> Vec<u8> {
    match admission {
        Admission::Accepted => Writer::new().bool(true).finish(),
        // no difficulty is above 256
        Admission::WorkRequired(bits) => Writer::new().bool(false).i32(bits.min(256) as i32).finish(),
    }
}

/// Reads [`admission`].
///
/// # Errors
/// [`Error::Crypto`] or [`Error::Invalid`] for anything else.
pub fn read_admission(reply: &[u8]) -> Result<Admission> {
    let mut stream = Reader::new(reply);
    if stream.bool()? {
        stream.finish()?;
        return Ok(Admission::Accepted);
    }
    let bits = u32::try_from(stream.i32()?).map_err(|_| Error::Invalid("difficulty"))?;
    stream.finish()?;
    Ok(Admission::WorkRequired(bits))
}
