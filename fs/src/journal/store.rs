//! The files of a journal: one for each group that is not committed, and one for the open group.

use std::{
    collections::VecDeque,
    fs::{self, File, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use peergos_crypto::signing::KeyHash;
use peergos_net::PointerUpdate;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Error, Result,
    account::Account,
    journal::{
        Intended, Record,
        intent::Intent,
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
    /// Held by who waits for the disk: of two, the disk tells only one that it has failed.
    syncing: Mutex<()>,
    /// The number of the file for the open group, whether it is there yet or not.
    open: AtomicU64,
    bytes: AtomicU64,
    intent: Intent,
    /// What was said before the journal was opened.
    intended: Option<Intended>,
    _lock: File,
}

#[derive(Default)]
struct Files {
    /// That of the open group; none until something changes.
    active: Option<Segment>,
    /// Those of groups that are not, or not as a whole, committed.
    closed: Vec<Segment>,
    /// Those that are not needed any more, in order.
    obsolete: VecDeque<(u64, u64)>,
    /// Those that were here when the journal was opened, with their lengths.
    found: Vec<(u64, u64)>,
    /// The last file before the active one, and its length in frames.
    previous: Option<(u64, u64)>,
    /// Records for which there was no room, and which others must not go before.
    owed: VecDeque<Zeroizing<Vec<u8>>>,
    /// What has reached the disk since that was last recorded: files, and how many bytes of them.
    synced: Vec<(u64, u64)>,
    /// Whether a file has begun, or gone, whose name the disk has not taken in, or given up.
    has_new_name: bool,
    has_old_name: bool,
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
        let secret = Zeroizing::new(Zeroizing::new(account.identity.to_cbor()).encode());
        Self::open_with(dir, Cipher::new(&secret), limit)
    }

    fn open_with(dir: &Path, cipher: Cipher, limit: u64) -> Result<Self> {
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
        sync_found(dir, &found).map_err(Error::Journal)?;
        let intent = Intent::open(dir).map_err(Error::Journal)?;
        let intended = intent.read(&cipher).map_err(Error::Journal)?;
        // no number again that a commit was said to make superfluous
        let last = found.last().map(|(number, _)| *number).max(intended.as_ref().map(|intended| intended.number));
        Ok(Self {
            dir: dir.to_owned(),
            cipher,
            limit,
            open: AtomicU64::new(last.map_or(1, |number| number.saturating_add(1))),
            bytes: AtomicU64::new(found.iter().map(|(_, len)| len).sum()),
            files: Mutex::new(Files { synced: found.clone(), found, ..Files::default() }),
            syncing: Mutex::default(),
            intent,
            intended,
            _lock: lock,
        })
    }

    /// Whether there is a journal in `dir`, which nobody has opened, of changes that are not committed.
    pub fn is_waiting(dir: &Path) -> bool {
        files_in(dir).is_ok_and(|files| !files.is_empty()) && !Self::is_in_use(dir)
    }

    /// Whether a process has the journal in `dir`.
    pub fn is_in_use(dir: &Path) -> bool {
        File::open(dir.join("lock")).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
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

    /// Reads what was here when the journal was opened: calls `visit` with the number of each file and its records. When the
    /// machine dies, the disk may have what was written last, and not all that was written before: then what is missing is
    /// the end, and what follows it is put aside.
    ///
    /// # Errors
    /// [`Error::JournalDamaged`] if something is missing that the disk had; [`Error::JournalVersion`], [`Error::Journal`];
    /// what `visit` returns.
    pub fn read(&self, visit: &mut dyn FnMut(u64, Record<'_>) -> Result<()>) -> Result<()> {
        let found = self.files.lock().found.clone();
        let mut read = None;
        for (number, _) in found {
            match self.read_file(number, read, visit) {
                Ok(end) => read = Some(end),
                Err(Unread::Missing(end)) => {
                    read = Some(end);
                    self.cut(end)?;
                    break;
                }
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
        self.files.lock().previous = read.map(|end| (end.number, end.frames));
        Ok(())
    }

    /// Reads one file, `read` being the end of the one before.
    fn read_file(
        &self,
        number: u64,
        read: Option<End>,
        visit: &mut dyn FnMut(u64, Record<'_>) -> Result<()>,
    ) -> std::result::Result<End, Unread> {
        let mut end = End { number, frames: 0, at: 0 };
        let mut reader = match Reader::open(&segment::path(&self.dir, number), number, &self.cipher) {
            Ok(Some(reader)) => reader,
            Ok(None) => return Ok(end),
            Err(fault) => return Err(Unread::at(end, fault)),
        };
        loop {
            let frame = reader.next().map_err(|fault| Unread::at(end, fault))?;
            let Some(frame) = frame else { return Ok(end) };
            for record in records(&frame) {
                let record = record?;
                if let (Record::Base { previous: Some((before, frames)), .. }, Some(read)) = (&record, read)
                    && end.frames == 0
                    && *before == read.number
                    && *frames > read.frames
                {
                    return Err(Unread::Missing(read));
                }
                visit(number, record).map_err(Unread::Failed)?;
            }
            end = End { number, frames: reader.frames, at: reader.at };
        }
    }

    /// Puts a copy of all files aside, and has them end where something is missing.
    ///
    /// # Errors
    /// [`Error::JournalDamaged`] if the disk had what is missing; [`Error::Journal`].
    fn cut(&self, end: End) -> Result<()> {
        let had_more = self.had_more(end)?;
        let aside = self.copy_aside()?;
        let files = &mut *self.files.lock();
        let mut found = files.found.iter_mut();
        if let Some((number, len)) = found.find(|(number, len)| *number == end.number && *len > end.at) {
            shorten(&segment::path(&self.dir, *number), end.at).map_err(Error::Journal)?;
            self.bytes.fetch_sub(*len - end.at, Ordering::Relaxed);
            *len = end.at;
        }
        for (number, len) in files.found.extract_if(.., |(number, _)| *number > end.number) {
            fs::remove_file(segment::path(&self.dir, number)).map_err(Error::Journal)?;
            self.bytes.fetch_sub(len, Ordering::Relaxed);
        }
        sync_dir(&self.dir).map_err(Error::Journal)?;
        files.synced.clone_from(&files.found);
        if had_more {
            return Err(Error::JournalDamaged(aside));
        }
        tracing::error!(
            path = %aside.display(),
            "the journal has a gap, as when the machine dies: what was noted before it is made again, what follows is not; \
             a copy is kept"
        );
        Ok(())
    }

    /// Whether the disk had more of a file than that: what was recorded later says so.
    fn had_more(&self, end: End) -> Result<bool> {
        let found = self.files.lock().found.clone();
        for (number, _) in found.into_iter().filter(|(number, _)| *number >= end.number) {
            let Ok(Some(mut reader)) = Reader::open(&segment::path(&self.dir, number), number, &self.cipher) else {
                continue;
            };
            while let Ok(Some(frame)) = reader.skip() {
                for record in records(&frame) {
                    if let Record::Synced { segments } = record?
                        && segments.iter().any(|(number, bytes)| *number == end.number && *bytes > end.at)
                    {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
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
        let all = self.dir.join("aside");
        let aside = (0..).map(|n: u32| all.join(n.to_string())).find(|dir| !dir.exists()).unwrap_or(all);
        fs::create_dir_all(&aside).map_err(Error::Journal)?;
        for (number, _) in &self.files.lock().found {
            let path = segment::path(&self.dir, *number);
            fs::hard_link(path, segment::path(&aside, *number)).map_err(Error::Journal)?;
        }
        aside.ancestors().take(3).try_for_each(sync_dir).map_err(Error::Journal)?;
        Ok(aside)
    }

    /// Appends records, all or none. `base` says what they are based on, which a new file begins with.
    ///
    /// # Errors
    /// [`Error::Journal`], as when the disk is full; nothing is recorded then.
    pub fn append(&self, base: &dyn Fn() -> Base, records: &[Record<'_>]) -> Result<()> {
        let files = &mut *self.files.lock();
        self.pay(files, base)?;
        if records.is_empty() {
            return Ok(());
        }
        let segments = files.synced.clone();
        let synced = (!segments.is_empty()).then_some(Record::Synced { segments });
        self.fill(&mut files.buffer, synced.iter().chain(records))?;
        self.write(files, base, records.iter().map(left_by).max().unwrap_or(0))?;
        files.synced.clear();
        Ok(())
    }

    /// Appends a record without which those after it would mean something else: if there is no room for it, it is appended
    /// before the next one. Returns whether it was; a failure is logged.
    pub fn append_first(&self, base: &dyn Fn() -> Base, record: &Record<'_>) -> bool {
        let files = &mut *self.files.lock();
        let mut owed = Zeroizing::default();
        let result = self.fill(&mut owed, [record]).and_then(|()| {
            files.owed.push_back(owed);
            self.pay(files, base)
        });
        result.inspect_err(|error| tracing::warn!(%error, "what the journal must know waits for the disk")).is_ok()
    }

    /// Appends what others must not go before.
    fn pay(&self, files: &mut Files, base: &dyn Fn() -> Base) -> Result<()> {
        while let Some(owed) = files.owed.front() {
            files.buffer.clone_from(owed);
            self.write(files, base, 0)?;
            files.owed.pop_front();
        }
        Ok(())
    }

    /// Appends the buffer, leaving so many bytes of the disk.
    fn write(&self, files: &mut Files, base: &dyn Fn() -> Base, left: u64) -> Result<()> {
        check_disk(&self.dir, files.buffer.len() as u64, left)?;
        if files.active.is_none() {
            files.active = Some(self.begin(files.previous, base())?);
            files.has_new_name = true;
        }
        let Some(active) = &mut files.active else { return Ok(()) };
        active.append(&self.cipher, &mut files.buffer)?;
        self.bytes.fetch_add(files.buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Puts records into the buffer of a frame.
    fn fill<'a>(&self, buffer: &mut Vec<u8>, records: impl IntoIterator<Item = &'a Record<'a>>) -> Result<()> {
        buffer.clear();
        buffer.resize(LEAD, 0);
        records.into_iter().try_for_each(|record| record.encode_to(buffer))?;
        Ok(())
    }

    /// A new file, with its first record.
    fn begin(&self, previous: Option<(u64, u64)>, spaces: Base) -> Result<Segment> {
        let mut segment = Segment::create(&self.dir, self.open_file(), &self.cipher)?;
        let mut buffer = Vec::new();
        self.fill(&mut buffer, &[Record::Base { previous, spaces }])?;
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

    /// Appends a record to a file that this value has closed; false if there is none.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn annotate(&self, number: u64, record: &Record<'_>) -> Result<bool> {
        let files = &mut *self.files.lock();
        let Some(file) = files.closed.iter_mut().find(|file| file.number == number) else { return Ok(false) };
        self.fill(&mut files.buffer, [record])?;
        file.append(&self.cipher, &mut files.buffer)?;
        self.bytes.fetch_add(files.buffer.len() as u64, Ordering::Relaxed);
        Ok(true)
    }

    /// Says that a commit is about to happen, and waits until the disk has that.
    ///
    /// # Errors
    /// [`Error::Journal`]: it must not happen then.
    pub fn intend(&self, intended: Intended) -> Result<()> {
        self.intent.write(&self.cipher, intended)
    }

    /// The last commit that was said to be about to happen before the journal was opened, if files are here that it would
    /// make superfluous.
    pub fn intended(&self) -> Option<&Intended> {
        let first = self.files.lock().found.first().map(|(number, _)| *number)?;
        self.intended.as_ref().filter(|intended| intended.number >= first)
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

    /// Removes what is not needed any more. A failure is logged, and it is tried again with the next.
    pub fn sweep(&self) {
        let swept = self.remove_obsolete();
        // before anything else is committed: what comes back when the machine dies must not be older than that
        let synced = if self.files.lock().has_old_name { self.sync_names(&self.syncing.lock()) } else { Ok(()) };
        if let Err(error) = swept.and(synced) {
            tracing::warn!(%error, "a file of the journal could not be removed");
        }
    }

    /// Removes what is not needed any more, in order: what a failure leaves is the end, which tells that all of it is
    /// committed.
    fn remove_obsolete(&self) -> io::Result<()> {
        loop {
            let Some((number, len)) = self.files.lock().obsolete.front().copied() else { return Ok(()) };
            match fs::remove_file(segment::path(&self.dir, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut files = self.files.lock();
            files.obsolete.pop_front();
            files.has_old_name = true;
            self.bytes.fetch_sub(len, Ordering::Relaxed);
        }
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`Error::Journal`], until what the disk has failed to take in is committed.
    pub fn sync(&self) -> Result<()> {
        let turn = self.syncing.lock();
        let (unsynced, has_new_name) = {
            let files = self.files.lock();
            if files.all().any(|file| file.is_lost) {
                return Err(Error::Journal(io::Error::from_raw_os_error(libc::EIO)));
            }
            let unsynced = files.all().filter(|file| file.synced < file.len);
            let unsynced: Vec<_> = unsynced.map(|file| (file.number, file.file.clone(), file.len)).collect();
            (unsynced, files.has_new_name)
        };
        for (number, file, len) in unsynced {
            let synced = file.sync_data();
            let files = &mut *self.files.lock();
            // none if it was committed meanwhile
            let Some(file) = files.all_mut().find(|file| file.number == number) else { continue };
            if let Err(error) = synced {
                file.is_lost = true;
                return Err(Error::Journal(error));
            }
            file.synced = len;
            files.synced.push((number, len));
        }
        if has_new_name { self.sync_names(&turn).map_err(Error::Journal) } else { Ok(()) }
    }

    /// Has the disk take in which files there are.
    fn sync_names(&self, _turn: &MutexGuard<'_, ()>) -> io::Result<()> {
        let (has_new_name, has_old_name) = {
            let mut files = self.files.lock();
            (std::mem::take(&mut files.has_new_name), std::mem::take(&mut files.has_old_name))
        };
        let synced = sync_dir(&self.dir);
        if synced.is_err() {
            let mut files = self.files.lock();
            files.has_new_name |= has_new_name;
            files.has_old_name |= has_old_name;
            files.all_mut().for_each(|file| file.is_lost = true);
        }
        synced
    }
}

impl Files {
    /// Those that this process has written.
    fn all(&self) -> impl Iterator<Item = &Segment> {
        self.closed.iter().chain(&self.active)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.closed.iter_mut().chain(&mut self.active)
    }
}

/// What is left of the disk by a record: nothing by those that others depend on.
const fn left_by(record: &Record<'_>) -> u64 {
    match record {
        Record::Wrote { .. } => LEFT_BY_DATA,
        Record::Base { .. }
        | Record::Saved { .. }
        | Record::Relabelled { .. }
        | Record::TakenIn { .. }
        | Record::Committing { .. }
        | Record::Synced { .. } => 0,
        _ => LEFT,
    }
}

/// The records of a frame. That one is intact which cannot be read means that it is of another version.
fn records(frame: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        let (record, after) = match (!rest.is_empty()).then(|| Record::decode(rest))? {
            Ok(decoded) => decoded,
            Err(_) => return Some(Err(Error::JournalVersion)),
        };
        rest = after;
        Some(Ok(record))
    })
}

/// Makes durable what was found in a folder, which may be what a process before has written, and the folder itself with
/// the two above it, which were made for it.
fn sync_found(dir: &Path, found: &[(u64, u64)]) -> io::Result<()> {
    for (number, _) in found {
        File::open(segment::path(dir, *number))?.sync_data()?;
    }
    dir.ancestors().take(3).try_for_each(sync_dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Has a file end earlier. What else has its name goes on having all of it.
fn shorten(path: &Path, len: u64) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::copy(&mut File::open(path)?.take(len), &mut file)?;
    file.sync_all()?;
    fs::rename(new, path)
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

/// How far the journal is intact: a file, and how many frames and bytes of it.
#[derive(Clone, Copy)]
struct End {
    number: u64,
    frames: u64,
    at: u64,
}

/// Why a file was not read to its end.
enum Unread {
    /// Something is missing there, and is followed by more.
    Missing(End),
    Failed(Error),
}

impl Unread {
    fn at(end: End, fault: Fault) -> Self {
        match fault {
            Fault::Damaged => Self::Missing(end),
            Fault::OtherVersion => Self::Failed(Error::JournalVersion),
            Fault::Io(error) => Self::Failed(Error::Journal(error)),
        }
    }
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests;
