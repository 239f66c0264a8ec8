//! What the node does by itself: counting what is used after pointers have moved, and collecting garbage.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{
    clock,
    core::Core,
    store::{Batch, Table},
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
    work: bool,
    stop: bool,
}

impl Signal {
    /// Pointers have moved.
    pub fn work(&self) {
        self.state.lock().work = true;
        self.changed.notify_one();
    }

    /// The node closes.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_one();
    }

    fn stopped_within(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + time;
        while !state.stop && !self.changed.wait_until(&mut state, until).timed_out() {}
        state.stop
    }

    /// Waits until there is work, at most until `until`; none when the node closes.
    fn wait(&self, until: Instant) -> Option<bool> {
        let mut state = self.state.lock();
        while !state.stop && !state.work {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        let work = std::mem::take(&mut state.work);
        (!state.stop).then_some(work)
    }
}

/// Works until the node closes. What fails is logged, and tried again when its time comes.
pub(super) fn run(core: &Core) {
    // pointers may have moved just before the node was last closed
    core.signal.work();
    let mut next_collection = Instant::now() + due(core).max(FIRST_COLLECTION);
    while let Some(work) = core.signal.wait(next_collection) {
        if work {
            if core.signal.stopped_within(SETTLE) {
                return;
            }
            for account in core.accounts.all() {
                if let Err(error) = core.count(&account) {
                    tracing::warn!(%error, "used space could not be counted");
                }
            }
        }
        if Instant::now() >= next_collection {
            next_collection = Instant::now() + Duration::from_secs(COLLECT_EVERY);
            match collect(core) {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "garbage could not be collected"),
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
