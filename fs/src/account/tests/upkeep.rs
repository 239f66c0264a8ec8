//! What is done for an account while it is mounted, and what is kept of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use peergos_crypto::totp::Totp;
use peergos_net::{DiskCache, Ledger, Verified};

use super::{
    changes::{Home, NEW},
    watched::When,
    *,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    SystemTime::now()
}

/// The upkeep of a mount that began `ago`.
fn upkeep(home: &Home, account: &Account, factor: Option<Totp>, ago: Duration) -> Upkeep {
    Upkeep::new(home.client(), account.clone(), None, factor, false, now() - ago)
}

fn unreachable() -> NetError {
    NetError::Unreachable { server: "a server".into(), reason: "it is out of reach".into() }
}

/// How often `get_login` is called from now on.
fn logins(home: &Home) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    home.node.watch(move |call, when| {
        if call == "get_login" && when == When::Before {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    count
}

#[test]
fn a_login_is_tried_every_hour() {
    let (home, account) = Home::with_ada();
    let count = logins(&home);
    let tried = || count.load(Ordering::SeqCst);
    let mut upkeep = upkeep(&home, &account, None, Duration::from_secs(3590));
    upkeep.tend(now()).unwrap();
    assert_eq!(tried(), 0);
    upkeep.tend(now() + Duration::from_secs(11)).unwrap();
    upkeep.tend(now() + Duration::from_secs(100)).unwrap();
    assert_eq!(tried(), 1);

    // a server that does not answer says nothing about the login, and is asked again soon
    home.node.watch(|call, _| if call == "get_login" { Err(unreachable()) } else { Ok(()) });
    upkeep.login_due = Some(now());
    upkeep.tend(now()).unwrap();
    home.node.watch(|_, _| Ok(()));
    let changed = change_password(&home.client(), &account, NEW, now(), &mut |_: Step| {}).unwrap();
    let error = upkeep.tend(now() + Duration::from_secs(60)).unwrap_err();
    assert!(matches!(error, Error::Net(NetError::IncorrectLogin)), "{error}");
    // unless this device was told
    assert!(!upkeep.uses(&changed.keys));
    upkeep.renew(changed.keys.clone(), now());
    upkeep.tend(now()).unwrap();
}

#[test]
fn a_device_whose_factor_was_taken_back_has_to_go() {
    for with_app in [false, true] {
        let (home, account) = Home::with_ada();
        if with_app {
            factors::with_totp(&home, &account);
        }
        let remembered = Remembered::enrol(&*home.node, &account, "a device", now()).unwrap();
        let mut upkeep = upkeep(&home, &account, Some(remembered.factor.clone()), DAY);
        upkeep.tend(now()).unwrap();
        remembered.revoke(&*home.node, &account.identity, now()).unwrap();
        upkeep.tend(now()).unwrap();
        upkeep.login_due = Some(now());
        let error = upkeep.tend(now()).unwrap_err();
        assert!(matches!(error, Error::SecondFactorRefused), "{error}");
    }
}

#[test]
fn who_mounts_with_the_password_is_asked_for_no_code_later() {
    let (home, account) = Home::with_ada();
    factors::with_totp(&home, &account);
    let count = logins(&home);
    upkeep(&home, &account, None, DAY).tend(now()).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_claim_is_renewed_before_it_expires() {
    // on its own node, so that there is no login to try
    let (_hosted, node, account) = made("carol");
    let (home, began) = (account.claims.home().clone(), super::now());
    let expiry = || node.claims("carol").unwrap().unwrap().expiry();
    let first = expiry();
    let mut upkeep = Upkeep::new(node.clone(), account.clone(), Some(home.clone()), None, false, began);
    upkeep.tend(began + DAY).unwrap();
    assert_eq!(expiry(), first, "a month and more is left");
    for day in 2..=45 {
        upkeep.tend(began + day * DAY).unwrap();
    }
    assert!(expiry() > first);
}

#[test]
fn what_is_kept_opens_the_account_without_its_server() {
    let (home, account) = Home::with_ada();
    let dir = tempfile::tempdir().unwrap();
    let client = || {
        let verified = Verified::new(home.node.clone(), peergos_net::CacheSizes::default())
            .with_ledger(Ledger::open(&dir.path().join("ledger")).unwrap())
            .with_disk_cache(DiskCache::open(&dir.path().join("cache"), 1 << 30).unwrap());
        Arc::new(verified)
    };
    let opened = log_in(&client(), "ada", PASSWORD, None, now(), &mut |_: Step| {}).unwrap();
    let kept = opened.to_kept().unwrap();
    home.node.watch(|_, _| Err(unreachable()));
    let again = Account::from_kept(&client(), "ada", account.keys.clone(), &kept).unwrap();
    assert_eq!((&again.owner, &again.home, &again.mirror_bat), (&account.owner, &account.home, &account.mirror_bat));
    assert_eq!(again.home_signer.hash(), account.home_signer.hash());
    assert_eq!(again.identity.to_cbor(), account.identity.to_cbor());
    assert_eq!((&again.algorithm, again.claims), (&account.algorithm, opened.claims.clone()));

    let other = LoginKeys { root: SymmetricKey::generate().unwrap(), ..account.keys.clone() };
    let refused = Account::from_kept(&client(), "ada", other, &kept);
    assert!(matches!(refused, Err(Error::Net(NetError::IncorrectLogin))));
    for at in 0..kept.len() {
        let mut damaged = kept.clone();
        damaged[at] ^= 1;
        assert!(Account::from_kept(&client(), "ada", account.keys.clone(), &damaged).is_err(), "{at}");
        assert!(Account::from_kept(&client(), "ada", account.keys.clone(), &kept[..at]).is_err(), "cut to {at}");
    }
    // with nothing but the file there is nobody whom the name is known to belong to
    assert!(Account::from_kept(&home.client(), "ada", account.keys.clone(), &kept).is_err());
}
