//! The accounts that this node is home to, whatever server their claims name: the stand-alone PKI (spec 01 §4).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::RwLock;
use peergos_crypto::{cbor::Value, cbor_map, signing::KeyHash};

use super::store::{AccountId, Batch, Kv, Snapshot, Table};
use crate::{
    Error, Result,
    claim::{ClaimChain, ClaimLink, links_from_cbor, links_to_cbor},
};

/// The row of [`Table::Node`] that holds the number of the next account.
const NEXT: &[u8] = b"next account";

/// One account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub id: AccountId,
    /// Who the name belongs to.
    pub chain: ClaimChain,
    /// The identity and all writers that it owns by proofs: who may write.
    pub writers: HashSet<KeyHash>,
    /// Bytes allowed; none for the space that there is.
    pub quota: Option<u64>,
}

impl Account {
    /// The name.
    pub fn username(&self) -> &str {
        self.chain.username()
    }

    /// The current identity.
    pub const fn identity(&self) -> &KeyHash {
        self.chain.identity()
    }

    /// CBOR of the claim chain.
    pub fn chain_cbor(&self) -> Vec<u8> {
        let links: Vec<ClaimLink> = self.chain.links().cloned().collect();
        links_to_cbor(&links).encode()
    }

    /// Adds the account's row to `batch`.
    pub fn save(&self, batch: &mut Batch) {
        let links: Vec<ClaimLink> = self.chain.links().cloned().collect();
        let mut writers: Vec<&KeyHash> = self.writers.iter().collect();
        writers.sort_unstable();
        let mut row = cbor_map! {
            "id" => self.id.0,
            "chain" => links_to_cbor(&links),
            "writers" => writers.into_iter().map(Value::from).collect::<Vec<_>>(),
        };
        if let Value::Map(map) = &mut row {
            map.insert_some("quota", self.quota.map(|quota| i64::try_from(quota).unwrap_or(i64::MAX)));
        }
        batch.put(Table::Accounts, self.username(), row.encode());
    }

    /// The account as it is in a snapshot.
    ///
    /// # Errors
    /// [`Error::Store`] if it is not there: accounts are not removed.
    pub fn read(snapshot: &Snapshot, username: &str) -> Result<Self> {
        match snapshot.get(Table::Accounts, username.as_bytes())? {
            Some(row) => Self::load(username.as_bytes(), &row),
            None => Err(Error::Store("an account is gone".into())),
        }
    }

    fn load(username: &[u8], row: &[u8]) -> Result<Self> {
        const WHAT: &str = "account row";
        let username = std::str::from_utf8(username).map_err(|_| Error::Invalid(WHAT))?;
        let row = Value::decode(row)?;
        let row = row.as_map(WHAT)?;
        let id = u32::try_from(row.require("id", WHAT)?.as_uint(WHAT)?).map_err(|_| Error::Invalid(WHAT))?;
        let writers = row.require("writers", WHAT)?.as_array(WHAT)?.iter();
        Ok(Self {
            id: AccountId(id),
            chain: ClaimChain::verify(username, links_from_cbor(row.require("chain", WHAT)?)?)?,
            writers: writers.map(|writer| Ok(KeyHash::from_cbor(writer, WHAT)?)).collect::<Result<_>>()?,
            quota: row.get("quota").map(|quota| quota.as_uint(WHAT)).transpose()?,
        })
    }
}

/// All accounts. They are few and small, and asked for at every call: they are in memory.
#[derive(Default)]
pub(super) struct Accounts {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    by_name: HashMap<String, Arc<Account>>,
    /// By current and by superseded identities: old capabilities name those.
    by_owner: HashMap<KeyHash, Arc<Account>>,
}

impl Accounts {
    /// Reads all accounts.
    pub fn load(kv: &Kv) -> Result<Self> {
        let accounts = Self::default();
        kv.snapshot()?.scan(Table::Accounts, &[], &mut |username, row| {
            accounts.publish(Account::load(username, row)?);
            Ok(())
        })?;
        Ok(accounts)
    }

    /// Makes a committed account known, in place of the one of the same name.
    pub fn publish(&self, account: Account) {
        let account = Arc::new(account);
        let mut maps = self.maps.write();
        for link in account.chain.links() {
            maps.by_owner.insert(link.owner.clone(), Arc::clone(&account));
        }
        maps.by_name.insert(account.username().to_owned(), account);
    }

    /// The account that an identity, current or superseded, belongs to.
    ///
    /// # Errors
    /// [`Error::UnknownOwner`].
    pub fn of(&self, owner: &KeyHash) -> Result<Arc<Account>> {
        self.maps.read().by_owner.get(owner).cloned().ok_or_else(|| Error::UnknownOwner(owner.clone()))
    }

    /// The account of a name.
    pub fn named(&self, username: &str) -> Option<Arc<Account>> {
        self.maps.read().by_name.get(username).cloned()
    }

    /// The account of a name that a caller says is theirs.
    ///
    /// # Errors
    /// [`Error::Refused`] in the reference's words.
    pub fn require(&self, username: &str) -> Result<Arc<Account>> {
        self.named(username).ok_or_else(|| Error::Refused("No value present".into()))
    }

    /// All accounts.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.maps.read().by_name.values().cloned().collect()
    }
}

/// The number for a new account; `batch` makes it taken.
pub(super) fn next_id(kv: &Kv, batch: &mut Batch) -> Result<AccountId> {
    let next = match kv.get(Table::Node, NEXT)? {
        Some(row) => u32::from_be_bytes(row.try_into().map_err(|_| Error::Invalid("account number"))?),
        None => 0,
    };
    let after = next.checked_add(1).ok_or(Error::Invalid("account number"))?;
    batch.put(Table::Node, NEXT, after.to_be_bytes());
    Ok(AccountId(next))
}
