//! Reading what files hold: from chunk numbers to locations, nodes, fragments and plaintext (spec 03 §2.8, §6.6).

use std::ops::Range;

use bytes::Bytes;
use peergos_crypto::{secretbox::NONCE_LEN, symmetric::SymmetricKey};

use crate::{
    Error, Result,
    capability::StreamSecret,
    cryptree::{
        Bulk,
        bulk::{
            self, FRAGMENT_SIZE, Fragment,
            parts::{PART, TAG_LEN, Which},
        },
    },
    space::Location,
    spare,
    tree::{Drive, Keys},
};

/// Where the chunks of a file are stored, computed as far as it was asked for.
#[derive(Debug, Clone)]
pub struct Locations {
    known: Vec<Location>,
    secret: Option<StreamSecret>,
}

impl Locations {
    /// The chain that starts at `first`; without a stream secret (legacy files) it must be walked.
    pub fn new(first: Location, secret: Option<StreamSecret>) -> Self {
        Self { known: vec![first], secret }
    }

    /// Where chunk `index` is stored.
    ///
    /// # Errors
    /// For a legacy file, what walking its chain meets; [`Error::Damaged`] where that ends too early.
    pub fn get(&mut self, drive: &Drive, keys: &Keys, index: u64) -> Result<Location> {
        let index = usize::try_from(index).map_err(|_| Error::Damaged("a file of impossible size"))?;
        while self.known.len() <= index {
            let last = &self.known[self.known.len() - 1];
            let next = match &self.secret {
                Some(secret) => secret.next_chunk(last.0, last.1.as_ref()),
                None => {
                    let stored = drive.spaces.nodes(&keys.cap.writer, std::slice::from_ref(last))?;
                    let stored = stored.into_iter().next().flatten();
                    let stored = stored.ok_or(Error::Damaged("a file lacks a chunk"))?;
                    let next = stored.node.open(&keys.cap.read)?.next;
                    (next.map_key, next.bat)
                }
            };
            self.known.push(next);
        }
        Ok(self.known[index].clone())
    }
}

impl Locations {
    /// Where chunks are, as far as it was asked for.
    pub fn known(&self) -> &[Location] {
        &self.known
    }

    /// Takes over what another walk of the same chain found out.
    pub fn learn(&mut self, other: Self) {
        let same = other.secret == self.secret && other.known[0].0 == self.known[0].0;
        if same && other.known.len() > self.known.len() {
            self.known = other.known;
        }
    }
}

/// A chunk of a file whose node has been opened; what it takes to read any part of it.
#[derive(Debug, Clone)]
pub struct OpenChunk {
    /// The ciphertext: inline, or links to fragments.
    pub data: Bulk,
    /// What opens it.
    pub key: SymmetricKey,
}

impl OpenChunk {
    /// At most how many bytes of memory its content takes.
    pub fn room(&self) -> usize {
        match &self.data {
            Bulk::Inline { data, .. } => data.len(),
            Bulk::Fragments { links, .. } => links.len().saturating_mul(FRAGMENT_SIZE),
        }
    }
}

/// Opens the nodes of chunks of one file; none where there is no such chunk.
///
/// # Errors
/// [`Error::Net`], [`Error::Crypto`], [`Error::Damaged`].
pub fn open_chunks(drive: &Drive, keys: &Keys, locations: &[Location]) -> Result<Vec<Option<OpenChunk>>> {
    let stored = drive.spaces.nodes(&keys.cap.writer, locations)?;
    stored
        .into_iter()
        .map(|stored| {
            let Some(stored) = stored else { return Ok(None) };
            let opened = stored.node.open(&keys.cap.read)?;
            Ok(Some(OpenChunk { data: stored.node.data, key: opened.data_key }))
        })
        .collect()
}

/// The fragment blocks of a ciphertext, in order; none if it is inline.
///
/// # Errors
/// [`Error::Net`] if one is missing or damaged.
pub fn fragments(drive: &Drive, data: &Bulk) -> Result<Vec<Bytes>> {
    fetch(drive, data.fragments())
}

fn fetch(drive: &Drive, wanted: &[Fragment]) -> Result<Vec<Bytes>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let blocks = drive.node.blocks(&drive.owner, wanted)?;
    Ok(blocks.into_iter().map(|block| block.data().clone()).collect())
}

/// Fetches and opens a whole chunk, verifying its authenticator.
///
/// # Errors
/// [`Error::Net`], [`Error::Crypto`].
pub fn read_whole(drive: &Drive, chunk: &OpenChunk) -> Result<Bytes> {
    Ok(chunk.data.open_whole(&chunk.key, &fragments(drive, &chunk.data)?)?)
}

/// The content of a chunk. Where the node is in this process, the fragments are decrypted where they are read to, and
/// verified like a range; otherwise as [`read_whole`].
///
/// # Errors
/// [`Error::Net`], [`Error::Crypto`].
pub fn read_content(drive: &Drive, chunk: &OpenChunk) -> Result<Bytes> {
    let Some(seekable) = chunk.data.seekable(&chunk.key) else { return read_whole(drive, chunk) };
    let mut content = spare::take(seekable.room());
    let by_parts = |fragments: &[Fragment], out: &mut Vec<u8>| append_all(drive, chunk.data.nonce(), fragments, out);
    let whole = |fragments: &[Fragment], out: &mut Vec<u8>| Ok(drive.node.payloads(&drive.owner, fragments, out)?);
    if seekable.read_all(&mut content, by_parts)? || seekable.read_all::<Error>(&mut content, whole)? {
        return Ok(spare::lend(content));
    }
    read_whole(drive, chunk)
}

/// Reads a range of a chunk from the fragments that hold it alone, each verified by its hash (spec 03 §6.8), or from the parts
/// of them that hold it, verified by what is kept beside them. Less comes back where the stored content ends earlier; none
/// where the chunk can only be read whole.
///
/// # Errors
/// [`Error::Net`], [`Error::Crypto`].
pub fn read_range(drive: &Drive, chunk: &OpenChunk, range: Range<usize>) -> Result<Option<Vec<u8>>> {
    let Some(seekable) = chunk.data.seekable(&chunk.key) else { return Ok(None) };
    seekable.read(range, |(which, fragment), range, out| {
        let (at, parts) = (out.len(), range.start / PART..range.end.div_ceil(PART));
        let start = at + range.start - parts.start * PART;
        if append_parts(drive, which, fragment, parts, out)? {
            if out.len() >= start + range.len() {
                out.copy_within(start..start + range.len(), at);
                out.truncate(at + range.len());
                return Ok(true);
            }
            out.truncate(at);
        }
        let (cid, bat) = (&fragment.0, fragment.1.as_ref());
        if !drive.node.payload(&drive.owner, cid, bat, range.clone(), out)? {
            let block = drive.node.block(&drive.owner, cid, bat)?;
            let payload = bulk::payload_of(cid, block.data())?;
            out.extend_from_slice(payload.get(range).ok_or(Error::Damaged("a fragment is too short"))?);
        }
        Ok(true)
    })
}

/// Appends the ciphertext of all fragments, verified by authenticators of their parts; false if not all have some that fit.
fn append_all(drive: &Drive, nonce: &[u8; NONCE_LEN], fragments: &[Fragment], out: &mut Vec<u8>) -> Result<bool> {
    for (index, fragment) in fragments.iter().enumerate() {
        let at = out.len();
        if !append_parts(drive, Which { nonce, index }, fragment, 0..FRAGMENT_SIZE / PART, out)? {
            return Ok(false);
        }
        // all but the last are as long as can be
        if index + 1 < fragments.len() && out.len() - at != FRAGMENT_SIZE {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Appends parts of a fragment's ciphertext, as far as there are any, verified by authenticators that are kept beside it; false,
/// and nothing is appended, if there are none that fit.
fn append_parts(
    drive: &Drive,
    which: Which<'_>,
    (cid, bat): &Fragment,
    parts: Range<usize>,
    out: &mut Vec<u8>,
) -> Result<bool> {
    let (at, first) = (out.len(), parts.start);
    let (payload, tags) = (first * PART..parts.end * PART, first * TAG_LEN..parts.end * TAG_LEN);
    let tags = drive.node.part(&drive.owner, cid, bat.as_ref(), payload, tags, out)?;
    let fit = tags.is_some_and(|tags| out.len() > at && drive.parts.verify(which, first, &out[at..], &tags));
    if !fit {
        out.truncate(at);
    }
    Ok(fit)
}
