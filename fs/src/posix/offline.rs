//! Going on while the node is out of reach: changes are kept on this machine, up to a bound.

use std::time::Duration;

use crate::{Error, Result, error::errno, journal::Journal, posix::FileSystem};

/// How long a writer waits for another that moves data out of memory.
const TURN: Duration = Duration::from_millis(100);

impl FileSystem {
    /// Whether nothing can be committed now.
    pub(super) fn is_offline(&self) -> bool {
        self.drive.node.node().reach().is_offline()
    }

    /// What changes that are not committed take on the local disk, in bytes.
    pub(super) fn bytes_kept_here(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::bytes) + self.swap.as_ref().map_or(0, |swap| swap.bytes())
    }

    /// Room on the local disk for more changes, for as long as they can go nowhere else.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn check_offline_room(&self) -> Result<()> {
        let bound = self.options.journal.as_ref().map_or(u64::MAX, |kept| kept.offline_bytes);
        // what is in memory may have to follow
        let is_full = || self.bytes_kept_here() + self.budget.used() as u64 > bound;
        if self.journal().is_some() && self.is_offline() && is_full() { errno(libc::ENOSPC) } else { Ok(()) }
    }

    /// Moves written data out of memory, until half of its bound is free.
    ///
    /// # Errors
    /// `ENOSPC` if that cannot be.
    pub(super) fn swap_out(&self) -> Result<()> {
        let Some(swap) = &self.swap else { return errno(libc::ENOSPC) };
        let Some(_turn) = self.swapping.try_lock() else {
            self.budget.wait(TURN);
            return Ok(());
        };
        for inode in self.inodes.all() {
            let Some(content) = &inode.content else { continue };
            let buffers = content.lock().buffers();
            for (index, buffer) in buffers {
                if self.budget.is_half_free() {
                    return Ok(());
                }
                let swapped = swap.put(buffer.bytes())?;
                if content.lock().swapped(index, &buffer, swapped) {
                    // also if a group without an answer still has it
                    buffer.uncharge();
                }
            }
        }
        if self.budget.is_exceeded() { errno(libc::ENOSPC) } else { Ok(()) }
    }

    /// Waits until a group is committed. Where the node is out of reach, what is in the journal is safe once that is on the
    /// disk: it will be committed, by this mount or the next.
    ///
    /// # Errors
    /// Why the commit failed; [`Error::Journal`].
    pub(super) fn wait_until_safe(&self, group: u64) -> Result<()> {
        match (self.schedule.wait(group), self.journal()) {
            (Err(error), Some(journal)) if error.is_out_of_reach() => journal.sync(),
            (result, _) => result.map_err(|error| Error::Errno(error.errno())),
        }
    }
}
