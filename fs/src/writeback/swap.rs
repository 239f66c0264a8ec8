//! Written data that had to leave memory: a nameless file on the local disk, gone with the process, which only its key in
//! memory opens. The journal has what is in it as well.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use peergos_crypto::{
    random,
    secretbox::{KEY_LEN, NONCE_LEN, OVERHEAD, open_in_place, seal_in_place},
};
use rustix::fs::FallocateFlags;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// What is left of the disk by bytes that were written, as the embedded node does it for contents.
pub const LEFT_BY_DATA: u64 = 16 << 20;

/// In what units the disk takes back room.
const PAGE: u64 = 4096;

/// Where written data goes when it leaves memory.
#[derive(Debug)]
pub struct Swap {
    dir: PathBuf,
    key: Zeroizing<[u8; KEY_LEN]>,
    /// Made when it is needed.
    file: Mutex<Option<Arc<File>>>,
    /// Where the next data goes. It only grows, and so no place, which is the nonce, is used twice.
    end: AtomicU64,
    used: AtomicU64,
}

/// The plaintext of a chunk outside memory. Its room on the disk is free again when this is dropped.
#[derive(Debug)]
pub struct Swapped {
    swap: Arc<Swap>,
    file: Arc<File>,
    at: u64,
    len: usize,
}

/// Whether the disk that `dir` is on has room for `bytes`, so that `left` bytes are left.
///
/// # Errors
/// [`Error::Journal`] with `ENOSPC`.
pub fn check_disk(dir: &Path, bytes: u64, left: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(dir).map_err(|error| Error::Journal(error.into()))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes + left {
        return Err(Error::Journal(io::Error::from_raw_os_error(libc::ENOSPC)));
    }
    Ok(())
}

impl Swap {
    /// Empty, with a file in `dir` if it is ever needed.
    ///
    /// # Errors
    /// [`Error::Crypto`] without randomness.
    pub fn new(dir: PathBuf) -> Result<Arc<Self>> {
        let key = Zeroizing::new(random::bytes()?);
        let (end, used) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(Self { dir, key, file: Mutex::default(), end, used }))
    }

    /// The bytes that it takes on the disk.
    pub fn bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Stores data.
    ///
    /// # Errors
    /// [`Error::Journal`], as when the disk is full.
    pub fn put(self: &Arc<Self>, plain: &[u8]) -> Result<Arc<Swapped>> {
        let room = Self::room(plain.len());
        check_disk(&self.dir, room, LEFT_BY_DATA)?;
        let file = self.file()?;
        let at = self.end.fetch_add(room, Ordering::Relaxed);
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.resize(OVERHEAD, 0);
        sealed.extend_from_slice(plain);
        seal_in_place(&self.key, &nonce(at), &mut sealed);
        self.used.fetch_add(room, Ordering::Relaxed);
        // from here on, dropping it gives the room back
        let swapped = Swapped { swap: self.clone(), file, at, len: plain.len() };
        swapped.file.write_all_at(&sealed, at).map_err(Error::Journal)?;
        Ok(Arc::new(swapped))
    }

    fn file(&self) -> Result<Arc<File>> {
        let mut file = self.file.lock();
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let path = self.dir.join("swap");
        let made = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let made = made.and_then(|made| fs::remove_file(path).map(|()| made)).map_err(Error::Journal)?;
        Ok(file.insert(Arc::new(made)).clone())
    }

    /// The bytes on the disk for so many of data.
    const fn room(len: usize) -> u64 {
        ((len + OVERHEAD) as u64).next_multiple_of(PAGE)
    }
}

impl Swapped {
    /// Its size in bytes.
    pub const fn size(&self) -> usize {
        self.len
    }

    /// The data.
    ///
    /// # Errors
    /// [`Error::Journal`] if the disk fails, [`Error::Crypto`] if it does not have what was written.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; OVERHEAD + self.len];
        self.file.read_exact_at(&mut bytes, self.at).map_err(Error::Journal)?;
        open_in_place(&self.swap.key, &nonce(self.at), &mut bytes)?;
        bytes.drain(..OVERHEAD);
        Ok(bytes)
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        let (room, flags) = (Swap::room(self.len), FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE);
        if let Err(error) = rustix::fs::fallocate(&self.file, flags, self.at, room) {
            tracing::debug!(%error, "the disk gets back room of written data when the process ends only");
        }
        self.swap.used.fetch_sub(room, Ordering::Relaxed);
    }
}

fn nonce(at: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&at.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn gives_back_data_and_room() {
        let dir = tempfile::tempdir().unwrap();
        let swap = Swap::new(dir.path().to_owned()).unwrap();
        let data: Vec<Vec<u8>> = [0, 1, 4096, 100_000].map(|len| vec![len as u8 ^ 0x5a; len]).into();
        let mut swapped: Vec<_> = data.iter().map(|data| swap.put(data).unwrap()).collect();
        for (swapped, data) in swapped.iter().zip(&data) {
            assert_eq!((swapped.read().unwrap(), swapped.size()), (data.clone(), data.len()));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it has no name");
        let file = swap.file().unwrap();
        let on_disk = || file.metadata().unwrap().blocks() * 512;
        assert!(swap.bytes() > 100_000 && on_disk() <= swap.bytes());
        let mut all = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut all, 0).unwrap();
        assert!(!all.windows(64).any(|part| part == &data[3][..64]), "it is encrypted");
        file.write_all_at(&[all[20] ^ 1], 20).unwrap();
        assert!(swapped[0].read().is_ok() && swapped.remove(1).read().is_ok());
        file.write_all_at(&[all[0] ^ 1], 0).unwrap();
        assert!(swapped[0].read().is_err(), "what is damaged is not given out");
        drop(swapped);
        assert_eq!((swap.bytes(), on_disk()), (0, 0));
    }
}
