//! Follow requests: letters that anybody may leave, and that only their receiver can read (spec 02 §16).

use peergos_crypto::{cbor::Value, signed_time, signing::KeyHash};

use super::{
    clock,
    core::{Core, key_of},
    store::{Batch, Table},
};
use crate::{Error, Result};

/// The most bytes of a request.
const MAX_REQUEST: usize = 4096;
/// How many may be pending when another one comes.
const MAX_PENDING: usize = 100;

impl Core {
    /// See [`crate::Node::send_follow_request`].
    pub fn send_follow_request(&self, target: &KeyHash, request: &[u8]) -> Result<bool> {
        const WHAT: &str = "follow request";
        if request.len() > MAX_REQUEST {
            return Err(Error::Refused(format!("Input exceeds maximum size of {MAX_REQUEST} bytes")));
        }
        // it is sent on as part of a list, and must come out of that as it went in
        let value = Value::decode_canonical(request)?;
        let map = value.as_map(WHAT)?;
        map.require("f", WHAT).and_then(|_| map.require("k", WHAT))?;
        let commits = self.commits.lock();
        let account = self.accounts.of(target)?;
        let pending = self.kv.snapshot()?.rows(Table::FollowRequests, &account.id.to_key())?;
        if pending.iter().any(|(_, known)| known == request) {
            return Ok(true);
        }
        if pending.len() > MAX_PENDING {
            return Ok(false);
        }
        let last = pending.last().and_then(|(key, _)| Some(u32::from_be_bytes(key.as_slice().try_into().ok()?)));
        let number = last.map_or(0, |last| last + 1);
        let mut batch = Batch::default();
        batch.put(Table::FollowRequests, account.id.row(&number.to_be_bytes()), request);
        self.commit(batch, &commits)?;
        Ok(true)
    }

    /// See [`crate::Node::follow_requests`].
    pub fn follow_requests(&self, owner: &KeyHash, auth: &[u8]) -> Result<Vec<Vec<u8>>> {
        let account = self.accounts.of(owner)?;
        signed_time::verify(&key_of(account.identity())?, auth, self.clock.millis(), clock::WINDOW)?;
        let pending = self.kv.snapshot()?.rows(Table::FollowRequests, &account.id.to_key())?;
        Ok(pending.into_iter().map(|(_, request)| request).collect())
    }

    /// See [`crate::Node::remove_follow_request`].
    pub fn remove_follow_request(&self, owner: &KeyHash, signed: &[u8]) -> Result<bool> {
        let commits = self.commits.lock();
        let account = self.accounts.of(owner)?;
        let key = key_of(account.identity())?;
        let request = key.open(signed)?;
        let pending = self.kv.snapshot()?.rows(Table::FollowRequests, &account.id.to_key())?;
        let Some((number, _)) = pending.iter().find(|(_, known)| known == request) else { return Ok(false) };
        let mut batch = Batch::default();
        batch.delete(Table::FollowRequests, account.id.row(number));
        self.commit(batch, &commits)?;
        Ok(true)
    }
}
