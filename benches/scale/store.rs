//! An embedded node whose puts are counted, and that can pretend to store what has no room on the disk.

use std::{
    collections::VecDeque,
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
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
use rustix::fs::{FallocateFlags, fallocate};

/// How many of the fragments that it pretends to store can still be read, since a commit may end in the middle of a chunk, which
/// the next one completes.
const WHOLE: usize = 512;

pub struct Store {
    node: EmbeddedNode,
    /// Where the node has its large blocks.
    files: PathBuf,
    blocks: AtomicUsize,
    bytes: AtomicUsize,
    /// Whether the files of fragments lose their bytes.
    pretends: AtomicBool,
    /// Those that will.
    whole: Mutex<VecDeque<Cid>>,
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
        Self { node, files: dir.join("blocks"), blocks, bytes, pretends, whole: Mutex::default() }
    }

    /// What a user may store whose content is pretended to be.
    pub fn set_quota(&self, username: &str, bytes: u64) {
        self.node.set_quota(username, Some(bytes)).unwrap();
    }

    /// Makes a hole of the bytes of a fragment, whose file keeps its length.
    fn hollow(&self, cid: &Cid) {
        let digest: String = cid.sha256_digest().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        for account in fs::read_dir(&self.files).unwrap() {
            let path = account.unwrap().path().join(&digest[..2]).join(format!("{digest}.raw"));
            if let Ok(file) = File::options().write(true).open(path) {
                let bytes = file.metadata().unwrap().len();
                fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, bytes).unwrap();
            }
        }
    }

    /// From now on, fragments lose their bytes soon after they are stored, or are stored again.
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
            let mut whole = self.whole.lock().unwrap();
            whole.extend(blocks.iter().map(|signed| signed.block.cid().clone()));
            let count = whole.len().saturating_sub(WHOLE);
            whole.drain(..count).for_each(|cid| self.hollow(&cid));
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
