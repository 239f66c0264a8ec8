//! New keys for a file: one whose data key is dirty or that is of a legacy form, before it is written (spec 03 §8.5), and
//! one that moves to another writing space. All chunks are read and encrypted anew.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use peergos_crypto::symmetric::SymmetricKey;

use crate::{
    Result,
    capability::StreamSecret,
    posix::{FileSystem, inode::Inode, io::content_of},
    tree::{ChunkState, Keys, SealedChunk, content::Locations, seal_chunk},
    writeback::Buffer,
};

impl FileSystem {
    /// Replaces keys under which nothing may be written any more.
    pub(super) fn ensure_current_keys(&self, inode: &Arc<Inode>) -> Result<()> {
        let is_current = || {
            let state = inode.state.lock();
            !state.keys.data_key.is_dirty() && state.properties.stream_secret.is_some()
        };
        if is_current() {
            return Ok(());
        }
        let _gate = self.settled(inode)?;
        if is_current() {
            return Ok(());
        }
        let old = inode.keys();
        let keys = Keys { data_key: SymmetricKey::generate()?, ..Keys::clone(&old) };
        self.rekey(inode, &old, keys, StreamSecret::generate()?)
    }

    /// Holds off all changes, at a moment when nothing of `inode` waits to be committed.
    fn settled(&self, inode: &Inode) -> Result<RwLockWriteGuard<'_, ()>> {
        loop {
            self.sync()?;
            let gate = self.gate.write();
            if inode.is_settled()? {
                return Ok(gate);
            }
        }
    }

    /// Encrypts all chunks under `keys`, and has the old ones removed with the next group. Nothing else changes
    /// meanwhile: the caller holds the gate.
    pub(super) fn rekey(&self, inode: &Arc<Inode>, old: &Keys, keys: Keys, secret: StreamSecret) -> Result<()> {
        let content = content_of(inode)?;
        let (size, stored, mut old_locations, chunk_len) = {
            let content = content.lock();
            let last = content.stored().chunks.saturating_sub(1);
            (content.size(), content.stored().chunks, content.locations.clone(), content.chunk_len(last))
        };
        let sink = |signer: &_, blocks| self.upload.fragments(signer, blocks);
        let mut chunks = Vec::new();
        for index in 0..stored {
            let plain = self.read_chunk(inode, content, index)?;
            let len = if index + 1 == stored { chunk_len } else { crate::tree::CHUNK };
            let state = if stored == 1 {
                ChunkState::Plain(Arc::new(Buffer::from_slice(&self.budget, &plain[..plain.len().min(len as usize)])))
            } else {
                let sealed: SealedChunk = seal_chunk(&self.drive, &keys, &plain, len, &sink)?;
                ChunkState::Sealed(Arc::new(sealed))
            };
            chunks.push((index, state));
        }
        debug_assert!(size <= stored.max(1) * crate::tree::CHUNK);
        let stays = keys.cap.map_key == old.cap.map_key && keys.cap.writer == old.cap.writer;
        let signer = old.signer()?;
        let mut removals = Vec::new();
        for index in u64::from(stays)..stored {
            removals.push((signer.clone(), old_locations.get(&self.drive, old, index)?.0));
        }
        // from here on nothing fails
        self.removals.lock().extend(removals);
        if !stays {
            self.relink(inode);
        }
        let mut state = inode.state.lock();
        let first = (keys.cap.map_key, keys.cap.bat.clone());
        state.keys = Arc::new(keys);
        state.properties.stream_secret = Some(secret.clone());
        state.changed = true;
        content.lock().rekeyed(Locations::new(first, Some(secret)), u64::from(stays), chunks);
        self.mark(inode, &mut state);
        Ok(())
    }
}
