//! Where an account is: what can be found out with its name alone (spec 01 §6.1).

use std::thread;

use peergos_crypto::{password::Algorithm, signing::KeyHash};
use peergos_net::{PointerUpdate, Verified, WriterData, claim::ClaimChain};

use crate::{Error, Result};

/// An account as the server shows it to everybody, checked.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Who the name belongs to.
    pub claims: ClaimChain,
    /// The identity's data.
    pub data: WriterData,
}

impl Place {
    /// Finds the account `username`, in three calls one after the other.
    ///
    /// # Errors
    /// [`Error::UnknownUser`], [`Error::AccountDeleted`]; [`Error::Net`] for what does not verify.
    pub fn find(node: &Verified, username: &str) -> Result<Self> {
        let claims = node.claims(username)?.ok_or(Error::UnknownUser)?;
        let (_, data) = state(node, claims.identity())?;
        Ok(Self { claims, data })
    }

    /// The account `username` that is known to be `owner`'s, in two calls one after the other.
    ///
    /// # Errors
    /// As [`Place::find`], and [`Error::IdentityChanged`] if it is another's now.
    pub fn of_owner(node: &Verified, username: &str, owner: &KeyHash) -> Result<Self> {
        let (claims, state) = thread::scope(|scope| {
            let state = scope.spawn(|| state(node, owner));
            let claims = node.claims(username);
            (claims, state.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let claims = claims?.ok_or(Error::UnknownUser)?;
        if claims.identity() != owner {
            return Err(Error::IdentityChanged);
        }
        let (_, data) = state?;
        Ok(Self { claims, data })
    }

    /// The identity.
    pub const fn owner(&self) -> &KeyHash {
        self.claims.identity()
    }

    /// How the password becomes keys.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the identity does not say, [`Error::Crypto`] if that is malformed.
    pub fn algorithm(&self) -> Result<Algorithm> {
        let algorithm = self.data.algorithm.as_ref().ok_or(Error::Damaged("identity without a password algorithm"))?;
        Ok(Algorithm::from_cbor(algorithm)?)
    }

    /// Whether the entry points are in the identity's data, and the identity follows from the password (spec 01 §6.5).
    pub const fn is_legacy(&self) -> bool {
        self.data.static_data.is_some()
    }
}

/// The current pointer and data of an identity.
pub(super) fn state(node: &Verified, owner: &KeyHash) -> Result<(PointerUpdate, WriterData)> {
    let pointer = node.pointer(owner, owner)?.ok_or(Error::AccountDeleted)?;
    let target = pointer.updated.as_ref().ok_or(Error::AccountDeleted)?;
    let data = node.writer_data(owner, owner, target)?;
    Ok((pointer, data))
}

/// The current data of a writer; none if it has none, or its pointer is deleted.
pub(super) fn writer_data(node: &Verified, owner: &KeyHash, writer: &KeyHash) -> Result<Option<WriterData>> {
    let Some(target) = node.pointer(owner, writer)?.and_then(|pointer| pointer.updated) else {
        return Ok(None);
    };
    Ok(Some(node.writer_data(owner, writer, &target)?))
}
