//! One file of the journal:
//!
//! ```text
//! file   = magic(8) salt(16) check(8) frame*
//! frame  = length(4) counter(8) check(8) sealed(length)
//! sealed = secretbox of records, one behind the other; its nonce is the salt and the counter
//! ```
//!
//! Numbers are little-endian. The checks are keyed, and bind magic, salt and the file's number, or salt, length and counter:
//! so frames that were moved, doubled or left out are noticed, and what follows damage is found.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use peergos_crypto::{
    random,
    secretbox::{KEY_LEN, NONCE_LEN, OVERHEAD, open_in_place, seal_in_place},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, Result};

/// What a file begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"PgsJrnl\x01";
const SALT: usize = 16;
const CHECK: usize = 8;
const HEAD: usize = MAGIC.len() + SALT + CHECK;
const FRAME_HEAD: usize = 4 + 8 + CHECK;
/// What precedes the plaintext of a frame.
pub(super) const LEAD: usize = FRAME_HEAD + OVERHEAD;
/// The most bytes in a frame, without its head.
const MAX_FRAME: usize = 32 << 20;

/// The keys of a journal.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Cipher {
    seal: [u8; KEY_LEN],
    check: [u8; KEY_LEN],
}

impl Cipher {
    /// The keys that follow from a secret of the account.
    pub fn new(secret: &[u8]) -> Self {
        let derive = |label: &[u8]| Sha256::new().chain_update(label).chain_update(secret).finalize().into();
        Self { seal: derive(b"peergos-mount journal seal"), check: derive(b"peergos-mount journal check") }
    }

    fn check(&self, parts: &[&[u8]]) -> [u8; CHECK] {
        let mut hash = Sha256::new().chain_update(self.check);
        parts.iter().for_each(|part| hash.update(part));
        *hash.finalize().first_chunk().expect("a hash is longer")
    }

    fn check_head(&self, salt: &[u8; SALT], number: u64) -> [u8; CHECK] {
        self.check(&[&MAGIC, salt, &number.to_le_bytes()])
    }

    fn check_frame(&self, salt: &[u8; SALT], len: &[u8; 4], counter: &[u8; 8]) -> [u8; CHECK] {
        self.check(&[salt, len, counter])
    }
}

fn nonce(salt: &[u8; SALT], counter: &[u8; 8]) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..SALT].copy_from_slice(salt);
    nonce[SALT..].copy_from_slice(counter);
    nonce
}

/// A file that is written.
pub(super) struct Segment {
    /// Its number, which grows from file to file.
    pub number: u64,
    /// The file.
    pub file: Arc<File>,
    salt: [u8; SALT],
    /// How many frames it has.
    pub frames: u64,
    /// Its length in bytes, and how many of them are known to be on the disk.
    pub len: u64,
    pub synced: u64,
}

/// The path of a file.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.journal"))
}

impl Segment {
    /// Makes an empty file.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn create(dir: &Path, number: u64, cipher: &Cipher) -> Result<Self> {
        let salt = random::bytes()?;
        let path = path(dir, number);
        // a file without a record may be left of an earlier attempt
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(Error::Journal)?;
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&salt);
        head.extend_from_slice(&cipher.check_head(&salt, number));
        file.write_all_at(&head, 0).map_err(Error::Journal)?;
        Ok(Self { number, file: Arc::new(file), salt, frames: 0, len: HEAD as u64, synced: 0 })
    }

    /// Appends a frame: `buffer` is [`LEAD`] bytes of room and the plaintext, and becomes the frame. Nothing has changed
    /// after a failure.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn append(&mut self, cipher: &Cipher, buffer: &mut [u8]) -> Result<()> {
        let sealed_len = buffer.len() - FRAME_HEAD;
        if sealed_len > MAX_FRAME {
            return Err(Error::Journal(io::ErrorKind::FileTooLarge.into()));
        }
        let (len, counter) = ((sealed_len as u32).to_le_bytes(), self.frames.to_le_bytes());
        seal_in_place(&cipher.seal, &nonce(&self.salt, &counter), &mut buffer[FRAME_HEAD..]);
        buffer[..4].copy_from_slice(&len);
        buffer[4..12].copy_from_slice(&counter);
        buffer[12..FRAME_HEAD].copy_from_slice(&cipher.check_frame(&self.salt, &len, &counter));
        self.file.write_all_at(buffer, self.len).map_err(|error| {
            // what is left of it is written over, and counts for nothing until then
            drop(self.file.set_len(self.len));
            Error::Journal(error)
        })?;
        self.len += buffer.len() as u64;
        self.frames += 1;
        Ok(())
    }
}

/// A file that is read.
pub(super) struct Reader<'a> {
    cipher: &'a Cipher,
    file: BufReader<File>,
    salt: [u8; SALT],
    /// How many frames were read.
    pub frames: u64,
    /// How many bytes these take, and the head of the file.
    pub at: u64,
    len: u64,
}

/// Why a file cannot be read to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not what was written.
    Damaged,
    /// The disk fails.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<'a> Reader<'a> {
    /// Opens a file; none if it was never written to.
    pub fn open(path: &Path, number: u64, cipher: &'a Cipher) -> std::result::Result<Option<Self>, Fault> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 20, file);
        if len < HEAD as u64 {
            return Ok(None);
        }
        let (mut magic, mut salt, mut check) = ([0; MAGIC.len()], [0; SALT], [0; CHECK]);
        file.read_exact(&mut magic)?;
        file.read_exact(&mut salt)?;
        file.read_exact(&mut check)?;
        if magic != MAGIC || !bool::from(check.ct_eq(&cipher.check_head(&salt, number))) {
            return Err(Fault::Damaged);
        }
        Ok(Some(Self { cipher, file, salt, frames: 0, at: HEAD as u64, len }))
    }

    /// The records of the next frame; none at the end. A frame that was being written when the program died is none.
    pub fn next(&mut self) -> std::result::Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        if let Some(plaintext) = self.frame(Some(self.frames))? {
            return Ok(Some(plaintext));
        }
        if self.is_followed()? { Err(Fault::Damaged) } else { Ok(None) }
    }

    /// The frame at the present place, with this counter or any; none, and no other place, if there is no such.
    fn frame(&mut self, counter: Option<u64>) -> std::result::Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let room = self.len.saturating_sub(self.at);
        if room < LEAD as u64 {
            return Ok(None);
        }
        let (mut len, mut found, mut check) = ([0; 4], [0; 8], [0; CHECK]);
        self.file.read_exact(&mut len)?;
        self.file.read_exact(&mut found)?;
        self.file.read_exact(&mut check)?;
        let sealed = u32::from_le_bytes(len) as usize;
        let is_intact = bool::from(check.ct_eq(&self.cipher.check_frame(&self.salt, &len, &found)))
            && counter.is_none_or(|counter| counter == u64::from_le_bytes(found))
            && (OVERHEAD..=MAX_FRAME).contains(&sealed)
            && sealed as u64 <= room - FRAME_HEAD as u64;
        if is_intact {
            let mut buffer = Zeroizing::new(vec![0; sealed]);
            self.file.read_exact(&mut buffer)?;
            if open_in_place(&self.cipher.seal, &nonce(&self.salt, &found), &mut buffer).is_ok() {
                self.frames += 1;
                self.at += (FRAME_HEAD + sealed) as u64;
                buffer.drain(..OVERHEAD);
                return Ok(Some(buffer));
            }
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(None)
    }

    /// Whether there is an intact frame from the present place on, other than what was here before.
    fn is_followed(&mut self) -> std::result::Result<bool, Fault> {
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_to_end(&mut rest)?;
        let start = self.at;
        for (offset, head) in (0..).zip(rest.windows(FRAME_HEAD)) {
            let (len, counter, check) = (&head[..4], &head[4..12], &head[12..]);
            let (Ok(len), Ok(counter)) = (len.try_into(), counter.try_into()) else { continue };
            // this is cheaper than the check
            let is_later = (self.frames..self.len).contains(&u64::from_le_bytes(counter));
            if !is_later || *check != self.cipher.check_frame(&self.salt, &len, &counter) {
                continue;
            }
            self.at = start + offset;
            self.file.seek(SeekFrom::Start(self.at))?;
            if self.frame(None)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
