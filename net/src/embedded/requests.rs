//! Asking for space (spec 02 §17). Nobody pays here: the operator decides, and sees who has asked.

use peergos_crypto::{cbor::Value, signed_time, signing::KeyHash};

use super::{
    accounts::Account,
    clock,
    core::{Core, key_of},
    store::{Batch, Snapshot, Table},
};
use crate::{
    Error, Result,
    quota::{PaymentProperties, SpaceRequest},
};

/// The most bytes of a signed request.
const MAX_REQUEST: usize = 65_536;

/// What an operator wants to know of an account. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    /// The name.
    pub username: String,
    /// What it stores.
    pub used: u64,
    /// What it may store; none for the space that there is.
    pub quota: Option<u64>,
    /// What it has asked for since its quota was last set.
    pub requested: Option<u64>,
}

impl Core {
    /// See [`crate::Node::payment_properties`].
    pub fn payment_properties(&self, owner: &KeyHash, auth: &[u8]) -> Result<PaymentProperties> {
        let account = self.accounts.of(owner)?;
        signed_time::verify(&key_of(account.identity())?, auth, self.clock.millis(), clock::WINDOW)?;
        self.properties(&account)
    }

    /// See [`crate::Node::request_space`].
    pub fn request_space(&self, owner: &KeyHash, signed: &[u8]) -> Result<PaymentProperties> {
        let commits = self.commits.lock();
        let account = self.accounts.of(owner)?;
        if signed.len() > MAX_REQUEST {
            return Err(Error::Refused(format!("Input exceeds maximum size of {MAX_REQUEST} bytes")));
        }
        let request = SpaceRequest::from_cbor(&Value::decode(key_of(account.identity())?.open(signed)?)?)?;
        if request.username != account.username() {
            return Err(Error::Refused("The request is for another account".into()));
        }
        if self.clock.millis().abs_diff(request.time) > clock::WINDOW {
            return Err(peergos_crypto::Error::StaleTime.into());
        }
        let mut batch = Batch::default();
        batch.put(Table::SpaceRequests, account.id.to_key(), signed);
        self.commit(batch, &commits)?;
        self.properties(&account)
    }

    /// See [`super::EmbeddedNode::accounts`].
    pub fn summaries(&self) -> Result<Vec<AccountSummary>> {
        let mut summaries = Vec::new();
        for account in self.accounts.all() {
            self.count(&account)?;
            summaries.push(AccountSummary {
                username: account.username().to_owned(),
                used: self.space.total(account.id),
                quota: account.quota,
                requested: requested(&self.kv.snapshot()?, &account)?,
            });
        }
        summaries.sort_unstable_by(|a, b| a.username.cmp(&b.username));
        Ok(summaries)
    }

    fn properties(&self, account: &Account) -> Result<PaymentProperties> {
        let desired = requested(&self.kv.snapshot()?, account)?;
        Ok(PaymentProperties {
            free_quota: self.quota_of(account)?,
            desired_quota: desired.unwrap_or(0),
            ..PaymentProperties::default()
        })
    }
}

/// What an account has asked for.
fn requested(snapshot: &Snapshot, account: &Account) -> Result<Option<u64>> {
    let Some(signed) = snapshot.get(Table::SpaceRequests, &account.id.to_key())? else { return Ok(None) };
    // it was verified before it was stored, maybe under an identity that has been replaced
    let (_, request) = signed
        .split_first_chunk::<{ peergos_crypto::signing::SIGNATURE_LEN }>()
        .ok_or(Error::Invalid("stored request for space"))?;
    Ok(Some(SpaceRequest::from_cbor(&Value::decode(request)?)?.bytes))
}
