//! An embedded node whose puts are counted, and that can pretend to store what has no room on the disk.

use std::{
    ops::Range,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey},
};
use peergos_net::{
    Admission, ChampCap, EmbeddedNode, Error, Node, PointerWrite, Result, Room, SignUp, SignedBlock, TransactionId,
};

pub struct Store {
    node: EmbeddedNode,
    blocks: AtomicUsize,
    bytes: AtomicUsize,
    /// Whether fragments are dropped.
    pretends: AtomicBool,
}

impl Store {
    /// Opens it, as soon as threads of the last one who had it have ended.
    pub fn open(dir: &Path) -> Self {
        let node = loop {
            match EmbeddedNode::open(dir) {
                Err(Error::Locked(_)) => thread::sleep(Duration::from_millis(1)),
                node => break node.unwrap(),
            }
        };
        let (blocks, bytes, pretends) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Self { node, blocks, bytes, pretends }
    }

    /// From now on, fragments are dropped, or stored again.
    pub fn pretend(&self, pretends: bool) {
        self.pretends.store(pretends, Ordering::Relaxed);
    }

    /// Blocks, and their bytes, that were put since the last time.
    pub fn put(&self) -> (usize, usize) {
        (self.blocks.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }
}

macro_rules! passed_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> Result<$out> {
            self.node.$name($($arg),*)
        })*
    };
}

impl Node for Store {
    fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let bytes = blocks.iter().map(|signed| signed.block.data().len()).sum();
        self.blocks.fetch_add(blocks.len(), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if codec == Codec::Raw && self.pretends.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.node.put_blocks(owner, writer, transaction, codec, blocks)
    }

    fn get_payload(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        self.node.get_payload(owner, cid, bat, range, out)
    }

    fn get_part(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        payload: Range<usize>,
        beside: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        self.node.get_part(owner, cid, bat, payload, beside, out)
    }

    fn keeps_beside(&self) -> bool {
        self.node.keeps_beside()
    }

    passed_on! {
        id() -> Cid;
        start_transaction(owner: &KeyHash) -> TransactionId;
        close_transaction(owner: &KeyHash, transaction: &TransactionId) -> ();
        get_block(owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Option<bytes::Bytes>;
        get_blocks(owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)]) -> Vec<Option<bytes::Bytes>>;
        champ_get(owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Vec<bytes::Bytes>;
        get_pointer(owner: &KeyHash, writer: &KeyHash) -> Option<Vec<u8>>;
        set_pointers(owner: &KeyHash, pointers: &[PointerWrite]) -> ();
        get_public_key(username: &str) -> Option<KeyHash>;
        get_username(identity: &KeyHash) -> String;
        get_chain(username: &str) -> Vec<u8>;
        update_chain(username: &str, links: &[u8], proof_of_work: &[u8], token: &str) -> Admission;
        sign_up(request: &SignUp) -> Admission;
        get_login(username: &str, reader: &PublicSigningKey, auth: &[u8], mfa: Option<&[u8]>) -> Vec<u8>;
        set_login(username: &str, data: &[u8], auth: &[u8; 64]) -> ();
        get_user_bats(username: &str, auth: &[u8]) -> Vec<BatWithId>;
        add_bat(username: &str, bat: &BatWithId, auth: &[u8]) -> ();
        usage(owner: &KeyHash, auth: &[u8]) -> u64;
        quota(owner: &KeyHash, auth: &[u8]) -> u64;
        room(owner: &KeyHash) -> Option<Room>;
    }
}
