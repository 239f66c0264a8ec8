//! What the node does by itself: counting what is used after pointers have moved, and collecting garbage: from time to
//! time, and when the disk is short of space.

use std::{
    collections::HashSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    core::Core,
    store::{AccountId, Batch, Table},
};
use crate::{Error, Result};

/// The time between two garbage collections, in seconds.
const COLLECT_EVERY: u64 = 12 * 3600;
/// The node has other things to do when it has just been opened.
const FIRST_COLLECTION: Duration = Duration::from_secs(20);
/// The least time between two collections, and how many times as long as the last one it is at least.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_FACTOR: u32 = 4;
/// So much garbage, as a part of the disk, is not left to lie until the next collection is due.
const MUCH: u64 = 10;
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
    /// Whether somebody has found the disk full.
    collect: bool,
    stop: bool,
}

impl Signal {
    /// An account's pointers have moved.
    pub fn moved(&self, account: AccountId) {
        self.state.lock().moved.insert(account);
        self.changed.notify_one();
    }

    /// The disk is full.
    pub fn collect(&self) {
        self.state.lock().collect = true;
        self.changed.notify_one();
    }

    /// Ends long work when the node closes.
    ///
    /// # Errors
    /// [`Error::Store`] if it does.
    pub fn proceed(&self) -> Result<()> {
        if self.state.lock().stop { Err(Error::Store("it is being closed".into())) } else { Ok(()) }
    }

    /// The node closes.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_one();
    }

    /// Waits until pointers have moved and have come to rest, or the disk is full, at most until `until`. Returns whose
    /// pointers they are, and whether the disk is full; none when the node closes.
    fn wait(&self, until: Instant) -> Option<(HashSet<AccountId>, bool)> {
        let mut state = self.state.lock();
        let idle = |state: &State| !state.stop && !state.collect && state.moved.is_empty();
        while idle(&state) && !self.changed.wait_until(&mut state, until).timed_out() {}
        if !state.moved.is_empty() {
            let rest = Instant::now() + SETTLE;
            while !state.stop && !self.changed.wait_until(&mut state, rest).timed_out() {}
        }
        (!state.stop).then(|| (std::mem::take(&mut state.moved), std::mem::take(&mut state.collect)))
    }
}

/// Works until the node closes. What fails is logged, and tried again when its time comes.
pub(super) fn run(core: &Core) {
    // pointers may have moved just before the node was last closed
    core.accounts.all().iter().for_each(|account| core.signal.moved(account.id));
    let mut collections = Collections::new(core);
    while let Some((moved, full)) = core.signal.wait(collections.next) {
        for account in core.accounts.all().iter().filter(|account| moved.contains(&account.id)) {
            if let Err(error) = core.count(account) {
                tracing::warn!(%error, "used space could not be counted");
            }
        }
        if full || is_much_lost(core) {
            collections.hurry(full);
        }
        if Instant::now() >= collections.next {
            collections.run(core);
        }
    }
}

/// When garbage is collected.
struct Collections {
    next: Instant,
    /// No sooner than this, whatever happens.
    earliest: Instant,
    /// Whether to look also where no pointer has moved.
    forced: bool,
}

impl Collections {
    fn new(core: &Core) -> Self {
        let now = Instant::now();
        let wait =
            if core.disk.is_short().unwrap_or(false) { FIRST_COLLECTION } else { due(core).max(FIRST_COLLECTION) };
        Self { next: now + wait, earliest: now, forced: false }
    }

    fn hurry(&mut self, forced: bool) {
        self.next = self.next.min(self.earliest);
        self.forced |= forced;
    }

    fn run(&mut self, core: &Core) {
        let begun = Instant::now();
        if let Err(error) = collect(core, self.forced) {
            tracing::warn!(%error, "garbage could not be collected");
        }
        let pause = PAUSE.max(begun.elapsed() * PAUSE_FACTOR);
        let now = Instant::now();
        *self = Self { next: now + Duration::from_secs(COLLECT_EVERY), earliest: now + pause, forced: false };
    }
}

/// Whether there is more garbage than the disk has room for.
fn is_much_lost(core: &Core) -> bool {
    let lost = core.space.lost.load(Ordering::Relaxed);
    let much = || Ok::<_, Error>(core.disk.is_short()? || lost > core.disk.total()? / MUCH);
    lost > 0 && much().unwrap_or(false)
}

fn collect(core: &Core, forced: bool) -> Result<()> {
    let collected = core.collect_garbage(forced)?;
    tracing::info!(blocks = collected.blocks, bytes = collected.bytes, "garbage collected");
    let mut batch = Batch::default();
    batch.put(Table::Node, COLLECTED, core.clock.seconds().to_be_bytes());
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
    let elapsed = core.clock.seconds().saturating_sub(last.unwrap_or(0));
    Duration::from_secs(COLLECT_EVERY.saturating_sub(elapsed))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        EmbeddedNode,
        embedded::{store::BlockId, tests::support::*},
    };

    const HOUR: Duration = Duration::from_secs(3600);
    /// When these tests begin, in hours.
    const START: u32 = 100_000;

    fn set(core: &mut Core, hour: u32) {
        core.clock.stopped = Some((hour * HOUR).as_millis() as u64);
    }

    /// A node in which nothing happens without being asked for.
    fn core_at(dir: &Path, hour: u32) -> Core {
        let mut core = Core::open(dir).unwrap();
        set(&mut core, hour);
        core
    }

    #[test]
    fn collections_are_due_every_twelve_hours() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core_at(dir.path(), START);
        assert_eq!(due(&core), Duration::ZERO, "there was none before");
        collect(&core, false).unwrap();
        for (later, left) in [(0, 12), (5, 7), (12, 0), (30, 0)] {
            set(&mut core, START + later);
            assert_eq!(due(&core), left * HOUR, "after {later} hours");
        }
        // a clock that was set back
        set(&mut core, 1);
        assert_eq!(due(&core), 12 * HOUR);
        drop(core);
        // the last one is remembered
        assert_eq!(due(&core_at(dir.path(), START + 5)), 7 * HOUR);
    }

    #[test]
    fn a_node_that_opens_collects_when_it_is_due_but_not_at_once() {
        let dir = tempfile::tempdir().unwrap();
        collect(&core_at(dir.path(), START), false).unwrap();
        for (later, wait) in [(5, 7 * HOUR), (12, FIRST_COLLECTION), (30, FIRST_COLLECTION)] {
            let core = core_at(dir.path(), START + later);
            let before = Instant::now();
            let next = Collections::new(&core).next;
            assert!(before + wait <= next && next <= Instant::now() + wait, "after {later} hours");
        }
    }

    #[test]
    fn a_collection_puts_off_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new("alice");
        let large = fragment(1, FRAGMENT, &[]);
        let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
        client.sign_up(&*node).unwrap();
        client.commit(&node, &[(map_key(1), Some(entry(1, 10, &[&large])))], std::slice::from_ref(&large)).unwrap();
        client.commit(&node, &[(map_key(1), None)], &[]).unwrap();
        drop(node);
        let core = core_at(dir.path(), START);
        let garbage = BlockId::new(core.accounts.named("alice").unwrap().id, large.cid()).unwrap();
        assert!(core.store.get(&garbage).unwrap().is_some());
        let mut collections = Collections::new(&core);
        let before = Instant::now();
        collections.run(&core);
        assert!(core.store.get(&garbage).unwrap().is_none());
        let every = Duration::from_secs(COLLECT_EVERY);
        assert!(before + every <= collections.next && collections.next <= Instant::now() + every);
        // a full disk does not wait as long, but not nothing
        collections.hurry(true);
        assert!(before + PAUSE <= collections.next && collections.next < before + every);
        assert!(collections.forced);
        assert_eq!(due(&core), every);
    }
}
