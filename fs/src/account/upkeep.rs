//! What a mount that lasts does for its account: the login is tried from time to time, lest a device goes on after its
//! access was taken back (spec 01 §6.8), and the claim on the name is renewed before it expires (spec 01 §4).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use peergos_crypto::{cid::Cid, password::LoginKeys, totp::Totp};
use peergos_net::{Error as NetError, Verified};

use super::{Account, claim::keep_claim, factors, log_in::try_keys};
use crate::{Error, Result};

/// How often a login is tried.
const LOGIN: Duration = Duration::from_secs(3600);
/// How often the claim is looked at.
const CLAIM: Duration = Duration::from_secs(24 * 3600);
/// When to try again what failed for now.
const RETRY: Duration = Duration::from_secs(60);

/// The account of a mount, and what is due for it.
pub struct Upkeep {
    node: Arc<Verified>,
    account: Account,
    home: Option<Cid>,
    /// This device's second factor.
    factor: Option<Totp>,
    /// Never, where nobody else can change the login.
    pub(super) login_due: Option<SystemTime>,
    claim_due: SystemTime,
}

impl Upkeep {
    /// Begins at `now`, when `account` has just been opened: from `home`, a node in this process, or with none from a
    /// server, or only from what was kept of it, so that the server has yet to say that it may be. `factor` is this
    /// device's, if it has one.
    pub fn new(
        node: Arc<Verified>,
        account: Account,
        home: Option<Cid>,
        factor: Option<Totp>,
        is_untried: bool,
        now: SystemTime,
    ) -> Self {
        let due = |pause| if is_untried { now } else { now + pause };
        let (login_due, claim_due) = (home.is_none().then(|| due(LOGIN)), due(CLAIM));
        Self { node, account, home, factor, login_due, claim_due }
    }

    /// Uses other keys from now on: the password was changed on this device.
    pub fn renew(&mut self, keys: LoginKeys, now: SystemTime) {
        self.account.keys = keys;
        self.login_due = self.login_due.map(|_| now);
    }

    /// Whether these are the keys in use.
    pub fn uses(&self, keys: &LoginKeys) -> bool {
        self.account.keys.signing.hash() == keys.signing.hash()
    }

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// That the account must not be used any more on this device: [`Error::Net`] with [`NetError::IncorrectLogin`] after
    /// a change of the password, [`Error::SecondFactorRefused`] if the device's factor was taken back,
    /// [`Error::IdentityChanged`], [`Error::AccountDeleted`]. What fails for now is tried again later.
    pub fn tend(&mut self, now: SystemTime) -> Result<()> {
        if self.login_due.is_some_and(|due| due <= now) {
            let pause = match self.try_login(now) {
                Ok(()) => LOGIN,
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!("the login could not be tried: {error}");
                    RETRY
                }
            };
            self.login_due = Some(now + pause);
        }
        if self.claim_due <= now {
            let pause = match self.keep_claim(now) {
                Ok(()) => CLAIM,
                Err(error) => {
                    // the account works with an old claim as well
                    tracing::warn!("the claim on the user name could not be renewed: {error}");
                    if matches!(error, Error::Net(NetError::Unreachable { .. })) { RETRY } else { CLAIM }
                }
            };
            self.claim_due = now + pause;
        }
        Ok(())
    }

    fn try_login(&self, now: SystemTime) -> Result<()> {
        try_keys(&self.node, &self.account, self.factor.as_ref(), now)?;
        let Some(factor) = &self.factor else { return Ok(()) };
        // an account without other factors never asks for this one
        let listed = factors(&**self.node.node(), &self.account, now)?;
        if listed.iter().any(|listed| listed.id == factor.credential_id) {
            Ok(())
        } else {
            Err(Error::SecondFactorRefused)
        }
    }

    fn keep_claim(&mut self, now: SystemTime) -> Result<()> {
        // other devices renew it too
        self.account.claims = self.node.claims(&self.account.username)?.ok_or(Error::UnknownUser)?;
        keep_claim(&**self.node.node(), &mut self.account, self.home.as_ref(), now)
    }
}

/// Whether nothing but another login can help.
const fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Net(NetError::IncorrectLogin)
            | Error::SecondFactorRefused
            | Error::IdentityChanged
            | Error::AccountDeleted
            | Error::UnknownUser
    )
}
