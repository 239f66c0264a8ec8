//! Second factors at login, and logins that a device remembers, on a real node.

use peergos_crypto::totp::Totp;
use peergos_net::{Node as _, mfa::MfaMethod};
use zeroize::Zeroizing;

use super::{
    changes::{Home, NEW},
    watched::{Rounds, When},
    *,
};

/// A person with codes to type, who counts the questions.
struct Typist {
    codes: Vec<String>,
    asked: usize,
}

impl Person for Typist {
    fn wait_for(&mut self, _: Step) {}

    fn code(&mut self, offered: &[MfaMethod]) -> Option<Zeroizing<String>> {
        assert!(!offered.is_empty());
        self.asked += 1;
        self.codes.pop().map(Zeroizing::new)
    }
}

/// What comes of a login in which `codes` are typed, and how often it asks.
fn typing(home: &Home, codes: &[&str]) -> (Result<Account>, usize) {
    let mut person = Typist { codes: codes.iter().rev().map(|code| (*code).to_owned()).collect(), asked: 0 };
    let result = log_in(&home.client(), "ada", PASSWORD, None, SystemTime::now(), &mut person);
    (result, person.asked)
}

fn auth(account: &Account, method: &str) -> Vec<u8> {
    let path = format!("peergos/v0/login/{method}");
    peergos_crypto::signed_request::sign(&account.identity, &path, millis(SystemTime::now()))
}

fn code(factor: &Totp) -> String {
    factor.code(since_epoch(SystemTime::now()).as_secs())
}

pub fn with_totp(home: &Home, account: &Account) -> Totp {
    let factor = home.node.add_totp("ada", &auth(account, "addTotp")).unwrap();
    let enable = auth(account, "enableTotp");
    home.node.enable_totp("ada", &factor.credential_id, &code(&factor), &enable).unwrap();
    factor
}

#[test]
fn codes_are_asked_for() {
    let (home, account) = Home::with_ada();
    let factor = with_totp(&home, &account);
    assert!(matches!(home.open("ada", PASSWORD), Err(Error::SecondFactorNeeded)));
    let (opened, asked) = typing(&home, &[&code(&factor)]);
    assert_eq!((opened.unwrap().owner, asked), (account.owner.clone(), 1));

    let never = |code: &str| if code == "000000" { "000001" } else { "000000" };
    let wrong = never(&code(&factor));
    let (opened, asked) = typing(&home, &[wrong, "no such code", &code(&factor)]);
    assert!(opened.is_ok() && asked == 3);
    let (opened, asked) = typing(&home, &[wrong; 5]);
    assert!(matches!(opened, Err(Error::SecondFactorRefused)) && asked == 3, "{opened:?}");

    let codes = home.node.generate_backup_codes("ada", &auth(&account, "genBackupCodes")).unwrap();
    let typed = format!(" {}-{}", codes.codes[0][..5].to_uppercase(), &codes.codes[0][5..]);
    assert!(typing(&home, &[&typed]).0.is_ok());
    assert!(
        matches!(typing(&home, &[&typed]).0, Err(Error::SecondFactorNeeded)),
        "a backup code is good for one login"
    );
    assert!(matches!(
        log_in(&home.client(), "ada", NEW, None, SystemTime::now(), &mut Typist { codes: Vec::new(), asked: 0 }),
        Err(Error::Net(NetError::IncorrectLogin))
    ));
}

#[test]
fn a_device_remembers_a_login() {
    let (home, account) = Home::with_ada();
    with_totp(&home, &account);
    let now = SystemTime::now;
    let remembered = Remembered::enrol(&*home.node, &account, "a device", now()).unwrap();
    let remembered = Remembered::from_text(&remembered.to_text()).unwrap();
    let open = |remembered: &Remembered| log_in_again(&home.client(), remembered, now(), &mut |_: Step| {});

    // no password, no code, four rounds
    let rounds: [&[&str]; 4] = [
        &["get_chain", "get_pointer", "get_login"],
        &["get_block", "get_pointer", "get_user_bats"],
        &["get_block", "get_block"],
        &["get_block", "champ_get"],
    ];
    let rounds = Arc::new(Rounds::new(&rounds));
    home.node.watch({
        let rounds = Arc::clone(&rounds);
        move |call, when| if when == When::Before { rounds.call(call) } else { Ok(()) }
    });
    let opened = open(&remembered).unwrap();
    assert_eq!(rounds.left(), 0);
    home.node.watch(|_, _| Ok(()));
    assert_eq!((&opened.owner, &opened.home), (&account.owner, &account.home));

    // a clock that is half a minute ahead is tried with its neighbours' codes, and no further
    for (off, opens) in [(30, true), (300, false)] {
        let opened = log_in_again(&home.client(), &remembered, now() + Duration::from_secs(off), &mut |_: Step| {});
        assert_eq!(opened.is_ok(), opens, "{off} s");
    }

    // another password makes it worthless, until it is renewed
    let changed = change_password(&home.client(), &opened, NEW, now(), &mut |_: Step| {}).unwrap();
    assert!(matches!(open(&remembered), Err(Error::Net(NetError::IncorrectLogin))));
    let remembered = remembered.renewed(&changed);
    let opened = open(&remembered).unwrap();

    // and so does taking back its second factor
    remembered.revoke(&*home.node, &opened.identity, now()).unwrap();
    assert!(matches!(open(&remembered), Err(Error::SecondFactorRefused)));
}

#[test]
fn damaged_memories_are_refused() {
    let (home, account) = Home::with_ada();
    let remembered = Remembered::enrol(&*home.node, &account, "a device", SystemTime::now()).unwrap();
    let text = remembered.to_text();
    assert!(!format!("{remembered:?} {account:?}").contains(&text[40..80]));
    for at in 0..text.len() {
        assert!(Remembered::from_text(&text[..at]).is_err(), "cut to {at}");
    }
    for text in ["", "ada", "a0", "f6"] {
        assert!(Remembered::from_text(text).is_err(), "{text}");
    }
    let legacy = Account { is_legacy: true, ..account };
    let refused = Remembered::enrol(&*home.node, &legacy, "a device", SystemTime::now());
    assert!(matches!(refused, Err(Error::LegacyAccount)));
}
