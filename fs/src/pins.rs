//! Folders and files that are kept on this machine, so that they are there while the node is out of reach.
//!
//! Reading all of one with a [`Verified`] that keeps what it reads is all there is to it: what a later read needs,
//! down from the pointer, was needed then as well.
//!
//! [`Verified`]: peergos_net::Verified

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use peergos_crypto::{
    cbor::Value,
    cid::Cid,
    signing::SecretSigningKey,
    symmetric::{CipherText, SymmetricKey},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Error, Result,
    account::Account,
    error::errno,
    tree::{self, CHUNK, Drive, Entry, content},
};

/// How many children are loaded together, and how many chunks of a file.
const WINDOW: usize = 512;
/// What the list is padded to, in bytes.
const PADDING: usize = 4096;
const WHAT: &str = "list of pinned paths";

/// What is kept, by its paths from the top of the drive, as `/a/b`.
pub struct Pins {
    /// Holds the list, encrypted under `key`.
    file: PathBuf,
    key: SymmetricKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    paths: BTreeSet<String>,
    /// The state of the spaces that is here as a whole.
    complete: Option<Vec<Cid>>,
}

impl Pins {
    /// Those of `account` that `file` holds.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is damaged, or another account's.
    pub fn open(file: PathBuf, account: &Account) -> Result<Self> {
        let key = key(&account.identity)?;
        let paths = match fs::read(&file) {
            Ok(sealed) => read(&key, &sealed)?,
            Err(_) => BTreeSet::new(),
        };
        Ok(Self { file, key, state: Mutex::new(State { paths, complete: None }) })
    }

    /// The paths.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().paths.iter().cloned().collect()
    }

    /// Whether all of them are on this machine, as they are now.
    pub fn are_complete(&self, drive: &Drive) -> bool {
        let state = self.state.lock();
        state.paths.is_empty() || state.complete == Some(drive.spaces.targets())
    }

    /// Adds `path`, or removes it; `ENOENT` if it was not there.
    ///
    /// # Errors
    /// [`Error::Errno`] where the list cannot be stored.
    pub fn change(&self, path: &str, pin: bool) -> Result<()> {
        let mut state = self.state.lock();
        let mut paths = state.paths.clone();
        let changed = if pin { paths.insert(path.to_owned()) } else { paths.remove(path) };
        if !changed {
            return if pin { Ok(()) } else { errno(libc::ENOENT) };
        }
        let list = Value::Array(paths.iter().map(|path| path.as_str().into()).collect());
        let sealed = CipherText::seal(&self.key, &list, PADDING)?.to_cbor().encode();
        let new = self.file.with_extension("new");
        let stored = self.file.parent().map_or(Ok(()), fs::create_dir_all);
        let stored = stored.and_then(|()| fs::write(&new, sealed)).and_then(|()| fs::rename(&new, &self.file));
        stored.map_err(|error| Error::Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
        *state = State { paths, complete: None };
        Ok(())
    }

    /// Has everything that is pinned on this machine, as it is committed now. Returns whether there was anything to do.
    ///
    /// # Errors
    /// [`Error::Net`] and the like; what was pinned before stays then.
    pub fn keep(&self, drive: &Drive, account: &Account) -> Result<bool> {
        let current = drive.spaces.targets();
        let paths = {
            let mut state = self.state.lock();
            if state.complete.as_ref() == Some(&current) {
                return Ok(false);
            }
            state.complete = None;
            state.paths.clone()
        };
        let Some(keeping) = drive.node.keeping(&drive.owner) else { return Ok(false) };
        let keeping = Arc::new(keeping);
        let reading = drive.on(&keeping);
        if !paths.is_empty() {
            reading.spaces.read_targets()?;
        }
        for path in &paths {
            match read_all(&reading, account, path) {
                // it may come back
                Err(Error::Errno(libc::ENOENT)) => tracing::debug!("what is pinned is not there"),
                result => result?,
            }
        }
        keeping.release_others()?;
        let mut state = self.state.lock();
        if state.paths == paths {
            state.complete = Some(current);
        }
        Ok(true)
    }
}

/// The key of the list: it follows from the identity, which a change of the password leaves as it is.
fn key(identity: &SecretSigningKey) -> Result<SymmetricKey> {
    let identity = Zeroizing::new(identity.to_cbor().encode());
    let digest = Sha256::new().chain_update("peergos-mount pins").chain_update(&*identity).finalize();
    Ok(SymmetricKey::from_bytes(digest.into()))
}

fn read(key: &SymmetricKey, sealed: &[u8]) -> Result<BTreeSet<String>> {
    let list = CipherText::from_cbor(&Value::decode(sealed)?)?.open(key)?;
    let paths = list.as_array(WHAT)?.iter().map(|path| Ok(path.as_text(WHAT)?.to_owned()));
    paths.collect()
}

/// Reads everything at and below `path`, and what leads there.
fn read_all(drive: &Drive, account: &Account, path: &str) -> Result<()> {
    let signer = Arc::new(account.home_signer.clone());
    let mut at = tree::load(drive, account.home.clone(), Some(&signer))?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let listing = tree::list(drive, &at.keys)?;
        let link = listing.children.iter().map(|(_, link)| link).find(|link| link.name == name);
        let link = link.ok_or(Error::Errno(libc::ENOENT))?;
        at = tree::load_children(drive, &at.keys, &[link]).pop().unwrap_or(Err(Error::Dangling))?;
    }
    let mut left = vec![at];
    while let Some(entry) = left.pop() {
        if !entry.properties.is_dir {
            read_content(drive, &entry)?;
            continue;
        }
        let listing = tree::list(drive, &entry.keys)?;
        for window in listing.children.chunks(WINDOW) {
            let links: Vec<_> = window.iter().map(|(_, link)| link).collect();
            for child in tree::load_children(drive, &entry.keys, &links) {
                match child {
                    Ok(child) => left.push(child),
                    // it cannot be read with the node either
                    Err(error) if error.is_of_one_entry() => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

fn read_content(drive: &Drive, file: &Entry) -> Result<()> {
    let keys = &file.keys;
    let first = (keys.cap.map_key, keys.cap.bat.clone());
    let mut locations = content::Locations::new(first, file.properties.stream_secret.clone());
    for index in 0..file.properties.size.div_ceil(CHUNK).max(1) {
        let read = locations.get(drive, keys, index).and_then(|location| {
            let chunk = content::open_chunks(drive, keys, &[location])?.pop().flatten();
            chunk.map_or(Ok(Vec::new()), |chunk| content::fragments(drive, &chunk.data))
        });
        match read {
            Err(error) if error.is_of_one_entry() => {}
            read => drop(read?),
        }
    }
    Ok(())
}
