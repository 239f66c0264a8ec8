//! Mirror BATs, and who may read which block (spec 02 §4, §15).

use peergos_crypto::{
    bat::{self, BatWithId},
    cbor::Value,
    cid::Cid,
    signed_request,
};

use super::{
    accounts::Account,
    clock,
    core::{Core, key_of},
    store::{AccountId, Batch, Snapshot, Table},
};
use crate::{Error, Result};

const ADD: &str = "peergos/v0/bats/addBat";
const LIST: &str = "peergos/v0/bats/getUserBats";

impl Core {
    /// See [`crate::Node::get_user_bats`].
    pub fn get_user_bats(&self, username: &str, auth: &[u8]) -> Result<Vec<BatWithId>> {
        let account = self.accounts.require(username)?;
        signed_request::verify(&key_of(account.identity())?, auth, LIST, self.clock.millis(), clock::WINDOW)?;
        list(&self.kv.snapshot()?, account.id)
    }

    /// See [`crate::Node::add_bat`].
    pub fn add_bat(&self, username: &str, bat: &BatWithId, auth: &[u8]) -> Result<()> {
        let commits = self.commits.lock();
        let account = self.accounts.require(username)?;
        self.check_bat(&account, bat, auth)?;
        let known = list(&self.kv.snapshot()?, account.id)?;
        if known.contains(bat) {
            return Ok(());
        }
        let mut batch = Batch::default();
        save(&mut batch, account.id, known.len(), bat);
        self.commit(batch, &commits)
    }

    /// Checks that the account's owner registers this BAT, and that its id is the right one.
    pub(super) fn check_bat(&self, account: &Account, bat: &BatWithId, auth: &[u8]) -> Result<()> {
        signed_request::verify(&key_of(account.identity())?, auth, ADD, self.clock.millis(), clock::WINDOW)?;
        check_id(bat)
    }
}

/// Checks that a mirror BAT's id is its hash: the authorisation of reads relies on it.
pub(super) fn check_id(bat: &BatWithId) -> Result<()> {
    if bat.bat.mirror_id() == bat.id { Ok(()) } else { Err(Error::Invalid("BAT id, which is not the BAT's hash")) }
}

/// Adds the `number`th BAT of an account to `batch`.
pub(super) fn save(batch: &mut Batch, account: AccountId, number: usize, bat: &BatWithId) {
    batch.put(Table::Bats, account.row(&(number as u32).to_be_bytes()), bat.to_cbor().encode());
}

/// The mirror BATs of an account, oldest first.
pub(super) fn list(snapshot: &Snapshot, account: AccountId) -> Result<Vec<BatWithId>> {
    let rows = snapshot.rows(Table::Bats, &account.to_key())?;
    rows.iter().map(|(_, row)| Ok(BatWithId::from_cbor(&Value::decode(row)?)?)).collect()
}

/// Checks that whoever presents `token` may have the block. A stored mirror BAT's id is always its hash, so the store
/// of BATs need not be asked.
///
/// # Errors
/// [`Error::Unauthorised`].
pub(super) fn authorise(cid: &Cid, block: &[u8], token: Option<&BatWithId>) -> Result<()> {
    // what cannot be read is not public
    let ids = bat::ids_of_block(cid.codec(), block).map_err(|_| Error::Unauthorised)?;
    if bat::authorises(&ids, token) { Ok(()) } else { Err(Error::Unauthorised) }
}
