//! The state of everything that changed, at one moment: what a group commits.

use std::sync::Arc;

use peergos_net::TransactionId;

use crate::{
    capability::{ChildLink, MapKey, RelativeCapability},
    cryptree::{Properties, mime},
    journal::Journal,
    posix::{
        FileSystem, Kind, attr,
        departure::Departure,
        dir::{Child, Dir, Link},
        inode::{Inode, State},
    },
    space::Signer,
    tree::{DirChunk, Keys, LinkKeys, SealedChunk},
    writeback::{Content, Frozen, FrozenChunk},
};

/// A closed group.
pub(super) struct Group {
    /// Its number.
    pub number: u64,
    /// What it does with each inode.
    pub jobs: Vec<Job>,
    /// What it removes besides.
    pub departures: Vec<Arc<Departure>>,
    /// Where the journal has it.
    pub journalled: Option<Journalled>,
    /// The transaction under which some of its chunks are stored already.
    pub transaction: Option<TransactionId>,
}

/// Where the journal has a group.
#[derive(Clone, Copy)]
pub(super) struct Journalled {
    /// The last file that has anything of it, or of those before.
    pub last: u64,
    /// Whether the group is all that is in the files up to that one: not while changes are made again.
    pub is_all: bool,
}

/// A chunk that was sealed for a group: its number, what it was sealed of, and what it became.
pub(super) type SealedHere = (u64, FrozenChunk, Arc<SealedChunk>);

/// What a group does with one inode.
pub(super) struct Job {
    /// The inode.
    pub inode: Arc<Inode>,
    /// Its keys.
    pub keys: Arc<Keys>,
    /// What is to be done.
    pub work: Work,
    /// The link node that must be written too: with its name, and the link to its directory.
    pub link: Option<(Arc<LinkKeys>, String, RelativeCapability)>,
    /// Whether the inode is removed from storage.
    pub removes: bool,
    /// What is stored under its name, and is replaced by it.
    pub replaces: Option<Arc<Inode>>,
    /// Whether the content of the file changes.
    pub content_changed: bool,
    /// The chunks that were sealed for this group.
    pub sealed: Vec<SealedHere>,
}

pub(super) enum Work {
    File {
        properties: Properties,
        parent: Option<RelativeCapability>,
        /// Whether properties other than the content's change, or the parent.
        changed: bool,
        frozen: Frozen,
    },
    Dir {
        properties: Properties,
        parent: Option<RelativeCapability>,
        chunks: Vec<(usize, DirChunk, Vec<FrozenChild>)>,
    },
    /// Remove what is stored of it; the chunks' places are known for directories.
    Remove {
        places: Vec<MapKey>,
        removed_from: Option<Signer>,
    },
    Nothing,
}

/// A child of a directory in a group: its link, or what one is made of.
pub(super) enum FrozenChild {
    Linked(Arc<ChildLink>),
    New {
        name: Arc<str>,
        ino: u64,
        keys: Arc<Keys>,
        properties: Box<Properties>,
        /// What is stored under the name as long as this is not.
        instead: Option<(Arc<Keys>, Box<Properties>)>,
    },
}

impl FileSystem {
    /// Closes the open group: from here on, changes belong to the next one.
    pub(super) fn freeze(&self) -> Group {
        let _gate = self.gate.close();
        let number = self.schedule.close_group();
        let mut inodes = std::mem::take(&mut *self.queue.lock());
        for inode in &inodes {
            tell_mime(inode);
        }
        // telling mime types may have changed directories
        let mut parents = Vec::new();
        for inode in &inodes {
            let parent = inode.state.lock().parent.clone();
            if let Some(parent) = parent {
                let mut state = parent.state.lock();
                let relinked = state.dir.as_deref().is_some_and(Dir::is_dirty);
                if relinked && !state.queued {
                    state.queued = true;
                    parents.push(parent.clone());
                }
            }
        }
        inodes.extend(parents);
        {
            let mut unsaved = self.unsaved.lock();
            for inode in &inodes {
                unsaved.remove(&inode.ino);
            }
        }
        let last = self.journal.as_ref().and_then(Journal::close_group);
        let journalled = last.map(|last| Journalled { last, is_all: self.journal().is_some() });
        let jobs = inodes.into_iter().map(freeze_inode).collect();
        let departures = std::mem::take(&mut *self.departures.lock());
        Group { number, jobs, departures, journalled, transaction: self.upload.rotate() }
    }
}

/// Tells a file's mime type by what was written at its front, and has its link made anew if that changed.
fn tell_mime(inode: &Arc<Inode>) {
    let (Kind::File, Some(content)) = (inode.kind, &inode.content) else { return };
    let mut state = inode.state.lock();
    let detected = {
        let content = content.lock();
        let Some(head) = content.head().filter(|_| content.is_changed()) else { return };
        mime::detect(&state.properties.name, head)
    };
    if state.unlinked || state.properties.mime == detected {
        return;
    }
    detected.clone_into(&mut state.properties.mime);
    let (parent, name) = (state.parent.clone(), state.properties.name.clone());
    drop(state);
    if let Some(parent) = parent
        && let Some(dir) = &mut parent.state.lock().dir
    {
        dir.relink(&name, inode);
    }
}

/// Takes an inode's changes into the group that is being closed.
fn freeze_inode(inode: Arc<Inode>) -> Job {
    let mut guard = inode.state.lock();
    let state = &mut *guard;
    state.queued = false;
    state.flushing = true;
    state.left_out = None;
    let (keys, replaces) = (state.keys.clone(), state.replaces.clone());
    let changed = std::mem::take(&mut state.changed);
    let link_changed = std::mem::take(&mut state.link_changed);
    let mut link = None;
    let work = if state.unlinked {
        freeze_removal(state)
    } else {
        let parent = state.parent.clone();
        let parent_keys = parent.map(|parent| parent.keys());
        if link_changed && let (Some(node), Some(parent)) = (&keys.link, &parent_keys) {
            let parent_link = parent.parent_link(&node.cap.writer);
            link = Some((node.clone(), state.properties.name.clone(), parent_link));
        }
        let parent_link = match (&keys.link, &parent_keys) {
            (Some(node), _) => Some(node.parent_link(&keys.cap.writer)),
            (None, Some(parent)) => Some(parent.parent_link(&keys.cap.writer)),
            (None, None) => state.elsewhere.as_deref().cloned(),
        };
        match &inode.content {
            Some(content) => freeze_file(state, &mut content.lock(), parent_link, changed),
            None => freeze_dir(state, parent_link, changed),
        }
    };
    drop(guard);
    let removes = matches!(work, Work::Remove { .. });
    let content_changed = matches!(&work, Work::File { frozen, .. } if frozen.changed);
    Job { inode, keys, work, link, removes, replaces, content_changed, sealed: Vec::new() }
}

fn freeze_removal(state: &mut State) -> Work {
    if !state.stored {
        return Work::Nothing;
    }
    let places = state.dir.iter().flat_map(|dir| dir.locations().map(|location| location.0)).collect();
    let removed_from = state.removed_from.as_ref().and_then(|removed| removed.signer.clone());
    Work::Remove { places, removed_from }
}

fn freeze_file(state: &mut State, content: &mut Content, parent: Option<RelativeCapability>, changed: bool) -> Work {
    if !changed && !content.is_changed() {
        return Work::Nothing;
    }
    let frozen = content.freeze();
    state.properties.modified = attr::protocol_time(content.modified);
    Work::File { properties: state.properties.clone(), parent, changed, frozen }
}

fn freeze_dir(state: &mut State, parent: Option<RelativeCapability>, changed: bool) -> Work {
    let properties = state.properties.clone();
    let mut chunks = Vec::new();
    if let Some(dir) = &mut state.dir {
        if let Err(error) = dir.spread() {
            tracing::error!(%error, "a directory has too many entries in one chunk");
        }
        for chunk in dir.freeze() {
            let children = chunk.children.into_iter().map(|(name, child)| freeze_child(name, child));
            chunks.push((chunk.index, chunk.place, children.collect()));
        }
    }
    if chunks.is_empty() && !changed {
        return Work::Nothing;
    }
    Work::Dir { properties, parent, chunks }
}

fn freeze_child(name: &Arc<str>, child: &Child) -> FrozenChild {
    match &child.link {
        Link::Made(link) => FrozenChild::Linked(link.clone()),
        Link::Pending(inode) => {
            let state = inode.state.lock();
            let link = |state: &State| (state.keys.clone(), Box::new(state.properties.clone()));
            let (keys, properties) = link(&state);
            let instead = state.replaces.as_ref().map(|replaced| link(&replaced.state.lock()));
            FrozenChild::New { name: name.clone(), ino: inode.ino, keys, properties, instead }
        }
    }
}
