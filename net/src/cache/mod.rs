//! Blocks kept on the local disk, so that a drive on a server is read once: `DIR/xx/CID`, one file each.
//!
//! Several processes share a folder, without talking to each other. A block is written under another name and then
//! renamed; nothing is synced, since what a crash leaves damaged does not have its hash. A file's time of modification
//! says when the block was last used, to the hour. Blocks are ciphertext, as they came from the server.

mod evict;
mod pinned;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use peergos_crypto::cid::Cid;

use crate::{Block, Error, MAX_BLOCK, Result};

/// A use within this time of the last one is not noted.
const HOUR: Duration = Duration::from_secs(3600);
/// The most bytes that wait to be written; what comes when there are more is not kept.
const MAX_WAITING: u64 = 32 << 20;
/// What a file takes on disk, at the least and in steps.
const PAGE: u64 = 4096;
/// Where files are written; a name that no block's folder has.
const NEW: &str = "new";

/// Blocks on disk, up to a number of bytes. What is put is written by a thread of its own.
pub struct DiskCache {
    dir: PathBuf,
    waiting: Arc<AtomicU64>,
    /// Bytes on disk, as far as this process knows.
    used: Arc<AtomicU64>,
    max: u64,
    /// The folders of those who keep blocks.
    holders: RwLock<Vec<PathBuf>>,
    /// None once the writer is to end.
    queue: Option<Sender<Block>>,
    writer: Option<JoinHandle<()>>,
}

impl DiskCache {
    /// Opens the cache in `dir`, which is made if it is missing, for at most `max_bytes` of disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self> {
        fs::create_dir_all(dir.join(NEW)).map_err(Error::io("making the folder of the cache"))?;
        let (queue, blocks) = mpsc::channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let used = Arc::new(AtomicU64::new(0));
        let (dir, max) = (dir.to_owned(), max_bytes);
        let writer = Writer { dir: dir.clone(), max, used: Arc::clone(&used), waiting: Arc::clone(&waiting) };
        let writer = thread::Builder::new()
            .name("disk cache".to_owned())
            .spawn(move || writer.run(&blocks))
            .map_err(Error::io("starting a thread for the cache"))?;
        let holders = RwLock::new(Self::holders(&dir));
        Ok(Self { dir, waiting, used, max, holders, queue: Some(queue), writer: Some(writer) })
    }

    /// Bytes on disk, as far as this process knows, and how many there may be.
    pub fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.max)
    }

    /// A block, if it is here and undamaged.
    pub fn get(&self, cid: &Cid) -> Option<Block> {
        let Some((block, file)) = read(&path(&self.dir, cid), cid) else { return self.pinned(cid) };
        if file.metadata().and_then(|found| found.modified()).ok()?.elapsed().is_ok_and(|age| age > HOUR) {
            // at worst it goes too early
            let _ = file.set_modified(SystemTime::now());
        }
        Some(block)
    }

    /// Keeps a block, soon.
    pub fn put(&self, block: &Block) {
        let size = block.data().len() as u64;
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > MAX_WAITING {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
        } else if let Some(queue) = &self.queue {
            // the writer ends after the queue
            let _ = queue.send(block.clone());
        }
    }
}

impl Drop for DiskCache {
    /// Waits until everything is written.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // a panic there has been reported, and costs no more than the cache
            let _ = writer.join();
        }
    }
}

/// Reads the block `cid` from its file.
fn read(path: &Path, cid: &Cid) -> Option<(Block, File)> {
    let file = File::open(path).ok()?;
    let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut data = Vec::with_capacity(len.min(MAX_BLOCK));
    (&file).take(MAX_BLOCK as u64 + 1).read_to_end(&mut data).ok()?;
    let Ok(block) = Block::verified(cid, data.into()) else {
        tracing::warn!("a damaged block in the cache is removed");
        // of no use to others either
        let _ = fs::remove_file(path);
        return None;
    };
    Some((block, file))
}

/// The file of a block. The folder is made of what differs most between names.
fn path(dir: &Path, cid: &Cid) -> PathBuf {
    let name = cid.to_string();
    let folder = &name[name.len().saturating_sub(2)..];
    dir.join(folder).join(&name)
}

/// The thread that writes.
struct Writer {
    dir: PathBuf,
    max: u64,
    used: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
}

impl Writer {
    fn run(self, blocks: &Receiver<Block>) {
        self.used.store(evict::used(&self.dir), Ordering::Relaxed);
        while let Ok(block) = blocks.recv() {
            if let Err(error) = self.write(&block) {
                tracing::debug!(%error, "a block could not be kept in the cache");
            }
            self.waiting.fetch_sub(block.data().len() as u64, Ordering::Relaxed);
            if self.used.load(Ordering::Relaxed) > self.max {
                self.used.store(evict::make_room(&self.dir, self.max).unwrap_or(0), Ordering::Relaxed);
            }
        }
    }

    fn write(&self, block: &Block) -> std::io::Result<()> {
        let path = path(&self.dir, block.cid());
        if path.exists() {
            return Ok(());
        }
        let new = self.dir.join(NEW).join(std::process::id().to_string());
        fs::write(&new, block.data())?;
        let folder = path.parent().unwrap_or(&self.dir);
        let renamed = fs::rename(&new, &path).or_else(|_| {
            fs::create_dir_all(folder)?;
            fs::rename(&new, &path)
        });
        self.used.fetch_add(on_disk(block.data().len() as u64), Ordering::Relaxed);
        renamed
    }
}

/// What a file of this length takes on disk.
const fn on_disk(len: u64) -> u64 {
    len.div_ceil(PAGE) * PAGE
}
