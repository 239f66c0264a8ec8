//! A new password (spec 01 §9). A current account keeps its identity, and one call changes everything; an account of the
//! old kind gets an identity that is its own, and the claim on the name is handed over to it last.

use std::{collections::BTreeMap, time::SystemTime};

use peergos_crypto::{
    cid::Codec,
    password::{self, Algorithm, LoginKeys},
    signing::{KeyHash, SecretSigningKey},
};
use peergos_net::{
    Block, Error as NetError, PointerUpdate, PointerWrite, Verified, WriterData,
    login::{BlockWrite, LoginData},
    owned::{self, OwnerProof},
};

use super::{
    Account, EntryPoints, Person, Step, claim,
    place::{state, writer_data},
    sign_up::Nothing,
};
use crate::{Error, Result, capability::Capability};

/// How often other clients may be faster.
const ATTEMPTS: usize = 5;

/// Gives `account` a new password, and returns it as it is then. Whenever this breaks off, either the old password holds
/// or the new one, and everything stays reachable.
///
/// # Errors
/// [`Error::Crypto`] if the password is not allowed, [`Error::PasswordUncertain`] if the connection broke at the decisive
/// moment, [`Error::UnknownSpace`] for old accounts that cannot be taken along; what the node refuses.
pub fn change_password(
    node: &Verified,
    account: &Account,
    password: &str,
    now: SystemTime,
    person: &mut dyn Person,
) -> Result<Account> {
    password::check_new(&account.username, password)?;
    person.wait_for(Step::DerivingKeys);
    let algorithm = Algorithm::generate()?;
    let keys = password::derive(&account.username, password, &algorithm)?;
    person.wait_for(Step::Asking);
    if account.is_legacy {
        return upgrade(node, account, algorithm, keys, now);
    }
    replace(node, account, &algorithm, &keys)?;
    Ok(Account { algorithm, keys, ..account.clone() })
}

/// The login data that the new keys open.
fn login_data(account: &Account, points: &EntryPoints, keys: &LoginKeys) -> Result<LoginData> {
    Ok(LoginData {
        username: account.username.clone(),
        entry_points: points.seal(&keys.root)?.to_cbor(),
        reader: keys.signing.public(),
        identity_update: None,
    })
}

fn set_login(node: &Verified, account: &Account, data: &LoginData) -> peergos_net::Result<()> {
    let auth = data.authorise(&account.identity);
    node.node().set_login(&account.username, &data.to_cbor().encode(), &auth)
}

/// Changes login data and identity data in one step.
fn replace(node: &Verified, account: &Account, algorithm: &Algorithm, keys: &LoginKeys) -> Result<()> {
    let Account { owner, identity, .. } = account;
    let login = login_data(account, &account.points, keys)?;
    let mut attempts = ATTEMPTS;
    loop {
        let (pointer, data) = state(node, owner)?;
        let block = WriterData { algorithm: Some(algorithm.to_cbor()), ..data }.block();
        let target = block.cid().clone();
        let block = BlockWrite { writer: owner.clone(), block: block.sign(identity) };
        let signed = PointerUpdate::next(Some(&pointer), Some(target.clone())).sign(identity);
        let update = (block, PointerWrite { writer: owner.clone(), signed });
        let Err(error) = set_login(node, account, &LoginData { identity_update: Some(update), ..login.clone() }) else {
            return Ok(());
        };
        // the pointer decides which password holds, whatever came of the answer
        let current = node.pointer(owner, owner).map_err(|_| Error::PasswordUncertain)?;
        if current.and_then(|pointer| pointer.updated) == Some(target) {
            return Ok(());
        }
        attempts -= 1;
        if attempts == 0 || !matches!(error, NetError::PointerCas { .. }) {
            return Err(error.into());
        }
    }
}

/// Gives an account of the old kind an identity that does not follow from the password. Until the claim is handed over,
/// the old password opens the account as before.
fn upgrade(
    node: &Verified,
    account: &Account,
    algorithm: Algorithm,
    keys: LoginKeys,
    now: SystemTime,
) -> Result<Account> {
    let Account { owner, identity: old, home_signer, boxing, .. } = account;
    let (pointer, data) = state(node, owner)?;
    let leftovers = leftovers(node, account, &data)?;
    let identity = SecretSigningKey::generate()?;

    // the old identity owns the new one, so that it may write
    let proof = OwnerProof::sign(&identity, owner);
    let owned = owned::update(&node.of(owner), data.owned.as_ref(), &[proof], &leftovers)?;
    let old_data = WriterData { owned: Some(owned.root), ..data.clone() };
    commit(node, owner, old, Some(&pointer), owned.blocks, &old_data)?;

    let points = EntryPoints {
        entries: account.points.entries.clone(),
        identity: Some(identity.clone()),
        boxing: Some(boxing.clone()),
    };
    set_login(node, account, &login_data(account, &points, &keys)?)?;

    // the new identity owns what the old one does
    let proof = OwnerProof::sign(home_signer, identity.hash());
    let named: BTreeMap<String, OwnerProof> = data.named.keys().map(|name| (name.clone(), proof.clone())).collect();
    let owned = owned::update(&Nothing, None, std::slice::from_ref(&proof), &[])?;
    let boxing_block = Block::new(Codec::DagCbor, boxing.public().to_cbor().encode());
    let inbound = boxing.public().hash();
    let mut blocks = owned.blocks;
    blocks.extend(inbound.cid().identity_content().is_none().then_some(boxing_block));
    let new_data = WriterData {
        controller: identity.hash().clone(),
        owned: Some(owned.root),
        named,
        inbound: Some(inbound),
        algorithm: Some(algorithm.to_cbor()),
        static_data: None,
        ..data
    };
    commit(node, owner, &identity, None, blocks, &new_data)?;

    let claims = account.claims.handed_over(old, &identity, claim::today(now))?;
    claim::submit(&**node.node(), &claims)?;
    let owner = identity.hash().clone();
    let home = Capability { owner: owner.clone(), ..account.home.clone() };
    Ok(Account { owner, claims, is_legacy: false, identity, home, algorithm, keys, points, ..account.clone() })
}

/// The identities that earlier attempts have left behind among the keys that the account owns. Besides them there may be
/// only the home's writing space: the keys of others are needed to take them along, and cannot be found.
fn leftovers(node: &Verified, account: &Account, data: &WriterData) -> Result<Vec<KeyHash>> {
    let home = account.home_signer.hash();
    if *home == account.owner || data.named.values().any(|proof| proof.owned != *home) {
        return Err(Error::UnknownSpace(home.clone()));
    }
    let owned = owned::list(&node.of(&account.owner), &account.owner, data)?;
    let mut leftovers = Vec::new();
    for proof in owned.into_iter().filter(|proof| proof.owned != *home) {
        match writer_data(node, &account.owner, &proof.owned)? {
            Some(data) if data.algorithm.is_none() => return Err(Error::UnknownSpace(proof.owned)),
            _ => leftovers.push(proof.owned),
        }
    }
    Ok(leftovers)
}

/// Stores the data of a writer with the blocks that it names, and sets the pointer to it.
fn commit(
    node: &Verified,
    owner: &KeyHash,
    writer: &SecretSigningKey,
    current: Option<&PointerUpdate>,
    mut blocks: Vec<Block>,
    data: &WriterData,
) -> Result<()> {
    let block = data.block();
    let signed = PointerUpdate::next(current, Some(block.cid().clone())).sign(writer);
    blocks.push(block);
    let blocks = blocks.into_iter().map(|block| block.sign(writer)).collect();
    let pointer = PointerWrite { writer: writer.hash().clone(), signed };
    let transaction = node.start_transaction(owner)?;
    let done = node
        .put_blocks(owner, writer.hash(), &transaction, Codec::DagCbor, blocks)
        .and_then(|()| node.node().set_pointer(owner, &pointer));
    if let Err(error) = node.close_transaction(owner, &transaction) {
        tracing::debug!("a transaction stays open: {error}");
    }
    Ok(done?)
}
