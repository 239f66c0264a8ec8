//! The end of an account (spec 01 §10). The name stays claimed for ever.

use std::time::SystemTime;

use peergos_crypto::signing::{KeyHash, SecretSigningKey};
use peergos_net::{PointerUpdate, PointerWrite, Verified, quota::SpaceRequest};

use super::{
    Person,
    log_in::{Opened, home, home_signer, identity},
    millis,
};
use crate::{Error, Result};

/// What an account without files asks for, in bytes.
const SPACE: u64 = 1_000_000;

/// Deletes the account `username` with all its files, for ever, and returns whose it was. What broke off in the middle can
/// be repeated.
///
/// # Errors
/// As [`super::log_in`]; what the node refuses.
pub fn delete(
    node: &Verified,
    username: &str,
    password: &str,
    now: SystemTime,
    person: &mut dyn Person,
) -> Result<KeyHash> {
    let Opened { place, points, .. } = Opened::with_password(node, username, password, None, now, person)?;
    let owner = place.owner();
    let identity = identity(&points, owner)?;
    let home = home(&points, username, owner)?;
    match home_signer(node, &home) {
        Ok(signer) => end(node, owner, &signer)?,
        // it has ended before
        Err(Error::AccountDeleted) => {}
        // what cannot be read goes with the identity
        Err(error) if error.is_of_one_entry() => tracing::warn!("the home of the deleted account: {error}"),
        Err(error) => return Err(error),
    }
    let request =
        SpaceRequest { username: username.to_owned(), bytes: SPACE, annual: false, time: millis(now), proof: None };
    if let Err(error) = node.node().request_space(owner, &identity.sign(&request.to_cbor().encode())) {
        tracing::info!("the space of the deleted account could not be given back: {error}");
    }
    end(node, owner, &identity)?;
    Ok(owner.clone())
}

/// Deletes a writer's pointer.
fn end(node: &Verified, owner: &KeyHash, writer: &SecretSigningKey) -> Result<()> {
    let current = node.pointer(owner, writer.hash())?;
    let signed = PointerUpdate::next(current.as_ref(), None).sign(writer);
    Ok(node.set_pointers(owner, &[PointerWrite { writer: writer.hash().clone(), signed }])?)
}
