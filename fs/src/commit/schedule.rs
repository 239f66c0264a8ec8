//! When groups are committed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Condvar, Mutex};

use crate::{Error, Result, error::survive, turns};

/// When a group is committed without anybody asking.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest time that a change stays uncommitted.
    pub interval: Duration,
    /// How long nothing must have changed for an earlier commit.
    pub idle: Duration,
}

/// What became of a group.
#[derive(Debug)]
pub struct Committed {
    /// Its number.
    pub group: u64,
    /// Why something of it was left for later, if it was.
    pub left_out: Option<Error>,
}

/// Numbers groups, and lets threads wait for their commit. The groups' contents are not its business.
///
/// Group numbers start at 1 and grow. The open group is the one that changes go into.
pub struct Schedule {
    limits: Limits,
    started: Instant,
    /// The number of the open group.
    open: AtomicU64,
    /// When the open group first and last changed, in milliseconds since `started`, plus one; zero: never.
    first: AtomicU64,
    last: AtomicU64,
    state: Mutex<State>,
    /// Wakes the thread that commits.
    wake: Condvar,
    /// Wakes those who wait for a commit.
    done: Condvar,
}

struct State {
    /// Commit at once whatever group is open up to this one.
    requested: u64,
    /// The last group that is committed.
    committed: u64,
    /// When that was.
    committed_at: Option<SystemTime>,
    /// How many commits failed; how many in a row did, or left something out; and why the last did if it did.
    failures: u64,
    in_a_row: u64,
    error: Option<Arc<Error>>,
    stopping: bool,
    /// Whether groups are committed only where somebody waits for that.
    held: bool,
}

impl Schedule {
    /// A schedule whose first group is empty.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            open: AtomicU64::new(1),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            state: Mutex::new(State {
                requested: 0,
                committed: 0,
                committed_at: None,
                failures: 0,
                in_a_row: 0,
                error: None,
                stopping: false,
                held: false,
            }),
            wake: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// Says that the open group has changed, and returns its number.
    pub fn touch(&self) -> u64 {
        let now = self.now();
        self.last.store(now, Ordering::Relaxed);
        if self.first.load(Ordering::Relaxed) == 0
            && self.first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let _state = self.state.lock();
            self.wake.notify_one();
        }
        self.open.load(Ordering::Relaxed)
    }

    /// The number of the open group.
    pub fn open_group(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Closes the open group and returns its number. Changes must be held off while this happens.
    pub fn close_group(&self) -> u64 {
        let _state = self.state.lock();
        self.first.store(0, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on, commits a group only where somebody waits for that; or as usual again.
    pub fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.wake.notify_one();
    }

    /// Whether groups are committed only where somebody waits for that.
    pub fn is_held(&self) -> bool {
        self.state.lock().held
    }

    /// Asks for a commit of the open group, without waiting.
    pub fn request(&self) {
        let mut state = self.state.lock();
        // asked for nothing, the first change that follows would be committed alone
        if state.held || self.is_empty() {
            return;
        }
        state.requested = self.open_group();
        self.wake.notify_one();
    }

    /// Waits until `group` is committed, asking for it where it is still open.
    ///
    /// # Errors
    /// The reason if an attempt to commit it fails; the changes are kept, and tried again.
    pub fn wait(&self, group: u64) -> std::result::Result<(), Arc<Error>> {
        let mut state = self.state.lock();
        let failures = state.failures;
        while state.committed < group {
            let has_nothing = self.is_empty() && group == self.open_group();
            if has_nothing && state.committed + 1 == group {
                return Ok(());
            }
            if state.failures > failures
                && let Some(error) = &state.error
            {
                return Err(error.clone());
            }
            // where the group is empty, what is waited for is the one before, which is being committed
            if state.requested < group && !has_nothing {
                state.requested = group;
                self.wake.notify_one();
            }
            turns::pass();
            self.done.wait(&mut state);
        }
        Ok(())
    }

    /// Why the last attempt failed, or left something out, if it did.
    pub fn error(&self) -> Option<Arc<Error>> {
        self.state.lock().error.clone()
    }

    /// When a group was last committed.
    pub fn last_commit(&self) -> Option<SystemTime> {
        self.state.lock().committed_at
    }

    /// Lets the thread of [`Schedule::run`] end after it has tried to commit what is open.
    pub fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Lets the thread of [`Schedule::run`] end without a commit of what is open.
    pub fn abandon(&self) {
        self.first.store(0, Ordering::Relaxed);
        self.stop();
    }

    /// Calls `commit` whenever a group is due, until [`Schedule::stop`]. `commit` closes the group, and returns once it is
    /// committed; on an error its changes are part of the open group again, and so is what was left out. Nobody waits for
    /// `tidy`, which is called then.
    pub fn run(&self, commit: impl Fn() -> Result<Committed>, tidy: impl Fn()) {
        // no sooner than this, and no later than this
        let (mut not_before, mut again_at) = (None, None);
        loop {
            let mut state = self.state.lock();
            loop {
                if state.stopping || (state.requested >= self.open_group() && !self.is_empty()) {
                    break;
                }
                let due = if state.held { None } else { self.due() };
                match due
                    .map(|due| not_before.map_or(due, |not_before| due.max(not_before)))
                    .into_iter()
                    .chain(again_at.filter(|_| !state.held))
                    .min()
                {
                    None => self.wake.wait(&mut state),
                    Some(due) => {
                        let now = Instant::now();
                        if due <= now {
                            break;
                        }
                        // a change puts off the idle limit, which nobody announces
                        self.wake.wait_for(&mut state, due - now);
                    }
                }
            }
            let stopping = state.stopping;
            drop(state);
            if stopping && self.is_empty() {
                return;
            }
            // a panic must not leave those who wait for ever without an answer
            let result = survive(&commit);
            let mut state = self.state.lock();
            (not_before, again_at) = (None, None);
            match result {
                Ok(Committed { group, left_out }) => {
                    state.committed = state.committed.max(group);
                    state.committed_at = Some(SystemTime::now());
                    state.in_a_row = if left_out.is_some() { state.in_a_row + 1 } else { 0 };
                    again_at = left_out.is_some().then(|| pause(&state));
                    state.error = left_out.map(Arc::new);
                }
                Err(error) => {
                    if error.is_out_of_reach() && state.in_a_row > 0 {
                        tracing::debug!(%error, "a commit still waits");
                    } else {
                        tracing::error!(%error, "a commit failed; its changes are kept and tried again");
                    }
                    state.failures += 1;
                    state.in_a_row += 1;
                    state.error = Some(Arc::new(error));
                    state.requested = 0;
                    not_before = Some(pause(&state));
                }
            }
            self.done.notify_all();
            drop(state);
            tidy();
            if stopping {
                return;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.first.load(Ordering::Relaxed) == 0
    }

    /// When the open group is due; none if it is empty.
    fn due(&self) -> Option<Instant> {
        let at = |atomic: &AtomicU64| {
            let millis = atomic.load(Ordering::Relaxed);
            (millis > 0).then(|| self.started + Duration::from_millis(millis - 1))
        };
        let (first, last) = (at(&self.first)?, at(&self.last)?);
        Some((first + self.limits.interval).min(last + self.limits.idle))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }
}

/// When to try again.
fn pause(state: &State) -> Instant {
    Instant::now() + Duration::from_secs(state.in_a_row.min(30))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn who_waits_for_a_commit_under_way_asks_for_no_other() {
        let never = Duration::from_secs(3600);
        let schedule = Arc::new(Schedule::new(Limits { interval: never, idle: never }));
        let ((begun, begins), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
        let committing = schedule.clone();
        let committer = thread::spawn(move || {
            let commit = || {
                let group = committing.close_group();
                begun.send(group).unwrap();
                // what is dropped lets all that follow pass
                let _ = ends.recv();
                Ok(Committed { group, left_out: None })
            };
            committing.run(commit, || {});
        });
        let waiter = |group| {
            let schedule = schedule.clone();
            thread::spawn(move || schedule.wait(group).is_ok())
        };
        assert_eq!(schedule.touch(), 1);
        let first = waiter(1);
        assert_eq!(begins.recv().unwrap(), 1);
        // nothing has changed since
        let second = waiter(2);
        schedule.request();
        thread::sleep(Duration::from_millis(50));
        end.send(()).unwrap();
        assert!(first.join().unwrap() && second.join().unwrap());
        assert_eq!(schedule.touch(), 2);
        assert!(begins.recv_timeout(Duration::from_millis(50)).is_err(), "a change was committed alone");
        drop(end);
        schedule.request();
        assert_eq!(begins.recv().unwrap(), 2);
        schedule.stop();
        committer.join().unwrap();
    }
}
