//! What inodes are after the group that they were in.

use std::sync::Arc;

use crate::{
    cache::Plain,
    posix::{
        FileSystem,
        build::{Done, Outcome},
        freeze::{Job, Work},
    },
    tree::ChunkState,
    writeback::FrozenChunk,
};

impl FileSystem {
    /// Brings an inode to what it is after its group.
    pub(super) fn settle(&self, job: Job, outcome: Outcome) {
        let inode = job.inode;
        let committed = matches!(outcome, Outcome::Committed(_));
        let (spills, parent, name, left_out, _kept) = {
            let mut state = inode.state.lock();
            state.flushing = false;
            if committed {
                state.stored = !job.removes;
            }
            if let Some(dir) = &mut state.dir {
                dir.settle(committed);
            }
            if committed || matches!(outcome, Outcome::NoRoom(_, Some(_))) {
                if let Work::File { properties, .. } | Work::Dir { properties, .. } = &job.work {
                    state.stored_posix.clone_from(&properties.posix);
                }
            } else {
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
                // with the next group, which they do not hurry
                Outcome::Postponed => self.enqueue(&inode, &mut state),
                Outcome::NoRoom(errno, _) => {
                    tracing::warn!(ino = inode.ino, "there is no room for the content of a file");
                    state.left_out = Some(*errno);
                    self.unsaved.lock().insert(inode.ino);
                    self.enqueue(&inode, &mut state);
                }
                Outcome::LeftOut(error) => {
                    tracing::error!(%error, ino = inode.ino, "an entry could not be saved, because what is stored of it is damaged");
                    state.left_out = Some(error.errno());
                    self.unsaved.lock().insert(inode.ino);
                }
            }
            let spills = state.unlinked && inode.is_open();
            let mut kept = None;
            if committed && !spills {
                kept = state.keep.take();
                state
                    .replaces
                    .take_if(|replaced| job.replaces.as_ref().is_some_and(|then| Arc::ptr_eq(replaced, then)));
            }
            let instead = state.replaces.as_ref().map(|replaced| replaced.ino);
            let left_out = state.left_out.map(|_| instead);
            (spills, state.parent.clone(), state.properties.name.clone(), left_out, kept)
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
                Outcome::Failed | Outcome::LeftOut(_) | Outcome::NoRoom(..) | Outcome::Postponed => {
                    let mut content = content.lock();
                    content.failed(job.content_changed);
                    for (index, plain, sealed) in job.sealed {
                        if content.sealed_already(index, &plain, &sealed)
                            && let FrozenChunk::State(ChunkState::Plain(buffer)) = plain
                        {
                            buffer.uncharge();
                            self.chunks.insert(*sealed.open.data.nonce(), Arc::new(Plain::Written(buffer)));
                        }
                    }
                }
            }
        }
        // a new entry that was left out is linked when it is saved after all
        if let (Some(instead), Some(parent)) = (left_out, parent)
            && let Some(dir) = &mut parent.state.lock().dir
        {
            dir.not_saved(&name.into(), inode.ino, instead);
        }
        if spills {
            self.spill(&inode);
        }
        self.inodes.drop_unused(inode);
    }
}
