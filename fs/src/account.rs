//! Accounts: making one, from name and password to the keys of everything in it, changing the password, and the end of an
//! account (spec 01 §6 to §10).

mod claim;
mod delete;
mod entry_points;
mod kept;
mod log_in;
mod password_change;
mod person;
mod place;
mod remembered;
mod sign_up;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peergos_crypto::{
    bat::{Bat, BatWithId},
    boxing::BoxingKeyPair,
    password::{Algorithm, LoginKeys},
    signed_request, signed_time,
    signing::{KeyHash, SecretSigningKey},
};
use peergos_net::{Node, claim::ClaimChain, mfa::MfaMethod};

use crate::{Result, capability::Capability};

pub use claim::keep_claim;
pub use delete::delete;
pub use entry_points::EntryPoints;
pub use log_in::{log_in, log_in_again};
pub use password_change::change_password;
pub use person::{Person, Step};
pub use remembered::Remembered;
pub use sign_up::sign_up;
pub use upkeep::Upkeep;

/// What a person's name and password open. Every secret is erased when dropped.
#[derive(Clone)]
pub struct Account {
    /// The user name.
    pub username: String,
    /// The identity's key hash.
    pub owner: KeyHash,
    /// Who the name belongs to, and which node is its home.
    pub claims: ClaimChain,
    /// Whether the identity follows from the password: such an account becomes a current one with
    /// the next password.
    pub is_legacy: bool,
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
    /// How the password becomes keys: nothing secret.
    pub algorithm: Algorithm,
    /// What follows from the password: the key to ask for the entry points with, and the one that opens them.
    pub keys: LoginKeys,
    /// Whether a person typed the code of a second factor for it.
    pub code_was_typed: bool,
    points: EntryPoints,
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

/// The paths that signed requests name.
const ADD_BAT: &str = "peergos/v0/bats/addBat";
const GET_USER_BATS: &str = "peergos/v0/bats/getUserBats";
const ADD_MOUNT: &str = "peergos/v0/login/addMount";
const ENABLE_MOUNT: &str = "peergos/v0/login/enableMount";
const LIST_MFA: &str = "peergos/v0/login/listMfa";
const DELETE_MFA: &str = "peergos/v0/login/deleteMfa";

/// The second factors of an account.
fn factors(node: &dyn Node, account: &Account, now: SystemTime) -> Result<Vec<MfaMethod>> {
    let auth = signed_request::sign(&account.identity, LIST_MFA, millis(now));
    Ok(node.list_factors(&account.username, &auth)?)
}

/// A fresh mirror token.
fn new_mirror_bat() -> Result<BatWithId> {
    let bat = Bat::generate()?;
    Ok(BatWithId { id: bat.mirror_id(), bat })
}

/// The time since 1970 UTC; a clock before that counts as 1970.
pub(crate) fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time that requests are signed with, in milliseconds since 1970 UTC.
fn millis(now: SystemTime) -> i64 {
    i64::try_from(since_epoch(now).as_millis()).unwrap_or(i64::MAX)
}
