//! What the node does by itself: counting what is used after pointers have moved, and collecting garbage.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    clock,
    core::Core,
    store::{AccountId, Batch, Table},
};
use crate::Result;

/// The time between two garbage collections, in seconds.
const COLLECT_EVERY: u64 = 12 * 3600;
/// The node has other things to do when it has just been opened.
const FIRST_COLLECTION: Duration = Duration::from_secs(600);
/// How long counting waits for more commits.
const SETTLE: Duration = Duration::from_millis(500);

/// The row of [`Table::Node`] that says when garbage was last collected, in seconds.
const COLLECTED: &[u8] = b"collected";

/// How the worker is told what to do.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whose pointers have moved.
    moved: HashSet<AccountId>,
    stop: bool,
}

impl Signal {
    /// An account's pointers have moved.
    pub fn moved(&self, account: AccountId) {
        self.state.lock().moved.insert(account);
        self.changed.notify_one();
    }

    /// The node closes.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_one();
    }

    /// Waits until pointers have moved and have come to rest, at most until `until`. Returns whose they are; none when
    /// the node closes.
    fn wait(&self, until: Instant) -> Option<HashSet<AccountId>> {
        let mut state = self.state.lock();
        while !state.stop && state.moved.is_empty() && !self.changed.wait_until(&mut state, until).timed_out() {}
        if !state.moved.is_empty() {
            let rest = Instant::now() + SETTLE;
            while !state.stop && !self.changed.wait_until(&mut state, rest).timed_out() {}
        }
        (!state.stop).then(|| std::mem::take(&mut state.moved))
    }
}

/// Works until the node closes. What fails is logged, and tried again when its time comes.
pub(super) fn run(core: &Core) {
    // pointers may have moved just before the node was last closed
    core.accounts.all().iter().for_each(|account| core.signal.moved(account.id));
    let mut next_collection = Instant::now() + due(core).max(FIRST_COLLECTION);
    while let Some(moved) = core.signal.wait(next_collection) {
        for account in core.accounts.all().iter().filter(|account| moved.contains(&account.id)) {
            if let Err(error) = core.count(account) {
                tracing::warn!(%error, "used space could not be counted");
            }
        }
        if Instant::now() >= next_collection {
            next_collection = Instant::now() + Duration::from_secs(COLLECT_EVERY);
            if let Err(error) = collect(core) {
                tracing::warn!(%error, "garbage could not be collected");
            }
        }
    }
}

fn collect(core: &Core) -> Result<()> {
    let collected = core.collect_garbage()?;
    tracing::info!(blocks = collected.blocks, bytes = collected.bytes, "garbage collected");
    let mut batch = Batch::default();
    batch.put(Table::Node, COLLECTED, clock::seconds().to_be_bytes());
    core.kv.commit_lazily(&batch)
}

/// How long it is until the next collection.
fn due(core: &Core) -> Duration {
    let last = core
        .kv
        .get(Table::Node, COLLECTED)
        .ok()
        .flatten()
        .and_then(|row| Some(u64::from_be_bytes(row.try_into().ok()?)));
    let elapsed = clock::seconds().saturating_sub(last.unwrap_or(0));
    Duration::from_secs(COLLECT_EVERY.saturating_sub(elapsed))
}
