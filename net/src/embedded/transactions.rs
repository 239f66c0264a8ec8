//! Open transactions: fresh blocks that no pointer reaches yet, and that the garbage collection must spare (spec 02 §6).

use std::collections::HashMap;

use parking_lot::Mutex;
use peergos_crypto::random;

use super::{
    clock,
    store::{AccountId, Batch, BlockId, Kv, Table},
};
use crate::{Error, Result, TransactionId};

/// How long a block is protected, in seconds: a transaction whose client is gone must not do so for ever.
const LIFETIME: u64 = 24 * 3600;

/// Seconds and block id.
const RECORD: usize = 8 + BlockId::LEN;

/// When each block of a transaction was put, in seconds.
type Blocks = HashMap<BlockId, u64>;

/// The transactions under which something was put. They are in memory; closing the node writes them down.
#[derive(Default)]
pub(super) struct Transactions {
    open: Mutex<HashMap<(AccountId, TransactionId), Blocks>>,
}

impl Transactions {
    /// What was written by [`Transactions::save`].
    pub fn load(kv: &Kv) -> Result<Self> {
        let mut open = HashMap::new();
        kv.snapshot()?.scan(Table::Transactions, &[], &mut |key, row| {
            let (account, id) = key.split_first_chunk().ok_or(Error::Invalid("transaction row"))?;
            let id = String::from_utf8(id.to_vec()).map_err(|_| Error::Invalid("transaction row"))?;
            open.insert((AccountId(u32::from_be_bytes(*account)), TransactionId(id)), read_row(row)?);
            Ok(())
        })?;
        Ok(Self { open: Mutex::new(open) })
    }

    /// Replaces what is written down by what is open.
    pub fn save(&self, kv: &Kv, batch: &mut Batch) -> Result<()> {
        for (key, _) in kv.snapshot()?.rows(Table::Transactions, &[])? {
            batch.delete(Table::Transactions, key);
        }
        for ((account, id), blocks) in &*self.open.lock() {
            let row: Vec<u8> =
                blocks.iter().flat_map(|(id, put)| [&put.to_be_bytes()[..], &id.to_key()].concat()).collect();
            batch.put(Table::Transactions, account.row(id.0.as_bytes()), row);
        }
        Ok(())
    }

    /// A fresh id. Nothing is kept of it before a block is put.
    pub fn start() -> Result<TransactionId> {
        let mut bytes: [u8; 16] = random::bytes()?;
        // version 4, variant 1 (RFC 9562): other software expects a UUID
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
        Ok(TransactionId(parts.join("-")))
    }

    /// Protects blocks: to be called before they are written.
    pub fn protect(&self, account: AccountId, id: &TransactionId, blocks: impl Iterator<Item = BlockId>) {
        let now = clock::seconds();
        let mut open = self.open.lock();
        open.entry((account, id.clone())).or_default().extend(blocks.map(|block| (block, now)));
    }

    /// Ends the protection.
    pub fn close(&self, account: AccountId, id: &TransactionId) {
        self.open.lock().remove(&(account, id.clone()));
    }

    /// Forgets what was put too long before `now`, in seconds. Returns whether there was any.
    pub fn expire(&self, now: u64) -> bool {
        let mut expired = false;
        self.open.lock().retain(|_, blocks| {
            let before = blocks.len();
            blocks.retain(|_, put| put.saturating_add(LIFETIME) > now);
            expired |= blocks.len() < before;
            !blocks.is_empty()
        });
        expired
    }

    /// All protected blocks of an account.
    pub fn protected(&self, account: AccountId) -> Vec<BlockId> {
        let open = self.open.lock();
        open.iter().filter(|((of, _), _)| *of == account).flat_map(|(_, blocks)| blocks.keys().copied()).collect()
    }
}

fn read_row(row: &[u8]) -> Result<Blocks> {
    let records = row.chunks(RECORD).map(|record| {
        let (put, id) = record.split_first_chunk().ok_or(Error::Invalid("transaction row"))?;
        Ok((BlockId::from_key(id)?, u64::from_be_bytes(*put)))
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use peergos_crypto::cid::Codec;

    use super::*;

    fn block(i: u8) -> BlockId {
        BlockId { account: AccountId(7), codec: Codec::Raw, digest: [i; 32] }
    }

    #[test]
    fn protection_ends() {
        let transactions = Transactions::default();
        let [first, second] = [(); 2].map(|()| Transactions::start().unwrap());
        assert_ne!(first, second);
        transactions.protect(AccountId(7), &first, [block(1), block(2)].into_iter());
        transactions.protect(AccountId(7), &second, [block(2)].into_iter());
        transactions.protect(AccountId(8), &first, [block(3)].into_iter());
        let protected = || {
            let mut blocks = transactions.protected(AccountId(7));
            blocks.sort_unstable();
            blocks.dedup();
            blocks
        };
        assert_eq!(protected(), [block(1), block(2)]);
        transactions.close(AccountId(8), &second);
        transactions.close(AccountId(7), &first);
        transactions.close(AccountId(7), &first);
        assert_eq!(protected(), [block(2)]);
        transactions.expire(clock::seconds() + LIFETIME - 60);
        assert_eq!(protected(), [block(2)]);
        transactions.expire(clock::seconds() + LIFETIME + 1);
        assert_eq!(protected(), []);
    }

    #[test]
    fn damaged_rows_are_refused() {
        let row = [&9u64.to_be_bytes()[..], &block(1).to_key()].concat();
        assert_eq!(read_row(&row).unwrap(), Blocks::from([(block(1), 9)]));
        assert!(read_row(&row[..row.len() - 1]).is_err());
        assert!(read_row(&[row, vec![0; 20]].concat()).is_err());
    }
}
