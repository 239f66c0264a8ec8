//! Secret links: who has the label gets the encrypted capability, as often and as long as its owner allows
//! (spec 02 §3.8, §11.4).

use peergos_crypto::{bat::BatWithId, cbor::Value, signing::KeyHash};
use sha2::{Digest, Sha256};

use super::{
    accounts::Account,
    bats,
    core::Core,
    store::{Batch, Table},
};
use crate::{
    Error, Result,
    champ::{self, KeyHasher},
    owned::OwnershipSource,
    quota::LinkCount,
};

impl Core {
    /// See [`crate::Node::get_link`].
    pub fn get_link(&self, owner: &KeyHash, label: u32) -> Result<Vec<u8>> {
        const WHAT: &str = "secret link";
        let absent = || Error::Refused("No secret link present!".into());
        let account = self.accounts.of(owner)?;
        let view = self.view(&account);
        let identity = view.writer_data(account.identity())?;
        let root = identity.and_then(|data| data.links);
        let root = root.ok_or_else(|| Error::Refused("No secret link published!".into()))?;
        let key = Sha256::digest(u64::from(label).to_le_bytes());
        let link = champ::get(&view, &root, &key, KeyHasher::Identity)?.ok_or_else(absent)?;
        let target = Value::decode(view.block(link.as_link(WHAT)?)?.data())?;
        let target = target.as_map(WHAT)?;
        let number = |key| target.get(key).map(|number| number.as_uint(WHAT)).transpose();
        let now = self.clock.seconds();
        if number("expiry")?.is_some_and(|expiry| expiry < now) {
            return Err(Error::Refused("Secret link expired!".into()));
        }
        self.count_opening(&account, label, number("max")?, now)?;
        Ok(target.require("cap", WHAT)?.encode())
    }

    /// Counts that a link was opened, unless that would be once too often.
    fn count_opening(&self, account: &Account, label: u32, max: Option<u64>, now: u64) -> Result<()> {
        let commits = self.commits.lock();
        let key = account.id.row(&label.to_be_bytes());
        let count = self.kv.get(Table::LinkCounts, &key)?.map(|row| read(&row)).transpose()?.map_or(0, |(n, _)| n);
        if max.is_some_and(|max| count >= max) {
            return Err(Error::Refused("Maximum link retrievals exceed!".into()));
        }
        let mut batch = Batch::default();
        batch.put(Table::LinkCounts, key, [(count + 1).to_be_bytes(), now.to_be_bytes()].concat());
        // only where it matters is it worth a sync
        if max.is_some() { self.commit(batch, &commits) } else { self.kv.commit_lazily(&batch) }
    }

    /// See [`crate::Node::link_counts`].
    pub fn link_counts(&self, username: &str, after: u64, bat: &BatWithId) -> Result<Vec<LinkCount>> {
        let account = self.accounts.require(username)?;
        let snapshot = self.kv.snapshot()?;
        let hash = |bat: &BatWithId| Sha256::digest(bat.to_cbor().encode());
        // comparing hashes tells nothing about what was hashed
        if bats::list(&snapshot, account.id)?.last().is_none_or(|newest| hash(newest) != hash(bat)) {
            return Err(Error::Refused("Unauthorized!".into()));
        }
        let mut counts = Vec::new();
        snapshot.scan(Table::LinkCounts, &account.id.to_key(), &mut |label, row| {
            let label = label.try_into().map_err(|_| Error::Invalid("link count"))?;
            let (count, modified) = read(row)?;
            counts.push(LinkCount { label: u32::from_be_bytes(label), count, modified });
            Ok(())
        })?;
        counts.retain(|link| link.modified > after);
        Ok(counts)
    }
}

/// How often, and when last.
fn read(row: &[u8]) -> Result<(u64, u64)> {
    let (count, modified) = row.split_first_chunk().ok_or(Error::Invalid("link count"))?;
    let modified = modified.try_into().map_err(|_| Error::Invalid("link count"))?;
    Ok((u64::from_be_bytes(*count), u64::from_be_bytes(modified)))
}
