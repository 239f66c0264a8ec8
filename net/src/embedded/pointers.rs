//! Moving pointers: the commit point of everything (spec 02 §8).

use std::sync::Arc;

use parking_lot::MutexGuard;
use peergos_crypto::signing::KeyHash;

use super::{
    accounts::Account,
    core::Core,
    dag::Dag,
    store::{AccountId, Batch, Table},
    view::{View, pointer_key},
};
use crate::{Error, PointerWrite, Result};

impl Core {
    /// The signed pointer of a writer.
    pub fn get_pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        self.kv.get(Table::Pointers, &pointer_key(self.accounts.of(owner)?.id, writer))
    }

    /// Checks and sets pointers, all or none, and makes everything put before durable.
    ///
    /// # Errors
    /// [`Error::MissingBlock`] if something below a new target has to be put again, and as [`View::set`].
    pub fn set_pointers(&self, owner: &KeyHash, writes: &[PointerWrite]) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let commits = self.commits.lock();
        let account = self.accounts.of(owner)?;
        let mut view = self.view(&account);
        let dag = Dag { store: &self.store, account: account.id };
        for write in writes {
            let member = account.writers.contains(&write.writer);
            // one that was disowned may still be deleted: that is the order of spec 02 §9.3
            let leftover = || Ok::<_, Error>(view.pointer(&write.writer)?.is_some());
            if !member && !leftover()? {
                return Err(Error::UnknownWriter(write.writer.clone()));
            }
            let before = view.pointer(&write.writer)?.and_then(|pointer| pointer.updated);
            view.set(write)?;
            let after = view.pointer(&write.writer)?.and_then(|pointer| pointer.updated);
            if !member && after.is_some() {
                return Err(Error::UnknownWriter(write.writer.clone()));
            }
            // blocks may have been lost since they were put: by a sync that failed, or with their transaction
            dag.require_gained(before.as_ref(), after.as_ref())?;
        }
        self.conclude(&account, &view, Batch::default(), &commits)
    }

    /// Commits what was applied in `view`, and `batch`, and lets everybody know.
    pub fn conclude(
        &self,
        account: &Arc<Account>,
        view: &View<'_>,
        mut batch: Batch,
        commits: &MutexGuard<'_, ()>,
    ) -> Result<()> {
        let moved = view.save(&mut batch);
        let writers = view.ownership_changed().then(|| view.writers_since(&account.writers, account.identity()));
        let changed = writers.transpose()?.map(|writers| Account { writers, ..Account::clone(account) });
        if let Some(changed) = &changed {
            changed.save(&mut batch);
        }
        self.commit(batch, commits)?;
        if let Some(changed) = changed {
            self.accounts.publish(changed);
        }
        self.moved(account.id, &moved);
        Ok(())
    }

    /// To be called after pointers have moved.
    pub fn moved(&self, account: AccountId, writers: &[KeyHash]) {
        self.space.committed(account, writers);
        self.signal.moved(account);
    }
}
