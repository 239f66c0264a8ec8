//! Decrypting a part of a chunk from the fragments that it lies in (spec 03 §6.8).
//!
//! The cipher is a keystream, so any byte can be decrypted alone. What is left out is the authenticator over the whole
//! chunk: that of a signed pointer over every hash down to the fragments' remains.

use std::ops::Range;

use peergos_crypto::{
    Error, cbor,
    secretbox::{NONCE_LEN, OVERHEAD, open_range_unauthenticated},
    symmetric::SymmetricKey,
};

use super::{Bulk, FRAGMENT_SIZE, Fragment, HEAD_ROOM, parts::Which};

/// A chunk of a file in fragments of 1 MiB, as something to read ranges from.
#[derive(Debug, Clone)]
pub struct Seekable<'a> {
    bulk: &'a Bulk,
    key: &'a SymmetricKey,
    nonce: &'a [u8; NONCE_LEN],
    /// The first bytes of the plaintext, which are in the node.
    start: [u8; HEAD_ROOM],
    /// The length of the CBOR head.
    head: usize,
    /// The length of the content.
    len: usize,
}

impl Bulk {
    /// The payload as something to read ranges from; none if it is inline, not a byte string, or laid out by an old
    /// client, and must be decrypted with [`Bulk::open_whole`].
    pub fn seekable<'a>(&'a self, key: &'a SymmetricKey) -> Option<Seekable<'a>> {
        let Self::Fragments { nonce, header, links } = self else { return None };
        let sealed = header.get(OVERHEAD..)?;
        let mut start: [u8; HEAD_ROOM] = sealed.try_into().ok()?;
        open_range_unauthenticated(key.as_bytes(), nonce, 0, &mut start);
        let (major, len, head) = cbor::read_head(&start).ok()?;
        let len = usize::try_from(len).ok()?;
        // old clients cut smaller fragments; their chunks have more of them than these lengths allow
        let regular =
            head <= HEAD_ROOM && head.checked_add(len)?.checked_sub(HEAD_ROOM)?.div_ceil(FRAGMENT_SIZE) == links.len();
        (major == 2 && regular).then_some(Seekable { bulk: self, key, nonce, start, head, len })
    }
}

impl Seekable<'_> {
    /// The length of the content in bytes, which may differ from the chunk's share of the file (spec 03 §3.10).
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no content.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which fragments hold a range of the content; what lies beyond the content is left out.
    fn fragments(&self, range: Range<usize>) -> Range<usize> {
        let Range { start, end } = self.plaintext(&range);
        let index = |offset: usize| offset.saturating_sub(HEAD_ROOM) / FRAGMENT_SIZE;
        if end <= start.max(HEAD_ROOM) { 0..0 } else { index(start)..index(end - 1) + 1 }
    }

    /// Decrypts a range of the content, as far as there is any. `part` gets a fragment with its number, and appends a range of
    /// the ciphertext in it, [`payload_of`](super::payload_of) its block; if it says that it cannot, there is no content.
    ///
    /// # Errors
    /// [`Error::Structure`] if a part is not as long as was asked for, and what `part` returns.
    pub fn read<E: From<Error>>(
        &self,
        range: Range<usize>,
        mut part: impl FnMut((Which<'_>, &Fragment), Range<usize>, &mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let indices = self.fragments(range.clone());
        let Range { start, end } = self.plaintext(&range);
        let mut out = Vec::with_capacity(end - start);
        out.extend_from_slice(&self.start[start.min(HEAD_ROOM)..end.min(HEAD_ROOM)]);
        for index in indices {
            let first = HEAD_ROOM + index * FRAGMENT_SIZE;
            let wanted = start.max(first) - first..end.min(first + FRAGMENT_SIZE) - first;
            let (at, offset) = (out.len(), (first + wanted.start) as u64);
            let fragment = self.bulk.fragments().get(index).ok_or(Error::Structure("fragments of a chunk"))?;
            let len = wanted.len();
            if !part((Which { nonce: self.nonce, index }, fragment), wanted, &mut out)? {
                return Ok(None);
            }
            if out.len() - at != len {
                return Err(Error::Structure("fragment length").into());
            }
            open_range_unauthenticated(self.key.as_bytes(), self.nonce, offset, &mut out[at..]);
        }
        Ok(Some(out))
    }

    /// The most bytes that [`Seekable::read_all`] needs.
    pub fn room(&self) -> usize {
        HEAD_ROOM + self.bulk.fragments().len() * FRAGMENT_SIZE
    }

    /// Decrypts all of the content into `out`. `all` appends the ciphertext in all fragments; if it says that it cannot, there
    /// is no content, and it is false.
    ///
    /// # Errors
    /// [`Error::Structure`] if the ciphertext is too short, and what `all` returns.
    pub fn read_all<E: From<Error>>(
        &self,
        out: &mut Vec<u8>,
        all: impl FnOnce(&[Fragment], &mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let fragments = self.bulk.fragments();
        out.clear();
        out.extend_from_slice(&self.start[self.head..]);
        let at = out.len();
        if !all(fragments, out)? {
            return Ok(false);
        }
        if out.len() < self.len {
            return Err(Error::Structure("fragment length").into());
        }
        out.truncate(self.len);
        open_range_unauthenticated(self.key.as_bytes(), self.nonce, HEAD_ROOM as u64, &mut out[at.min(self.len)..]);
        Ok(true)
    }

    /// Where a range of the content lies in the plaintext.
    fn plaintext(&self, range: &Range<usize>) -> Range<usize> {
        let end = range.end.min(self.len);
        self.head + range.start.min(end)..self.head + end
    }
}
