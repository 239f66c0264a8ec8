//! Accounts: making one, and from name and password to the keys of everything in it (spec 01 §6, §8).

mod claim;
mod entry_points;
mod log_in;
mod sign_up;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peergos_crypto::{
    bat::{Bat, BatWithId},
    boxing::BoxingKeyPair,
    signed_time,
    signing::{KeyHash, SecretSigningKey},
    symmetric::SymmetricKey,
};
use peergos_net::Node;

use crate::{Result, capability::Capability};

pub use claim::keep_claim;
pub use entry_points::EntryPoints;
pub use log_in::log_in;
pub use sign_up::sign_up;

/// What a person's name and password open. Every secret is erased when dropped.
#[derive(Clone)]
pub struct Account {
    /// The user name.
    pub username: String,
    /// The identity's key hash.
    pub owner: KeyHash,
    /// The key that signs for the account as a whole.
    pub identity: SecretSigningKey,
    /// The writable capability of the home directory.
    pub home: Capability,
    /// The key that signs for the writing space of the home directory.
    pub home_signer: SecretSigningKey,
    /// The token whose id new blocks carry next to their own, so that the owner's other servers may fetch them.
    pub mirror_bat: Option<BatWithId>,
    /// What others encrypt to when they want to be friends.
    pub boxing: BoxingKeyPair,
    /// What the entry points are encrypted with; follows from the password.
    pub root: SymmetricKey,
}

impl Account {
    /// The bytes that the account uses on `node`, and the bytes that it may use.
    ///
    /// # Errors
    /// What the node refuses.
    pub fn space(&self, node: &dyn Node, now: SystemTime) -> Result<(u64, u64)> {
        let auth = signed_time::sign(&self.identity, millis(now));
        Ok((node.usage(&self.owner, &auth)?, node.quota(&self.owner, &auth)?))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.owner)
    }
}

/// What takes time when signing up or logging in, for a person who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Keys are derived from the password: half a second and 128 MiB.
    DerivingKeys,
    /// Waiting for the server.
    Asking,
}

/// The paths that signed requests name.
const ADD_BAT: &str = "peergos/v0/bats/addBat";
const GET_USER_BATS: &str = "peergos/v0/bats/getUserBats";

/// A fresh mirror token.
fn new_mirror_bat() -> Result<BatWithId> {
    let bat = Bat::generate()?;
    Ok(BatWithId { id: bat.mirror_id(), bat })
}

/// The time since 1970 UTC; a clock before that counts as 1970.
fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time that requests are signed with, in milliseconds since 1970 UTC.
fn millis(now: SystemTime) -> i64 {
    i64::try_from(since_epoch(now).as_millis()).unwrap_or(i64::MAX)
}
