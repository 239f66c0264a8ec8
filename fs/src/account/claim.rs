//! The account's claim on its name, and which node it names as the account's home (spec 01 §4).

use std::time::SystemTime;

use peergos_crypto::{cbor::Value, pow::ProofOfWork, signing::SecretSigningKey};
use peergos_net::{
    Admission, Node,
    claim::{ClaimChain, ClaimLink, Date, links_from_cbor, links_to_cbor, username},
};

use super::{Account, since_epoch};
use crate::{Error, Result};

/// The first claim on a name, which must be allowed and free.
pub(super) fn first(node: &dyn Node, name: &str, identity: &SecretSigningKey, now: SystemTime) -> Result<ClaimLink> {
    if !username::is_valid(name) {
        return Err(Error::InvalidUsername);
    }
    if !links(node, name)?.is_empty() {
        return Err(Error::UsernameTaken);
    }
    let chain = ClaimChain::first(identity, name, &node.id()?, today(now))?;
    Ok(chain.links().next().expect("a chain has a link").clone())
}

/// Renews the claim if less than a month is left of it, or if it names another node than `node`, which hosts the
/// account: that is so for accounts that were imported.
///
/// # Errors
/// [`Error::Damaged`] if the name is another identity's; what the node refuses.
pub fn keep_claim(node: &dyn Node, account: &Account, now: SystemTime) -> Result<()> {
    let chain = ClaimChain::verify(&account.username, links(node, &account.username)?)?;
    if *chain.identity() != account.owner {
        return Err(Error::Damaged("claim on the user name, which is another identity's"));
    }
    let (home, today) = (node.id()?, today(now));
    if chain.home().multihash() == home.multihash() && !chain.needs_renewal(today) {
        return Ok(());
    }
    let renewed = chain.renewed(&account.identity, &home, today)?;
    let links: Vec<ClaimLink> = renewed.links().cloned().collect();
    let links = links_to_cbor(&links).encode();
    with_work(&links, |proof| node.update_chain(&account.username, &links, proof, ""))
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

fn links(node: &dyn Node, name: &str) -> Result<Vec<ClaimLink>> {
    Ok(links_from_cbor(&Value::decode(&node.get_chain(name)?)?)?)
}

fn today(now: SystemTime) -> Date {
    Date::from_unix_seconds(i64::try_from(since_epoch(now).as_secs()).unwrap_or(i64::MAX))
}
