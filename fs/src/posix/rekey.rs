//! New keys for a file: one whose data key is dirty or that is of a legacy form, before it is written (spec 03 §8.5), and
//! one that moves to another writing space. All chunks are read and encrypted anew.

use std::sync::{Arc, atomic::Ordering};

use peergos_crypto::symmetric::SymmetricKey;

use crate::{
    Result,
    capability::{MapKey, StreamSecret},
    posix::{FileSystem, departure::Departure, gate::Closed, inode::Inode, io::content_of},
    space::Signer,
    tree::{CHUNK, ChunkState, Keys, content::Locations, seal_chunk},
    writeback::Buffer,
};

/// A file that is encrypted under new keys, and remains to be replaced by that.
pub(super) struct Rekeyed {
    inode: Arc<Inode>,
    keys: Keys,
    secret: StreamSecret,
    /// Whether the first chunk is stored where it was.
    stays: bool,
    chunks: Vec<(u64, ChunkState<Arc<Buffer>>)>,
    /// The old places, except one that is used again.
    removals: Vec<(Signer, MapKey)>,
}

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
        let _rest = self.rest()?;
        while !is_current() {
            let taken_in = self.taken_in.load(Ordering::Relaxed);
            let keys = Keys { data_key: SymmetricKey::generate()?, ..Keys::clone(&inode.keys()) };
            let rekeyed = self.rekey(inode, keys, StreamSecret::generate()?)?;
            let _gate = self.gate.close();
            if self.is_as_it_was(taken_in) {
                let mut departure = Departure { from: inode.state.lock().parent.clone(), ..Departure::default() };
                self.replace(rekeyed, &mut departure);
                self.depart(departure);
            }
        }
        Ok(())
    }

    /// Holds off all changes, and waits until those that were made are committed.
    pub(super) fn rest(&self) -> Result<Closed<'_>> {
        let rest = self.gate.rest();
        self.wait_for(self.schedule.open_group())?;
        Ok(rest)
    }

    /// Whether no change of another client was taken in since `taken_in` was counted: a commit at rest can do that, if it
    /// tries again to save what was left out. To be called while no group is closed.
    pub(super) fn is_as_it_was(&self, taken_in: u64) -> bool {
        self.taken_in.load(Ordering::Relaxed) == taken_in
    }

    /// Encrypts all chunks of a file under `keys`. To be called at rest.
    pub(super) fn rekey(&self, inode: &Arc<Inode>, keys: Keys, secret: StreamSecret) -> Result<Rekeyed> {
        inode.check_saved()?;
        let (content, old) = (content_of(inode)?, inode.keys());
        let (stored, mut old_locations, last_len) = {
            let content = content.lock();
            let last = content.stored().chunks.saturating_sub(1);
            (content.stored().chunks, content.locations.clone(), content.chunk_len(last))
        };
        let sink = |signer: &_, blocks| self.upload.fragments(signer, blocks);
        let mut chunks = Vec::new();
        for index in 0..stored {
            let (plain, _) = self.read_chunk(inode, content, index)?;
            let len = if index + 1 == stored { last_len } else { CHUNK };
            let state = if stored == 1 {
                ChunkState::Plain(Arc::new(Buffer::from_slice(&self.budget, &plain[..plain.len().min(len as usize)])))
            } else {
                ChunkState::Sealed(Arc::new(seal_chunk(&self.drive, &keys, &plain, len, &sink)?))
            };
            chunks.push((index, state));
        }
        let stays = keys.cap.map_key == old.cap.map_key && keys.cap.writer == old.cap.writer;
        let signer = old.signer()?;
        let mut removals = Vec::new();
        for index in u64::from(stays)..stored {
            removals.push((signer.clone(), old_locations.get(&self.drive, &old, index)?.0));
        }
        Ok(Rekeyed { inode: inode.clone(), keys, secret, stays, chunks, removals })
    }

    /// Gives a file its new keys and chunks, and adds the old ones to `departure`. To be called at rest, while no group is
    /// closed.
    pub(super) fn replace(&self, rekeyed: Rekeyed, departure: &mut Departure) {
        let Rekeyed { inode, keys, secret, stays, chunks, removals } = rekeyed;
        departure.removals.extend(removals);
        departure.entries.push((inode.clone(), inode.keys()));
        if !stays {
            self.inodes.renumber(keys.cap.map_key, inode.ino);
            self.relink(&inode);
        }
        let mut state = inode.state.lock();
        let first = (keys.cap.map_key, keys.cap.bat.clone());
        self.note_relabelled(&state.keys, &keys);
        state.keys = Arc::new(keys);
        state.properties.stream_secret = Some(secret.clone());
        state.changed = true;
        if let Some(content) = &inode.content {
            content.lock().rekeyed(Locations::new(first, Some(secret)), u64::from(stays), chunks);
        }
        self.mark(&inode, &mut state);
    }
}
