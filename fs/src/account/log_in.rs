//! From a name and a password to an account (spec 01 §6).

use std::{sync::Arc, time::SystemTime};

use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    password::{self, Algorithm, LoginKeys},
    signed_request, signed_time,
    signing::{KeyHash, SecretSigningKey},
    symmetric::CipherText,
};
use peergos_net::{Error as NetError, Verified, WriterData, login::LoginResponse, owned};

use super::{ADD_BAT, Account, EntryPoints, GET_USER_BATS, Step, millis, new_mirror_bat};
use crate::{
    Error, Result,
    capability::Capability,
    cryptree::{self, Node as CryptreeNode},
};

/// Opens the account `username`, whichever way it was made.
///
/// # Errors
/// [`Error::Net`] with [`peergos_net::Error::IncorrectLogin`] for a wrong password, [`Error::UnknownUser`],
/// [`Error::AccountDeleted`], [`Error::Damaged`] if what the password opens is not this account's.
pub fn log_in(
    node: &Arc<Verified>,
    username: &str,
    password: &str,
    now: SystemTime,
    progress: &mut dyn FnMut(Step),
) -> Result<Account> {
    progress(Step::Asking);
    let owner = node.node().get_public_key(username)?.ok_or(Error::UnknownUser)?;
    let data = writer_data(node, &owner, &owner)?.ok_or(Error::AccountDeleted)?;
    let algorithm = data.algorithm.as_ref().ok_or(Error::Damaged("identity without a password algorithm"))?;

    progress(Step::DerivingKeys);
    let keys = password::derive(username, password, &Algorithm::from_cbor(algorithm)?)?;
    progress(Step::Asking);
    let points = entry_points(node, username, &owner, &data, &keys, now)?;
    let home = points.home(username, &owner).ok_or(Error::Damaged("entry points without a home"))?;
    let EntryPoints { identity: Some(identity), boxing: Some(boxing), .. } = points else {
        return Err(Error::Damaged("entry points without keys"));
    };
    if *identity.hash() != owner {
        return Err(Error::Damaged("entry points of another identity"));
    }
    let home_signer = home_signer(node, &home)?;
    let mirror_bat = mirror_bat(node, username, &identity, now)?;
    Ok(Account {
        username: username.to_owned(),
        owner,
        identity,
        home,
        home_signer,
        mirror_bat: Some(mirror_bat),
        boxing,
        root: keys.root,
    })
}

/// The entry points with all keys, from wherever the account keeps them.
fn entry_points(
    node: &Verified,
    username: &str,
    owner: &KeyHash,
    data: &WriterData,
    keys: &LoginKeys,
    now: SystemTime,
) -> Result<EntryPoints> {
    let Some(sealed) = &data.static_data else {
        let sealed = login_blob(node, username, &keys.signing, now)?;
        return open(&sealed, keys);
    };
    // A legacy account's login key is its identity: whether the password fits shows here.
    if keys.signing.hash() != owner {
        return Err(NetError::IncorrectLogin.into());
    }
    let mut points = open(sealed, keys)?;
    points.identity.get_or_insert_with(|| keys.signing.clone());
    points.boxing = points.boxing.or_else(|| keys.legacy_boxing.clone());
    Ok(points)
}

fn open(sealed: &Value, keys: &LoginKeys) -> Result<EntryPoints> {
    match EntryPoints::open(&CipherText::from_cbor(sealed)?, &keys.root) {
        Err(peergos_crypto::Error::Decryption) => Err(NetError::IncorrectLogin.into()),
        other => Ok(other?),
    }
}

fn login_blob(node: &Verified, username: &str, login: &SecretSigningKey, now: SystemTime) -> Result<Value> {
    let auth = signed_time::sign(login, millis(now));
    let response = node.node().get_login(username, &login.public(), &auth, None)?;
    match LoginResponse::from_cbor(&Value::decode(&response)?)? {
        LoginResponse::EntryPoints(sealed) => Ok(sealed),
        LoginResponse::SecondFactor(request) => Err(NetError::SecondFactor(request.encode()).into()),
    }
}

/// The key of the home's writing space, which the home's first node holds.
fn home_signer(node: &Arc<Verified>, home: &Capability) -> Result<SecretSigningKey> {
    let write = home.write.as_ref().ok_or(Error::Damaged("home that cannot be written"))?;
    let owns =
        owned::walk(&node.of(&home.owner), &home.owner).any(|key| key.is_ok_and(|key| key.writer == home.writer));
    if !owns {
        return Err(Error::Damaged("home in a writing space that the account does not own"));
    }
    let data = writer_data(node, &home.owner, &home.writer)?.ok_or(Error::AccountDeleted)?;
    let tree = data.tree.as_ref().ok_or(Error::Damaged("home in an empty writing space"))?;
    let cap = home.champ_cap();
    let found = node.lookup(&home.owner, tree, std::slice::from_ref(&cap))?;
    let cid = found.into_iter().next().flatten().ok_or(Error::Dangling)?;
    let block = node.block(&home.owner, &cid, cap.bat.as_ref())?;
    let opened = CryptreeNode::decode(block.data())?.open(&home.read)?;
    let signer = opened.signer.ok_or(Error::Damaged("home without the key of its writing space"))?;
    Ok(cryptree::open_signer(&signer, write, &home.writer)?)
}

/// The newest mirror token; a first one for accounts from before there were any.
fn mirror_bat(node: &Verified, username: &str, identity: &SecretSigningKey, now: SystemTime) -> Result<BatWithId> {
    let auth = |path| signed_request::sign(identity, path, millis(now));
    if let Some(newest) = node.node().get_user_bats(username, &auth(GET_USER_BATS))?.pop() {
        return Ok(newest);
    }
    let first = new_mirror_bat()?;
    node.node().add_bat(username, &first, &auth(ADD_BAT))?;
    Ok(first)
}

/// The current data of a writer; none if it has none, or its pointer is deleted.
fn writer_data(node: &Verified, owner: &KeyHash, writer: &KeyHash) -> Result<Option<WriterData>> {
    let Some(target) = node.pointer(owner, writer)?.and_then(|pointer| pointer.updated) else {
        return Ok(None);
    };
    Ok(Some(node.writer_data(owner, writer, &target)?))
}
