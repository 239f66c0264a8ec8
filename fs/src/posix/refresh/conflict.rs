//! Files that both sides changed: ours becomes a file of its own beside theirs, or is stored again where they removed it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use crate::{
    Result,
    capability::{MapKey, StreamSecret},
    cryptree::FileKeys,
    posix::{
        FileSystem,
        handles::Access,
        inode::Inode,
        io::{Piece, content_of},
        refresh::survey::directory_of,
    },
    tree::{
        CHUNK, ChunkState, Drive, Entry, Keys,
        content::{self, Locations},
        seal_chunk,
    },
    writeback::{Buffer, Source},
};

/// All of our version of an entry, apart from what the node holds of theirs.
pub(super) struct Captured {
    pub inode: Arc<Inode>,
    /// The label that theirs keeps, if ours becomes an entry of its own.
    left: Option<MapKey>,
    keys: Arc<Keys>,
    /// Of a version that gets new places for its chunks.
    secret: Option<StreamSecret>,
    /// The chunks that were read to be stored again.
    chunks: Vec<Chunk>,
}

/// What was captured before changes were held off, by inode number: of what has not changed since, it is used.
pub(super) type Drafts = HashMap<u64, Captured>;

/// A chunk as it is to be stored, and of what that was made.
struct Chunk {
    source: Source,
    len: u64,
    state: ChunkState<Arc<Buffer>>,
}

impl Chunk {
    fn is_of(&self, source: &Source, len: u64) -> bool {
        let same = match (&self.source, source) {
            (Source::Buffer(then), Source::Buffer(now)) => Arc::ptr_eq(then, now),
            (Source::Swapped(then), Source::Swapped(now)) => Arc::ptr_eq(then, now),
            (Source::Open(then), Source::Open(now)) => then.data.nonce() == now.data.nonce(),
            // what is stored is opened, and forgotten
            (Source::Open(_) | Source::Stored, Source::Stored) | (Source::Zeros, Source::Zeros) => true,
            _ => false,
        };
        same && self.len == len
    }

    const fn is_sealed(&self) -> bool {
        matches!(self.state, ChunkState::Sealed(_))
    }
}

impl FileSystem {
    /// Our version of a file that they changed as well, under new keys. `theirs` is what they made of it, if that can be
    /// read.
    pub(super) fn capture_copy(
        &self,
        inode: &Arc<Inode>,
        theirs: Option<(&Drive, &Entry)>,
        drafts: &mut Drafts,
    ) -> Result<Captured> {
        let left = Some(inode.keys().top().map_key);
        let draft = match drafts.remove(&inode.ino) {
            Some(draft) if draft.left == left => draft,
            _ => {
                let (keys, secret) = self.keys_beside(inode)?;
                Captured { inode: inode.clone(), left, keys: Arc::new(keys), secret: Some(secret), chunks: Vec::new() }
            }
        };
        let chunks = self.capture(inode, &draft.keys, theirs, draft.chunks)?;
        Ok(Captured { chunks, ..draft })
    }

    /// Our version of a file that they removed.
    pub(super) fn capture_removed(&self, inode: &Arc<Inode>, drafts: &mut Drafts) -> Result<Captured> {
        let draft = drafts.remove(&inode.ino).filter(|draft| draft.left.is_none());
        let keys = inode.keys();
        let chunks = match self.is_rekeyed(inode) {
            true => Vec::new(),
            false => self.capture(inode, &keys, None, draft.map(|draft| draft.chunks).unwrap_or_default())?,
        };
        Ok(Captured { inode: inode.clone(), left: None, keys, secret: None, chunks })
    }

    /// Our version of an entry that had the keys `old`, and got others that are not committed. What is in it is here.
    pub(super) fn capture_rekeyed(&self, inode: &Arc<Inode>, old: &Keys) -> Result<Captured> {
        let mut keys = inode.keys();
        if keys.cap.map_key == old.cap.map_key {
            let data_key = keys.data_key.clone();
            keys = Arc::new(Keys { data_key, ..self.keys_beside(inode)?.0 });
        }
        Ok(Captured { inode: inode.clone(), left: Some(old.top().map_key), keys, secret: None, chunks: Vec::new() })
    }

    /// Keys for a file in the directory of `inode`.
    fn keys_beside(&self, inode: &Arc<Inode>) -> Result<(Keys, StreamSecret)> {
        let directory = directory_of(inode).map_or_else(|| inode.keys(), |directory| directory.keys());
        let (owner, writer) = (&directory.cap.owner, &directory.cap.writer);
        let FileKeys { cap, data_key, stream_secret } = FileKeys::generate(owner, writer)?;
        let (parent_key, signer) = (cap.read.clone(), Some(directory.signer()?.clone()));
        Ok((Keys { cap, parent_key, data_key, signer, own_space: false, link: None }, stream_secret))
    }

    /// All chunks as they are to be stored under `keys`, those of the `draft` that are still right among them. What we did
    /// not change comes from the state that we knew, or from theirs where that cannot be read any more.
    fn capture(
        &self,
        inode: &Arc<Inode>,
        keys: &Keys,
        theirs: Option<(&Drive, &Entry)>,
        draft: Vec<Chunk>,
    ) -> Result<Vec<Chunk>> {
        let content = content_of(inode)?;
        let size = content.lock().size();
        let count = size.div_ceil(CHUNK).max(1);
        let sink = |signer: &_, blocks| self.upload.fragments(signer, blocks);
        let (mut chunks, mut draft) = (Vec::new(), draft.into_iter());
        for index in 0..count {
            let len = size.saturating_sub(index * CHUNK).min(CHUNK);
            // what is known of the chunk is asked before it is read: it may change meanwhile
            drop(self.opened(inode, content, index));
            let (source, _) = content.lock().source(index);
            let drafted = draft.next();
            if let Some(chunk) = drafted.filter(|chunk| chunk.is_of(&source, len) && chunk.is_sealed() == (count > 1)) {
                chunks.push(chunk);
                continue;
            }
            let piece = Piece { index, start: 0, len: len as usize };
            let plain = match self.read_piece(inode, content, &piece, Access::Scattered) {
                Err(error) if error.is_of_one_entry() => {
                    tracing::warn!(%error, ino = inode.ino, "a part of a file that was changed twice is as the other client has it");
                    theirs.map_or(Ok(Bytes::new()), |(drive, entry)| their_chunk(drive, entry, index))?
                }
                read => read?,
            };
            let plain = &plain[..plain.len().min(len as usize)];
            let state = if count == 1 {
                ChunkState::Plain(Arc::new(Buffer::from_slice(&self.budget, plain)))
            } else {
                ChunkState::Sealed(Arc::new(seal_chunk(&self.drive, keys, plain, len, &sink)?))
            };
            chunks.push(Chunk { source, len, state });
        }
        Ok(chunks)
    }

    /// Makes an inode what was captured of it. To be called while changes are held off.
    pub(super) fn use_captured(&self, captured: Captured) {
        let Captured { inode, left, keys, secret, chunks } = captured;
        if let Some(left) = left {
            tracing::warn!(ino = inode.ino, "an entry was changed here and elsewhere: both versions are kept");
            // ours keeps the number, by which programs know it
            self.inodes.renumber(left, self.inodes.first_number(&keys.cap.map_key));
            self.inodes.renumber(keys.cap.map_key, inode.ino);
            self.relink(&inode);
        }
        let mut state = inode.state.lock();
        let secret = secret.or_else(|| state.properties.stream_secret.clone());
        let first = (keys.cap.map_key, keys.cap.bat.clone());
        self.note_relabelled(&state.keys, &keys);
        state.keys = keys;
        state.properties.stream_secret = secret.clone();
        (state.stored, state.unread) = (false, false);
        state.changed = true;
        if let Some(content) = &inode.content {
            let chunks = (0..).zip(chunks).map(|(index, chunk)| (index, chunk.state)).collect();
            content.lock().rekeyed(Locations::new(first, secret), 0, chunks);
        }
        self.mark(&inode, &mut state);
    }
}

/// A chunk as another client stored it; empty if it is not there.
fn their_chunk(drive: &Drive, entry: &Entry, index: u64) -> Result<Bytes> {
    let first = (entry.keys.cap.map_key, entry.keys.cap.bat.clone());
    let mut locations = Locations::new(first, entry.properties.stream_secret.clone());
    let location = locations.get(drive, &entry.keys, index)?;
    let open = content::open_chunks(drive, &entry.keys, &[location])?.pop().flatten();
    open.map_or(Ok(Bytes::new()), |open| content::read_whole(drive, &open))
}
