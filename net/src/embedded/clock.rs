//! The time of day, and how far a caller's may differ from it.

use std::time::{SystemTime, UNIX_EPOCH};

/// How old or early, in milliseconds, a signed time or request may be.
pub(super) const WINDOW: u64 = 300_000;
/// The same for logging in, where the clock of a new device may be set to another time zone.
pub(super) const LOGIN_WINDOW: u64 = 24 * 3_600_000;

/// Milliseconds since the epoch.
pub(super) fn millis() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since the epoch.
pub(super) fn seconds() -> u64 {
    since_epoch().as_secs()
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
