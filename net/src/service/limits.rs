//! How often a client may do what it needs no proof for.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::call::Guard;

/// How long a client is remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a client may fail to log in or sign up in that time: a household of forgetful people.
const FAILURES: u32 = 60;
/// How many follow requests a client may send in that time.
const CALLS: u32 = 30;
/// How many clients are remembered: the memory that an attacker with many addresses can take.
const CLIENTS: usize = 100_000;

/// What clients have done of late.
#[derive(Default)]
pub(super) struct Limits {
    clients: Mutex<HashMap<(IpAddr, bool), (Instant, u32)>>,
}

impl Limits {
    /// Whether a client may make a call now; one that counts in any case is counted.
    pub fn admit(&self, client: IpAddr, guard: Guard, now: Instant) -> bool {
        match guard {
            Guard::Free => true,
            Guard::Failures => self.count(client, guard, now, false) < FAILURES,
            Guard::Each => self.count(client, guard, now, true) < CALLS,
        }
    }

    /// Counts a call that has failed.
    pub fn failed(&self, client: IpAddr, guard: Guard, now: Instant) {
        if guard == Guard::Failures {
            self.count(client, guard, now, true);
        }
    }

    /// How much a client has on its account, before this.
    fn count(&self, client: IpAddr, guard: Guard, now: Instant, add: bool) -> u32 {
        let mut clients = self.clients.lock();
        let key = (network(client), guard == Guard::Each);
        if clients.len() >= CLIENTS && !clients.contains_key(&key) {
            clients.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if clients.len() >= CLIENTS {
                // whoever has that many addresses is not stopped by forgetting some
                clients.clear();
            }
        }
        let (since, count) = clients.entry(key).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        let before = *count;
        *count += u32::from(add);
        before
    }
}

/// What one client has in any case: with IPv6, a network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_and_are_forgotten() {
        let (limits, now) = (Limits::default(), Instant::now());
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 0..FAILURES {
            assert!(limits.admit(client, Guard::Failures, now));
            limits.failed(client, Guard::Failures, now);
        }
        assert!(!limits.admit(client, Guard::Failures, now));
        assert!(!limits.admit("2001:db8::2".parse().unwrap(), Guard::Failures, now));
        assert!(limits.admit("2001:db8:0:1::1".parse().unwrap(), Guard::Failures, now));
        assert!(limits.admit(client, Guard::Each, now));
        assert!(limits.admit(client, Guard::Free, now));
        assert!(limits.admit(client, Guard::Failures, now + WINDOW));
    }

    #[test]
    fn nuisances_count_each() {
        let (limits, now) = (Limits::default(), Instant::now());
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..CALLS {
            assert!(limits.admit(client, Guard::Each, now));
        }
        assert!(!limits.admit(client, Guard::Each, now));
        assert!(!limits.admit("::ffff:192.0.2.1".parse().unwrap(), Guard::Each, now));
        assert!(limits.admit("192.0.2.2".parse().unwrap(), Guard::Each, now));
    }

    #[test]
    fn memory_is_bounded() {
        let (limits, now) = (Limits::default(), Instant::now());
        for n in 0..CLIENTS as u32 + 10 {
            limits.failed(IpAddr::from(n.to_be_bytes()), Guard::Failures, now);
        }
        assert!(limits.clients.lock().len() <= CLIENTS);
    }
}
