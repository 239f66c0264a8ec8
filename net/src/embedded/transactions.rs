//! Open transactions: fresh blocks that no pointer reaches yet, and that the garbage collection must spare (spec 02 §6).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use peergos_crypto::random;

use super::store::{AccountId, Batch, BlockId, Kv, Table};
use crate::{Error, Result, TransactionId, uptime};

/// How long a block is protected, in seconds: a transaction whose client is gone must not do so for ever.
const LIFETIME: u64 = 24 * 3600;

/// Age in seconds and block id.
const RECORD: usize = 8 + BlockId::LEN;

/// When each block of a transaction was put, by [`Transactions::now`].
type Blocks = HashMap<BlockId, u64>;

/// The transactions under which something was put. They are in memory; closing the node writes them down.
pub(super) struct Transactions {
    /// The machine's uptime then. Ages are counted from here and not by the time of day, which can be set.
    opened: Duration,
    open: Mutex<HashMap<(AccountId, TransactionId), Blocks>>,
    /// Blocks that clients in this process hold, for as long as it takes them.
    held: Mutex<HashMap<(AccountId, TransactionId), HashSet<BlockId>>>,
}

impl Default for Transactions {
    fn default() -> Self {
        Self { opened: uptime(), open: Mutex::default(), held: Mutex::default() }
    }
}

impl Transactions {
    /// What was written by [`Transactions::save`].
    pub fn load(kv: &Kv) -> Result<Self> {
        let mut transactions = Self::default();
        let now = transactions.now();
        let open = transactions.open.get_mut();
        kv.snapshot()?.scan(Table::Transactions, &[], &mut |key, row| {
            let (account, id) = key.split_first_chunk().ok_or(Error::Invalid("transaction row"))?;
            let id = String::from_utf8(id.to_vec()).map_err(|_| Error::Invalid("transaction row"))?;
            open.insert((AccountId(u32::from_be_bytes(*account)), TransactionId(id)), read_row(row, now)?);
            Ok(())
        })?;
        Ok(transactions)
    }

    /// Seconds for which the node has been open, also while the machine slept, and some more, so that there is a past.
    fn now(&self) -> u64 {
        LIFETIME + (uptime() - self.opened).as_secs()
    }

    /// Replaces what is written down by what is open.
    pub fn save(&self, kv: &Kv, batch: &mut Batch) -> Result<()> {
        for (key, _) in kv.snapshot()?.rows(Table::Transactions, &[])? {
            batch.delete(Table::Transactions, key);
        }
        let now = self.now();
        for ((account, id), blocks) in &*self.open.lock() {
            let record = |(id, put): (&BlockId, &u64)| [&(now - put).to_be_bytes()[..], &id.to_key()].concat();
            let row: Vec<u8> = blocks.iter().flat_map(record).collect();
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
        let now = self.now();
        let mut open = self.open.lock();
        open.entry((account, id.clone())).or_default().extend(blocks.map(|block| (block, now)));
    }

    /// Protects blocks that are there, however old the transaction gets.
    pub fn hold(&self, account: AccountId, id: &TransactionId, blocks: impl IntoIterator<Item = BlockId>) {
        self.held.lock().entry((account, id.clone())).or_default().extend(blocks);
    }

    /// Ends the protection.
    pub fn close(&self, account: AccountId, id: &TransactionId) {
        let key = (account, id.clone());
        self.open.lock().remove(&key);
        self.held.lock().remove(&key);
    }

    /// Forgets what was put too long ago. Returns whether there was any.
    pub fn expire(&self) -> bool {
        self.expire_at(self.now())
    }

    fn expire_at(&self, now: u64) -> bool {
        let mut expired = false;
        self.open.lock().retain(|_, blocks| {
            let before = blocks.len();
            blocks.retain(|_, put| put.saturating_add(LIFETIME) > now);
            expired |= blocks.len() < before;
            !blocks.is_empty()
        });
        expired
    }

    /// The blocks of an account that are held.
    pub fn held(&self, account: AccountId) -> Vec<BlockId> {
        let held = self.held.lock();
        held.iter().filter(|((of, _), _)| *of == account).flat_map(|(_, blocks)| blocks).copied().collect()
    }

    /// The blocks of an account that are protected since they were put.
    pub fn protected(&self, account: AccountId) -> Vec<BlockId> {
        let open = self.open.lock();
        open.iter().filter(|((of, _), _)| *of == account).flat_map(|(_, blocks)| blocks.keys().copied()).collect()
    }
}

/// Reads the row of a transaction at the time `now`.
fn read_row(row: &[u8], now: u64) -> Result<Blocks> {
    let records = row.chunks(RECORD).map(|record| {
        let (age, id) = record.split_first_chunk().ok_or(Error::Invalid("transaction row"))?;
        Ok((BlockId::from_key(id)?, now.saturating_sub(u64::from_be_bytes(*age))))
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
        transactions.hold(AccountId(7), &second, [block(4)]);
        assert!(!transactions.expire_at(transactions.now() + LIFETIME - 60));
        assert_eq!(protected(), [block(2)]);
        assert!(transactions.expire_at(transactions.now() + LIFETIME + 1));
        assert_eq!(protected(), []);
        // what is held does not expire
        assert_eq!(transactions.held(AccountId(7)), [block(4)]);
        assert_eq!(transactions.held(AccountId(8)), []);
        transactions.close(AccountId(7), &second);
        assert_eq!(transactions.held(AccountId(7)), []);
    }

    #[test]
    fn ages_are_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let kv = Kv::open(dir.path()).unwrap();
        let transactions = Transactions::default();
        let id = Transactions::start().unwrap();
        transactions.protect(AccountId(7), &id, [block(1)].into_iter());
        transactions.open.lock().values_mut().for_each(|blocks| *blocks.get_mut(&block(1)).unwrap() -= LIFETIME / 2);
        let mut batch = Batch::default();
        transactions.save(&kv, &mut batch).unwrap();
        kv.commit(&batch).unwrap();
        let loaded = Transactions::load(&kv).unwrap();
        assert_eq!(loaded.protected(AccountId(7)), [block(1)]);
        assert!(!loaded.expire_at(loaded.now() + LIFETIME / 2 - 60));
        assert!(loaded.expire_at(loaded.now() + LIFETIME / 2 + 60));
    }

    #[test]
    fn damaged_rows_are_refused() {
        let row = [&9u64.to_be_bytes()[..], &block(1).to_key()].concat();
        assert_eq!(read_row(&row, 20).unwrap(), Blocks::from([(block(1), 11)]));
        assert_eq!(read_row(&row, 5).unwrap(), Blocks::from([(block(1), 0)]));
        assert!(read_row(&row[..row.len() - 1], 20).is_err());
        assert!(read_row(&[row, vec![0; 20]].concat(), 20).is_err());
    }
}
