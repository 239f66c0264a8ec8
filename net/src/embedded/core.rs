//! What the rooms of the embedded node share.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use peergos_crypto::{
    cid::{Cid, Codec},
    random,
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
};
use zeroize::Zeroizing;

use super::{
    accounts::{Account, Accounts},
    admission::Door,
    clock::Clock,
    disk::Disk,
    login::Attempts,
    space::Space,
    store::{Batch, BlockStore, Epoch, Kv, Table},
    transactions::Transactions,
    view::View,
    worker::Signal,
};
use crate::{Error, Result};

/// The row of [`Table::Node`] that says how the store is laid out.
const FORMAT: &[u8] = b"format";
const FORMAT_NOW: &[u8] = b"1";
/// The row of [`Table::Node`] with the seed of the node's key.
const KEY: &[u8] = b"key";

/// The state of an open node.
pub(super) struct Core {
    pub dir: PathBuf,
    pub disk: Disk,
    /// The node's id: its public key as a libp2p peer.
    pub id: Cid,
    pub clock: Clock,
    pub kv: Arc<Kv>,
    pub store: BlockStore,
    pub accounts: Accounts,
    pub transactions: Transactions,
    pub space: Space,
    pub attempts: Attempts,
    pub door: Door,
    pub signal: Signal,
    /// Held by whoever changes committed state, from the first check to the commit.
    pub commits: Mutex<()>,
    /// Held while what accounts use is counted.
    pub counting: Mutex<()>,
    /// Held while blocks must not, or must alone, be removed: by the garbage collection, exports and imports.
    pub sweeps: Mutex<()>,
    /// Keeps other processes out.
    _lock: File,
}

impl Core {
    /// Opens or makes the store in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        make_dir(dir)?;
        let lock = lock(dir)?;
        let kv = Arc::new(Kv::open(dir)?);
        // before anything is removed
        let epoch = Epoch::open(dir, &kv)?;
        let key = prepare(dir, &kv)?;
        super::transfer::remove_unfinished(dir, &kv)?;
        let store = BlockStore::open(dir, Arc::clone(&kv), epoch)?;
        Ok(Self {
            dir: dir.to_owned(),
            disk: Disk::of(dir),
            id: peer_id(&key.public())?,
            clock: Clock::default(),
            store,
            accounts: Accounts::load(&kv)?,
            transactions: Transactions::load(&kv)?,
            space: Space::load(&kv)?,
            attempts: Attempts::default(),
            door: Door::default(),
            signal: Signal::default(),
            commits: Mutex::default(),
            counting: Mutex::default(),
            sweeps: Mutex::default(),
            kv,
            _lock: lock,
        })
    }

    /// Makes everything that was put, and `batch`, durable in one step. If this fails, nothing of `batch` was done.
    pub fn commit(&self, mut batch: Batch, _one_at_a_time: &MutexGuard<'_, ()>) -> Result<()> {
        let sealed = self.store.seal(&mut batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.kv.commit(&batch)?;
        self.store.settle(&sealed);
        Ok(())
    }

    /// Passes a result on; if there was no room, garbage goes soon.
    pub fn make_room_after<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::DiskFull)) {
            self.signal.collect();
        }
        result
    }

    /// A view of an account as it is.
    pub fn view(&self, account: &Account) -> View<'_> {
        View::new(&self.kv, &self.store, account.id)
    }

    /// Writes down what is only in memory, so that clients can go on after a restart.
    pub fn close(&self) -> Result<()> {
        let commits = self.commits.lock();
        let mut batch = Batch::default();
        self.transactions.save(&self.kv, &mut batch)?;
        self.commit(batch, &commits)
    }
}

/// The key that signs for an identity or writer.
pub(super) fn key_of(hash: &KeyHash) -> Result<PublicSigningKey> {
    Ok(hash.signing_key()?)
}

fn make_dir(dir: &Path) -> Result<()> {
    let fail = Error::io("making the folder of the node's store");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
    // it may have been there, open to all
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::io("protecting the node's store"))
}

fn lock(dir: &Path) -> Result<File> {
    let file = File::options().write(true).create(true).truncate(false).open(dir.join("lock"));
    let file = file.map_err(Error::io("opening the lock of the node's store"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.display().to_string())),
        Err(TryLockError::Error(e)) => Err(Error::io("locking the node's store")(e)),
    }
}

/// Checks the format, makes a new store's key, and returns the key.
fn prepare(dir: &Path, kv: &Kv) -> Result<SecretSigningKey> {
    let broken = |what: &str| Error::Store(format!("{} {what}", dir.display()));
    match kv.get(Table::Node, FORMAT)? {
        Some(format) if format == FORMAT_NOW => {
            let seed = Zeroizing::new(kv.get(Table::Node, KEY)?.unwrap_or_default());
            let seed = seed.as_slice().try_into().map_err(|_| broken("has lost its key"))?;
            Ok(SecretSigningKey::from_seed(seed))
        }
        Some(_) => Err(broken("was made by a newer version of this program")),
        None => {
            let seed: Zeroizing<[u8; 32]> = Zeroizing::new(random::bytes()?);
            let mut batch = Batch::default();
            batch.put(Table::Node, KEY, *seed);
            batch.put(Table::Node, FORMAT, FORMAT_NOW);
            kv.commit(&batch)?;
            Ok(SecretSigningKey::from_seed(&seed))
        }
    }
}

/// The peer id of a node: an identity CID of the key in libp2p's protobuf (spec 02 §1.2).
fn peer_id(key: &PublicSigningKey) -> Result<Cid> {
    let protobuf = [&[0x08, 0x01, 0x12, 0x20][..], key.as_bytes()].concat();
    Ok(Cid::identity(Codec::LibP2pKey, &protobuf)?)
}
