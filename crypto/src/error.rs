//! The one error type of the crate.

/// Why bytes could not be read, opened or verified.
///
/// The texts name what was being read, never its content: no key, name or plaintext is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not CBOR of the dialect of spec 01 §1.1.
    #[error("malformed CBOR: {0}")]
    Cbor(&'static str),
    /// Well-formed CBOR, but not the structure that was expected; names the structure or field.
    #[error("unexpected structure: {0}")]
    Structure(&'static str),
    /// Not a CID, multihash, varint or multibase string that Peergos uses (spec 01 §1.3).
    #[error("malformed content identifier: {0}")]
    Cid(&'static str),
    /// A signature does not verify.
    #[error("invalid signature")]
    Signature,
    /// A ciphertext does not open: wrong key, or changed bytes.
    #[error("decryption failed: wrong key or damaged ciphertext")]
    Decryption,
    /// A key has the wrong length or type.
    #[error("invalid key: {0}")]
    Key(&'static str),
    /// A password derivation is refused: too weak or too costly (spec 01 §14.4).
    #[error("refused password derivation: {0}")]
    Derivation(&'static str),
    /// A server asks for a proof of work that would take too long; holds its difficulty in bits.
    #[error("the server asks for too much work (difficulty {0})")]
    Work(u32),
    /// The time in a signed time or request is too far from the verifier's (spec 01 §2.15).
    #[error("Stale auth time, is your clock accurate?")]
    StaleTime,
    /// A signed request is for another path; holds that path.
    #[error("Illegal path for signed request: {0}")]
    RequestPath(String),
    /// The operating system has no randomness to give.
    #[error("no randomness from the operating system")]
    Randomness,
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
