//! What a Peergos node offers a client (spec 02): the one interface over the embedded node, servers and peers.

use std::{ops::Range, time::SystemTime};

use bytes::Bytes;
use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey},
    totp::Totp,
};

use crate::{
    Error, PointerWrite, Result, SignedBlock,
    mfa::{BackupCodes, MfaMethod},
    quota::{LinkCount, PaymentProperties},
};

/// An open transaction, which protects fresh blocks from garbage collection until a pointer reaches them
/// (spec 02 §6). Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransactionId(pub String);

/// One key of a CHAMP lookup, with the token that the value's block asks for (spec 02 §3.7).
#[derive(Debug, Clone)]
pub struct ChampCap {
    /// The 32-byte map key.
    pub map_key: [u8; 32],
    /// The token, for nodes that carry BAT ids.
    pub bat: Option<BatWithId>,
}

/// The most [`ChampCap`]s in one call.
pub const MAX_CHAMP_CAPS: usize = 20;

/// What a sign-up consists of (spec 01 §8.5).
#[derive(Debug, Clone)]
pub struct SignUp {
    /// The new name.
    pub username: String,
    /// CBOR of the one claim-link, which names this node as home.
    pub claim: Vec<u8>,
    /// CBOR of the op-log: blocks, pointers, login data, mirror BAT.
    pub op_log: Vec<u8>,
    /// CBOR of the proof of work over the list of that one link.
    pub proof_of_work: Vec<u8>,
    /// A sign-up token, or empty.
    pub token: String,
}

/// The outcome of a call that may ask for a proof of work (spec 01 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Done.
    Accepted,
    /// Repeat with a proof of this difficulty.
    WorkRequired(u32),
}

/// Whether there is any point in asking a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It is in this process.
    Here,
    /// It answers, or was not asked yet.
    Online {
        /// When it first did after a time when it did not, or was prepared for.
        since: SystemTime,
    },
    /// It does not answer: calls fail at once with [`Error::Unreachable`], until it does.
    Offline {
        /// When that was found out.
        since: SystemTime,
        /// What failed.
        reason: String,
    },
}

impl Reach {
    /// Whether calls fail at once.
    pub const fn is_offline(&self) -> bool {
        matches!(self, Self::Offline { .. })
    }
}

/// How many bytes of content a node takes now, whatever the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the disk has for it.
    pub disk: u64,
    /// What is left of the uploads of a day, where they are limited.
    pub uploads: Option<u64>,
}

/// A Peergos node. Calls block the calling thread; implementations are shared between threads.
///
/// `owner` is always the identity key hash of the account whose data is addressed. Nothing that a node returns may be
/// relied on before it is verified: use [`crate::Verified`].
pub trait Node: Send + Sync {
    /// Whether it can be asked now, as far as that is known without asking.
    fn reach(&self) -> Reach {
        Reach::Here
    }

    /// The node's id, which claims name as home.
    fn id(&self) -> Result<Cid>;

    /// Opens a transaction (§6).
    fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId>;

    /// Closes a transaction; closing one that is unknown is no error.
    fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()>;

    /// Stores blocks of one codec, signed by one writer, all or none (§3.4). They are safe from garbage collection
    /// while the transaction is open, and durable once a pointer that reaches them is set.
    fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()>;

    /// As [`Node::put_blocks`], for a commit that adds no content but may remove some: where a node keeps room for such,
    /// these blocks may use it. The protocol does not tell them apart, so a server treats all alike.
    fn put_vital_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        self.put_blocks(owner, writer, transaction, codec, blocks)
    }

    /// Keeps stored blocks, and all below them, while the transaction is open, also when no pointer reaches them any
    /// more. False if the node cannot do that: the protocol has no such request.
    fn hold_blocks(&self, _owner: &KeyHash, _transaction: &TransactionId, _blocks: &[Cid]) -> Result<bool> {
        Ok(false)
    }

    /// A block, or none if it is absent (§3.5).
    fn get_block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>>;

    /// How many requests are worth having under way at a time, of each kind. More than one where they wait for a network.
    fn parallelism(&self) -> usize {
        1
    }

    /// Several blocks at once, in the order asked for; implementations fetch in parallel where that helps.
    fn get_blocks(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)]) -> Result<Vec<Option<Bytes>>> {
        wanted.iter().map(|(cid, bat)| self.get_block(owner, cid, bat.as_ref())).collect()
    }

    /// Appends a range of what a raw block holds behind its BAT ids, as far as there is any. False, and nothing is
    /// appended, if the block must be fetched whole and compared with its hash: only a node in this process can answer,
    /// which did so itself, and knows that the block has not changed since.
    fn get_payload(
        &self,
        _owner: &KeyHash,
        _cid: &Cid,
        _bat: Option<&BatWithId>,
        _range: Range<usize>,
        _out: &mut Vec<u8>,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Whether this is a node in this process, which keeps [`crate::Block::beside`] of blocks of more than 128 KiB for
    /// [`Node::get_part`].
    fn keeps_beside(&self) -> bool {
        false
    }

    /// Appends a range of what a raw block holds behind its BAT ids, and returns a range of what was put beside it, both as far
    /// as there is any, and both as they are on the disk: nobody has compared them with anything. None, and nothing is
    /// appended, if nothing is kept beside it, or the token is not the right one.
    fn get_part(
        &self,
        _owner: &KeyHash,
        _cid: &Cid,
        _bat: Option<&BatWithId>,
        _payload: Range<usize>,
        _beside: Range<usize>,
        _out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Appends all that raw blocks hold behind their BAT ids. False, and nothing is appended, as for [`Node::get_payload`].
    fn get_payloads(&self, _owner: &KeyHash, _wanted: &[(Cid, Option<BatWithId>)], _out: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }

    /// The dag-cbor blocks that at most [`MAX_CHAMP_CAPS`] lookups touch: path nodes and values, in any order (§3.7).
    fn champ_get(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>>;

    /// The same for any number of lookups; implementations ask side by side where that helps.
    fn champ_get_all(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        let mut blocks = Vec::new();
        for caps in caps.chunks(MAX_CHAMP_CAPS) {
            blocks.extend(self.champ_get(owner, root, caps)?);
        }
        Ok(blocks)
    }

    /// The signed pointer of a writer, or none (§8.2).
    fn get_pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>>;

    /// Sets one pointer: the way for a writer that has none yet (§6.4).
    fn set_pointer(&self, owner: &KeyHash, pointer: &PointerWrite) -> Result<()> {
        self.set_pointers(owner, std::slice::from_ref(pointer))
    }

    /// Sets pointers, all or none (§8.2). When it returns, they and all they reach survive a power cut.
    fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()>;

    /// The identity key hash of a user, or none (spec 01 §4).
    fn get_public_key(&self, username: &str) -> Result<Option<KeyHash>>;

    /// The name of an identity.
    fn get_username(&self, identity: &KeyHash) -> Result<String>;

    /// CBOR of the claim chain of a user; the empty list if the name is free.
    fn get_chain(&self, username: &str) -> Result<Vec<u8>>;

    /// Replaces or extends a claim chain: CBOR of the new links and of a proof of work over them (spec 01 §4.5).
    fn update_chain(&self, username: &str, links: &[u8], proof_of_work: &[u8], token: &str) -> Result<Admission>;

    /// Makes an account (spec 01 §8).
    fn sign_up(&self, request: &SignUp) -> Result<Admission>;

    /// CBOR of a [`crate::login::LoginResponse`]: the encrypted entry points of an account, or a request for a second
    /// factor (spec 01 §6.1). `auth` is a signed time by the login key, `mfa` CBOR of an mfa-response.
    fn get_login(&self, username: &str, reader: &PublicSigningKey, auth: &[u8], mfa: Option<&[u8]>) -> Result<Vec<u8>>;

    /// Stores CBOR of login data under a detached signature by the identity (spec 01 §6.3).
    fn set_login(&self, username: &str, login_data: &[u8], auth: &[u8; 64]) -> Result<()>;

    /// The mirror BATs of an account, oldest first. `auth` is a signed request by the identity (§15).
    fn get_user_bats(&self, username: &str, auth: &[u8]) -> Result<Vec<BatWithId>>;

    /// Registers a mirror BAT (§15).
    fn add_bat(&self, username: &str, bat: &BatWithId, auth: &[u8]) -> Result<()>;

    /// Bytes in use, with pending writes. `auth` is a signed time by the identity (§17).
    fn usage(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64>;

    /// Bytes allowed.
    fn quota(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64>;

    /// What limits uploads besides the quota; none if the node does not say: the protocol has no such request.
    fn room(&self, _owner: &KeyHash) -> Result<Option<Room>> {
        Ok(None)
    }

    // What follows is not needed to read and write files, and a node may lack it: then it says so.

    /// All ids that the node has had, the current one last (§3.1).
    fn ids(&self) -> Result<Vec<Cid>> {
        Ok(vec![self.id()?])
    }

    /// The size of a block in bytes, or none if it is absent (§3.6).
    fn block_size(&self, _owner: &KeyHash, _cid: &Cid) -> Result<Option<u64>> {
        Err(Error::Unimplemented)
    }

    /// CBOR of the encrypted capability of a secret link, which counts as opened (§3.8).
    fn get_link(&self, _owner: &KeyHash, _label: u32) -> Result<Vec<u8>> {
        Err(Error::Unimplemented)
    }

    /// How often the links of a user were opened that were opened since `after`, in seconds since the epoch. `bat` is
    /// the newest mirror BAT.
    fn link_counts(&self, _username: &str, _after: u64, _bat: &BatWithId) -> Result<Vec<LinkCount>> {
        Err(Error::Unimplemented)
    }

    /// Whether names can be claimed without a sign-up token.
    fn sign_ups_are_open(&self) -> Result<bool> {
        Err(Error::Unimplemented)
    }

    /// All names that begin with `prefix`, in order.
    fn usernames(&self, _prefix: &str) -> Result<Vec<String>> {
        Err(Error::Unimplemented)
    }

    /// The second factors of an account (spec 01 §7). `auth`, here and below, is a signed request by the identity.
    fn list_factors(&self, _username: &str, _auth: &[u8]) -> Result<Vec<MfaMethod>> {
        Err(Error::Unimplemented)
    }

    /// Begins to set up an authenticator app.
    fn add_totp(&self, _username: &str, _auth: &[u8]) -> Result<Totp> {
        Err(Error::Unimplemented)
    }

    /// Confirms an authenticator app by its first code. It replaces the one before.
    fn enable_totp(&self, _username: &str, _credential: &[u8], _code: &str, _auth: &[u8]) -> Result<()> {
        Err(Error::Unimplemented)
    }

    /// Begins to set up a mount factor, by a name that tells it from others.
    fn add_mount_factor(&self, _username: &str, _name: &str, _auth: &[u8]) -> Result<Totp> {
        Err(Error::Unimplemented)
    }

    /// Confirms a mount factor by its first code.
    fn enable_mount_factor(&self, _username: &str, _credential: &[u8], _code: &str, _auth: &[u8]) -> Result<()> {
        Err(Error::Unimplemented)
    }

    /// Makes backup codes, in place of those before.
    fn generate_backup_codes(&self, _username: &str, _auth: &[u8]) -> Result<BackupCodes> {
        Err(Error::Unimplemented)
    }

    /// Removes a second factor.
    fn delete_factor(&self, _username: &str, _credential: &[u8], _auth: &[u8]) -> Result<()> {
        Err(Error::Unimplemented)
    }

    /// Leaves CBOR of a blind follow request for a user (§16); false if there are too many already.
    fn send_follow_request(&self, _target: &KeyHash, _request: &[u8]) -> Result<bool> {
        Err(Error::Unimplemented)
    }

    /// CBOR of each pending follow request, oldest first. `auth` is a signed time by the identity.
    fn follow_requests(&self, _owner: &KeyHash, _auth: &[u8]) -> Result<Vec<Vec<u8>>> {
        Err(Error::Unimplemented)
    }

    /// Removes a follow request, which the identity has signed as it was received; false if there is none like it.
    fn remove_follow_request(&self, _owner: &KeyHash, _signed: &[u8]) -> Result<bool> {
        Err(Error::Unimplemented)
    }

    /// What an account's space costs (§17). `auth` is a signed time by the identity.
    fn payment_properties(&self, _owner: &KeyHash, _new_secret: bool, _auth: &[u8]) -> Result<PaymentProperties> {
        Err(Error::Unimplemented)
    }

    /// Asks for space: a [`crate::quota::SpaceRequest`] signed by the identity.
    fn request_space(&self, _owner: &KeyHash, _signed: &[u8]) -> Result<PaymentProperties> {
        Err(Error::Unimplemented)
    }
}
