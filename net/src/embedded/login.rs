//! Login data: ciphertexts that only a login key may fetch (spec 01 §6).
//!
//! A change of password needs no staging here: login data, block and pointer become durable in one step.

use std::collections::HashMap;

use parking_lot::Mutex;
use peergos_crypto::{
    cbor::Value,
    cid::Codec,
    signed_time,
    signing::{PublicSigningKey, SIGNATURE_LEN},
};

use super::{
    accounts::Account,
    clock,
    core::{Core, key_of},
    disk::Purpose,
    factors,
    store::{AccountId, Batch, Table},
    validate,
};
use crate::{
    Error, PointerWrite, Result,
    login::{BlockWrite, LoginData, LoginResponse},
    mfa::MfaResponse,
};

/// The most bytes of login data.
const MAX_LOGIN_DATA: usize = 16_384;
/// How many wrong answers to a second factor an account may have in [`ATTEMPTS_WINDOW`].
const MAX_ATTEMPTS: u32 = 20;
/// In seconds.
const ATTEMPTS_WINDOW: u64 = 60;

/// Recent answers to second factors by account: guessing codes must not be cheap.
#[derive(Default)]
pub(super) struct Attempts {
    /// When the window began, in seconds, and the answers since that are wrong or under way.
    failed: Mutex<HashMap<AccountId, (u64, u32)>>,
}

impl Attempts {
    /// Calls `attempt`, which counts unless it succeeds. It does from the beginning, so that attempts at the same time
    /// are not more than one after the other.
    ///
    /// # Errors
    /// [`Error::Refused`] if there were too many, and as `attempt`.
    fn limit(&self, account: AccountId, now: u64, attempt: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = self.begin(account, now)?;
        attempt()?;
        if let Some((since, count)) = self.failed.lock().get_mut(&account)
            && *since == began
        {
            *count -= 1;
        }
        Ok(())
    }

    /// Counts an attempt, and returns when its window began.
    fn begin(&self, account: AccountId, now: u64) -> Result<u64> {
        let mut failed = self.failed.lock();
        let (since, count) = failed.entry(account).or_insert((now, 0));
        if now >= since.saturating_add(ATTEMPTS_WINDOW) {
            (*since, *count) = (now, 0);
        }
        if *count >= MAX_ATTEMPTS {
            return Err(Error::Refused("Too many failed logins, please try again in a minute".into()));
        }
        *count += 1;
        Ok(*since)
    }
}

impl Core {
    /// See [`crate::Node::get_login`]. Nothing depends on second factors before the key is known to be right.
    ///
    /// Keys that are not the account's do not count against it, or anybody could keep its user out: a server limits who
    /// tries them.
    pub fn get_login(
        &self,
        username: &str,
        reader: &PublicSigningKey,
        auth: &[u8],
        mfa: Option<&[u8]>,
    ) -> Result<Vec<u8>> {
        // an unknown name looks like a wrong password
        let account = self.accounts.named(username).ok_or(Error::IncorrectLogin)?;
        signed_time::verify(reader, auth, self.clock.millis(), clock::LOGIN_WINDOW)?;
        let snapshot = self.kv.snapshot()?;
        let entry_points = snapshot.get(Table::Logins, &account.id.row(reader.as_bytes()))?;
        let entry_points = entry_points.ok_or(Error::IncorrectLogin)?;
        let request = match mfa {
            Some(answer) => {
                let answer = MfaResponse::from_cbor(&Value::decode(answer)?)?;
                let check = || self.check_answer(&account, &answer);
                self.attempts.limit(account.id, self.clock.seconds(), check)?;
                None
            }
            None => factors::request(&snapshot, account.id)?,
        };
        let response = match request {
            None => LoginResponse::EntryPoints(Value::decode(&entry_points)?),
            Some(request) => LoginResponse::SecondFactor(request),
        };
        Ok(response.to_cbor().encode())
    }

    /// See [`crate::Node::set_login`].
    pub fn set_login(&self, username: &str, data: &[u8], auth: &[u8; SIGNATURE_LEN]) -> Result<()> {
        if data.len() > MAX_LOGIN_DATA {
            return Err(Error::Refused(format!("Input exceeds maximum size of {MAX_LOGIN_DATA} bytes")));
        }
        let commits = self.commits.lock();
        let account = self.accounts.require(username)?;
        key_of(account.identity())?.verify(auth, data)?;
        let login = LoginData::from_cbor(&Value::decode(data)?)?;
        if login.username != username {
            return Err(Error::Refused("Invalid login data!".into()));
        }
        let mut batch = Batch::default();
        for (reader, _) in self.kv.snapshot()?.rows(Table::Logins, &account.id.to_key())? {
            batch.delete(Table::Logins, account.id.row(&reader));
        }
        save(&mut batch, account.id, &login);
        let Some((block, pointer)) = &login.identity_update else {
            return self.commit(batch, &commits);
        };
        let mut view = self.view(&account);
        check_update(&account, block, pointer)?;
        view.add(block.block.block.clone());
        view.set(pointer)?;
        let size = block.block.block.data().len() as u64;
        let _room = self.disk.room(Purpose::Structure, size)?;
        self.admit(&account, account.identity(), size, Purpose::Structure)?;
        self.store.put(account.id, &view.added())?;
        self.conclude(&account, &view, batch, &commits)
    }
}

/// Both halves of a change of password must be the identity's own (spec 02 §13.3).
fn check_update(account: &Account, block: &BlockWrite, pointer: &PointerWrite) -> Result<()> {
    if block.writer != *account.identity() || pointer.writer != *account.identity() {
        return Err(Error::Refused("Invalid login data!".into()));
    }
    validate::block(Codec::DagCbor, &block.block.block)?;
    block.verify()
}

/// Adds login data to `batch`.
pub(super) fn save(batch: &mut Batch, account: AccountId, login: &LoginData) {
    batch.put(Table::Logins, account.row(login.reader.as_bytes()), login.entry_points.encode());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_forgotten_after_a_while() {
        let (attempts, account, now) = (Attempts::default(), AccountId(1), 1000);
        let right = |account, now| attempts.limit(account, now, || Ok(()));
        for _ in 0..MAX_ATTEMPTS {
            right(account, now).unwrap();
            attempts.limit(account, now, || Err(Error::IncorrectLogin)).unwrap_err();
        }
        assert!(right(account, now + ATTEMPTS_WINDOW - 1).is_err());
        right(AccountId(2), now).unwrap();
        for _ in 0..=MAX_ATTEMPTS {
            right(account, now + ATTEMPTS_WINDOW).unwrap();
        }
    }

    #[test]
    fn attempts_count_while_they_are_under_way() {
        let (attempts, account, now) = (Attempts::default(), AccountId(1), 1000);
        for _ in 1..MAX_ATTEMPTS {
            attempts.begin(account, now).unwrap();
        }
        let beside = || {
            assert!(attempts.begin(account, now).is_err());
            // one that outlives its window takes nothing from the next
            attempts.begin(account, now + ATTEMPTS_WINDOW).map(drop)
        };
        attempts.limit(account, now, beside).unwrap();
        assert_eq!(attempts.failed.lock()[&account], (now + ATTEMPTS_WINDOW, 1));
    }
}
