//! The account's claim on its name, and which node it names as the account's home (spec 01 §4).

use std::time::SystemTime;

use peergos_crypto::{cbor::Value, cid::Cid, pow::ProofOfWork, signing::SecretSigningKey};
use peergos_net::{
    Admission, Node,
    claim::{ClaimChain, ClaimLink, Date, links_from_cbor, links_to_cbor, username},
};

use super::{Account, since_epoch};
use crate::{Error, Result};

/// The first claim on a name, which must be allowed and free.
pub(super) fn first(node: &dyn Node, name: &str, identity: &SecretSigningKey, now: SystemTime) -> Result<ClaimChain> {
    if !username::is_valid(name) {
        return Err(Error::InvalidUsername);
    }
    if !links(node, name)?.is_empty() {
        return Err(Error::UsernameTaken);
    }
    Ok(ClaimChain::first(identity, name, &node.id()?, today(now))?)
}

/// Renews the claim if less than a month is left of it, or if it does not name `home`, which hosts the account now: that
/// is so for accounts that were imported. With no `home`, the one it names stays.
///
/// # Errors
/// What the node refuses.
pub fn keep_claim(node: &dyn Node, account: &mut Account, home: Option<&Cid>, now: SystemTime) -> Result<()> {
    let (claims, today) = (&account.claims, today(now));
    let home = home.unwrap_or(claims.home());
    if claims.home().multihash() == home.multihash() && !claims.needs_renewal(today) {
        return Ok(());
    }
    let renewed = claims.renewed(&account.identity, home, today)?;
    submit(node, &renewed)?;
    account.claims = renewed;
    Ok(())
}

/// Makes `claims` what the name's chain is.
pub(super) fn submit(node: &dyn Node, claims: &ClaimChain) -> Result<()> {
    let links: Vec<ClaimLink> = claims.links().cloned().collect();
    let links = links_to_cbor(&links).encode();
    with_work(&links, |proof| node.update_chain(claims.username(), &links, proof, ""))
}

/// Makes a call that may ask for a proof of work over `data` first: once, as hard as it asks.
pub(super) fn with_work(data: &[u8], mut call: impl FnMut(&[u8]) -> peergos_net::Result<Admission>) -> Result<()> {
    let mut difficulty = 0;
    for _ in 0..2 {
        let proof = ProofOfWork::find(data, difficulty)?.to_cbor().encode();
        match call(&proof)? {
            Admission::Accepted => return Ok(()),
            Admission::WorkRequired(more) => difficulty = more,
        }
    }
    Err(Error::Overloaded)
}

/// What the node says about a name, unverified; nothing if it is free.
pub(super) fn links(node: &dyn Node, name: &str) -> Result<Vec<ClaimLink>> {
    Ok(links_from_cbor(&Value::decode(&node.get_chain(name)?)?)?)
}

pub(super) fn today(now: SystemTime) -> Date {
    Date::from_unix_seconds(i64::try_from(since_epoch(now).as_secs()).unwrap_or(i64::MAX))
}
