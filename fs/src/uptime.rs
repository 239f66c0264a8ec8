//! How long the machine has been up, which tests can have sleep.

use std::time::Duration;

#[cfg(test)]
static SLEPT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// See [`peergos_net::uptime`].
pub(crate) fn uptime() -> Duration {
    let uptime = peergos_net::uptime();
    #[cfg(test)]
    let uptime = uptime + Duration::from_secs(SLEPT.load(std::sync::atomic::Ordering::Relaxed));
    uptime
}

/// Has the machine sleep, for tests.
#[cfg(test)]
pub(crate) fn sleep(duration: Duration) {
    SLEPT.fetch_add(duration.as_secs(), std::sync::atomic::Ordering::Relaxed);
}
