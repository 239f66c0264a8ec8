//! The time of day, and how far a caller's may differ from it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How old or early, in milliseconds, a signed time or request may be.
pub(super) const WINDOW: u64 = 300_000;
/// The same for logging in, where the clock of a new device may be set to another time zone.
pub(super) const LOGIN_WINDOW: u64 = 24 * 3_600_000;

/// The clock of a node.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Where it stands still, in milliseconds since the epoch.
    #[cfg(test)]
    pub stopped: Option<u64>,
}

impl Clock {
    /// Milliseconds since the epoch.
    pub fn millis(&self) -> i64 {
        i64::try_from(self.since_epoch().as_millis()).unwrap_or(i64::MAX)
    }

    /// Seconds since the epoch.
    pub fn seconds(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    fn since_epoch(&self) -> Duration {
        #[cfg(test)]
        if let Some(stopped) = self.stopped {
            return Duration::from_millis(stopped);
        }
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
