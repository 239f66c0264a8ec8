//! How often a client may do what it needs no proof for.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::call::Guard;
use crate::{Error, Result};

/// How long a client is remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a client may fail to log in or sign up in that time: a household of forgetful people.
const FAILURES: u32 = 60;
/// How many follow requests a client may send in that time.
const CALLS: u32 = 30;
/// How many clients are remembered: the memory that an attacker with many addresses can take.
const CLIENTS: usize = 100_000;

/// A client, and which of its calls are meant.
type Key = (IpAddr, Guard);

/// What clients have done of late.
#[derive(Default)]
pub(super) struct Limits {
    /// When a client's window began, and what counts since.
    clients: Mutex<HashMap<Key, (Instant, u32)>>,
}

/// A call that was admitted. It counts, unless it turns out not to: calls at the same time are not more than one after
/// the other.
pub(super) struct Admitted {
    /// With the beginning of the window; none for calls that nobody counts.
    counted: Option<(Key, Instant)>,
}

impl Limits {
    /// Counts a call.
    ///
    /// # Errors
    /// [`Error::Busy`] if the client has had its share for now.
    pub fn admit(&self, client: IpAddr, guard: Guard, now: Instant) -> Result<Admitted> {
        let most = match guard {
            Guard::Free => return Ok(Admitted { counted: None }),
            Guard::Failures => FAILURES,
            Guard::Each => CALLS,
        };
        let key = (network(client), guard);
        let mut clients = self.clients.lock();
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
        if *count >= most {
            return Err(Error::Busy);
        }
        *count += 1;
        Ok(Admitted { counted: Some((key, *since)) })
    }

    /// A call has succeeded: where only failures count, it does not.
    pub fn succeeded(&self, call: Admitted) {
        if let Some((key @ (_, Guard::Failures), began)) = call.counted
            && let Some((since, count)) = self.clients.lock().get_mut(&key)
            && *since == began
        {
            *count -= 1;
        }
    }
}

/// What one client has in any case: with IPv6, a network of 64 bits.
pub(super) fn network(client: IpAddr) -> IpAddr {
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
            limits.succeeded(limits.admit(client, Guard::Failures, now).unwrap());
            limits.admit(client, Guard::Failures, now).unwrap();
        }
        assert!(limits.admit(client, Guard::Failures, now).is_err());
        assert!(limits.admit("2001:db8::2".parse().unwrap(), Guard::Failures, now).is_err());
        assert!(limits.admit("2001:db8:0:1::1".parse().unwrap(), Guard::Failures, now).is_ok());
        assert!(limits.admit(client, Guard::Each, now).is_ok());
        assert!(limits.admit(client, Guard::Free, now).is_ok());
        assert!(limits.admit(client, Guard::Failures, now + WINDOW).is_ok());
    }

    #[test]
    fn guesses_count_while_they_are_under_way() {
        let (limits, now) = (Limits::default(), Instant::now());
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let admit = |now| limits.admit(client, Guard::Failures, now);
        let under_way: Vec<Admitted> = (0..FAILURES).map(|_| admit(now).unwrap()).collect();
        assert!(admit(now).is_err());
        let late = admit(now + WINDOW).unwrap();
        // those of an earlier window take nothing from this one
        under_way.into_iter().for_each(|call| limits.succeeded(call));
        let more = (0..).map_while(|_| admit(now + WINDOW).ok()).count();
        assert_eq!(more, FAILURES as usize - 1);
        limits.succeeded(late);
        assert!(admit(now + WINDOW).is_ok() && admit(now + WINDOW).is_err());
    }

    #[test]
    fn nuisances_count_each() {
        let (limits, now) = (Limits::default(), Instant::now());
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..CALLS {
            limits.succeeded(limits.admit(client, Guard::Each, now).unwrap());
        }
        assert!(limits.admit(client, Guard::Each, now).is_err());
        assert!(limits.admit("::ffff:192.0.2.1".parse().unwrap(), Guard::Each, now).is_err());
        assert!(limits.admit("192.0.2.2".parse().unwrap(), Guard::Each, now).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let (limits, now) = (Limits::default(), Instant::now());
        for n in 0..CLIENTS as u32 + 10 {
            limits.admit(IpAddr::from(n.to_be_bytes()), Guard::Failures, now).unwrap();
        }
        assert!(limits.clients.lock().len() <= CLIENTS);
    }
}
