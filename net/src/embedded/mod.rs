//! A node in this process: it stores accounts in a folder, and trusts its clients as little as a server does.
//!
//! | room | knows |
//! |---|---|
//! | `store` | where bytes are kept, and what makes them durable |
//! | `dag` | what is below a block |
//! | `validate` | which blocks may be stored |
//! | `admission` | who may sign up |
//! | `accounts` | whose name is whose, and who may write |
//! | `view` | what an account will be after a commit: checks pointer updates |
//! | `pointers`, `sign_up`, `login`, `factors`, `bats`, `space`, `requests`, `links`, `social` | the calls of a node, by topic |
//! | `transactions`, `gc` | which unreachable blocks stay, and which go |
//! | `transfer` | carrying a whole account from node to node |
//! | `worker` | what happens without being asked |

mod accounts;
mod admission;
mod bats;
mod clock;
mod core;
mod dag;
mod disk;
mod factors;
mod gc;
mod links;
mod login;
mod node;
mod pointers;
mod requests;
mod sign_up;
mod social;
mod space;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod transactions;
mod transfer;
mod validate;
mod view;
mod worker;

use std::{io, path::Path, sync::Arc, thread};

pub use admission::SignUps;
pub use gc::Collected;
pub use requests::AccountSummary;

use self::core::Core;
use crate::{Error, Result};

/// A stand-alone node. Its own PKI, and home to all accounts in its folder, whatever server their claims name.
pub struct EmbeddedNode {
    core: Arc<Core>,
    worker: Option<thread::JoinHandle<()>>,
}

impl EmbeddedNode {
    /// Opens the node in the folder `dir`, or makes it. Only one process can have it open.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::DiskFull`], or [`Error::Store`] naming a file that is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::of(Core::open(dir)?)
    }

    /// The node in `dir` as if it were another one, at another time, in milliseconds since the epoch.
    #[cfg(test)]
    pub(crate) fn open_as(dir: &Path, id: peergos_crypto::cid::Cid, time: u64) -> Result<Self> {
        let mut core = Core::open(dir)?;
        core.id = id;
        core.clock.stopped = Some(time);
        Self::of(core)
    }

    fn of(core: Core) -> Result<Self> {
        let core = Arc::new(core);
        let worker = thread::Builder::new().name("peergos-node".into()).spawn({
            let core = Arc::clone(&core);
            move || worker::run(&core)
        });
        Ok(Self { core, worker: Some(worker.map_err(Error::io("starting a thread"))?) })
    }

    /// The names of all accounts, in order.
    pub fn usernames(&self) -> Vec<String> {
        let mut names: Vec<String> = self.core.accounts.all().iter().map(|a| a.username().to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// All accounts, with what they use now, in order of their names.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub fn accounts(&self) -> Result<Vec<AccountSummary>> {
        self.core.summaries()
    }

    /// From now on, others sign up by these rules. Before, whoever calls this node may.
    pub fn admit(&self, rules: SignUps) {
        self.core.door.set(rules);
    }

    /// A token that lets one account sign up.
    ///
    /// # Errors
    /// What keeps the store from being written.
    pub fn sign_up_token(&self) -> Result<String> {
        self.core.sign_up_token()
    }

    /// Limits an account to `bytes`, or (none) to the size of the disk.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such account.
    pub fn set_quota(&self, username: &str, bytes: Option<u64>) -> Result<()> {
        self.core.set_quota(username, bytes)
    }

    /// Removes blocks that no pointer reaches, now. It also happens every twelve hours, and when the disk is short of
    /// space.
    ///
    /// # Errors
    /// What keeps the store from being read or written.
    pub fn collect_garbage(&self) -> Result<Collected> {
        self.core.collect_garbage(true)
    }

    /// Writes out a whole account as it is now: its blocks as a CAR, and its mutable state as JSON.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such account, [`Error::MissingBlock`] if it is incomplete.
    pub fn export(&self, username: &str, car: impl io::Write, json: impl io::Write) -> Result<()> {
        self.core.export(username, car, json)
    }

    /// Takes in what [`EmbeddedNode::export`] wrote, here or elsewhere, and returns the name. All of it is checked, and
    /// nothing is kept if it is not right.
    ///
    /// # Errors
    /// [`Error::Refused`] if the name is taken, or what is wrong with the files.
    pub fn import(&self, car: impl io::Read, json: impl io::Read) -> Result<String> {
        self.core.import(car, json)
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        self.core.signal.stop();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        if let Err(error) = self.core.close() {
            tracing::error!(%error, "the node could not be closed properly");
        }
    }
}
