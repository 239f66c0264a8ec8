//! Committing a group, and settling the inodes after it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use peergos_net::TransactionId;

use crate::{
    Error, Result,
    commit::{self, Committed, Written},
    error::survive,
    posix::{
        FileSystem,
        build::Outcome,
        departure::Departure,
        freeze::{Group, Job, Journalled},
        inode::Inode,
        unlinked::hold,
    },
};

/// A group whose pointers were sent without an answer: committed or failed, which remains to be asked.
pub(super) struct Unanswered {
    pointers: commit::Unanswered,
    built: Built,
}

/// A group whose blocks are stored.
struct Built {
    jobs: Vec<Job>,
    outcomes: Vec<Outcome>,
    departures: Vec<Arc<Departure>>,
    journalled: Option<Journalled>,
    transaction: TransactionId,
}

impl FileSystem {
    /// Commits the open group. Where other clients were faster, their changes are taken in first. Contents for which there
    /// is no room are part of the open group again.
    ///
    /// # Errors
    /// Why it failed; everything is part of the open group again then.
    pub(super) fn commit_group(&self) -> Result<Committed> {
        if self.is_offline() {
            // which fails, before anything is encrypted in vain
            self.drive.node.node().id()?;
        }
        let _no_refresh = self.committing.lock();
        self.settle_unanswered()?;
        if self.schedule.error().is_some_and(|error| error.is_out_of_reach()) {
            // it is likely that others were at work meanwhile
            self.take_in()?;
        }
        let turn = self.pace.turn()?;
        loop {
            let began = Instant::now();
            match self.commit_once() {
                Err(error) if error.is_conflict() && turn.again()? => {
                    tracing::debug!("another client was faster");
                    // what is in flight is neither ours nor theirs yet
                    self.settle_unanswered()?;
                    self.take_in()?;
                }
                // the state that was changed here is garbage, since others have gone on from it
                Err(error) if error.is_outdated() && turn.again()? => {
                    self.settle_unanswered()?;
                    if !self.take_in()? {
                        return Err(error);
                    }
                }
                Ok(committed) => {
                    self.pace.committed(began);
                    return Ok(committed);
                }
                failed => return failed,
            }
        }
    }

    fn commit_once(&self) -> Result<Committed> {
        let Group { number, mut jobs, departures, journalled, transaction } = self.freeze();
        let transaction = match transaction {
            Some(transaction) => Ok(transaction),
            None => survive(|| Ok(self.drive.node.start_transaction(&self.drive.owner)?)),
        };
        let result = transaction.and_then(|transaction| {
            match survive(|| self.build(&mut jobs, &departures, journalled, &transaction)) {
                Ok(built) => Ok((transaction, built)),
                Err(error) => {
                    self.upload.restore(transaction);
                    Err(error)
                }
            }
        });
        match result {
            Ok((transaction, (outcomes, Written::Committed))) => {
                let no_room = outcomes.iter().find_map(|outcome| match outcome {
                    Outcome::NoRoom(errno, _) => Some(Error::Errno(*errno)),
                    _ => None,
                });
                self.committed(Built { jobs, outcomes, departures, journalled, transaction });
                self.bound_lists_again();
                Ok(Committed { group: number, left_out: no_room })
            }
            Ok((transaction, (outcomes, Written::Unanswered(pointers, error)))) => {
                let open = self.schedule.touch();
                jobs.iter().for_each(|job| job.inode.group.store(open, Ordering::Relaxed));
                let built = Built { jobs, outcomes, departures, journalled, transaction };
                *self.unanswered.lock() = Some(Unanswered { pointers, built });
                Err(error)
            }
            Err(error) => {
                self.failed(jobs, departures);
                Err(error)
            }
        }
    }

    /// Finds out what became of a group whose commit got no answer.
    pub(super) fn settle_unanswered(&self) -> Result<()> {
        let mut unanswered = self.unanswered.lock();
        let Some(Unanswered { pointers, .. }) = &*unanswered else { return Ok(()) };
        let are_set = pointers.ask(&self.drive)?;
        if let Some(Unanswered { built, .. }) = unanswered.take() {
            if are_set {
                self.committed(built);
            } else {
                self.upload.restore(built.transaction);
                self.failed(built.jobs, built.departures);
            }
        }
        Ok(())
    }

    fn committed(&self, built: Built) {
        let Built { jobs, outcomes, departures, journalled, transaction } = built;
        departures.iter().for_each(|departure| self.left(departure));
        let waits_for_room = outcomes.iter().any(|outcome| matches!(outcome, Outcome::NoRoom(..)));
        let mut needed: Vec<Arc<Inode>> = Vec::new();
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            let is_left_out = matches!(outcome, Outcome::LeftOut(_) | Outcome::NoRoom(..));
            if is_left_out || job.inode.is_open() && job.inode.state.lock().unlinked {
                needed.push(job.inode.clone());
            }
            self.settle_or_log(job, outcome);
        }
        // where the node cannot hold them, chunks that no pointer reaches are left to its clock
        let uncommitted = |inode: &Inode| inode.content.as_ref().map(|content| content.lock().uncommitted());
        let is_held = |inode: &Arc<Inode>| hold(&self.drive, inode, &uncommitted(inode).unwrap_or_default());
        if needed.iter().filter(|inode| !is_held(inode)).count() == 0 {
            self.upload.close(&transaction);
        }
        self.space.changed();
        if let Some(journalled) = journalled {
            self.forget_journalled(journalled, waits_for_room);
        }
    }

    fn failed(&self, jobs: Vec<Job>, departures: Vec<Arc<Departure>>) {
        self.departures.lock().extend(departures);
        for job in jobs {
            self.settle_or_log(job, Outcome::Failed);
        }
        self.schedule.touch();
    }

    /// A bug that is met with one inode keeps no other from being settled.
    fn settle_or_log(&self, job: Job, outcome: Outcome) {
        let settle = || {
            self.settle(job, outcome);
            Ok(())
        };
        if let Err(error) = survive(settle) {
            tracing::error!(%error, "an entry is not settled after its commit");
        }
    }
}
