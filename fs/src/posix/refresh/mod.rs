//! Taking in what other clients committed: which labels of the CHAMPs changed ([`news`]), what that makes of the entries
//! in use ([`survey`]), whose version stays ([`judge`], [`departed`], [`unite`]), and the two made one ([`merge`],
//! [`conflict`]). Our own uncommitted changes are re-applied on top, so that the same happens whether a poll or a refused
//! commit (spec 02 §8.6) finds that others were faster.

mod conflict;
mod departed;
mod judge;
mod merge;
mod news;
mod poll;
mod stale;
mod survey;
mod unite;

pub(super) use poll::Poller;
pub use stale::Stale;

use std::sync::atomic::Ordering;

use crate::{
    Result,
    journal::Record,
    posix::{
        FileSystem,
        refresh::{conflict::Drafts, news::News},
    },
};

impl FileSystem {
    /// Asks the node for what others committed, and takes it in. Returns whether there was anything.
    ///
    /// # Errors
    /// [`crate::Error::Net`]; nothing has changed then.
    pub fn refresh(&self) -> Result<bool> {
        // what is being encrypted anew must not change meanwhile
        let Some(_busy) = self.gate.try_busy() else { return Ok(false) };
        let _no_commit = self.committing.lock();
        // what is in flight is neither ours nor theirs yet
        if self.unanswered.lock().is_some() { Ok(false) } else { self.take_in() }
    }

    /// As [`FileSystem::refresh`], between two commits.
    pub(super) fn take_in(&self) -> Result<bool> {
        self.take_in_news(self.news(|writer, _| self.drive.spaces.current(writer))?)
    }

    /// Takes in what others had committed at some time.
    pub(super) fn take_in_news(&self, news: News) -> Result<bool> {
        if !news.spaces.is_empty() {
            self.pace.met_others();
        } else if !self.inodes.all().iter().any(|inode| inode.state.lock().unread) {
            return Ok(false);
        }
        let theirs = self.drive.at(&news.spaces);
        // slow, and so before changes are held off: what it fetches is in the cache then, and what it stores is used
        let mut survey = self.survey(&news, &theirs)?;
        let verdicts = self.judge(&mut survey, &news, &theirs, &mut Drafts::new())?;
        let mut drafts = verdicts.captured.into_iter().map(|captured| (captured.inode.ino, captured)).collect();
        let stale = {
            let _gate = self.gate.close();
            let mut survey = self.survey(&news, &theirs)?;
            let verdicts = self.judge(&mut survey, &news, &theirs, &mut drafts)?;
            self.taken_in.fetch_add(1, Ordering::Relaxed);
            let stale = self.merge(survey, verdicts, &news)?;
            self.note_always(Record::TakenIn { spaces: self.base() });
            stale
        };
        tracing::debug!(spaces = news.spaces.len(), names = stale.len(), "took in what other clients changed");
        self.announce(stale);
        self.space.changed();
        Ok(true)
    }
}
