//! What the journal is told of changes, before they are made and under the same locks: so it has them in the order in which
//! they were made, and none that was refused.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    Error, Result,
    capability::MapKey,
    commit::Targets,
    cryptree::{Properties, Time},
    error::errno,
    journal::{Base, Intended, Journal, Place, Record},
    posix::{
        FileSystem,
        freeze::Journalled,
        inode::{Inode, ROOT, State},
    },
    tree::Keys,
};

/// What part of the quota for changes that can be committed nowhere renames may take beyond it.
const PART_FOR_RENAMES: u64 = 16;

impl FileSystem {
    /// The journal, if changes are noted: they are not while they are made again.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref().filter(|_| !self.replaying.load(Ordering::Relaxed))
    }

    /// The state of the writing spaces that changes are made on.
    pub(super) fn base(&self) -> Base {
        let known = self.drive.spaces.known();
        known.into_iter().map(|(writer, space)| (writer, space.pointer.clone())).collect()
    }

    /// Notes a change. To be called under the gate.
    ///
    /// # Errors
    /// [`Error::Journal`]: the change must not be made then.
    pub(super) fn note(&self, record: Record<'_>) -> Result<()> {
        self.note_all(&[record])
    }

    /// Notes several changes that are one.
    ///
    /// # Errors
    /// As [`FileSystem::note`].
    pub(super) fn note_all(&self, records: &[Record<'_>]) -> Result<()> {
        let Some(journal) = self.journal() else { return Ok(()) };
        self.check_room_to_note(records)?;
        journal.append(&|| self.base(), records)
    }

    /// Room for records, for as long as what they tell can go nowhere else: for renames longer than for what adds
    /// something, and for removals always, of which there are no more than entries.
    ///
    /// # Errors
    /// `ENOSPC`.
    fn check_room_to_note(&self, records: &[Record<'_>]) -> Result<()> {
        let quota = self.options.journal.as_ref().map_or(u64::MAX, |kept| kept.offline_bytes);
        let bound = records.iter().map(|record| match record {
            Record::Removed { .. } => u64::MAX,
            Record::Moved { .. } => quota.saturating_add(quota / PART_FOR_RENAMES),
            _ => quota,
        });
        let is_full = self.bytes_kept_here() > bound.min().unwrap_or(u64::MAX);
        if is_full && self.is_offline() { errno(libc::ENOSPC) } else { Ok(()) }
    }

    /// Notes that the attributes of an entry become those of `properties`; of what is unlinked nothing is noted.
    pub(super) fn note_attributes(&self, state: &State, properties: &Properties, modified: Option<Time>) -> Result<()> {
        if state.unlinked {
            return Ok(());
        }
        let (label, posix) = (state.keys.top().map_key, properties.posix.clone());
        self.note(Record::Attributes { label, posix, modified })
    }

    /// Notes what changes nothing that can be seen, also while changes are made again. Without it, later changes could not
    /// be found a place for: where it finds no room, no change and no commit goes before it. Returns whether it is noted.
    pub(super) fn note_always(&self, record: Record<'_>) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.append_first(&|| self.base(), &record))
    }

    /// Has the journal know where an entry is of which it will speak. To be called under the gate, while no state is locked.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub(super) fn introduce(&self, inode: &Arc<Inode>) -> Result<()> {
        let Some(journal) = self.journal() else { return Ok(()) };
        let file = journal.open_file();
        let is_unknown = |inode: &Arc<Inode>| inode.ino != ROOT && inode.known_in.load(Ordering::Relaxed) != file;
        let mut next = Some(inode.clone()).filter(is_unknown);
        let (mut inodes, mut records) = (Vec::new(), Vec::new());
        while let Some(inode) = next {
            let (cap, parent, name) = {
                let state = inode.state.lock();
                (state.keys.top().clone(), state.parent.clone(), state.properties.name.clone())
            };
            if let Some(parent) = &parent {
                records.push(Record::Known { cap, place: Place { directory: label_of(parent), name } });
            }
            inodes.push(inode);
            next = parent.filter(is_unknown);
        }
        if !records.is_empty() {
            journal.append(&|| self.base(), &records)?;
        }
        inodes.iter().for_each(|inode| inode.known_in.store(file, Ordering::Relaxed));
        Ok(())
    }

    /// What the journal calls an inode; none if nothing is noted of it, because it is unlinked.
    pub(super) fn noted_label(&self, inode: &Inode) -> Option<MapKey> {
        self.journal()?;
        let state = inode.state.lock();
        (!state.unlinked).then(|| state.keys.top().map_key)
    }

    /// Notes a new entry.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub(super) fn note_made(&self, inode: &Inode, made: &Record<'_>) -> Result<()> {
        let Some(journal) = self.journal() else { return Ok(()) };
        self.note_all(std::slice::from_ref(made))?;
        inode.known_in.store(journal.open_file(), Ordering::Relaxed);
        Ok(())
    }

    /// Notes that an entry has other keys now.
    pub(super) fn note_relabelled(&self, old: &Keys, new: &Keys) {
        let (old, new) = (old.top().map_key, new.top().map_key);
        if old != new {
            // what was given other keys before a crash, and gets others now, is called by those in the journal
            let old = self.aliases.lock().remove(&old).unwrap_or(old);
            self.note_always(Record::Relabelled { old, new });
        }
    }

    /// Notes which pointers are about to be set with a group.
    ///
    /// # Errors
    /// [`Error::Journal`]: they must not be set then. What was noted of an earlier attempt may say more than is true of
    /// this one.
    pub(super) fn note_committing(&self, group: Option<Journalled>, is_complete: bool, targets: Targets) -> Result<()> {
        let (Some(journal), Some(Journalled { last, is_all })) = (&self.journal, group) else { return Ok(()) };
        // what must go before
        journal.append(&|| self.base(), &[])?;
        let is_complete = is_complete && is_all && self.unsaved.lock().is_empty();
        let record = Record::Committing { is_complete, targets: targets.clone() };
        if journal.annotate(last, &record)? {
            return if is_complete { journal.intend(Intended { number: last, targets }) } else { Ok(()) };
        }
        // in a file that has changes of the next group as well
        journal.append(&|| self.base(), &[Record::Committing { is_complete: false, targets }])
    }

    /// A group is committed, and what the journal has of it can go, unless something was left out: because it is damaged,
    /// or waits for room.
    pub(super) fn forget_journalled(&self, group: Journalled, waits_for_room: bool) {
        let Some(journal) = &self.journal else { return };
        let is_complete = self.unsaved.lock().is_empty();
        // what is damaged must not fill the disk
        let is_done = group.is_all && (is_complete || journal.is_full() && !waits_for_room);
        // also for what was noted meanwhile, on a state that lacked the group
        let is_noted = if !is_done || journal.has_open_file() {
            let unsaved: Vec<u64> = self.unsaved.lock().iter().copied().collect();
            let left_out = unsaved.into_iter().filter_map(|ino| self.inodes.get(ino)).map(|inode| label_of(&inode));
            let until = if group.is_all { group.last } else { 0 };
            self.note_always(Record::Saved { until, spaces: self.base(), left_out: left_out.collect() })
        } else {
            true
        };
        if is_done && is_noted {
            journal.forget_until(group.last);
        }
    }

    /// Removes what the journal has of groups that are committed.
    pub(super) fn sweep_journal(&self) {
        if let Some(journal) = &self.journal {
            journal.sweep();
        }
    }

    /// Waits for a commit where the journal has become too large, unless it is because nothing can be committed.
    ///
    /// # Errors
    /// Why the commit fails.
    pub(super) fn wait_for_journal(&self) -> Result<()> {
        let is_full = || self.journal().is_some_and(Journal::is_full) && !self.is_offline();
        if !is_full() {
            return Ok(());
        }
        let waited = self.schedule.wait(self.schedule.open_group());
        let failure = waited.err().or_else(|| self.schedule.error()).filter(|error| !error.is_out_of_reach());
        match failure.filter(|_| is_full()) {
            Some(error) => Err(Error::Errno(error.errno())),
            None => Ok(()),
        }
    }

    /// Makes a change; where there is no room in the journal to note it, after a commit, which makes the journal smaller. To
    /// be called while nothing holds off a commit.
    pub(super) fn making_room<T>(&self, change: impl Fn() -> Result<T>) -> Result<T> {
        let is_full = |error: &Error| matches!(error, Error::Journal(_)) && error.errno() == libc::ENOSPC;
        match change() {
            Err(error) if is_full(&error) && self.wait_for(self.schedule.open_group()).is_ok() => change(),
            result => result,
        }
    }
}

/// What the journal calls an entry.
pub(super) fn label_of(inode: &Inode) -> MapKey {
    inode.state.lock().keys.top().map_key
}

/// A name in a directory, as the journal has it.
pub(super) fn place(directory: &Keys, name: &str) -> Place {
    Place { directory: directory.top().map_key, name: name.to_owned() }
}
