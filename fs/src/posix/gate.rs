//! What holds off changes: for a moment while a group is closed, and for longer while entries get new keys.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::turns;

/// Changes pass both locks. Whoever holds them off takes `rest` before `group`.
#[derive(Default)]
pub(super) struct Gate {
    rest: RwLock<()>,
    group: RwLock<()>,
}

/// A change that is being made.
pub(super) struct Change<'a> {
    _rest: RwLockReadGuard<'a, ()>,
    _group: RwLockReadGuard<'a, ()>,
}

/// Changes are not held off for long.
pub(super) type Busy<'a> = RwLockReadGuard<'a, ()>;

/// Changes are held off.
pub(super) type Closed<'a> = RwLockWriteGuard<'a, ()>;

impl Gate {
    /// To be held by every change: it is in one group, as a whole.
    pub fn change(&self) -> Change<'_> {
        let rest = self.rest.try_read().unwrap_or_else(|| {
            turns::pass();
            self.rest.read()
        });
        Change { _rest: rest, _group: self.group.read() }
    }

    /// As [`Gate::change`]; none while changes are held off. Also for who is making one already.
    pub fn try_change(&self) -> Option<Change<'_>> {
        Some(Change { _rest: self.rest.try_read()?, _group: self.group.try_read()? })
    }

    /// Holds off changes, and the closing of groups.
    pub fn close(&self) -> Closed<'_> {
        self.group.write()
    }

    /// Holds off what [`Gate::rest`] waits for; none while that is held.
    pub fn try_busy(&self) -> Option<Busy<'_>> {
        self.rest.try_read()
    }

    /// Holds off changes; groups are closed and committed meanwhile.
    pub fn rest(&self) -> Closed<'_> {
        turns::pass();
        self.rest.write()
    }
}
