//! Second factors: setting them up, asking for them, and checking what they answer (spec 01 §7, 02 §14).

use parking_lot::MutexGuard;
use peergos_crypto::{cbor::Value, cbor_map, multibase, random, signed_request, totp::Totp};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    accounts::Account,
    clock,
    core::{Core, key_of},
    store::{AccountId, Batch, Snapshot, Table},
};
use crate::{
    Error, Result,
    archive::SecondFactor,
    mfa::{BackupCodes, FactorKind, MAX_NAME, MfaAnswer, MfaMethod, MfaRequest, MfaResponse, normalise_backup_code},
};

const WHAT: &str = "second factor";
/// The most factors of an account.
const MAX_FACTORS: usize = 10;
/// How many backup codes there are in a set, and the characters of each.
const BACKUP_CODES: usize = 10;
const BACKUP_CODE_LEN: usize = 10;

/// A factor with the key of its row.
type Row = (Vec<u8>, SecondFactor);

impl Core {
    /// See [`crate::Node::list_factors`]. What was not confirmed or is used up is not shown.
    pub fn list_factors(&self, username: &str, auth: &[u8]) -> Result<Vec<MfaMethod>> {
        let account = self.owned_by(username, auth, "listMfa")?;
        let rows = rows(&self.kv.snapshot()?, account.id)?;
        Ok(rows.iter().map(|(_, factor)| factor).filter(|factor| factor.enabled).filter_map(shown).collect())
    }

    /// See [`crate::Node::add_totp`] and [`crate::Node::add_mount_factor`]. Earlier ones that were never confirmed go.
    pub fn add_code_factor(&self, username: &str, kind: FactorKind, name: &str, auth: &[u8]) -> Result<Totp> {
        let commits = self.commits.lock();
        let account = self.owned_by(username, auth, if kind == FactorKind::Totp { "addTotp" } else { "addMount" })?;
        if name.encode_utf16().count() > MAX_NAME {
            return Err(refused("Second factor names must be smaller than 33 characters"));
        }
        let mut batch = Batch::default();
        let (abandoned, kept): (Vec<Row>, _) = rows(&self.kv.snapshot()?, account.id)?
            .into_iter()
            .partition(|(_, factor)| factor.kind == kind.number() && !factor.enabled);
        abandoned.iter().for_each(|(key, _)| remove(&mut batch, account.id, key));
        let credential = Totp::generate()?;
        let factor = SecondFactor {
            name: name.to_owned(),
            id: credential.credential_id.to_vec(),
            kind: kind.number(),
            enabled: false,
            created: self.today(),
            value: credential.key().to_vec(),
        };
        insert(&mut batch, account.id, &kept, &factor)?;
        self.commit(batch, &commits)?;
        Ok(credential)
    }

    /// See [`crate::Node::enable_totp`] and [`crate::Node::enable_mount_factor`].
    pub fn enable_code_factor(
        &self,
        username: &str,
        kind: FactorKind,
        id: &[u8],
        code: &str,
        auth: &[u8],
    ) -> Result<()> {
        let commits = self.commits.lock();
        let path = if kind == FactorKind::Totp { "enableTotp" } else { "enableMount" };
        let account = self.owned_by(username, auth, path)?;
        let rows = rows(&self.kv.snapshot()?, account.id)?;
        let (key, factor) = find(&rows, username, id)?;
        if factor.kind != kind.number() {
            let what = if kind == FactorKind::Totp { "TOTP" } else { "mount" };
            return Err(refused(format!("Second factor {} is not a {what}!", multibase::hex(id))));
        }
        check_code(factor, code, self.clock.seconds())?;
        let mut batch = Batch::default();
        save(&mut batch, account.id, key, &SecondFactor { enabled: true, ..factor.clone() });
        if kind == FactorKind::Totp {
            // there is one authenticator app
            let others = rows.iter().filter(|(_, other)| other.kind == kind.number() && other.id != id);
            others.for_each(|(key, _)| remove(&mut batch, account.id, key));
        }
        self.commit(batch, &commits)
    }

    /// See [`crate::Node::generate_backup_codes`].
    pub fn generate_backup_codes(&self, username: &str, auth: &[u8]) -> Result<BackupCodes> {
        let commits = self.commits.lock();
        let account = self.owned_by(username, auth, "genBackupCodes")?;
        let (before, kept): (Vec<Row>, Vec<Row>) = rows(&self.kv.snapshot()?, account.id)?
            .into_iter()
            .partition(|(_, factor)| factor.kind == FactorKind::BackupCodes.number());
        if !kept.iter().any(|(_, factor)| challenges(factor)) {
            return Err(refused("Please set up an authenticator app or security key before generating backup codes."));
        }
        let mut batch = Batch::default();
        before.iter().for_each(|(key, _)| remove(&mut batch, account.id, key));
        let codes = BackupCodes {
            id: random::bytes::<32>()?.to_vec(),
            codes: (0..BACKUP_CODES).map(|_| backup_code()).collect::<Result<_>>()?,
        };
        let hashes: Vec<Vec<u8>> = codes.codes.iter().map(|code| Sha256::digest(code.as_bytes()).to_vec()).collect();
        let factor = SecondFactor {
            name: BACKUP_CODES.to_string(),
            id: codes.id.clone(),
            kind: FactorKind::BackupCodes.number(),
            enabled: true,
            created: self.today(),
            value: hashes_to_cbor(&hashes),
        };
        insert(&mut batch, account.id, &kept, &factor)?;
        self.commit(batch, &commits)?;
        Ok(codes)
    }

    /// See [`crate::Node::delete_factor`]. Backup codes are no use without what they stand in for.
    pub fn delete_factor(&self, username: &str, id: &[u8], auth: &[u8]) -> Result<()> {
        let commits = self.commits.lock();
        let account = self.owned_by(username, auth, "deleteMfa")?;
        let rows = rows(&self.kv.snapshot()?, account.id)?;
        let mut batch = Batch::default();
        remove(&mut batch, account.id, &find(&rows, username, id)?.0);
        if !rows.iter().any(|(_, factor)| factor.id != id && challenges(factor)) {
            let codes = rows.iter().filter(|(_, factor)| factor.kind == FactorKind::BackupCodes.number());
            codes.for_each(|(key, _)| remove(&mut batch, account.id, key));
        }
        self.commit(batch, &commits)
    }

    /// Checks the answer to a challenge, or one that was given without asking. A backup code is used up.
    ///
    /// # Errors
    /// [`Error::Refused`] in the reference's words.
    pub fn check_answer(&self, account: &Account, response: &MfaResponse) -> Result<()> {
        let commits = self.commits.lock();
        let rows = rows(&self.kv.snapshot()?, account.id)?;
        let (key, factor) = find(&rows, account.username(), &response.id)?;
        if !factor.enabled {
            return Err(unknown(account.username()));
        }
        match (FactorKind::from_number(factor.kind), &response.answer) {
            (Some(FactorKind::Totp | FactorKind::Mount), MfaAnswer::Code(code)) => {
                check_code(factor, code, self.clock.seconds())
            }
            (Some(FactorKind::BackupCodes), MfaAnswer::Code(code)) => {
                self.use_backup_code(account.id, key, factor, code, &commits)
            }
            (Some(FactorKind::WebAuthn), MfaAnswer::WebAuthn { .. }) => {
                Err(refused("This server cannot check security keys"))
            }
            (_, MfaAnswer::Code(_)) => Err(refused("Not a code based credential!")),
            (_, MfaAnswer::WebAuthn { .. }) => Err(refused("Not a webauthn credential!")),
        }
    }

    fn use_backup_code(
        &self,
        account: AccountId,
        key: &[u8],
        factor: &SecondFactor,
        code: &str,
        commits: &MutexGuard<'_, ()>,
    ) -> Result<()> {
        let typed = Sha256::digest(normalise_backup_code(code).as_bytes());
        let mut hashes = hashes_from_cbor(&factor.value)?;
        let before = hashes.len();
        // comparing hashes tells nothing about the codes
        hashes.retain(|hash| **hash != *typed);
        if hashes.len() == before {
            return Err(refused(format!("Invalid backup code for credId {}", multibase::hex(&factor.id))));
        }
        let left = SecondFactor { name: hashes.len().to_string(), value: hashes_to_cbor(&hashes), ..factor.clone() };
        let mut batch = Batch::default();
        save(&mut batch, account, key, &left);
        self.commit(batch, commits)
    }

    /// The account, if its identity has signed a request for this call.
    fn owned_by(&self, username: &str, auth: &[u8], method: &str) -> Result<std::sync::Arc<Account>> {
        let account = self.accounts.require(username)?;
        let path = format!("peergos/v0/login/{method}");
        signed_request::verify(&key_of(account.identity())?, auth, &path, self.clock.millis(), clock::LOGIN_WINDOW)?;
        Ok(account)
    }

    /// Today, counted from 1970-01-01.
    fn today(&self) -> i64 {
        self.clock.millis().div_euclid(86_400_000)
    }
}

/// What to ask for before entry points are given out; none if the account has no factor that challenges.
pub(super) fn request(snapshot: &Snapshot, account: AccountId) -> Result<Option<Value>> {
    let rows = rows(snapshot, account)?;
    if !rows.iter().any(|(_, factor)| challenges(factor)) {
        return Ok(None);
    }
    let offered = rows.iter().map(|(_, factor)| factor).filter(|factor| factor.enabled).filter_map(shown);
    let methods = offered.filter(|method| method.kind != FactorKind::Mount).collect();
    Ok(Some(MfaRequest { challenge: random::bytes()?, methods }.to_cbor()))
}

/// Whether a login has to answer if there is such a factor.
fn challenges(factor: &SecondFactor) -> bool {
    let kind = FactorKind::from_number(factor.kind);
    factor.enabled && matches!(kind, Some(FactorKind::Totp | FactorKind::WebAuthn))
}

/// A factor as its owner sees it; none if nothing can be done with it.
fn shown(factor: &SecondFactor) -> Option<MfaMethod> {
    let kind = FactorKind::from_number(factor.kind)?;
    if kind == FactorKind::BackupCodes && hashes_from_cbor(&factor.value).is_ok_and(|hashes| hashes.is_empty()) {
        return None;
    }
    Some(MfaMethod {
        kind,
        id: factor.id.clone(),
        name: factor.name.clone(),
        enabled: factor.enabled,
        created: factor.created,
    })
}

fn check_code(factor: &SecondFactor, code: &str, unix_seconds: u64) -> Result<()> {
    let key = factor.value.as_slice().try_into().map_err(|_| Error::Invalid(WHAT))?;
    // the id is not part of the code
    if Totp::new([0; 32], key).verify(code, unix_seconds) {
        return Ok(());
    }
    Err(refused(format!("Invalid TOTP code for credId {}", multibase::hex(&factor.id))))
}

fn backup_code() -> Result<Zeroizing<String>> {
    let bytes: Zeroizing<[u8; 7]> = Zeroizing::new(random::bytes()?);
    let text = Zeroizing::new(multibase::base32_upper(&*bytes));
    Ok(Zeroizing::new(text.chars().take(BACKUP_CODE_LEN).map(|c| c.to_ascii_lowercase()).collect()))
}

fn hashes_to_cbor(hashes: &[Vec<u8>]) -> Vec<u8> {
    cbor_map! { "h" => hashes.iter().map(|hash| hash.as_slice().into()).collect::<Vec<Value>>() }.encode()
}

fn hashes_from_cbor(value: &[u8]) -> Result<Vec<Vec<u8>>> {
    let value = Value::decode(value)?;
    let hashes = value.as_map(WHAT)?.require("h", WHAT)?.as_array(WHAT)?;
    hashes.iter().map(|hash| Ok(hash.as_bytes(WHAT)?.to_vec())).collect()
}

fn find<'a>(rows: &'a [Row], username: &str, id: &[u8]) -> Result<&'a Row> {
    rows.iter().find(|(_, factor)| factor.id == id).ok_or_else(|| unknown(username))
}

fn unknown(username: &str) -> Error {
    refused(format!("Unknown credential id for user {username}"))
}

fn refused(text: impl Into<String>) -> Error {
    Error::Refused(text.into())
}

/// All factors of an account.
pub(super) fn rows(snapshot: &Snapshot, account: AccountId) -> Result<Vec<Row>> {
    let rows = snapshot.rows(Table::Factors, &account.to_key())?;
    rows.into_iter().map(|(key, row)| Ok((key, from_row(&row)?))).collect()
}

fn from_row(row: &[u8]) -> Result<SecondFactor> {
    let row = Value::decode(row)?;
    let row = row.as_map(WHAT)?;
    Ok(SecondFactor {
        name: row.require("n", WHAT)?.as_text(WHAT)?.to_owned(),
        id: row.require("i", WHAT)?.as_bytes(WHAT)?.to_vec(),
        kind: row.require("t", WHAT)?.as_int(WHAT)?,
        enabled: row.require("e", WHAT)?.as_bool(WHAT)?,
        created: row.require("c", WHAT)?.as_int(WHAT)?,
        value: row.require("v", WHAT)?.as_bytes(WHAT)?.to_vec(),
    })
}

/// Adds a factor's row to `batch`; `key` is its number.
pub(super) fn save(batch: &mut Batch, account: AccountId, key: &[u8], factor: &SecondFactor) {
    let row = cbor_map! {
        "c" => factor.created, "e" => factor.enabled, "i" => factor.id.as_slice(), "n" => factor.name.as_str(),
        "t" => factor.kind, "v" => factor.value.as_slice(),
    };
    batch.put(Table::Factors, account.row(key), row.encode());
}

/// Adds a new factor to `batch`, after those that are `kept`.
fn insert(batch: &mut Batch, account: AccountId, kept: &[Row], factor: &SecondFactor) -> Result<()> {
    if kept.len() >= MAX_FACTORS {
        return Err(refused("Too many multi factor auth methods. Please delete some."));
    }
    let last = kept.last().and_then(|(key, _)| Some(u32::from_be_bytes(key.as_slice().try_into().ok()?)));
    save(batch, account, &last.map_or(0, |last| last + 1).to_be_bytes(), factor);
    Ok(())
}

fn remove(batch: &mut Batch, account: AccountId, key: &[u8]) {
    batch.delete(Table::Factors, account.row(key));
}
