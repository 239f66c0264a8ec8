//! What a server keeps for logging in, and the log of a sign-up (spec 02 §13.1, §14.1).
//!
//! The entry points, with the keys to everything, are here only as the ciphertext that the server stores.

use peergos_crypto::{
    bat::BatWithId,
    cbor::{Map, Value},
    cbor_map,
    cid::Codec,
    signing::{KeyHash, PublicSigningKey, SIGNATURE_LEN, SecretSigningKey},
};

use crate::{Block, Error, PointerWrite, Result, SignedBlock};

/// A block with its writer: `{"b": block, "r": is raw, "s": signed digest, "w": writer}`.
#[derive(Debug, Clone)]
pub struct BlockWrite {
    /// Whose block.
    pub writer: KeyHash,
    /// The block, raw or dag-cbor.
    pub block: SignedBlock,
}

impl BlockWrite {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`Error::BlockSignature`], or [`Error::Crypto`] if the writer is not a signing key.
    pub fn verify(&self) -> Result<()> {
        self.block.verify(&self.writer.signing_key()?)
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let block = &self.block.block;
        cbor_map! {
            "b" => &block.data()[..],
            "r" => block.cid().codec() == Codec::Raw,
            "s" => self.block.attached(),
            "w" => &self.writer,
        }
    }

    /// Reads the structure. The signature is that of the block, but is not verified.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed, [`Error::BlockSignature`] if another digest is signed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("block write")?;
        let field = |key| map.require(key, "block write");
        let codec = if field("r")?.as_bool("block write")? { Codec::Raw } else { Codec::DagCbor };
        let block = Block::new(codec, field("b")?.as_bytes("block write")?.to_vec());
        Ok(Self {
            writer: KeyHash::from_cbor(field("w")?, "block write")?,
            block: SignedBlock::from_attached(block, field("s")?.as_bytes("block signature")?)?,
        })
    }
}

/// What [`crate::Node::set_login`] stores.
#[derive(Debug, Clone)]
pub struct LoginData {
    /// The name of the account.
    pub username: String,
    /// The encrypted entry points.
    pub entry_points: Value,
    /// The login key that may fetch them.
    pub reader: PublicSigningKey,
    /// With a change of password, the identity's new WriterData and the pointer to it.
    pub identity_update: Option<(BlockWrite, PointerWrite)>,
}

impl LoginData {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let mut map: Map = [("e", self.entry_points.clone()), ("r", self.reader.to_cbor())].into_iter().collect();
        map.insert("u", self.username.as_str());
        if let Some((block, pointer)) = &self.identity_update {
            map.insert("b", block.to_cbor());
            map.insert("p", pointer.to_cbor());
        }
        Value::Map(map)
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Crypto`] or [`Error::Invalid`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("login data")?;
        let identity_update = match (map.get("b"), map.get("p")) {
            (Some(block), Some(pointer)) => Some((BlockWrite::from_cbor(block)?, PointerWrite::from_cbor(pointer)?)),
            (None, None) => None,
            _ => return Err(Error::Invalid("login data")),
        };
        Ok(Self {
            username: map.require("u", "login data")?.as_text("login data")?.to_owned(),
            entry_points: map.require("e", "login data")?.clone(),
            reader: PublicSigningKey::from_cbor(map.require("r", "login data")?)?,
            identity_update,
        })
    }

    /// The identity's authorisation to store this.
    pub fn authorise(&self, identity: &SecretSigningKey) -> [u8; SIGNATURE_LEN] {
        identity.sign_detached(&self.to_cbor().encode())
    }

    /// Checks an authorisation.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is not the identity's.
    pub fn verify(&self, auth: &[u8; SIGNATURE_LEN], identity: &PublicSigningKey) -> Result<()> {
        Ok(identity.verify(auth, &self.to_cbor().encode())?)
    }
}

/// What [`crate::Node::get_login`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginResponse {
    /// The encrypted entry points: `{"a": true, "r": …}`.
    EntryPoints(Value),
    /// A request for a second factor (spec 01 §7): `{"a": false, "r": …}`.
    SecondFactor(Value),
}

impl LoginResponse {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let (done, content) = match self {
            Self::EntryPoints(content) => (true, content),
            Self::SecondFactor(content) => (false, content),
        };
        cbor_map! { "a" => done, "r" => content.clone() }
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("login response")?;
        let content = map.require("r", "login response")?.clone();
        let done = map.require("a", "login response")?.as_bool("login response")?;
        Ok(if done { Self::EntryPoints(content) } else { Self::SecondFactor(content) })
    }
}

/// One step of an [`OpLog`].
#[derive(Debug, Clone)]
pub enum Operation {
    /// Store a block.
    Block(BlockWrite),
    /// Set a pointer.
    Pointer(PointerWrite),
}

impl Operation {
    /// Who did it.
    pub const fn writer(&self) -> &KeyHash {
        match self {
            Self::Block(write) => &write.writer,
            Self::Pointer(write) => &write.writer,
        }
    }
}

/// All that a sign-up stores besides the claim on the name: blocks and pointers in order, login data, mirror BAT.
#[derive(Debug, Clone, Default)]
pub struct OpLog {
    /// Blocks grouped by writer, each group followed by that writer's pointer, the identity's first.
    pub operations: Vec<Operation>,
    /// The login data with the identity's authorisation.
    pub login: Option<(LoginData, [u8; SIGNATURE_LEN])>,
    /// The mirror BAT with the signed request for `addBat` by the identity.
    pub mirror_bat: Option<(BatWithId, Vec<u8>)>,
}

impl OpLog {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let operations = self.operations.iter().map(|operation| match operation {
            Operation::Block(write) => write.to_cbor(),
            Operation::Pointer(write) => write.to_cbor(),
        });
        let mut map: Map = [("ops", operations.collect::<Vec<_>>())].into_iter().collect();
        if let Some((login, auth)) = &self.login {
            map.insert("login", login.to_cbor());
            map.insert("loginAuth", auth);
        }
        if let Some((bat, auth)) = &self.mirror_bat {
            map.insert("b", bat.to_cbor());
            map.insert("a", auth.as_slice());
        }
        Value::Map(map)
    }

    /// Reads the structure. No signature is verified.
    ///
    /// # Errors
    /// [`Error::Crypto`] or [`Error::Invalid`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("operation log")?;
        let operation = |value: &Value| {
            let is_block = value.as_map("operation")?.get("r").is_some();
            if is_block {
                BlockWrite::from_cbor(value).map(Operation::Block)
            } else {
                PointerWrite::from_cbor(value).map(Operation::Pointer)
            }
        };
        let operations = map.require("ops", "operation log")?.as_array("operations")?;
        let login = match (map.get("login"), map.get("loginAuth")) {
            (Some(login), Some(auth)) => Some((LoginData::from_cbor(login)?, auth.as_array_of("login authorisation")?)),
            (None, None) => None,
            _ => return Err(Error::Invalid("operation log")),
        };
        let mirror_bat = match (map.get("b"), map.get("a")) {
            (Some(bat), Some(auth)) => Some((BatWithId::from_cbor(bat)?, auth.as_bytes("BAT authorisation")?.to_vec())),
            (None, None) => None,
            _ => return Err(Error::Invalid("operation log")),
        };
        Ok(Self { operations: operations.iter().map(operation).collect::<Result<_>>()?, login, mirror_bat })
    }
}
