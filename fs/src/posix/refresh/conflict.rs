//! Files that both sides changed: ours becomes a file of its own beside theirs, or is stored again where they removed it.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Result,
    capability::StreamSecret,
    cryptree::FileKeys,
    posix::{
        FileSystem,
        inode::Inode,
        io::{Piece, content_of},
        refresh::survey::directory_of,
    },
    tree::{
        CHUNK, ChunkState, Drive, Entry, Keys,
        content::{self, Locations},
        seal_chunk,
    },
    writeback::Buffer,
};

/// All of our version of a file, apart from what the node holds of theirs.
pub(super) struct Captured {
    pub inode: Arc<Inode>,
    keys: Arc<Keys>,
    /// Of a version that gets keys of its own.
    secret: Option<StreamSecret>,
    chunks: Vec<(u64, ChunkState<Arc<Buffer>>)>,
}

impl FileSystem {
    /// Our version of a file that they changed as well, under new keys. `theirs` is what they made of it.
    pub(super) fn capture_copy(&self, inode: &Arc<Inode>, theirs: (&Drive, &Entry)) -> Result<Captured> {
        let directory = directory_of(inode).map_or_else(|| inode.keys(), |directory| directory.keys());
        let (owner, writer) = (&directory.cap.owner, &directory.cap.writer);
        let FileKeys { cap, data_key, stream_secret } = FileKeys::generate(owner, writer)?;
        let (parent_key, signer) = (cap.read.clone(), Some(directory.signer()?.clone()));
        let keys = Arc::new(Keys { cap, parent_key, data_key, signer, own_space: false, link: None });
        let chunks = self.capture(inode, &keys, Some(theirs))?;
        Ok(Captured { inode: inode.clone(), keys, secret: Some(stream_secret), chunks })
    }

    /// Our version of a file that they removed.
    pub(super) fn capture_removed(&self, inode: &Arc<Inode>) -> Result<Captured> {
        let keys = inode.keys();
        let chunks = self.capture(inode, &keys, None)?;
        Ok(Captured { inode: inode.clone(), keys, secret: None, chunks })
    }

    /// All chunks as they are to be stored under `keys`. What we did not change comes from the state that we knew, or
    /// from theirs where that cannot be read any more.
    fn capture(
        &self,
        inode: &Arc<Inode>,
        keys: &Keys,
        theirs: Option<(&Drive, &Entry)>,
    ) -> Result<Vec<(u64, ChunkState<Arc<Buffer>>)>> {
        let content = content_of(inode)?;
        let size = content.lock().size();
        let count = size.div_ceil(CHUNK).max(1);
        let sink = |signer: &_, blocks| self.upload.fragments(signer, blocks);
        let mut chunks = Vec::new();
        for index in 0..count {
            let len = size.saturating_sub(index * CHUNK).min(CHUNK);
            let piece = Piece { index, start: 0, len: len as usize };
            let plain = match self.read_piece(inode, content, &piece, false) {
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
            chunks.push((index, state));
        }
        Ok(chunks)
    }

    /// Makes an inode what was captured of it. To be called while changes are held off.
    pub(super) fn use_captured(&self, captured: Captured) {
        let Captured { inode, keys, secret, chunks } = captured;
        if secret.is_some() {
            tracing::warn!(ino = inode.ino, "a file was changed here and elsewhere: both versions are kept");
            let old = inode.keys();
            // theirs keeps the keys, and so the label; ours keeps the number, by which programs know it
            self.inodes.renumber(old.top().map_key, self.inodes.number(&keys.cap.map_key));
            self.inodes.renumber(keys.cap.map_key, inode.ino);
            self.relink(&inode);
        }
        let mut state = inode.state.lock();
        let secret = secret.or_else(|| state.properties.stream_secret.clone());
        let first = (keys.cap.map_key, keys.cap.bat.clone());
        state.keys = keys;
        state.properties.stream_secret = secret.clone();
        state.stored = false;
        state.changed = true;
        if let Some(content) = &inode.content {
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
