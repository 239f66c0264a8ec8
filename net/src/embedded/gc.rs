//! Garbage collection (spec 02 §19.6): mark and sweep, account by account, while everything else goes on.
//!
//! The order of the steps keeps fresh blocks safe. First a snapshot of the blocks is taken; only what is in it can be
//! swept. Then the blocks under open transactions are noted, then the pointers. A block in the snapshot that is wanted
//! was under a transaction when those were noted, or is below a pointer that was set before its transaction closed, or
//! was held before a pointer let go of it, and those are noted last. And a block that is garbage in the snapshot but is put again afterwards is at another place by then, and is swept only
//! if it is where it was: [`BlockStore::remove`](super::store::BlockStore::remove) compares, and no commit can come in
//! between.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use peergos_crypto::cid::Cid;
use sha2::{Digest, Sha256};

use super::{
    accounts::Account,
    core::Core,
    dag::{Dag, Reached},
    disk::Purpose,
    store::{Batch, BlockId, Extent, Location, PackId, RECORD_HEAD, Snapshot, Table, read_pack_row},
    view::{pointer_key, read_pointer},
};
use crate::{Error, Result};

/// How many blocks are removed in one go: commits wait no longer than this takes.
const PORTION: usize = 256;

/// What a collection has removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Core {
    /// Collects the garbage of all accounts, or, unless `forced`, of those whose pointers have moved. What cannot be
    /// read keeps its garbage, and the rest goes on.
    pub fn collect_garbage(&self, forced: bool) -> Result<Collected> {
        let _alone = self.sweeps.lock();
        let forced = self.transactions.expire() || forced;
        // uploads that were given up are known only in memory
        if let Err(error) = self.commit(Batch::default(), &self.commits.lock()) {
            tracing::warn!(%error, "pending blocks are not looked at");
        }
        self.space.lost.store(0, Ordering::Relaxed);
        let mut collected = Collected::default();
        for account in self.accounts.all() {
            self.signal.proceed()?;
            let swept = match Sweep::begin(self, account, forced) {
                Ok(Some(sweep)) => sweep.mark().and_then(|marked| marked.sweep(&mut collected)),
                begun => begun.map(drop),
            };
            if let Err(error) = swept {
                tracing::error!(%error, "an account keeps its garbage");
            }
        }
        self.tidy_packs()?;
        Ok(collected)
    }

    /// Deletes packs that are dead, and rewrites those that are mostly dead.
    fn tidy_packs(&self) -> Result<()> {
        // what is in earlier packs than the current one is in the database after this
        let commits = self.commits.lock();
        let current = self.store.current_pack();
        self.commit(Batch::default(), &commits)?;
        drop(commits);
        let mut packs: BTreeMap<PackId, Usage> = BTreeMap::new();
        self.kv.snapshot()?.scan(Table::Packs, &[], &mut |pack, len| {
            let (pack, len) = read_pack_row(pack, len)?;
            if pack < current {
                packs.insert(pack, Usage { len, live: 0 });
            }
            Ok(())
        })?;
        self.scan_extents(&mut |_, extent| {
            if let Some(usage) = packs.get_mut(&extent.pack) {
                usage.live += u64::from(extent.len) + RECORD_HEAD as u64;
            }
        })?;
        // the dead ones first: they make room for copies
        let mut sparse: Vec<(u64, PackId)> = packs
            .into_iter()
            .filter(|(_, usage)| usage.live < usage.len / 2)
            .map(|(pack, usage)| (usage.live, pack))
            .collect();
        sparse.sort_unstable();
        for (live, pack) in sparse {
            self.signal.proceed()?;
            if let Err(error) = self.rewrite(pack, live) {
                tracing::warn!(pack, %error, "a pack that is mostly dead stays");
            }
        }
        Ok(())
    }

    /// Copies what is alive in a pack, `live` bytes, to the current one, and deletes it.
    fn rewrite(&self, pack: PackId, live: u64) -> Result<()> {
        let _room = self.disk.room(Purpose::Vital, live)?;
        self.store.copy(&self.live_in(pack)?)?;
        self.commit(Batch::default(), &self.commits.lock())?;
        if !self.live_in(pack)?.is_empty() {
            return Err(Error::Store(format!("blocks are left in pack {pack}")));
        }
        let mut batch = Batch::default();
        batch.delete(Table::Packs, pack.to_be_bytes());
        self.commit(batch, &self.commits.lock())?;
        self.store.remove_pack(pack)
    }

    /// What is alive in a pack.
    fn live_in(&self, pack: PackId) -> Result<Vec<(BlockId, Extent)>> {
        let mut live = Vec::new();
        self.scan_extents(&mut |id, extent| {
            if extent.pack == pack {
                live.push((id, extent));
            }
        })?;
        Ok(live)
    }

    /// Visits all blocks in packs.
    fn scan_extents(&self, visit: &mut dyn FnMut(BlockId, Extent)) -> Result<()> {
        self.kv.snapshot()?.scan(Table::Blocks, &[], &mut |key, row| {
            if let Location::Pack(extent) = Location::from_row(row)? {
                visit(BlockId::from_key(key)?, extent);
            }
            self.signal.proceed()
        })
    }
}

/// The bytes of a pack, and those that are still needed.
struct Usage {
    len: u64,
    live: u64,
}

/// A collection of one account's garbage that has listed its blocks.
pub(super) struct Sweep<'a> {
    core: &'a Core,
    account: Arc<Account>,
    listed: Snapshot,
}

impl<'a> Sweep<'a> {
    /// Lists the blocks; none if no pointer has moved since the last collection, unless `forced`.
    pub fn begin(core: &'a Core, account: Arc<Account>, forced: bool) -> Result<Option<Self>> {
        let listed = core.kv.snapshot()?;
        let swept = listed.get(Table::Swept, &account.id.to_key())?;
        let unchanged = swept.is_some_and(|digest| fingerprint(&listed, &account).is_ok_and(|now| digest == now));
        Ok((forced || !unchanged).then_some(Self { core, account, listed }))
    }

    /// Finds what is needed.
    ///
    /// # Errors
    /// [`crate::Error::MissingBlock`] or the like if the account is incomplete: then nothing of it is garbage.
    pub fn mark(self) -> Result<Marked<'a>> {
        let dag = Dag { store: &self.core.store, account: self.account.id };
        let mut proceed = |_: &_| self.core.signal.proceed();
        let mut uploads = Reached::default();
        dag.reach_some(self.core.transactions.protected(self.account.id), &mut uploads, &mut proceed)?;
        let pointers = self.core.kv.snapshot()?;
        // a writer may have been added since the account was looked up
        let account = Account::read(&pointers, self.account.username())?;
        let mut roots: Vec<Cid> = self.core.counted_roots(&pointers, account.id)?.into_values().collect();
        for writer in &account.writers {
            if let Some(signed) = pointers.get(Table::Pointers, &pointer_key(account.id, writer))? {
                roots.extend(read_pointer(&signed)?.updated);
            }
        }
        // after the pointers: these were held before the pointers let go of them
        dag.reach_some(self.core.transactions.held(account.id), &mut uploads, &mut proceed)?;
        let mut reached = Reached::default();
        dag.reach(roots.iter().filter_map(|root| dag.stored(root)), &mut reached, &mut proceed)?;
        let fingerprint = fingerprint(&pointers, &account)?;
        Ok(Marked { core: self.core, account, listed: self.listed, needed: [uploads, reached], fingerprint })
    }
}

/// A collection that knows what is needed.
pub(super) struct Marked<'a> {
    core: &'a Core,
    account: Account,
    listed: Snapshot,
    needed: [Reached; 2],
    fingerprint: [u8; 32],
}

impl Marked<'_> {
    /// Removes what is not needed, and adds it to `collected`.
    pub fn sweep(self, collected: &mut Collected) -> Result<()> {
        let mut dead: Vec<(BlockId, Location)> = Vec::new();
        let prefix = self.account.id.to_key();
        self.listed.scan(Table::Blocks, &prefix, &mut |key, row| {
            let id = BlockId::from_key(&self.account.id.row(key))?;
            if !self.needed.iter().any(|reached| reached.contains(&id)) {
                dead.push((id, Location::from_row(row)?));
            }
            Ok(())
        })?;
        drop(self.listed);
        for portion in dead.chunks(PORTION) {
            self.core.signal.proceed()?;
            let _commits = self.core.commits.lock();
            let mut batch = Batch::default();
            let removed = self.core.store.remove(portion, &mut batch)?;
            // whatever is lost in a crash is garbage again
            self.core.kv.commit_lazily(&batch)?;
            collected.blocks += removed.len() as u64;
            collected.bytes += removed.iter().map(|location| u64::from(location.len())).sum::<u64>();
        }
        let mut batch = Batch::default();
        batch.put(Table::Swept, prefix, self.fingerprint);
        self.core.commit(batch, &self.core.commits.lock())
    }
}

/// A digest of an account's pointers and of what is counted for them.
fn fingerprint(snapshot: &Snapshot, account: &Account) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    for table in [Table::Pointers, Table::Usage] {
        snapshot.scan(table, &account.id.to_key(), &mut |key, row| {
            hash.update(Sha256::digest(key));
            hash.update(Sha256::digest(row));
            Ok(())
        })?;
    }
    Ok(hash.finalize().into())
}
