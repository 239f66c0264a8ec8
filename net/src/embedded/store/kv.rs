//! The transactional half of the store: tables from bytes to bytes, read in snapshots and changed in batches.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use parking_lot::RwLock;
use redb::{Builder, Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition};

use crate::{Error, Result};

/// The database's own cache, in bytes. No block is in it, only where blocks are.
const CACHE: usize = 8 << 20;
/// How long to wait for snapshots before the database is opened again: most are gone in no time.
const REOPEN_ATTEMPTS: u32 = 100;
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// What the database holds. Keys that start with an account's number are `u32` big-endian, so that an account's rows
/// are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::embedded) enum Table {
    /// The node's own few values, by name.
    Node,
    /// Account ‖ codec ‖ digest → where the block is.
    Blocks,
    /// Pack → how many of its bytes are committed.
    Packs,
    /// Username → account.
    Accounts,
    /// Account ‖ writer → signed pointer update.
    Pointers,
    /// Account ‖ writer → bytes in use, and the root for which they were counted.
    Usage,
    /// Account → the pointers for which garbage was last collected.
    Swept,
    /// Account → login data.
    Logins,
    /// Account ‖ number → second factor.
    Factors,
    /// Account ‖ number → mirror BAT with its id, oldest first.
    Bats,
    /// Account ‖ number → pending follow request, oldest first.
    FollowRequests,
    /// Transaction id → what it protects; written when the node closes.
    Transactions,
    /// Hash of a sign-up token that nobody has used → nothing.
    Tokens,
    /// Account → a signed request for space that the operator has not decided on.
    SpaceRequests,
    /// Account ‖ label of a secret link → how often it was opened, and when last.
    LinkCounts,
}

impl Table {
    const ALL: [Self; 15] = [
        Self::Node,
        Self::Blocks,
        Self::Packs,
        Self::Accounts,
        Self::Pointers,
        Self::Usage,
        Self::Swept,
        Self::Logins,
        Self::Factors,
        Self::Bats,
        Self::FollowRequests,
        Self::Transactions,
        Self::Tokens,
        Self::SpaceRequests,
        Self::LinkCounts,
    ];

    const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Self::Node => "node",
            Self::Blocks => "blocks",
            Self::Packs => "packs",
            Self::Accounts => "accounts",
            Self::Pointers => "pointers",
            Self::Usage => "usage",
            Self::Swept => "swept",
            Self::Logins => "logins",
            Self::Factors => "factors",
            Self::Bats => "bats",
            Self::FollowRequests => "follow-requests",
            Self::Transactions => "transactions",
            Self::Tokens => "tokens",
            Self::SpaceRequests => "space-requests",
            Self::LinkCounts => "link-counts",
        })
    }
}

/// Changes that become durable together.
#[derive(Default)]
pub(in crate::embedded) struct Batch {
    /// Sorted, so that neighbouring rows are written to the same pages one after the other; no value deletes.
    changes: BTreeMap<Table, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl Batch {
    /// Sets a row.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.entry(table).or_default().insert(key.into(), Some(value.into()));
    }

    /// Removes a row, if there is one.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.changes.entry(table).or_default().insert(key.into(), None);
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// An open database file.
pub(in crate::embedded) struct Kv {
    path: PathBuf,
    /// None only after a failed attempt to open it again.
    db: RwLock<Option<Database>>,
}

impl Kv {
    /// Opens the database in `dir`, or makes it, and checks the checksum of every page: a damaged file is found now,
    /// not when it is too late. It holds some 70 bytes per block, so this takes a fraction of a second.
    ///
    /// # Errors
    /// [`Error::Store`] naming the file if it is damaged or lost, [`Error::DiskFull`], [`Error::Locked`].
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("index.redb");
        if !path.exists() {
            // without the database, all blocks would look like leftovers
            if dir.join("packs").exists() || dir.join("blocks").exists() {
                return Err(Error::Store(format!("{} is missing; restore it from a backup", path.display())));
            }
            let unfinished = path.with_extension("new");
            create(&unfinished).map_err(|e| failure(&unfinished, e))?;
            fs::rename(&unfinished, &path).map_err(Error::io("making the database"))?;
        }
        let db = open(&path).map_err(|e| failure(&path, e))?;
        Ok(Self { path, db: RwLock::new(Some(db)) })
    }

    /// One row.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.attempt(|db| read(&db.begin_read()?, table, key))
    }

    /// The database as it is now, whatever is committed later.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let read = self.attempt(|db| Ok(db.begin_read()?))?;
        Ok(Snapshot { read, path: self.path.clone() })
    }

    /// Applies a batch. When it returns, the changes survive a power cut; if it fails, none of them was made.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        self.attempt(|db| apply(db, batch, Durability::Immediate))
    }

    /// Applies a batch that the next [`Kv::commit`] makes durable: for what can be recomputed.
    pub fn commit_lazily(&self, batch: &Batch) -> Result<()> {
        self.attempt(|db| apply(db, batch, Durability::None))
    }

    /// After an I/O error (a full disk) redb refuses everything until the file is opened again.
    fn attempt<T>(&self, operation: impl Fn(&Database) -> std::result::Result<T, redb::Error>) -> Result<T> {
        if let Some(db) = &*self.db.read() {
            match operation(db) {
                Err(redb::Error::PreviousIo) => {}
                other => return other.map_err(|e| failure(&self.path, e)),
            }
        }
        let mut slot = self.db.write();
        // another thread may have opened it meanwhile
        if let Some(db) = &*slot {
            match operation(db) {
                Err(redb::Error::PreviousIo) => {}
                other => return other.map_err(|e| failure(&self.path, e)),
            }
        }
        // closes the file, and with it the lock that would keep us out
        *slot = None;
        forget_cached(&self.path).map_err(Error::io("reading the database anew"))?;
        let db = reopen(&self.path).map_err(|e| failure(&self.path, e))?;
        let result = operation(&db).map_err(|e| failure(&self.path, e));
        *slot = Some(db);
        result
    }
}

/// Makes an empty database; what an interrupted attempt has left is in the way.
fn create(path: &Path) -> std::result::Result<(), redb::Error> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    drop(Database::create(path)?);
    Ok(())
}

fn open(path: &Path) -> std::result::Result<Database, redb::Error> {
    let db = Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).open(path)?;
    let read = db.begin_read()?;
    let missing = Table::ALL.iter().any(|table| read.open_table(table.definition()).is_err());
    // nothing is written if it need not be, so that a store on a full disk opens
    if missing {
        let write = db.begin_write()?;
        for table in Table::ALL {
            write.open_table(table.definition())?;
        }
        write.commit()?;
    }
    drop(read);
    Ok(db)
}

/// Opens a database that this process has just closed. Snapshots keep the file locked as long as they are in use.
fn reopen(path: &Path) -> std::result::Result<Database, redb::Error> {
    for _ in 0..REOPEN_ATTEMPTS {
        match open(path) {
            Err(redb::Error::DatabaseAlreadyOpen) => thread::sleep(REOPEN_PAUSE),
            other => return other,
        }
    }
    open(path)
}

/// Has the file read from the disk again: after a write that failed, the system's cache may hold what the disk does not,
/// and never try to write it again.
fn forget_cached(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // only what is written, or has failed to be, is forgotten; the failure itself is known already
    let _ = file.sync_all();
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

fn read(read: &ReadTransaction, table: Table, key: &[u8]) -> std::result::Result<Option<Vec<u8>>, redb::Error> {
    Ok(read.open_table(table.definition())?.get(key)?.map(|row| row.value().to_vec()))
}

fn apply(db: &Database, batch: &Batch, durability: Durability) -> std::result::Result<(), redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(durability)?;
    for (table, rows) in &batch.changes {
        let mut table = write.open_table(table.definition())?;
        for (key, value) in rows {
            match value {
                Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                None => table.remove(key.as_slice())?,
            };
        }
    }
    Ok(write.commit()?)
}

fn failure(path: &Path, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => Error::DiskFull,
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::QuotaExceeded => Error::DiskFull,
        redb::Error::DatabaseAlreadyOpen => Error::Locked(path.display().to_string()),
        e => Error::Store(format!("{}: {e}; restore it from a backup if this persists", path.display())),
    }
}

/// Takes the key of a row and its value.
pub(in crate::embedded) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// The database at one instant.
pub(in crate::embedded) struct Snapshot {
    read: ReadTransaction,
    path: PathBuf,
}

impl Snapshot {
    /// One row.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        read(&self.read, table, key).map_err(|e| failure(&self.path, e))
    }

    /// Calls `visit` with every row whose key starts with `prefix`, in order; the key comes without the prefix.
    pub fn scan(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let fail = |e: redb::Error| failure(&self.path, e);
        let table = self.read.open_table(table.definition()).map_err(|e| fail(e.into()))?;
        for row in table.range(prefix..).map_err(|e| fail(e.into()))? {
            let (key, value) = row.map_err(|e| fail(e.into()))?;
            let Some(rest) = key.value().strip_prefix(prefix) else { break };
            visit(rest, value.value())?;
        }
        Ok(())
    }

    /// Every row whose key starts with `prefix`, in order, for the small tables.
    pub fn rows(&self, table: Table, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows = Vec::new();
        self.scan(table, prefix, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(rows)
    }
}
