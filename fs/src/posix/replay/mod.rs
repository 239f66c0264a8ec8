//! Making again, at the next mount, what was acknowledged and not committed.
//!
//! What the journal tells is condensed to where each entry is in the end ([`plan`]), entries are found by their labels
//! ([`find`]), and put there ([`apply`]); then contents are written again in their order. Nothing of this depends on how
//! much of it is committed already, so that it can break off at any point, and begin anew.
//!
//! Where others may change the drive too, it is first made what it was when the changes were made, and what others
//! committed since is taken in at the end, as [`super::refresh`] always does.

mod apply;
mod find;
mod plan;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use peergos_crypto::{cid::Cid, signing::KeyHash};
use peergos_net::PointerUpdate;

use crate::{
    Error, Result,
    capability::Capability,
    journal::{Base, Intended, Journal, Record},
    posix::{FileSystem, inode::Inode},
    space::Space,
    tree::Drive,
};
use plan::{Id, Identities, Plan, Saved};

/// What is known of changes that are made again.
struct Replay<'a> {
    fs: &'a FileSystem,
    journal: &'a Journal,
    /// What need not be made again.
    saved: Saved,
    /// The entries that were looked for; none where nothing is stored of them.
    found: HashMap<Id, Option<Arc<Inode>>>,
    /// Whether there is something that cannot be made again.
    is_lacking: bool,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        self.found.values().flatten().for_each(|inode| self.fs.inodes.forget(inode.ino, 1));
    }
}

/// The state of the drive that the changes in the journal were made on, before anything of it is loaded. Files of the
/// journal that turn out to be committed are removed.
///
/// # Errors
/// [`Error::JournalDamaged`], [`Error::Journal`]; [`Error::Net`].
pub(super) fn prepare(journal: &Journal, drive: &Drive, others_change_it: bool) -> Result<()> {
    if let Some(Intended { number, targets }) = journal.intended()
        && let Some((_, true)) = reached(drive, &Base::new(), targets, &[])?
    {
        // also where the disk has lost the end of them
        journal.remove_until(*number);
    }
    let mut base = Base::new();
    let mut made = Vec::new();
    // the last file that was committed with all before it
    let mut committed = None;
    journal.read(&mut |file, record| {
        match record {
            Record::Base { spaces, .. } if base.is_empty() => base = spaces,
            Record::Saved { spaces, .. } => {
                base = spaces;
                made.clear();
            }
            Record::Made(entry) => made.push(entry.cap),
            Record::Committing { is_complete, targets } => {
                if let Some((reached, is_proved)) = reached(drive, &base, &targets, &made)? {
                    base = reached;
                    committed = (is_complete && is_proved).then_some(file);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if let Some(file) = committed {
        journal.remove_until(file);
    }
    if others_change_it { go_back(drive, &base) } else { Ok(()) }
}

/// How many of the entries that a group made are looked for.
const TRACES: usize = 20;

/// The state that a commit led to which set pointers to `targets`; none if it was not done. Others may have committed
/// since: then the pointer says that it follows ours, or `made` of ours is there, which nobody else can have made. What is
/// there does not prove that this commit brought it, and not one of a part of the same changes.
fn reached(
    drive: &Drive,
    base: &Base,
    targets: &[(KeyHash, Option<Cid>)],
    made: &[Capability],
) -> Result<Option<(Base, bool)>> {
    let mut reached = base.clone();
    let (mut are_set, mut are_followed) = (true, true);
    for (writer, target) in targets {
        let current = drive.spaces.current(writer)?.map(|space| space.pointer.clone());
        let is_set = current.as_ref().and_then(|pointer| pointer.updated.clone()) == *target;
        are_set &= is_set;
        are_followed &= is_set || current.as_ref().is_some_and(|pointer| pointer.original == *target);
        let before = reached.iter().position(|(other, _)| other == writer).map(|at| reached.swap_remove(at).1);
        let pointer = match current {
            Some(current) if is_set => current,
            _ => PointerUpdate::next(before.as_ref(), target.clone()),
        };
        reached.push((writer.clone(), pointer));
    }
    let is_proved = !targets.is_empty() && (are_set || are_followed);
    let mut is_done = is_proved;
    for cap in made.iter().rev().take(TRACES) {
        is_done = is_done || matches!(drive.spaces.node(cap), Ok(Some(_)));
    }
    Ok(is_done.then_some((reached, is_proved)))
}

/// Makes the spaces what they were, if that is still known; otherwise they are as others left them.
fn go_back(drive: &Drive, base: &Base) -> Result<()> {
    let mut spaces = Vec::new();
    for (writer, pointer) in base.iter().filter(|(_, pointer)| pointer.updated.is_some()) {
        let Some(space) = space_at(drive, writer, pointer)? else { return Ok(()) };
        spaces.push((writer.clone(), Some(space)));
    }
    drive.spaces.committed(spaces);
    Ok(())
}

/// The state of a space that a pointer pointed to; none if that is not known any more.
fn space_at(drive: &Drive, writer: &KeyHash, pointer: &PointerUpdate) -> Result<Option<Arc<Space>>> {
    let Some(target) = &pointer.updated else { return Ok(None) };
    match drive.node.writer_data(&drive.owner, writer, target).map_err(Error::from) {
        Ok(data) => Ok(Some(Arc::new(Space { pointer: pointer.clone(), data }))),
        Err(error) if error.is_of_one_entry() => {
            tracing::warn!(%error, "a state that unsaved changes were made on is not known any more");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl FileSystem {
    /// Makes again what the journal has. To be called before anybody else uses the drive.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::Journal`]: it can be tried again.
    pub(super) fn replay(&self) -> Result<()> {
        let Some(journal) = self.journal.as_ref().filter(|journal| journal.has_found()) else { return Ok(()) };
        tracing::info!(bytes = journal.bytes(), "making again what was not saved");
        self.replaying.store(true, Ordering::Relaxed);
        // a commit takes in what others did, which must meet all of what was made again
        self.schedule.hold(self.options.poll_interval.is_some());
        let (plans, saved) = Plan::read(journal)?;
        let mut replay = Replay { fs: self, journal, saved, found: HashMap::new(), is_lacking: false };
        for (number, plan) in plans.into_iter().enumerate() {
            self.take_in_again(&plan.taken_in)?;
            replay.apply(&plan)?;
            replay.write(number, &plan)?;
        }
        if replay.is_lacking {
            let aside = journal.copy_aside()?;
            tracing::error!(path = %aside.display(), "some changes could not be made again; a copy of the journal is kept");
        }
        drop(replay);
        if self.options.poll_interval.is_some() {
            match self.refresh() {
                // that will be asked again
                Err(error) if error.is_out_of_reach() => {}
                taken_in => drop(taken_in?),
            }
        }
        self.aliases.lock().clear();
        self.replaying.store(false, Ordering::Relaxed);
        self.schedule.hold(false);
        // also where there was nothing to do, so that the journal goes
        self.schedule.touch();
        self.schedule.request();
        Ok(())
    }
}

impl FileSystem {
    /// Takes in what others had committed by then, and not more: what they did later, the changes that follow were not
    /// made on.
    fn take_in_again(&self, states: &Base) -> Result<()> {
        let _no_commit = self.committing.lock();
        self.settle_unanswered()?;
        let news = self.news(|writer, known| {
            // an earlier replay took in older states too
            let later = |pointer: &PointerUpdate| pointer.sequence > known.pointer.sequence;
            match states.iter().find(|(other, pointer)| other == writer && later(pointer)) {
                None => Ok(Some(known.clone())),
                Some((_, pointer)) => match space_at(&self.drive, writer, pointer)? {
                    None => self.drive.spaces.current(writer),
                    then => Ok(then),
                },
            }
        })?;
        self.take_in_news(news).map(drop)
    }
}

impl Replay<'_> {
    /// Writes the contents of a part of the journal again.
    fn write(&mut self, part: usize, plan: &Plan) -> Result<()> {
        let mut identities = Identities::default();
        let mut at = 0;
        let journal = self.journal;
        journal.read(&mut |file, record| {
            identities.follow(&record);
            if let Record::TakenIn { .. } = record {
                at += 1;
            }
            let id = match &record {
                Record::Wrote { label, .. } | Record::Zeroed { label, .. } | Record::Resized { label, .. } => {
                    identities.id(label)
                }
                _ => return Ok(()),
            };
            if at != part || self.saved.has(file, &id) {
                return Ok(());
            }
            self.again(id, plan, &|fs, inode| match &record {
                Record::Wrote { offset, data, .. } => fs.write_again(inode, *offset, data),
                Record::Zeroed { offset, len, .. } => fs.zero_again(inode, *offset, *len),
                Record::Resized { size, .. } => fs.resize_again(inode, *size),
                _ => Ok(()),
            })
        })?;
        for (id, planned) in plan.entries() {
            let Some(Some(inode)) = self.found.get(id) else { continue };
            let _gate = self.fs.gate.change();
            self.fs.set_again(inode, planned);
        }
        Ok(())
    }

    /// Changes the content of an entry, if there is one.
    fn again(&mut self, id: Id, plan: &Plan, change: &dyn Fn(&FileSystem, &Arc<Inode>) -> Result<()>) -> Result<()> {
        let Some(Some(inode)) = self.found.get(&id) else { return Ok(()) };
        if plan.is_removed(id) || inode.content.is_none() {
            return Ok(());
        }
        match change(self.fs, inode) {
            Err(error) if error.is_of_one_entry() => {
                tracing::error!(%error, ino = inode.ino, "a file cannot be written to again");
                self.is_lacking = true;
                Ok(())
            }
            result => result,
        }
    }
}
