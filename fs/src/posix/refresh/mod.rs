//! Taking in what other clients committed: which labels of the CHAMPs changed ([`news`]), what that makes of the entries
//! in use ([`survey`]), whose version stays ([`judge`]), and the two made one ([`merge`], [`conflict`]). Our own uncommitted changes are re-applied on top,
//! so that the same happens whether a poll or a refused commit (spec 02 §8.6) finds that others were faster.

mod conflict;
mod judge;
mod merge;
mod news;
mod poll;
mod stale;
mod survey;

pub(super) use poll::Poller;
pub use stale::Stale;

use std::sync::atomic::Ordering;

use crate::{Result, posix::FileSystem};

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
        let Some(news) = self.news()? else { return Ok(false) };
        self.pace.met_others();
        let theirs = self.drive.at(&news.spaces);
        // what this fetches is in the cache when changes are held off
        self.survey(&news, &theirs)?;
        let stale = {
            let _gate = self.gate.close();
            let survey = self.survey(&news, &theirs)?;
            self.taken_in.fetch_add(1, Ordering::Relaxed);
            self.merge(survey, &news, &theirs)?
        };
        tracing::debug!(spaces = news.spaces.len(), names = stale.len(), "took in what other clients changed");
        self.announce(stale);
        *self.space_cache.lock() = None;
        Ok(true)
    }
}
