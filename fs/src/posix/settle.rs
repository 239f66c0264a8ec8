//! What inodes are after the group that they were in.

use std::sync::Arc;

use crate::{
    cache::Plain,
    posix::{
        FileSystem,
        flush::{Done, Outcome},
        freeze::Job,
        inode::Inode,
    },
    space::Signer,
    tree::{ChunkState, seal_chunk},
};

impl FileSystem {
    /// Moves what was written of an unlinked file out of memory, because no commit will. Where that fails, it is tried
    /// again with the group in which somebody wants the room.
    fn spill(&self, inode: &Arc<Inode>) {
        let Some(content) = &inode.content else { return };
        let (keys, sink) = (inode.keys(), |signer: &Signer, blocks| self.upload.lasting(signer, blocks));
        let buffers = content.lock().buffers();
        for (index, buffer) in buffers {
            match seal_chunk(&self.drive, &keys, buffer.bytes(), buffer.bytes().len() as u64, &sink) {
                Ok(sealed) => drop(content.lock().sealed(index, &buffer, Some(Arc::new(sealed)))),
                Err(error) => {
                    tracing::warn!(%error, "an unlinked file stays in memory");
                    *self.spill_error.lock() = Some(error.errno());
                    self.enqueue(inode, &mut inode.state.lock());
                }
            }
        }
    }

    /// Brings an inode to what it is after its group.
    pub(super) fn settle(&self, job: Job, outcome: Outcome) {
        let inode = job.inode;
        let committed = matches!(outcome, Outcome::Committed(_));
        let (spills, parent, name) = {
            let mut state = inode.state.lock();
            state.flushing = false;
            if committed {
                state.stored = !job.removes;
            }
            if let Some(dir) = &mut state.dir {
                dir.settle(committed);
            }
            if !committed {
                state.changed = true;
                state.link_changed = true;
            }
            match &outcome {
                Outcome::Committed(done) => {
                    if let Some(dir) = &mut state.dir {
                        for (name, ino, link) in &done.links {
                            dir.linked(name, *ino, link.clone());
                        }
                    }
                }
                Outcome::Failed => self.mark(&inode, &mut state),
                Outcome::LeftOut(error) => {
                    tracing::error!(%error, ino = inode.ino, "an entry could not be saved, because what is stored of it is damaged");
                    state.left_out = Some(error.errno());
                }
            }
            let spills = state.unlinked && inode.is_open();
            (spills, state.parent.clone(), state.properties.name.clone())
        };
        if let Some(content) = &inode.content {
            match outcome {
                Outcome::Committed(Done { content: Some((stored, sealed)), .. }) => {
                    let clean = content.lock().committed(stored, &sealed);
                    for (open, buffer) in clean {
                        self.chunks.insert(*open.data.nonce(), Arc::new(Plain::Written(buffer)));
                    }
                }
                Outcome::Committed(_) => {}
                Outcome::Failed | Outcome::LeftOut(_) => {
                    let mut content = content.lock();
                    content.failed(job.content_changed);
                    for (index, plain, sealed) in job.sealed {
                        if content.sealed_already(index, &plain, &sealed)
                            && let ChunkState::Plain(buffer) = plain
                        {
                            buffer.uncharge();
                            self.chunks.insert(*sealed.open.data.nonce(), Arc::new(Plain::Written(buffer)));
                        }
                    }
                }
            }
        }
        // a new entry that was left out is linked when it is saved after all
        if inode.state.lock().left_out.is_some()
            && let Some(parent) = parent
            && let Some(dir) = &mut parent.state.lock().dir
        {
            dir.touch(&name);
        }
        if spills {
            self.spill(&inode);
        }
        self.inodes.drop_unused(inode);
    }
}
