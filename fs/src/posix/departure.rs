//! Entries that got new keys, for as long as that is not committed: others may still change them at their old places.

use std::sync::Arc;

use crate::{
    capability::MapKey,
    posix::{FileSystem, inode::Inode},
    space::Signer,
    tree::Keys,
};

/// What got new keys together, and leaves its old places with the next group.
#[derive(Default)]
pub(super) struct Departure {
    /// The directory that holds it.
    pub from: Option<Arc<Inode>>,
    /// The entries with the keys that they had.
    pub entries: Vec<(Arc<Inode>, Arc<Keys>)>,
    /// The places of nodes to remove, with who signs for them.
    pub removals: Vec<(Signer, MapKey)>,
}

impl FileSystem {
    /// Has nodes removed with the next group.
    pub(super) fn depart(&self, departure: Departure) {
        self.departures.lock().push(Arc::new(departure));
    }

    /// Notes that a departure is committed: what others may store at an old place is not what has left it.
    pub(super) fn left(&self, departure: &Departure) {
        for (inode, old) in &departure.entries {
            let keys = inode.keys();
            if keys.top().map_key != old.top().map_key {
                self.inodes.renumber(old.top().map_key, self.inodes.first_number(&keys.top().map_key));
            }
        }
    }

    /// Whether an inode got new keys that are not committed: all its chunks are in memory, or sealed under these.
    pub(super) fn is_rekeyed(&self, inode: &Inode) -> bool {
        let departures = self.departures.lock();
        departures.iter().flat_map(|departure| &departure.entries).any(|(rekeyed, _)| rekeyed.ino == inode.ino)
    }
}
