//! Entries that were unlinked: removing what is stored of them, and keeping what is still read.

use std::sync::Arc;

use peergos_crypto::cid::Cid;

use crate::{
    Error, Result,
    capability::MapKey,
    commit::Keep,
    posix::{FileSystem, freeze::Job, inode::Inode},
    space::Signer,
    tree::{
        Changes, Drive, Keys,
        content::{self, Locations, OpenChunk},
        seal_chunk,
    },
};

impl FileSystem {
    /// Removes all that is stored of an entry, as far as it can be found (spec 03 §7.14).
    pub(super) fn build_removal(
        &self,
        job: &Job,
        places: &[MapKey],
        removed_from: Option<&Signer>,
        changes: &mut Changes,
    ) -> Result<()> {
        let signer = job.keys.signer()?;
        if let Some(content) = &job.inode.content {
            let (chunks, mut locations) = {
                let content = content.lock();
                (content.stored().chunks, content.locations.clone())
            };
            if job.inode.is_open()
                && let Err(error) = self.pin(&job.inode, &job.keys, chunks, &mut locations)
            {
                tracing::warn!(%error, "an unlinked file cannot be read to its end");
            }
            if !job.keys.own_space {
                for index in 0..chunks {
                    let Ok((key, _)) = locations.get(&self.drive, &job.keys, index) else { break };
                    changes.remove(signer, key);
                }
            }
        }
        if job.keys.own_space {
            let owner = removed_from.ok_or(Error::ReadOnly)?;
            changes.space(owner).disowned.push(signer.clone());
        } else {
            for place in places {
                changes.remove(signer, *place);
            }
        }
        if let Some(link) = &job.keys.link {
            changes.remove(link.signer.as_ref().ok_or(Error::ReadOnly)?, link.cap.map_key);
        }
        Ok(())
    }

    /// Opens all chunks of an unlinked file that somebody has open, before their nodes go, and keeps their fragments.
    fn pin(&self, inode: &Inode, keys: &Keys, chunks: u64, locations: &mut Locations) -> Result<()> {
        let Some(content) = &inode.content else { return Ok(()) };
        let places = (0..chunks).map(|index| locations.get(&self.drive, keys, index)).collect::<Result<Vec<_>>>()?;
        let open = content::open_chunks(&self.drive, keys, &places)?;
        let open: Vec<_> = (0..).zip(open).filter_map(|(index, open)| Some((index, Arc::new(open?)))).collect();
        hold(&self.drive, inode, &open.iter().flat_map(|(_, open)| fragments_of(open)).collect::<Vec<_>>());
        content.lock().pin(open);
        Ok(())
    }

    /// Moves what was written of an unlinked file out of memory, because no commit will. Where that fails, it is tried
    /// again with the group in which somebody wants the room.
    pub(super) fn spill(&self, inode: &Arc<Inode>) {
        let Some(content) = &inode.content else { return };
        let (keys, sink) = (inode.keys(), |signer: &_, blocks| keep_of(&self.drive, inode)?.put(signer, blocks));
        let buffers = content.lock().buffers();
        for (index, buffer) in buffers {
            match seal_chunk(&self.drive, &keys, buffer.bytes(), buffer.bytes().len() as u64, &sink) {
                Ok(sealed) => drop(content.lock().sealed(index, &buffer, Some(Arc::new(sealed)))),
                Err(error) => {
                    if !error.is_out_of_reach() {
                        tracing::warn!(%error, "an unlinked file stays in memory");
                        *self.spill_error.lock() = Some(error.errno());
                    }
                    self.enqueue(inode, &mut inode.state.lock());
                }
            }
        }
    }
}

/// The fragments of a chunk.
pub(super) fn fragments_of(chunk: &OpenChunk) -> Vec<Cid> {
    chunk.data.fragments().iter().map(|(cid, _)| cid.clone()).collect()
}

/// What keeps an inode's fragments for as long as it is there.
pub(super) fn keep_of(drive: &Arc<Drive>, inode: &Inode) -> Result<Arc<Keep>> {
    if let Some(keep) = &inode.state.lock().keep {
        return Ok(keep.clone());
    }
    let keep = Arc::new(Keep::new(drive.clone())?);
    Ok(inode.state.lock().keep.get_or_insert(keep).clone())
}

/// Keeps fragments for an inode. Returns whether they are safe from garbage collections.
pub(super) fn hold(drive: &Arc<Drive>, inode: &Inode, fragments: &[Cid]) -> bool {
    fragments.is_empty()
        || keep_of(drive, inode).and_then(|keep| keep.hold(fragments)).unwrap_or_else(|error| {
            tracing::warn!(%error, "fragments may be taken for garbage");
            false
        })
}
