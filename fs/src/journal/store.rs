//! The files of a journal: one for each group that is not committed, and one for the open group.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use peergos_crypto::signing::KeyHash;
use peergos_net::PointerUpdate;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Error, Result,
    account::Account,
    journal::{
        Record,
        segment::{self, Cipher, Fault, LEAD, Reader, Segment},
    },
    writeback::{LEFT_BY_DATA, check_disk},
};

/// What is left of the disk by changes other than bytes that were written: more than the node needs for a commit that makes room.
const LEFT: u64 = 6 << 20;
/// Where this much of the disk is free, files that are not needed any more may stay for a moment.
const PLENTY: u64 = 1 << 30;

/// The state of the writing spaces that changes are based on.
pub type Base = Vec<(KeyHash, PointerUpdate)>;

/// The journal of an account in a state directory. One process at a time has it.
pub struct Journal {
    dir: PathBuf,
    cipher: Cipher,
    /// The most bytes that it should have.
    limit: u64,
    files: Mutex<Files>,
    /// The number of the file for the open group, whether it is there yet or not.
    open: AtomicU64,
    bytes: AtomicU64,
    _lock: File,
}

#[derive(Default)]
struct Files {
    /// That of the open group; none until something changes.
    active: Option<Segment>,
    /// Those of groups that are not, or not as a whole, committed.
    closed: Vec<Segment>,
    /// Those that are not needed any more.
    obsolete: Vec<(u64, u64)>,
    /// Those that were here when the journal was opened, with their lengths.
    found: Vec<(u64, u64)>,
    /// The last file before the active one, and its length in frames.
    previous: Option<(u64, u64)>,
    /// Whether the names of all files are on the disk.
    is_dir_synced: bool,
    buffer: Vec<u8>,
}

/// Where the journal of the account with this identity is, below the folder of all journals.
pub fn directory_of(journals: &Path, owner: &KeyHash) -> PathBuf {
    let hash = Sha256::digest(owner.cid().to_bytes());
    journals.join(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
}

impl Journal {
    /// Opens the journal in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// [`Error::JournalLocked`] if another process has it; [`Error::Journal`].
    pub fn open(dir: &Path, account: &Account, limit: u64) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700))).map_err(Error::Journal)?;
        let lock = File::options().write(true).create(true).truncate(false).open(dir.join("lock"));
        let lock = lock.map_err(Error::Journal)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::JournalLocked),
            Err(TryLockError::Error(error)) => return Err(Error::Journal(error)),
        }
        let found = files_in(dir).map_err(Error::Journal)?;
        let secret = Zeroizing::new(Zeroizing::new(account.identity.to_cbor()).encode());
        Ok(Self {
            dir: dir.to_owned(),
            cipher: Cipher::new(&secret),
            limit,
            open: AtomicU64::new(found.last().map_or(1, |(number, _)| number + 1)),
            bytes: AtomicU64::new(found.iter().map(|(_, len)| len).sum()),
            files: Mutex::new(Files { found, ..Files::default() }),
            _lock: lock,
        })
    }

    /// Whether there is a journal in `dir`, which nobody has opened, of changes that are not committed.
    pub fn is_waiting(dir: &Path) -> bool {
        let is_free = || File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock_shared().is_ok());
        files_in(dir).is_ok_and(|files| !files.is_empty()) && is_free()
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it has more bytes than it should.
    pub fn is_full(&self) -> bool {
        self.bytes() > self.limit
    }

    /// The number of the file for the open group. It changes with [`Journal::close_group`] only.
    pub fn open_file(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether anything was recorded of the open group.
    pub fn has_open_file(&self) -> bool {
        self.files.lock().active.is_some()
    }

    /// Reads what was here when the journal was opened: calls `visit` with the number of each file and its records. A file
    /// that is damaged is set aside, with those after it.
    ///
    /// # Errors
    /// [`Error::JournalDamaged`]; [`Error::Journal`]; what `visit` returns.
    pub fn read(&self, visit: &mut dyn FnMut(u64, Record<'_>) -> Result<()>) -> Result<()> {
        let found = self.files.lock().found.clone();
        let mut before = None;
        for (number, _) in found {
            match self.read_file(number, before, visit) {
                Ok(frames) => before = Some((number, frames)),
                Err(Unread::Damaged) => return Err(Error::JournalDamaged(self.set_aside(number)?)),
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
        self.files.lock().previous = before;
        Ok(())
    }

    /// Reads one file; returns how many frames it has.
    fn read_file(
        &self,
        number: u64,
        before: Option<(u64, u64)>,
        visit: &mut dyn FnMut(u64, Record<'_>) -> Result<()>,
    ) -> std::result::Result<u64, Unread> {
        let Some(mut reader) = Reader::open(&segment::path(&self.dir, number), number, &self.cipher)? else {
            return Ok(0);
        };
        while let Some(frame) = reader.next()? {
            let mut rest: &[u8] = &frame;
            while !rest.is_empty() {
                let (record, after) = Record::decode(rest).map_err(|_| Unread::Damaged)?;
                rest = after;
                if let (Record::Base { previous: Some(expected), .. }, Some(before)) = (&record, before)
                    && reader.frames == 1
                    && expected.0 == before.0
                    && expected.1 > before.1
                {
                    // the end of the file before is missing, and it was not the last
                    return Err(Unread::Damaged);
                }
                visit(number, record).map_err(Unread::Failed)?;
            }
        }
        Ok(reader.frames)
    }

    /// Moves the files from `number` on to where nothing looks for them; returns where.
    ///
    /// # Errors
    /// [`Error::Journal`].
    fn set_aside(&self, number: u64) -> Result<PathBuf> {
        let aside = self.new_aside()?;
        let mut files = self.files.lock();
        for (found, len) in files.found.extract_if(.., |(found, _)| *found >= number) {
            let path = segment::path(&self.dir, found);
            fs::rename(&path, segment::path(&aside, found)).map_err(Error::Journal)?;
            self.bytes.fetch_sub(len, Ordering::Relaxed);
        }
        Ok(aside)
    }

    /// Whether anything was here when the journal was opened that is not committed.
    pub fn has_found(&self) -> bool {
        !self.files.lock().found.is_empty()
    }

    /// Keeps a copy of what was here when the journal was opened; returns where.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn copy_aside(&self) -> Result<PathBuf> {
        let aside = self.new_aside()?;
        for (number, _) in &self.files.lock().found {
            let path = segment::path(&self.dir, *number);
            fs::hard_link(path, segment::path(&aside, *number)).map_err(Error::Journal)?;
        }
        Ok(aside)
    }

    /// A new folder for files that are not looked for.
    fn new_aside(&self) -> Result<PathBuf> {
        let all = self.dir.join("aside");
        let aside = (0..).map(|n: u32| all.join(n.to_string())).find(|dir| !dir.exists()).unwrap_or(all);
        fs::create_dir_all(&aside).map_err(Error::Journal)?;
        Ok(aside)
    }

    /// Appends records, all or none. `base` says what they are based on, which a new file begins with.
    ///
    /// # Errors
    /// [`Error::Journal`], as when the disk is full; nothing is recorded then.
    pub fn append(&self, base: &dyn Fn() -> Base, records: &[Record<'_>]) -> Result<()> {
        let has_data = records.iter().any(|record| matches!(record, Record::Wrote { .. }));
        let files = &mut *self.files.lock();
        self.fill(&mut files.buffer, records)?;
        check_disk(&self.dir, files.buffer.len() as u64, if has_data { LEFT_BY_DATA } else { LEFT })?;
        if files.active.is_none() {
            files.active = Some(self.begin(files.previous, base())?);
            files.is_dir_synced = false;
        }
        let Some(active) = &mut files.active else { return Ok(()) };
        active.append(&self.cipher, &mut files.buffer)?;
        self.bytes.fetch_add(files.buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Puts records into the buffer of a frame.
    fn fill(&self, buffer: &mut Vec<u8>, records: &[Record<'_>]) -> Result<()> {
        buffer.clear();
        buffer.resize(LEAD, 0);
        records.iter().try_for_each(|record| record.encode_to(buffer))?;
        Ok(())
    }

    /// A new file, with its first record.
    fn begin(&self, previous: Option<(u64, u64)>, spaces: Base) -> Result<Segment> {
        let mut segment = Segment::create(&self.dir, self.open_file(), &self.cipher)?;
        let mut buffer = Vec::new();
        self.fill(&mut buffer, &[Record::Base { previous, spaces, is_ours: false }])?;
        segment.append(&self.cipher, &mut buffer)?;
        self.bytes.fetch_add(segment.len, Ordering::Relaxed);
        Ok(segment)
    }

    /// Closes the file of the open group. To be called while changes are held off. Returns the number of the last closed
    /// file, which is that of the group if it changed anything; none if there is none.
    pub fn close_group(&self) -> Option<u64> {
        let mut files = self.files.lock();
        if let Some(active) = files.active.take() {
            files.previous = Some((active.number, active.frames));
            self.open.store(active.number + 1, Ordering::Relaxed);
            files.closed.push(active);
        }
        files.closed.last().map(|file| file.number).or(files.found.last().map(|(number, _)| *number))
    }

    /// Appends a record to a file that this value has closed; false if there is none. A failure is logged.
    pub fn annotate(&self, number: u64, record: &Record<'_>) -> bool {
        let files = &mut *self.files.lock();
        let Some(file) = files.closed.iter_mut().find(|file| file.number == number) else { return false };
        let result = self.fill(&mut files.buffer, std::slice::from_ref(record));
        match result.and_then(|()| file.append(&self.cipher, &mut files.buffer)) {
            Ok(()) => drop(self.bytes.fetch_add(files.buffer.len() as u64, Ordering::Relaxed)),
            Err(error) => tracing::debug!(%error, "the journal does not say what is being committed"),
        }
        true
    }

    /// Removes the closed files up to `number`: what they hold is committed.
    pub fn remove_until(&self, number: u64) {
        self.forget_until(number);
        self.sweep();
    }

    /// As [`Journal::remove_until`], but leaves the files to [`Journal::sweep`] where the disk has room: to remove what is
    /// large takes time.
    pub fn forget_until(&self, number: u64) {
        let mut guard = self.files.lock();
        let files = &mut *guard;
        files.obsolete.extend(files.found.extract_if(.., |(found, _)| *found <= number));
        let closed = files.closed.extract_if(.., |file| file.number <= number);
        files.obsolete.extend(closed.map(|file| (file.number, file.len)));
        drop(guard);
        if check_disk(&self.dir, 0, PLENTY).is_err() {
            self.sweep();
        }
    }

    /// Removes what is not needed any more.
    pub fn sweep(&self) {
        let obsolete = std::mem::take(&mut self.files.lock().obsolete);
        for (number, len) in obsolete {
            match fs::remove_file(segment::path(&self.dir, number)) {
                Ok(()) => {}
                // what is made again is what is there already
                Err(error) => tracing::warn!(%error, "a file of the journal could not be removed"),
            }
            self.bytes.fetch_sub(len, Ordering::Relaxed);
        }
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn sync(&self) -> Result<()> {
        let (unsynced, is_dir_synced) = {
            let mut files = self.files.lock();
            let all = files.closed.iter().chain(&files.active).filter(|file| file.synced < file.len);
            let unsynced: Vec<_> = all.map(|file| (file.number, file.file.clone(), file.len)).collect();
            (unsynced, std::mem::replace(&mut files.is_dir_synced, true))
        };
        let synced = unsynced.iter().try_for_each(|(_, file, _)| file.sync_data());
        let synced = synced.and_then(|()| if is_dir_synced { Ok(()) } else { File::open(&self.dir)?.sync_all() });
        let files = &mut *self.files.lock();
        if let Err(error) = synced {
            files.is_dir_synced = false;
            return Err(Error::Journal(error));
        }
        for (number, _, len) in unsynced {
            let file = files.closed.iter_mut().chain(&mut files.active).find(|file| file.number == number);
            if let Some(file) = file {
                file.synced = file.synced.max(len);
            }
        }
        Ok(())
    }
}

/// The numbers and lengths of the files in a folder, in order.
fn files_in(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".journal")).and_then(|n| n.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.metadata()?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Why a file was not read to its end.
enum Unread {
    Damaged,
    Failed(Error),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged => Self::Damaged,
            Fault::OtherVersion => Self::Failed(Error::JournalVersion),
            Fault::Io(error) => Self::Failed(Error::Journal(error)),
        }
    }
}
