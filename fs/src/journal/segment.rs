//! One file of the journal:
//!
//! ```text
//! file   = magic(8) salt(16) check(8) frame*
//! frame  = length(4) counter(8) tries(4) check(8) sealed(length)
//! sealed = tag(16) and AES-256-GCM of records, one behind the other; its nonce is counter and tries, its key the salt's
//! ```
//!
//! Numbers are little-endian. The checks are keyed, and bind magic, salt and the file's number, or the salt and the
//! head of a frame: so frames that were moved, doubled or left out are noticed, and what follows damage is found.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use peergos_crypto::{
    aes_gcm::{KEY_LEN, Key, NONCE_LEN, OVERHEAD},
    random,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, Result};

/// What a file begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"PgsJrnl\x02";
pub(super) const SALT: usize = 16;
const CHECK: usize = 8;
const HEAD: usize = MAGIC.len() + SALT + CHECK;
/// Length, counter, and how many frames before could not be written, so that no nonce is used twice.
const FRAME_HEAD: usize = NUMBERS + CHECK;
const NUMBERS: usize = 4 + NONCE_LEN;
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

    fn check_head(&self, magic: &[u8; MAGIC.len()], salt: &[u8; SALT], number: u64) -> [u8; CHECK] {
        self.check(&[magic, salt, &number.to_le_bytes()])
    }

    fn check_frame(&self, salt: &[u8; SALT], numbers: &[u8]) -> [u8; CHECK] {
        self.check(&[salt, numbers])
    }

    /// The key of one file.
    pub fn of_file(&self, salt: &[u8; SALT]) -> Key {
        let key = Zeroizing::new(Sha256::new().chain_update(self.seal).chain_update(salt).finalize().into());
        Key::new(&key)
    }
}

/// A file that is written.
pub(super) struct Segment {
    /// Its number, which grows from file to file.
    pub number: u64,
    /// The file.
    pub file: Arc<File>,
    salt: [u8; SALT],
    key: Key,
    /// How many frames it has.
    pub frames: u64,
    /// How many could not be written.
    failed: u32,
    /// Its length in bytes, and how many of them are known to be on the disk.
    pub len: u64,
    pub synced: u64,
    /// Whether the disk has failed to take it in: only the first who asks is told, and no later success says that it has.
    pub is_lost: bool,
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
        head.extend_from_slice(&cipher.check_head(&MAGIC, &salt, number));
        file.write_all_at(&head, 0).map_err(Error::Journal)?;
        let key = cipher.of_file(&salt);
        let (file, len) = (Arc::new(file), HEAD as u64);
        Ok(Self { number, file, salt, key, frames: 0, failed: 0, len, synced: 0, is_lost: false })
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
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.frames.to_le_bytes());
        nonce[8..].copy_from_slice(&self.failed.to_le_bytes());
        self.key.seal_in_place(nonce, &mut buffer[FRAME_HEAD..]);
        buffer[..4].copy_from_slice(&(sealed_len as u32).to_le_bytes());
        buffer[4..NUMBERS].copy_from_slice(&nonce);
        let check = cipher.check_frame(&self.salt, &buffer[..NUMBERS]);
        buffer[NUMBERS..FRAME_HEAD].copy_from_slice(&check);
        if let Err(error) = self.file.write_all_at(buffer, self.len) {
            // what is left of it is written over, and counts for nothing until then
            drop(self.file.set_len(self.len));
            self.failed = self.failed.checked_add(1).ok_or_else(|| Error::Journal(io::ErrorKind::Other.into()))?;
            return Err(Error::Journal(error));
        }
        self.len += buffer.len() as u64;
        self.frames += 1;
        Ok(())
    }
}

/// The numbers before a frame: its length, its counter, and the nonce that counter and tries are.
fn split(numbers: &[u8]) -> (usize, u64, [u8; NONCE_LEN]) {
    let nonce: [u8; NONCE_LEN] = *numbers.last_chunk().expect("the slice has this length");
    let len = *numbers.first_chunk().expect("the slice is longer");
    let counter = *nonce.first_chunk().expect("a nonce is longer");
    (u32::from_le_bytes(len) as usize, u64::from_le_bytes(counter), nonce)
}

/// A file that is read.
pub(super) struct Reader<'a> {
    cipher: &'a Cipher,
    file: BufReader<File>,
    salt: [u8; SALT],
    key: Key,
    /// The counter of the next frame.
    pub frames: u64,
    /// Where that begins in the file.
    pub at: u64,
    len: u64,
}

/// Why a file cannot be read to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not what was written.
    Damaged,
    /// Another version of this program wrote it.
    OtherVersion,
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
        if !bool::from(check.ct_eq(&cipher.check_head(&magic, &salt, number))) {
            return Err(Fault::Damaged);
        }
        if magic != MAGIC {
            return Err(Fault::OtherVersion);
        }
        let key = cipher.of_file(&salt);
        Ok(Some(Self { cipher, file, salt, key, frames: 0, at: HEAD as u64, len }))
    }

    /// The records of the next frame; none at the end. A frame that was being written when the program died is none. Where
    /// something is missing before another frame, that is damage, and the present place stays.
    pub fn next(&mut self) -> std::result::Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let (frames, at) = (self.frames, self.at);
        if let Some(plaintext) = self.frame(frames..frames + 1)? {
            return Ok(Some(plaintext));
        }
        if self.skip()?.is_none() {
            return Ok(None);
        }
        (self.frames, self.at) = (frames, at);
        self.file.seek(SeekFrom::Start(at))?;
        Err(Fault::Damaged)
    }

    /// The records of the next frame that is intact, whatever is before it; none if there is no such.
    pub fn skip(&mut self) -> std::result::Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        // but not what was here before
        let later = self.frames..self.len;
        if let Some(plaintext) = self.frame(later.clone())? {
            return Ok(Some(plaintext));
        }
        let mut rest = Vec::new();
        self.file.read_to_end(&mut rest)?;
        let start = self.at;
        for (offset, head) in (0..).zip(rest.windows(FRAME_HEAD)) {
            let (numbers, check) = head.split_at(NUMBERS);
            let (_, counter, _) = split(numbers);
            // the counter is cheaper than the check
            if !later.contains(&counter) || *check != self.cipher.check_frame(&self.salt, numbers) {
                continue;
            }
            self.at = start + offset;
            self.file.seek(SeekFrom::Start(self.at))?;
            if let Some(plaintext) = self.frame(later.clone())? {
                return Ok(Some(plaintext));
            }
        }
        self.at = start;
        Ok(None)
    }

    /// The frame at the present place, with one of these counters; none, and no other place, if there is no such.
    fn frame(&mut self, counters: Range<u64>) -> std::result::Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let room = self.len.saturating_sub(self.at);
        if room < LEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEAD];
        self.file.read_exact(&mut head)?;
        let (numbers, check) = head.split_at(NUMBERS);
        let (sealed, counter, nonce) = split(numbers);
        let is_intact = bool::from(check.ct_eq(&self.cipher.check_frame(&self.salt, numbers)))
            && counters.contains(&counter)
            && (OVERHEAD..=MAX_FRAME).contains(&sealed)
            && sealed as u64 <= room - FRAME_HEAD as u64;
        if is_intact {
            let mut buffer = Zeroizing::new(vec![0; sealed]);
            self.file.read_exact(&mut buffer)?;
            if self.key.open_in_place(nonce, &mut buffer).is_ok() {
                self.frames = counter + 1;
                self.at += (FRAME_HEAD + sealed) as u64;
                buffer.drain(..OVERHEAD);
                return Ok(Some(buffer));
            }
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
