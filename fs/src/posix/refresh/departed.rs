//! Entries that got new keys here, and that others changed under the old ones before that was committed: theirs stay as
//! and where they are, ours become entries of their own.

use std::sync::Arc;

use crate::{
    Error, Result,
    capability::MapKey,
    posix::{
        FileSystem, Kind,
        departure::Departure,
        inode::Inode,
        refresh::{judge::Verdicts, news::News},
    },
    tree::{self, Drive},
};

impl FileSystem {
    /// Decides about everything that is about to leave its old place.
    pub(super) fn judge_departures(&self, news: &News, theirs: &Drive, verdicts: &mut Verdicts) -> Result<()> {
        let departures = self.departures.lock().clone();
        for departure in departures {
            if !self.is_overtaken(&departure, news, theirs)? {
                continue;
            }
            for (inode, old) in &departure.entries {
                let is_rehomed = inode.keys().cap.map_key != old.cap.map_key;
                // what was removed after it had got new keys in its place is judged like anything else
                if is_rehomed || !inode.state.lock().unlinked {
                    verdicts.captured.push(self.capture_rekeyed(inode, old)?);
                    verdicts.keep.insert(inode.ino);
                }
            }
            // it lists theirs again
            verdicts.listed.extend(departure.from.clone().filter(|from| self.is_in_use(from)));
            verdicts.overtaken.push(departure);
        }
        Ok(())
    }

    /// Whether others changed what is about to be removed, or replaced, more than both changes can go together.
    fn is_overtaken(&self, departure: &Departure, news: &News, theirs: &Drive) -> Result<bool> {
        let mut labels = departure.removals.iter().map(|(signer, key)| (signer.hash(), key));
        let is_touched = labels.any(|(writer, key): (_, &MapKey)| news.touches_key(writer, key))
            || departure.entries.iter().any(|(_, old)| news.touches(&old.cap) || news.touches(old.top()));
        let [(inode, old)] = departure.entries.as_slice() else {
            return Ok(is_touched && !departure.entries.is_empty());
        };
        if !is_touched || inode.kind == Kind::Directory {
            return Ok(is_touched);
        }
        let entry = match tree::load(theirs, old.top().clone(), old.signer.as_ref()) {
            Err(Error::Dangling | Error::SpaceGone(_)) => return Ok(false),
            Err(error) if error.is_of_one_entry() => return Ok(true),
            entry => entry?,
        };
        let Some(known) = self.known(old)? else { return Ok(true) };
        let place = |entry: &tree::Entry| entry.parent.as_ref().map(|parent| parent.map_key);
        let (is_rehomed, unlinked) = (inode.keys().cap.map_key != old.cap.map_key, inode.state.lock().unlinked);
        Ok(differs(&known, &entry) || (is_rehomed || unlinked) && place(&known) != place(&entry))
    }

    /// The entry with these keys as we knew it; none if it cannot be read any more.
    pub(super) fn known(&self, keys: &tree::Keys) -> Result<Option<tree::Entry>> {
        match tree::load(&self.drive, keys.top().clone(), keys.signer.as_ref()) {
            Err(error) if error.is_of_one_entry() => Ok(None),
            entry => entry.map(Some),
        }
    }

    fn is_in_use(&self, inode: &Arc<Inode>) -> bool {
        self.inodes.get(inode.ino).is_some_and(|known| Arc::ptr_eq(&known, inode))
    }
}

/// Whether the content of a file is another than it was, or is stored otherwise.
pub(super) fn differs(known: &tree::Entry, entry: &tree::Entry) -> bool {
    let (ours, theirs) = (&known.properties, &entry.properties);
    let same_content = match (&ours.tree_hash, &theirs.tree_hash) {
        (Some(ours), Some(theirs)) => ours.root() == theirs.root(),
        _ => ours.modified == theirs.modified,
    };
    let same_keys = known.keys.data_key == entry.keys.data_key && ours.stream_secret == theirs.stream_secret;
    !same_keys || ours.size != theirs.size || !same_content
}
