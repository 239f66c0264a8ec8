//! Content identifiers (spec 01 §1.3, 02 §1.2).
//!
//! The `cid` crate holds a digest inline in 64 bytes, and Peergos has identity CIDs of up to 4112 bytes (legacy
//! inlined fragments) next to millions of 34-byte ones, so this is our own small type.

use std::{fmt, str::FromStr, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{Error, Result, multibase, varint};

/// The longest digest of an identity multihash that is written, in bytes.
pub const MAX_IDENTITY_WRITTEN: usize = 36;
/// The longest digest of an identity multihash that is read (legacy inlined fragments), in bytes.
pub const MAX_IDENTITY_READ: usize = 4112;

/// What a CID's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Raw bytes: file fragments and BAT ids (0x55).
    Raw,
    /// MerkleDAG protobuf, implied by CIDv0 (0x70).
    DagPb,
    /// CBOR blocks and key hashes (0x71).
    DagCbor,
    /// Node ids (0x72).
    LibP2pKey,
}

impl Codec {
    const fn code(self) -> u8 {
        match self {
            Self::Raw => 0x55,
            Self::DagPb => 0x70,
            Self::DagCbor => 0x71,
            Self::LibP2pKey => 0x72,
        }
    }

    fn from_code(code: u64) -> Result<Self> {
        match code {
            0x55 => Ok(Self::Raw),
            0x70 => Ok(Self::DagPb),
            0x71 => Ok(Self::DagCbor),
            0x72 => Ok(Self::LibP2pKey),
            _ => Err(Error::Cid("unknown codec")),
        }
    }
}

/// A content identifier; cheap to clone. The order is total, and of no meaning to the protocol.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    /// CIDv1 with a sha2-256 digest: every block.
    Sha256(Codec, [u8; 32]),
    /// Everything else, checked, in binary form: identity CIDs, other hashes, CIDv0.
    Other(Arc<[u8]>),
}

const SHA2_256: u64 = 0x12;
const IDENTITY: u64 = 0x00;

impl Cid {
    /// The CID of a block: CIDv1 with the sha2-256 digest of `block`.
    pub fn of_block(codec: Codec, block: &[u8]) -> Self {
        Self::sha256(codec, Sha256::digest(block).into())
    }

    /// CIDv1 with a given sha2-256 digest.
    pub const fn sha256(codec: Codec, digest: [u8; 32]) -> Self {
        Self(Repr::Sha256(codec, digest))
    }

    /// CIDv1 whose identity multihash holds `content` itself.
    ///
    /// # Errors
    /// [`Error::Cid`] if `content` is longer than [`MAX_IDENTITY_WRITTEN`].
    pub fn identity(codec: Codec, content: &[u8]) -> Result<Self> {
        if content.len() > MAX_IDENTITY_WRITTEN {
            return Err(Error::Cid("identity content too long"));
        }
        let mut bytes = vec![1, codec.code(), 0, content.len() as u8];
        bytes.extend_from_slice(content);
        Ok(Self(Repr::Other(bytes.into())))
    }

    /// Reads a binary CID that fills `bytes`.
    ///
    /// # Errors
    /// [`Error::Cid`] for anything that spec 01 §1.3 does not list.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() == 34 && bytes.starts_with(&[0x12, 0x20]) {
            return Ok(Self(Repr::Other(bytes.into())));
        }
        let (version, rest) = varint::read(bytes)?;
        let (code, hash) = varint::read(rest)?;
        let codec = Codec::from_code(code)?;
        match (version, parse_multihash(hash)?) {
            (1, (SHA2_256, digest)) => {
                let digest = digest.try_into().map_err(|_| Error::Cid("digest length"))?;
                Ok(Self(Repr::Sha256(codec, digest)))
            }
            (1, _) => Ok(Self(Repr::Other(bytes.into()))),
            // the same as the bare multihash, and written as that
            (0, (SHA2_256, _)) if codec == Codec::DagPb => Ok(Self(Repr::Other(hash.into()))),
            _ => Err(Error::Cid("unknown version")),
        }
    }

    /// Reads a node id: a bare base58 peer id (`12D3Koo…`, `Qm…`) or a CID text.
    ///
    /// # Errors
    /// [`Error::Cid`] if it is neither.
    pub fn from_peer_id(text: &str) -> Result<Self> {
        if !text.starts_with('1') {
            return text.parse();
        }
        let hash = multibase::base58_decode(text)?;
        parse_multihash(&hash)?;
        let mut bytes = vec![1, Codec::LibP2pKey.code()];
        bytes.extend_from_slice(&hash);
        Self::from_bytes(&bytes)
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.write_to(&mut out);
        out
    }

    /// Appends the binary form.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Sha256(codec, digest) => {
                out.extend_from_slice(&[1, codec.code(), 0x12, 0x20]);
                out.extend_from_slice(digest);
            }
            Repr::Other(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The length of the binary form in bytes.
    pub fn encoded_len(&self) -> usize {
        match &self.0 {
            Repr::Sha256(..) => 36,
            Repr::Other(bytes) => bytes.len(),
        }
    }

    /// What the identified bytes are.
    pub fn codec(&self) -> Codec {
        match &self.0 {
            Repr::Sha256(codec, _) => *codec,
            Repr::Other(bytes) if bytes[0] == 0x12 => Codec::DagPb,
            // checked when it was made
            Repr::Other(bytes) => Codec::from_code(u64::from(bytes[1])).unwrap_or(Codec::DagPb),
        }
    }

    /// The multihash alone: node ids are compared by it, whatever wraps them.
    pub fn multihash(&self) -> Vec<u8> {
        match &self.0 {
            Repr::Sha256(_, digest) => [&[0x12, 0x20], digest.as_slice()].concat(),
            Repr::Other(bytes) if bytes[0] == 0x12 => bytes.to_vec(),
            Repr::Other(bytes) => bytes[2..].to_vec(),
        }
    }

    /// The content held in an identity CID, or none for any other.
    pub fn identity_content(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Other(bytes) if bytes[0] != 0x12 => match parse_multihash(&bytes[2..]) {
                Ok((IDENTITY, content)) => Some(content),
                _ => None,
            },
            _ => None,
        }
    }

    /// The sha2-256 digest, or none if another function or version is used.
    pub fn sha256_digest(&self) -> Option<&[u8; 32]> {
        match &self.0 {
            Repr::Sha256(_, digest) => Some(digest),
            Repr::Other(_) => None,
        }
    }

    /// Whether `block` is what this CID names: its hash or identity content agrees.
    pub fn verifies(&self, block: &[u8]) -> bool {
        match (&self.0, self.identity_content()) {
            (Repr::Sha256(_, digest), _) => Sha256::digest(block)[..] == digest[..],
            (Repr::Other(_), Some(content)) => content == block,
            (Repr::Other(bytes), None) => {
                bytes.len() == 34 && bytes[0] == 0x12 && Sha256::digest(block)[..] == bytes[2..]
            }
        }
    }
}

/// Splits a multihash that fills `bytes` into function code and digest.
fn parse_multihash(bytes: &[u8]) -> Result<(u64, &[u8])> {
    let (code, rest) = varint::read(bytes)?;
    let (len, digest) = varint::read(rest)?;
    if len != digest.len() as u64 {
        return Err(Error::Cid("digest length"));
    }
    let valid = match code {
        IDENTITY => digest.len() <= MAX_IDENTITY_READ,
        SHA2_256 | 0x1e | 0x41 => digest.len() == 32,
        0x13 | 0x14 | 0x40 => digest.len() == 64,
        _ => return Err(Error::Cid("unknown hash function")),
    };
    if valid { Ok((code, digest)) } else { Err(Error::Cid("digest length")) }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Other(bytes) if bytes[0] == 0x12 => f.write_str(&multibase::base58_encode(bytes)),
            _ => f.write_str(&multibase::encode(&self.to_bytes())),
        }
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 46 && text.starts_with("Qm") {
            return Self::from_bytes(&multibase::base58_decode(text)?);
        }
        Self::from_bytes(&multibase::decode(text)?)
    }
}
