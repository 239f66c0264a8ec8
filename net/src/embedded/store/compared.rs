//! Files of large blocks that were found to have their hash, to read parts of. Comparing 4 KiB costs as much as comparing
//! all of a block, so it is done once for as long as the file stays as it is.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{Error, MAX_BLOCK, Result};

/// How much is hashed at a time: what stays in the processor's cache.
const PIECE: usize = 64 << 10;

/// What the system changes with every change of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    pub size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// An open file whose bytes have the hash that they should have.
pub(in crate::embedded) struct Compared(pub(super) File);

impl Compared {
    /// What the file is like now.
    pub(super) fn version(&self) -> Result<Version> {
        let now = self.0.metadata().map_err(Error::io("looking at a block"))?;
        Ok(Version {
            device: now.dev(),
            inode: now.ino(),
            size: now.size(),
            modified: (now.mtime(), now.mtime_nsec()),
            changed: (now.ctime(), now.ctime_nsec()),
        })
    }

    /// SHA-256 of the bytes.
    pub(super) fn digest(&self) -> Result<[u8; 32]> {
        let (mut hasher, mut piece) = (Sha256::new(), [0; PIECE]);
        let mut at = 0;
        loop {
            let read = self.0.read_at(&mut piece, at).map_err(Error::io("reading a block"))?;
            if read == 0 {
                return Ok(hasher.finalize().into());
            }
            hasher.update(&piece[..read]);
            at += read as u64;
        }
    }

    /// A range of the bytes, as far as there are any.
    pub fn read(&self, range: Range<usize>) -> Result<Bytes> {
        let mut part = vec![0; range.len().min(MAX_BLOCK)];
        let mut len = 0;
        while len < part.len() {
            match self.0.read_at(&mut part[len..], (range.start + len) as u64).map_err(Error::io("reading a block"))? {
                0 => break,
                read => len += read,
            }
        }
        part.truncate(len);
        Ok(part.into())
    }
}
