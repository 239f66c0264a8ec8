//! What can go wrong between a client and a node.

use peergos_crypto::{cid::Cid, signing::KeyHash};

/// A refusal or failure of a node, or something of a node's that cannot be trusted.
///
/// Variants that a Peergos server reports over HTTP render as the decoded texts of spec 02 §22, to which reference
/// clients react; the others say what a person can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another client was faster: the pointer's value is not what the update starts from (spec 02 §8.5).
    #[error("PointerCAS:{},{},{}", text(.existing), .sequence.map(|s| s.to_string()).unwrap_or_default(), text(.claimed))]
    PointerCas {
        /// The pointer's target now.
        existing: Option<Cid>,
        /// Its sequence number now.
        sequence: Option<u64>,
        /// The target that the refused update started from.
        claimed: Option<Cid>,
    },
    /// The sequence number does not grow.
    #[error("Invalid sequence number update in mutable pointer: {} => {}", optional(.current), optional(.updated))]
    Sequence {
        /// The pointer's sequence number.
        current: Option<u64>,
        /// The one of the refused update.
        updated: Option<u64>,
    },
    /// A server refuses for a reason given in its own words (spec 02 §22).
    #[error("{0}")]
    Refused(String),
    /// The account's storage is used up.
    #[error(
        "Storage quota reached! \nUsed {used} out of {quota} bytes. Rejecting write of size {size}. \nPlease delete some files or request more space."
    )]
    QuotaReached {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
        /// Bytes of the refused write.
        size: u64,
    },
    /// More was uploaded in the current window than the quota allows.
    #[error("Upload bandwidth exceeded please try again tomorrow")]
    UploadLimit,
    /// The BAT is missing or wrong.
    #[error("Unauthorised!")]
    Unauthorised,
    /// A block is larger than 1 MiB + 100 bytes.
    #[error("Block too big!")]
    BlockTooBig,
    /// A block's signature is not its writer's.
    #[error("Invalid signature for block!")]
    BlockSignature,
    /// The server does not have the CHAMP root that was asked for.
    #[error("Champ root not present locally: {0}")]
    ChampRootMissing(Cid),
    /// The writer is not reachable from the owner by owner proofs.
    #[error("Writer not present on this server: {0}")]
    UnknownWriter(KeyHash),
    /// What a pointer is to point to belongs to another writer.
    #[error("WriterData controller mismatch for {0}")]
    WrongController(KeyHash),
    /// The owner is not known.
    #[error("Unknown identity key: {0}")]
    UnknownOwner(KeyHash),
    /// The node does not offer this call.
    #[error("Unimplemented call!")]
    Unimplemented,
    /// No login data for this name and password.
    #[error("Incorrect username or password")]
    IncorrectLogin,
    /// The account asks for a second factor (CBOR of an `mfa-request`, spec 01 §7).
    #[error("a second factor is needed to log in")]
    SecondFactor(Vec<u8>),

    /// An address, a proxy or a file of certificates cannot be used.
    #[error("{0}")]
    Address(String),
    /// The server cannot be reached, or the connection breaks; it may work later.
    #[error("the server {server} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What failed.
        reason: String,
    },
    /// The server broke off instead of answering a request that it must not get twice. Servers do so with what they find
    /// wrongly signed (spec 02 §2.3), but it may also have acted on the request.
    #[error("the server {0} broke off without an answer: it may have refused the request, or acted on it")]
    NoAnswer(String),
    /// The server is overloaded, or limits how often it may be asked.
    #[error("the server is busy: try again later")]
    Busy,
    /// What answers is no Peergos server, or one of another version.
    #[error("{server} does not answer as a Peergos server does ({reason}): check the address")]
    NotPeergos {
        /// Its address.
        server: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// There is no secure connection.
    #[error(
        "no secure connection to {server}: {reason}. If its certificate is signed by an authority of your own, name that with --ca-file"
    )]
    Tls {
        /// The server's address.
        server: String,
        /// What failed.
        reason: String,
    },
    /// The server, or a gateway in front of it, wants a user name and a password of its own.
    #[error(
        "{0} asks for a user name and a password before anything else: put them into its address in PEERGOS_SERVER, as in https://NAME:PASSWORD@HOST"
    )]
    FrontLogin(String),

    /// A block that must exist does not.
    #[error("block {0} is missing: the node's store is damaged or incomplete; restore it from a backup")]
    MissingBlock(Cid),
    /// A block's bytes are not what its name says.
    #[error("block {0} is damaged: its bytes do not have its hash; restore it from a backup")]
    WrongBlock(Cid),
    /// A pointer is older than one that was already seen: the server is replaying old state.
    #[error(
        "the server presents an older state of {writer} (sequence {seen} was seen, {presented} is presented); refusing to go back"
    )]
    Rollback {
        /// Whose pointer.
        writer: KeyHash,
        /// The highest sequence number seen.
        seen: u64,
        /// The one presented now.
        presented: u64,
    },
    /// A name does not belong to who it belonged to before.
    #[error(
        "the server says that `{username}` belongs to someone else than before ({reason}). If you know that this is right, remove {file}"
    )]
    ClaimConflict {
        /// The name.
        username: String,
        /// How the new claims fail to continue the known ones.
        reason: String,
        /// Where the known ones are.
        file: String,
    },
    /// A structure that must be well-formed is not; names the structure.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// A structure that must be well-formed is not.
    #[error(transparent)]
    Crypto(#[from] peergos_crypto::Error),
    /// The disk under the embedded node is full.
    #[error("no space left on the disk that holds the node's store")]
    DiskFull,
    /// The embedded node's store cannot be read or written.
    #[error("the node's store: {0}")]
    Store(String),
    /// The store is in use by another process.
    #[error("the store in {0} is in use by another process")]
    Locked(String),
    /// An operating system error below the node.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an operating system error, keeping a full disk apart.
    pub fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { what, source },
        }
    }
}

fn text(cid: &Option<Cid>) -> String {
    cid.as_ref().map_or_else(|| "EMPTY".to_owned(), Cid::to_string)
}

/// How the reference renders an optional number.
fn optional(number: &Option<u64>) -> String {
    number.map_or_else(|| "Optional.empty".to_owned(), |n| format!("Optional[{n}]"))
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
