//! From a name and a password to an account (spec 01 §6).
//!
//! What costs time is overlapped: the derivation with the search for the account, if its costs are known from before;
//! once there are keys, at most four calls follow one another.

use std::{sync::Arc, thread, time::SystemTime};

use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    password::{self, Algorithm, LoginKeys},
    signed_request, signed_time,
    signing::{KeyHash, SecretSigningKey},
    symmetric::CipherText,
    totp::Totp,
};
use peergos_net::{
    Error as NetError, Verified,
    login::LoginResponse,
    mfa::{MfaMethod, MfaRequest, MfaResponse},
    owned,
};
use zeroize::Zeroizing;

use super::{
    ADD_BAT, Account, EntryPoints, GET_USER_BATS, Person, Remembered, Step, millis, new_mirror_bat,
    person::{answer, codes, refused},
    place::{Place, writer_data},
    since_epoch,
};
use crate::{
    Error, Result,
    capability::Capability,
    cryptree::{self, Node as CryptreeNode},
};

/// How often a person may mistype a code.
const ATTEMPTS: usize = 3;

/// Opens the account `username`, whichever way it was made. `expected` is what [`Account::algorithm`] was the last time:
/// if it still is, the keys are derived while the account is looked for.
///
/// # Errors
/// [`Error::Net`] with [`peergos_net::Error::IncorrectLogin`] for a wrong password, [`Error::UnknownUser`],
/// [`Error::AccountDeleted`], [`Error::SecondFactorNeeded`] or [`Error::SecondFactorRefused`], [`Error::Damaged`] if
/// what the password opens is not this account's.
pub fn log_in(
    node: &Arc<Verified>,
    username: &str,
    password: &str,
    expected: Option<&Algorithm>,
    now: SystemTime,
    person: &mut dyn Person,
) -> Result<Account> {
    let mut code_was_typed = false;
    let mut person = Noticing { person, code_was_typed: &mut code_was_typed };
    let Opened { place, keys, points } = Opened::with_password(node, username, password, expected, now, &mut person)?;
    let owner = place.owner().clone();
    let account = finish(node, username, &owner, keys, points, || Ok(place), now)?;
    Ok(Account { code_was_typed, ..account })
}

/// An account that its password has opened.
pub(super) struct Opened {
    pub place: Place,
    pub keys: LoginKeys,
    /// With identity and boxing key.
    pub points: EntryPoints,
}

impl Opened {
    /// See [`log_in`].
    pub fn with_password(
        node: &Verified,
        username: &str,
        password: &str,
        expected: Option<&Algorithm>,
        now: SystemTime,
        person: &mut dyn Person,
    ) -> Result<Self> {
        person.wait_for(if expected.is_some() { Step::DerivingKeys } else { Step::Asking });
        let derive = |algorithm: &Algorithm| password::derive(username, password, algorithm);
        let (place, early) = thread::scope(|scope| {
            let early = expected.map(|algorithm| scope.spawn(move || derive(algorithm)));
            (Place::find(node, username), early.map(join))
        });
        let place = place?;
        let algorithm = place.algorithm()?;
        let keys = match early {
            Some(keys) if expected == Some(&algorithm) => keys?,
            _ => {
                person.wait_for(Step::DerivingKeys);
                derive(&algorithm)?
            }
        };
        tracing::debug!("the keys are derived");
        person.wait_for(Step::Asking);
        let points = match &place.data.static_data {
            // A legacy account's login key is its identity: whether the password fits shows here.
            Some(_) if keys.signing.hash() != place.owner() => return Err(NetError::IncorrectLogin.into()),
            Some(sealed) => {
                let points = open(sealed, &keys)?;
                EntryPoints {
                    identity: points.identity.or_else(|| Some(keys.signing.clone())),
                    boxing: points.boxing.or_else(|| keys.legacy_boxing.clone()),
                    ..points
                }
            }
            None => open(&login_blob(node, username, &keys.signing, None, now, person)?, &keys)?,
        };
        Ok(Self { place, keys, points })
    }
}

/// Opens an account with keys that were derived before, and this device's own second factor.
///
/// # Errors
/// As [`log_in`], and [`Error::SecondFactorRefused`] if the factor was revoked.
pub fn log_in_again(
    node: &Arc<Verified>,
    remembered: &Remembered,
    now: SystemTime,
    person: &mut dyn Person,
) -> Result<Account> {
    let Remembered { username, owner, keys, factor } = remembered;
    person.wait_for(Step::Asking);
    thread::scope(|scope| {
        let place = scope.spawn(|| Place::of_owner(node, username, owner));
        let points = login_blob(node, username, &keys.signing, Some(factor), now, person).and_then(|b| open(&b, keys));
        finish(node, username, owner, keys.clone(), points?, || join(place), now)
    })
}

/// Fetches what an account needs besides its entry points, side by side with `place`.
fn finish(
    node: &Verified,
    username: &str,
    owner: &KeyHash,
    keys: LoginKeys,
    points: EntryPoints,
    place: impl FnOnce() -> Result<Place>,
    now: SystemTime,
) -> Result<Account> {
    let identity = identity(&points, owner)?;
    let home = home(&points, username, owner)?;
    let boxing = points.boxing.clone().ok_or(Error::Damaged("entry points without keys"))?;
    let (place, home_signer, mirror_bat) = thread::scope(|scope| {
        let mirror_bat = scope.spawn(|| mirror_bat(node, username, &identity, now));
        let signer = scope.spawn(|| home_signer(node, &home));
        let place = place()?;
        check_owned(node, &place, &home.writer)?;
        Ok::<_, Error>((place, join(signer)?, join(mirror_bat)?))
    })?;
    Ok(Account {
        username: username.to_owned(),
        owner: owner.clone(),
        is_legacy: place.is_legacy(),
        algorithm: place.algorithm()?,
        claims: place.claims,
        identity,
        home,
        home_signer,
        mirror_bat: Some(mirror_bat),
        boxing,
        keys,
        code_was_typed: false,
        points,
    })
}

/// A person who is watched for whether they typed a code.
struct Noticing<'a> {
    person: &'a mut dyn Person,
    code_was_typed: &'a mut bool,
}

impl Person for Noticing<'_> {
    fn wait_for(&mut self, step: Step) {
        self.person.wait_for(step);
    }

    fn code(&mut self, offered: &[MfaMethod]) -> Option<Zeroizing<String>> {
        *self.code_was_typed = true;
        self.person.code(offered)
    }
}

/// Tries whether an account still opens to the keys that it was opened with, asking nobody for codes.
///
/// # Errors
/// As [`log_in_again`].
pub(super) fn try_keys(node: &Verified, account: &Account, factor: Option<&Totp>, now: SystemTime) -> Result<()> {
    let place = Place::of_owner(node, &account.username, &account.owner)?;
    let sealed = match place.data.static_data {
        Some(sealed) => sealed,
        None => match login_blob(node, &account.username, &account.keys.signing, factor, now, &mut |_: Step| {}) {
            // the server asks only those for a code who know the password
            Err(Error::SecondFactorNeeded) => return Ok(()),
            sealed => sealed?,
        },
    };
    open(&sealed, &account.keys).map(drop)
}

/// The identity that entry points hold, which must be the account's.
pub(super) fn identity(points: &EntryPoints, owner: &KeyHash) -> Result<SecretSigningKey> {
    match &points.identity {
        Some(identity) if identity.hash() == owner => Ok(identity.clone()),
        Some(_) => Err(Error::Damaged("entry points of another identity")),
        None => Err(Error::Damaged("entry points without keys")),
    }
}

/// The home directory that entry points hold.
pub(super) fn home(points: &EntryPoints, username: &str, owner: &KeyHash) -> Result<Capability> {
    points.home(username, owner).ok_or(Error::Damaged("entry points without a home"))
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn open(sealed: &Value, keys: &LoginKeys) -> Result<EntryPoints> {
    match EntryPoints::open(&CipherText::from_cbor(sealed)?, &keys.root) {
        Err(peergos_crypto::Error::Decryption) => Err(NetError::IncorrectLogin.into()),
        other => Ok(other?),
    }
}

/// The encrypted entry points, for which the server may want a second factor.
fn login_blob(
    node: &Verified,
    username: &str,
    login: &SecretSigningKey,
    factor: Option<&Totp>,
    now: SystemTime,
    person: &mut dyn Person,
) -> Result<Value> {
    let ask = |answer: Option<&MfaResponse>| -> Result<LoginResponse> {
        let auth = signed_time::sign(login, millis(now));
        let answer = answer.map(|answer| answer.to_cbor().encode());
        let response = node.node().get_login(username, &login.public(), &auth, answer.as_deref());
        Ok(LoginResponse::from_cbor(&Value::decode(&response.map_err(refused)?)?)?)
    };
    let request = match factor {
        Some(factor) => {
            for code in codes(factor, since_epoch(now).as_secs()) {
                match ask(Some(&MfaResponse::code(&factor.credential_id, &code))) {
                    Err(Error::SecondFactorRefused) => {}
                    Ok(LoginResponse::EntryPoints(sealed)) => return Ok(sealed),
                    Ok(LoginResponse::SecondFactor(_)) => break,
                    Err(error) => return Err(error),
                }
            }
            return Err(Error::SecondFactorRefused);
        }
        None => match ask(None)? {
            LoginResponse::EntryPoints(sealed) => return Ok(sealed),
            LoginResponse::SecondFactor(request) => MfaRequest::from_cbor(&request)?,
        },
    };
    for _ in 0..ATTEMPTS {
        let code = person.code(&request.methods).ok_or(Error::SecondFactorNeeded)?;
        person.wait_for(Step::Asking);
        match answer(&request.methods, &code).and_then(|answer| ask(Some(&answer))) {
            Ok(LoginResponse::EntryPoints(sealed)) => return Ok(sealed),
            Ok(LoginResponse::SecondFactor(_)) | Err(Error::SecondFactorRefused) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::SecondFactorRefused)
}

/// Checks that the home's writing space is the account's: entry points are data like any other.
fn check_owned(node: &Verified, place: &Place, writer: &KeyHash) -> Result<()> {
    let owner = place.owner();
    let source = node.of(owner);
    // nearly always the identity itself owns it; very old accounts have everything in its own space
    let owns = writer == owner
        || owned::proof(&source, owner, &place.data, writer)?.is_some()
        || owned::walk(&source, owner).any(|key| key.is_ok_and(|key| key.writer == *writer));
    if owns { Ok(()) } else { Err(Error::Damaged("home in a writing space that the account does not own")) }
}

/// The key of the home's writing space, which the home's first node holds.
pub(super) fn home_signer(node: &Verified, home: &Capability) -> Result<SecretSigningKey> {
    let write = home.write.as_ref().ok_or(Error::Damaged("home that cannot be written"))?;
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
