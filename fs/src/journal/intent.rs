//! The file `committing`: which pointers are about to be set, and which files of the journal are then not needed any more.
//!
//! Each commit writes it in place and waits for the disk, which nobody does for the journal's end. So when the machine dies
//! after a commit, and takes the end of the journal with it, the beginning is not made again on top of that commit.
//!
//! ```text
//! file   = magic(8) salt(16) length(4) sealed(length), and what an earlier one has left
//! sealed = tag(16) and AES-256-GCM of number(8) and a record; its nonce is zero, its key the salt's
//! ```

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use peergos_crypto::{
    aes_gcm::{NONCE_LEN, OVERHEAD},
    cid::Cid,
    random,
    signing::KeyHash,
};

use crate::{
    Error, Result,
    journal::{
        Record,
        segment::{Cipher, SALT},
    },
};

const NAME: &str = "committing";
const MAGIC: [u8; 8] = *b"PgsIntn\x01";
const HEAD: usize = MAGIC.len() + SALT + 4;
const NUMBER: usize = 8;
/// The length of the file before anything is in it, so that the first commits need no room.
const ROOM: usize = 4096;
/// The most bytes of a file that is read: some ten thousand pointers.
const MOST: u64 = 1 << 20;

/// A commit that is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intended {
    /// The last of the journal's files that are not needed any more once it has happened.
    pub number: u64,
    /// What the pointers of writers are set to; none where a space is deleted.
    pub targets: Vec<(KeyHash, Option<Cid>)>,
}

/// The file, open.
pub(super) struct Intent(File);

impl Intent {
    /// Opens it, and makes it if there is none.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(NAME))?;
        if file.metadata()?.len() < ROOM as u64 {
            // without room for it, a commit says so
            let _ = file.write_all_at(&[0; ROOM], 0);
            file.sync_all()?;
        }
        Ok(Self(file))
    }

    /// Says, and has the disk take in, that a commit is about to happen.
    ///
    /// # Errors
    /// [`Error::Journal`]; [`Error::Crypto`] without randomness.
    pub fn write(&self, cipher: &Cipher, Intended { number, targets }: Intended) -> Result<()> {
        let salt: [u8; SALT] = random::bytes()?;
        let record = Record::Committing { is_complete: true, targets };
        let mut buffer = vec![0; HEAD + OVERHEAD];
        buffer.extend_from_slice(&number.to_le_bytes());
        record.encode_to(&mut buffer)?;
        let (head, sealed) = buffer.split_at_mut(HEAD);
        cipher.of_file(&salt).seal_in_place([0; NONCE_LEN], sealed);
        let len = u32::try_from(sealed.len()).map_err(|_| Error::Journal(io::ErrorKind::FileTooLarge.into()))?;
        head[..MAGIC.len()].copy_from_slice(&MAGIC);
        head[MAGIC.len()..MAGIC.len() + SALT].copy_from_slice(&salt);
        head[MAGIC.len() + SALT..].copy_from_slice(&len.to_le_bytes());
        self.0.write_all_at(&buffer, 0).and_then(|()| self.0.sync_data()).map_err(Error::Journal)
    }

    /// What was said last. None if nothing was, or if it was being written when the machine died: the pointers were not set
    /// then.
    pub fn read(&self, cipher: &Cipher) -> io::Result<Option<Intended>> {
        let mut file = &self.0;
        let mut buffer = Vec::new();
        file.rewind()?;
        file.take(MOST).read_to_end(&mut buffer)?;
        Ok(decode(cipher, &mut buffer))
    }
}

fn decode(cipher: &Cipher, file: &mut [u8]) -> Option<Intended> {
    let (magic, rest) = file.split_first_chunk_mut::<{ MAGIC.len() }>()?;
    let (salt, rest) = rest.split_first_chunk_mut::<SALT>()?;
    let (len, rest) = rest.split_first_chunk_mut::<4>()?;
    let sealed = rest.get_mut(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    if *magic != MAGIC {
        return None;
    }
    cipher.of_file(salt).open_in_place([0; NONCE_LEN], sealed).ok()?;
    let (number, record) = sealed.get(OVERHEAD..)?.split_first_chunk::<NUMBER>()?;
    match Record::decode(record).ok()?.0 {
        Record::Committing { targets, .. } => Some(Intended { number: u64::from_le_bytes(*number), targets }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use peergos_crypto::cid::Codec;

    use super::*;

    fn intended(number: u64, writers: u64) -> Intended {
        let hash = |n: u64| Cid::of_block(Codec::DagCbor, &n.to_le_bytes());
        let targets = (0..writers).map(|n| (KeyHash::from_cid(hash(n)).unwrap(), (n % 2 == 0).then(|| hash(n + 100))));
        Intended { number, targets: targets.collect() }
    }

    #[test]
    fn the_last_is_read_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let cipher = Cipher::new(b"a secret of the account");
        assert_eq!(Intent::open(dir.path()).unwrap().read(&cipher).unwrap(), None);
        for (number, writers) in [(7, 1), (8, 200), (9, 2)] {
            let intent = Intent::open(dir.path()).unwrap();
            intent.write(&cipher, intended(number, writers)).unwrap();
            assert_eq!(intent.read(&cipher).unwrap(), Some(intended(number, writers)));
        }
        let intent = Intent::open(dir.path()).unwrap();
        assert_eq!(intent.read(&cipher).unwrap(), Some(intended(9, 2)));
        assert_eq!(intent.read(&Cipher::new(b"another")).unwrap(), None);
    }

    #[test]
    fn what_was_not_written_as_a_whole_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let cipher = Cipher::new(b"a secret of the account");
        Intent::open(dir.path()).unwrap().write(&cipher, intended(1, 2)).unwrap();
        let whole = fs::read(dir.path().join(NAME)).unwrap();
        let len = u32::from_le_bytes(whole[HEAD - 4..HEAD].try_into().unwrap()) as usize;
        for at in 0..HEAD + len {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(decode(&cipher, &mut damaged), None, "with another byte {at}");
            assert_eq!(decode(&cipher, &mut whole[..at].to_vec()), None, "cut at {at}");
        }
    }
}
