//! How much an account may store, and how much it does (spec 02 §17, §19.5).
//!
//! What a writer uses is counted for one version of its data, the *counted root*, and kept with it. When its pointer
//! has moved, the difference between the counted root and the new one is added: later and in the background, because
//! reading replaced blocks would slow commits down. Until then what was put counts in full, so an account may seem
//! fuller than it is but never emptier, and it is counted exactly before a write is refused. The garbage collection
//! keeps counted roots.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use peergos_crypto::{cid::Cid, signed_time, signing::KeyHash};

use super::{
    accounts::Account,
    clock,
    core::{Core, key_of},
    dag::Dag,
    disk::Purpose,
    store::{AccountId, Batch, Kv, Snapshot, Table},
    view::{pointer_key, read_pointer},
};
use crate::{Error, Result, node::Room};

/// What a full account may still write, in bytes, so that it can delete something; what is known to be for that may take
/// it twice.
const GRACE: u64 = 1 << 20;
/// The time in which no more than the quota may be uploaded, in seconds.
const WINDOW: u64 = 86_400;

/// What all accounts use.
#[derive(Default)]
pub(super) struct Space {
    accounts: Mutex<HashMap<AccountId, Usage>>,
    /// What pointers have let go of since garbage was last collected, and what was put and not pointed to, in bytes.
    pub lost: AtomicU64,
}

/// What one account uses, in bytes.
#[derive(Debug, Default)]
struct Usage {
    /// As counted for each writer.
    counted: HashMap<KeyHash, u64>,
    /// What was put since the writer's pointer moved.
    pending: HashMap<KeyHash, u64>,
    /// What was put before that, and is not counted yet.
    uncounted: HashMap<KeyHash, u64>,
    uploads: Uploads,
    /// Whether a write was refused since a count has found room.
    full: bool,
}

impl Usage {
    fn total(&self) -> u64 {
        [&self.counted, &self.pending, &self.uncounted].into_iter().flat_map(HashMap::values).sum()
    }
}

/// A sliding count of uploaded bytes: this window's, and the share of the last one's that is still within reach.
#[derive(Debug, Default)]
struct Uploads {
    window: u64,
    now: u64,
    before: u64,
}

impl Uploads {
    /// Counts `size` bytes at `now`, in seconds; false if that makes more than `limit`.
    fn count(&mut self, size: u64, limit: u64, now: u64) -> bool {
        let fits = size <= self.left(limit, now);
        if fits {
            self.now += size;
        }
        fits
    }

    /// How many bytes may be uploaded at `now`, in seconds, so that there are no more than `limit`.
    fn left(&mut self, limit: u64, now: u64) -> u64 {
        let (window, into) = (now / WINDOW, now % WINDOW);
        if window != self.window {
            self.before = if window == self.window + 1 { self.now } else { 0 };
            (self.window, self.now) = (window, 0);
        }
        let share = u128::from(self.before) * u128::from(WINDOW - into) / u128::from(WINDOW);
        let uploaded = share + u128::from(self.now);
        u64::try_from(u128::from(limit).saturating_sub(uploaded)).unwrap_or(0)
    }
}

impl Space {
    /// What was counted before.
    pub fn load(kv: &Kv) -> Result<Self> {
        let mut accounts: HashMap<AccountId, Usage> = HashMap::new();
        kv.snapshot()?.scan(Table::Usage, &[], &mut |key, row| {
            let (account, writer) = key.split_first_chunk().ok_or(Error::Invalid("usage row"))?;
            let (bytes, _) = read_row(row)?;
            let usage = accounts.entry(AccountId(u32::from_be_bytes(*account))).or_default();
            usage.counted.insert(KeyHash::from_cid(Cid::from_bytes(writer)?)?, bytes);
            Ok(())
        })?;
        Ok(Self { accounts: Mutex::new(accounts), lost: AtomicU64::default() })
    }

    /// Asks for `size` bytes for a writer: counts them if they fit. `now` is in seconds since the epoch.
    fn admit(
        &self,
        account: &Account,
        writer: &KeyHash,
        size: u64,
        purpose: Purpose,
        quota: u64,
        now: u64,
    ) -> Result<()> {
        let mut accounts = self.accounts.lock();
        let usage = accounts.entry(account.id).or_default();
        let used = usage.total();
        let vital = purpose == Purpose::Vital;
        let grace = GRACE * (u64::from(usage.full) + u64::from(vital));
        let limit = quota.saturating_add(grace);
        if used.saturating_add(size) > limit {
            return Err(Error::QuotaReached { used, quota, size });
        }
        // the size of the disk is no allowance: what is replaced all day long does not fill it
        if account.quota.is_some() && !vital && !usage.uploads.count(size, quota, now) {
            return Err(Error::UploadLimit);
        }
        *usage.pending.entry(writer.clone()).or_default() += size;
        Ok(())
    }

    /// What was put for these writers is now to be counted.
    pub fn committed(&self, account: AccountId, writers: &[KeyHash]) {
        let mut accounts = self.accounts.lock();
        let usage = accounts.entry(account).or_default();
        for writer in writers {
            let put = usage.pending.remove(writer).unwrap_or(0);
            *usage.uncounted.entry(writer.clone()).or_default() += put;
        }
    }

    /// Takes note that a write was refused: what was put for the same commit is in vain.
    fn refused(&self, account: AccountId, writer: &KeyHash) {
        let mut accounts = self.accounts.lock();
        let usage = accounts.entry(account).or_default();
        usage.pending.remove(writer);
        usage.full = true;
    }

    /// Takes back what was admitted and could not be stored.
    pub fn withdraw(&self, account: &Account, writer: &KeyHash, size: u64) {
        let mut accounts = self.accounts.lock();
        let usage = accounts.entry(account.id).or_default();
        if let Some(pending) = usage.pending.get_mut(writer) {
            *pending = pending.saturating_sub(size);
        }
        usage.uploads.now = usage.uploads.now.saturating_sub(size);
    }

    /// Bytes in use, counted or not yet.
    pub fn total(&self, account: AccountId) -> u64 {
        self.accounts.lock().get(&account).map_or(0, Usage::total)
    }
}

impl Core {
    /// Asks for `size` bytes for a writer.
    ///
    /// # Errors
    /// [`Error::QuotaReached`], [`Error::UploadLimit`].
    pub fn admit(&self, account: &Account, writer: &KeyHash, size: u64, purpose: Purpose) -> Result<()> {
        let quota = self.quota_of(account)?;
        let admit = || self.space.admit(account, writer, size, purpose, quota, self.clock.seconds());
        let mut admitted = admit();
        if matches!(admitted, Err(Error::QuotaReached { .. })) {
            self.count(account)?;
            admitted = admit();
        }
        if matches!(admitted, Err(Error::QuotaReached { .. })) {
            self.space.refused(account.id, writer);
        }
        admitted
    }

    /// Bytes allowed.
    pub fn quota_of(&self, account: &Account) -> Result<u64> {
        account.quota.map_or_else(|| self.disk.total(), Ok)
    }

    /// See [`super::EmbeddedNode::set_quota`].
    pub fn set_quota(&self, username: &str, quota: Option<u64>) -> Result<()> {
        let commits = self.commits.lock();
        let account = Account { quota, ..Account::clone(&*self.accounts.require(username)?) };
        let mut batch = Batch::default();
        account.save(&mut batch);
        batch.delete(Table::SpaceRequests, account.id.to_key());
        self.commit(batch, &commits)?;
        self.accounts.publish(account);
        Ok(())
    }

    /// See [`crate::Node::quota`].
    pub fn quota(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        let account = self.accounts.of(owner)?;
        signed_time::verify(&key_of(account.identity())?, auth, self.clock.millis(), clock::WINDOW)?;
        self.quota_of(&account)
    }

    /// See [`crate::Node::usage`].
    pub fn usage(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        let account = self.accounts.of(owner)?;
        signed_time::verify(&key_of(account.identity())?, auth, self.clock.millis(), clock::WINDOW)?;
        self.count(&account)?;
        Ok(self.space.total(account.id))
    }

    /// See [`crate::Node::room`].
    pub fn room(&self, owner: &KeyHash) -> Result<Room> {
        let account = self.accounts.of(owner)?;
        let uploads = account.quota.map(|quota| {
            let mut accounts = self.space.accounts.lock();
            accounts.entry(account.id).or_default().uploads.left(quota, self.clock.seconds())
        });
        Ok(Room { disk: self.disk.left(Purpose::Content)?, uploads })
    }

    /// Counts what an account uses now.
    pub fn count(&self, account: &Account) -> Result<()> {
        let _one_at_a_time = self.counting.lock();
        let quota = self.quota_of(account)?;
        // what is put for a pointer that moves after the snapshot remains to be counted
        let uncounted: HashMap<KeyHash, u64> = {
            let accounts = self.space.accounts.lock();
            accounts.get(&account.id).map(|usage| usage.uncounted.clone()).unwrap_or_default()
        };
        let snapshot = self.kv.snapshot()?;
        let (mut batch, mut counted) = (Batch::default(), HashMap::new());
        // an upload that was overtaken before its commit is garbage as well
        let mut lost = i64::try_from(uncounted.values().sum::<u64>()).unwrap_or(i64::MAX);
        let known: HashSet<KeyHash> = self.counted_roots(&snapshot, account.id)?.into_keys().collect();
        for writer in known.union(&account.writers) {
            let key = pointer_key(account.id, writer);
            let row = snapshot.get(Table::Usage, &key)?.map(|row| read_row(&row)).transpose()?;
            let (bytes, root) = row.unwrap_or_default();
            let target = match snapshot.get(Table::Pointers, &key)? {
                // what nobody owns any more is garbage
                Some(signed) if account.writers.contains(writer) => read_pointer(&signed)?.updated,
                _ => None,
            };
            let dag = Dag { store: &self.store, account: account.id };
            let difference = dag.difference(root.as_ref(), target.as_ref(), &mut || self.signal.proceed())?;
            lost = lost.saturating_add_unsigned(difference.lost).saturating_sub_unsigned(difference.gained);
            let bytes = bytes.saturating_add(difference.gained).saturating_sub(difference.lost);
            match &target {
                Some(_) if target == root => {}
                Some(target) => batch.put(Table::Usage, key, [&bytes.to_be_bytes()[..], &target.to_bytes()].concat()),
                None => batch.delete(Table::Usage, key),
            }
            if target.is_some() {
                counted.insert(writer.clone(), bytes);
            }
        }
        if !batch.is_empty() {
            // counted again if it is lost
            self.kv.commit_lazily(&batch)?;
        }
        // less than nothing where an earlier count took for lost what was put ahead of this commit
        let more = |known: u64| Some(known.saturating_add_signed(lost));
        _ = self.space.lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let mut accounts = self.space.accounts.lock();
        let usage = accounts.entry(account.id).or_default();
        usage.counted = counted;
        for (writer, bytes) in uncounted {
            if let Some(left) = usage.uncounted.get_mut(&writer) {
                *left = left.saturating_sub(bytes);
            }
        }
        usage.uncounted.retain(|_, left| *left > 0);
        usage.full &= usage.total() >= quota;
        Ok(())
    }

    /// The roots for which an account's writers were counted.
    pub fn counted_roots(&self, snapshot: &Snapshot, account: AccountId) -> Result<HashMap<KeyHash, Cid>> {
        let mut roots = HashMap::new();
        snapshot.scan(Table::Usage, &account.to_key(), &mut |writer, row| {
            if let (_, Some(root)) = read_row(row)? {
                roots.insert(KeyHash::from_cid(Cid::from_bytes(writer)?)?, root);
            }
            Ok(())
        })?;
        Ok(roots)
    }
}

/// Bytes and counted root.
fn read_row(row: &[u8]) -> Result<(u64, Option<Cid>)> {
    let (bytes, root) = row.split_first_chunk().ok_or(Error::Invalid("usage row"))?;
    Ok((u64::from_be_bytes(*bytes), Some(Cid::from_bytes(root)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_counted_over_a_sliding_day() {
        let mut uploads = Uploads::default();
        let start = 20_000 * WINDOW;
        assert!(uploads.count(600, 1000, start));
        assert!(!uploads.count(401, 1000, start + WINDOW - 1));
        assert!(uploads.count(400, 1000, start + WINDOW - 1));
        // a quarter into the next day, three quarters of the last one are within reach
        assert!(!uploads.count(251, 1000, start + WINDOW + WINDOW / 4));
        assert!(uploads.count(250, 1000, start + WINDOW + WINDOW / 4));
        assert!(!uploads.count(1, 1000, start + WINDOW + WINDOW / 4));
        // the day after next, nothing is
        assert!(uploads.count(1000, 1000, start + 3 * WINDOW));
        assert!(!uploads.count(u64::MAX, u64::MAX - 1, start + 3 * WINDOW));
        // a clock that goes back begins anew
        assert!(uploads.count(1000, 1000, start));
    }
}
