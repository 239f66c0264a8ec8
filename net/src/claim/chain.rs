//! The history of a name (spec 01 §4.3, §4.4, 02 §12.2).

use std::collections::HashSet;

use peergos_crypto::{
    cbor::Value,
    cid::Cid,
    signing::{KeyHash, SecretSigningKey},
};

use super::{Claim, ClaimLink, Date};
use crate::{Error, Result};

/// How long a fresh claim lasts, in months.
const MONTHS: u32 = 2;
/// A claim that lasts less than this many months is due for renewal.
const RENEWAL_MONTHS: u32 = 1;

/// The verified links of one name, oldest first. There is no way to make one that does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimChain {
    superseded: Vec<ClaimLink>,
    last: ClaimLink,
}

impl ClaimChain {
    /// The chain of a new name, whose home is the node `home`.
    ///
    /// # Errors
    /// [`Error::Crypto`] for a name that is not ASCII.
    pub fn first(identity: &SecretSigningKey, username: &str, home: &Cid, today: Date) -> Result<Self> {
        Ok(Self { superseded: Vec::new(), last: current(identity, username, home, today.plus_months(MONTHS))? })
    }

    /// Checks a whole chain. Whether the last claim has expired does not matter.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Invalid`] or [`Error::Crypto`] for a chain that is not `username`'s.
    pub fn verify(username: &str, mut links: Vec<ClaimLink>) -> Result<Self> {
        let owners: HashSet<&KeyHash> = links.iter().map(|link| &link.owner).collect();
        if owners.len() != links.len() {
            return Err(Error::Invalid("claim chain in which an identity returns"));
        }
        for pair in links.windows(2) {
            pair[0].claim.verify(&pair[0].owner, username)?;
            pair[0].verify_key_change(&pair[1].owner)?;
            if !pair[0].claim.providers.is_empty() {
                return Err(refused(format!("Non empty storage providers in old claim for {username}")));
            }
        }
        let last = links.pop().ok_or(Error::Invalid("empty claim chain"))?;
        if last.claim.providers.len() != 1 {
            return Err(refused(format!("More than 1 storage providers in claim for {username}")));
        }
        last.claim.verify(&last.owner, username)?;
        Ok(Self { superseded: links, last })
    }

    /// What becomes of the chain `existing` (none: the name is free) when `update` arrives: a whole chain, or only the
    /// links that are new. Anybody may send anything, so what is not a rightful continuation is refused.
    ///
    /// # Errors
    /// [`Error::Refused`] in the words of spec 02 §12.2, or as [`ClaimChain::verify`].
    pub fn merge(username: &str, existing: Option<&Self>, update: Vec<ClaimLink>) -> Result<Self> {
        let Some(existing) = existing else { return Self::verify(username, update) };
        let common = existing.links().zip(&update).take_while(|(old, new)| old == new).count();
        if common == update.len() && common == existing.superseded.len() + 1 {
            return Ok(existing.clone());
        }
        let tail = &update[common..];
        let (Some(next), Some(last)) = (tail.first(), tail.last()) else {
            return Err(refused("Invalid key chain merge!"));
        };
        if next.claim.expiry < existing.expiry() {
            return Err(refused("New claim chain expiry before existing!"));
        }
        if next.owner != existing.last.owner {
            return Err(refused(if tail.len() == 1 {
                "User already exists: Invalid key change attempt!"
            } else {
                "Different keys in merge chains intersection!"
            }));
        }
        if existing.superseded.iter().any(|old| old.owner == last.owner) {
            return Err(refused("You cannot reuse a previous password!"));
        }
        Self::verify(username, existing.superseded.iter().chain(tail).cloned().collect())
    }

    /// The chain with its claim extended, or moved to the node `home`, by the identity that holds the name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is another identity's.
    pub fn renewed(&self, identity: &SecretSigningKey, home: &Cid, today: Date) -> Result<Self> {
        if *identity.hash() != self.last.owner {
            return Err(Error::Invalid("renewal of a claim by another identity"));
        }
        // an earlier day than the one there is would be refused
        let last = current(identity, self.username(), home, today.plus_months(MONTHS).max(self.expiry()))?;
        Ok(Self { superseded: self.superseded.clone(), last })
    }

    /// The chain with the name handed over from the identity `from`, which holds it, to `to`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is another identity's.
    pub fn handed_over(&self, from: &SecretSigningKey, to: &SecretSigningKey, today: Date) -> Result<Self> {
        if *from.hash() != self.last.owner {
            return Err(Error::Invalid("name handed over by another identity"));
        }
        let claim = Claim::sign(from, self.username(), Date::NEVER, Vec::new())?;
        let key_change = Some(from.sign(&Value::from(to.hash()).encode()));
        let mut superseded = self.superseded.clone();
        superseded.push(ClaimLink { claim, owner: from.hash().clone(), key_change });
        Ok(Self { superseded, last: current(to, self.username(), self.home(), today.plus_months(MONTHS))? })
    }

    /// Whether less than a month is left.
    pub fn needs_renewal(&self, today: Date) -> bool {
        self.expiry() < today.plus_months(RENEWAL_MONTHS)
    }

    /// The name.
    pub fn username(&self) -> &str {
        &self.last.claim.username
    }

    /// The identity that holds the name now.
    pub const fn identity(&self) -> &KeyHash {
        &self.last.owner
    }

    /// The id of the home node.
    pub fn home(&self) -> &Cid {
        self.last.claim.providers.first().expect("the last claim of a verified chain has one provider")
    }

    /// When the claim expires.
    pub const fn expiry(&self) -> Date {
        self.last.claim.expiry
    }

    /// The links, oldest first.
    pub fn links(&self) -> impl Iterator<Item = &ClaimLink> {
        self.superseded.iter().chain([&self.last])
    }
}

fn current(identity: &SecretSigningKey, username: &str, home: &Cid, expiry: Date) -> Result<ClaimLink> {
    let claim = Claim::sign(identity, username, expiry, vec![home.clone()])?;
    Ok(ClaimLink { claim, owner: identity.hash().clone(), key_change: None })
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Refused(reason.into())
}
