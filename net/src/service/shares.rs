//! How many connections one client may have.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::limits::network;

/// The part of all connections that one client may have.
const PART: usize = 4;
/// What it may have in any case: the browsers and mounts of a household.
const LEAST: usize = 16;

/// The connections of each client.
pub(super) struct Shares {
    most: usize,
    /// Whether those who are near are proxies, which speak for many clients.
    behind_proxy: bool,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection, until this is dropped.
pub(super) struct Share {
    /// None for a proxy's.
    counted: Option<(Arc<Shares>, IpAddr)>,
}

impl Shares {
    /// For so many connections in all.
    pub fn new(connections: usize, behind_proxy: bool) -> Arc<Self> {
        Arc::new(Self { most: LEAST.max(connections / PART), behind_proxy, taken: Mutex::default() })
    }

    /// A connection of `peer`, or none if it has its share.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Share> {
        if self.behind_proxy && is_near(peer) {
            return Some(Share { counted: None });
        }
        let client = network(peer);
        let mut clients = self.taken.lock();
        let taken = clients.entry(client).or_default();
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        Some(Share { counted: Some((Arc::clone(self), client)) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, client)) = &self.counted else { return };
        let mut clients = shares.taken.lock();
        if let Some(taken) = clients.get_mut(client) {
            *taken -= 1;
            if *taken == 0 {
                clients.remove(client);
            }
        }
    }
}

/// Whether an address is this machine's, or in a network of its own.
const fn is_near(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let shares = Shares::new(100, false);
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let held: Vec<Share> = (0..).map_while(|_| shares.take(client)).collect();
        assert_eq!(held.len(), 25);
        assert!(shares.take("192.0.2.2".parse().unwrap()).is_some());
        drop(held);
        assert!(shares.taken.lock().is_empty());
        assert!(shares.take(client).is_some());
    }

    #[test]
    fn proxies_have_all() {
        let take = |behind_proxy, peer: &str| {
            let shares = Shares::new(2, behind_proxy);
            (0..100).map_while(|_| shares.take(peer.parse().unwrap())).collect::<Vec<_>>().len()
        };
        for near in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "172.17.0.2", "fd00::1"] {
            assert_eq!((take(false, near), take(true, near)), (LEAST, 100), "{near}");
        }
        for far in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!((take(false, far), take(true, far)), (LEAST, LEAST), "{far}");
        }
    }
}
