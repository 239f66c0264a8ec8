//! A real node whose calls a test watches, holds up or breaks.

use std::{io, time::Duration};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey},
    totp::Totp,
};
use peergos_net::{
    Admission, ChampCap, EmbeddedNode, Error, Node, PointerWrite, Result, SignUp, SignedBlock, TransactionId,
    mfa::{BackupCodes, MfaMethod},
};

/// When a watcher is told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// What a test does about calls, by their names.
pub type Watcher = Box<dyn Fn(&'static str, When) -> Result<()> + Send + Sync>;

pub struct Watched {
    pub node: EmbeddedNode,
    watcher: Mutex<std::sync::Arc<Watcher>>,
}

impl Watched {
    pub fn new(node: EmbeddedNode) -> Self {
        let watcher: Watcher = Box::new(|_, _| Ok(()));
        Self { node, watcher: Mutex::new(watcher.into()) }
    }

    pub fn watch(&self, watcher: impl Fn(&'static str, When) -> Result<()> + Send + Sync + 'static) {
        let watcher: Watcher = Box::new(watcher);
        *self.watcher.lock() = watcher.into();
    }

    fn tell(&self, call: &'static str, when: When) -> Result<()> {
        let watcher = self.watcher.lock().clone();
        watcher(call, when)
    }
}

/// A connection that breaks.
pub fn broken() -> Error {
    Error::Io { what: "a test", source: io::Error::other("on demand") }
}

/// Calls as they must be made: all of a round before the first of the next is answered. So a call that waits for the
/// answer of another one in its round waits in vain.
pub struct Rounds {
    rounds: Mutex<(usize, Vec<Vec<&'static str>>)>,
    next: Condvar,
}

impl Rounds {
    pub fn new(rounds: &[&[&'static str]]) -> Self {
        Self { rounds: Mutex::new((0, rounds.iter().map(|round| round.to_vec()).collect())), next: Condvar::new() }
    }

    pub fn call(&self, name: &'static str) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let mut rounds = self.rounds.lock();
        let (done, left) = &mut *rounds;
        let round = left.first_mut().ok_or(Error::Invalid("call after the last round"))?;
        let Some(at) = round.iter().position(|call| *call == name) else {
            eprintln!("{name} is not in round {done}: {round:?}");
            return Err(Error::Invalid("call in this round"));
        };
        round.remove(at);
        let mine = *done;
        if round.is_empty() {
            left.remove(0);
            *done += 1;
            self.next.notify_all();
        }
        while rounds.0 == mine {
            if self.next.wait_for(&mut rounds, PATIENCE).timed_out() {
                eprintln!("round {mine} lacks {:?}", rounds.1.first());
                return Err(Error::Invalid("round, which is never complete"));
            }
        }
        Ok(())
    }

    pub fn left(&self) -> usize {
        self.rounds.lock().1.len()
    }
}

macro_rules! watched {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl Node for Watched {
            $(fn $name(&self, $($arg: $type),*) -> Result<$out> {
                self.tell(stringify!($name), When::Before)?;
                let out = self.node.$name($($arg),*)?;
                self.tell(stringify!($name), When::After)?;
                Ok(out)
            })*
        }
    };
}

watched! {
    id() -> Cid;
    start_transaction(owner: &KeyHash) -> TransactionId;
    close_transaction(owner: &KeyHash, transaction: &TransactionId) -> ();
    put_blocks(owner: &KeyHash, writer: &KeyHash, transaction: &TransactionId, codec: Codec, blocks: Vec<SignedBlock>) -> ();
    get_block(owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Option<Bytes>;
    champ_get(owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Vec<Bytes>;
    get_pointer(owner: &KeyHash, writer: &KeyHash) -> Option<Vec<u8>>;
    set_pointers(owner: &KeyHash, pointers: &[PointerWrite]) -> ();
    get_public_key(username: &str) -> Option<KeyHash>;
    get_username(identity: &KeyHash) -> String;
    get_chain(username: &str) -> Vec<u8>;
    update_chain(username: &str, links: &[u8], proof_of_work: &[u8], token: &str) -> Admission;
    sign_up(request: &SignUp) -> Admission;
    get_login(username: &str, reader: &PublicSigningKey, auth: &[u8], mfa: Option<&[u8]>) -> Vec<u8>;
    set_login(username: &str, data: &[u8], auth: &[u8; 64]) -> ();
    get_user_bats(username: &str, auth: &[u8]) -> Vec<BatWithId>;
    add_bat(username: &str, bat: &BatWithId, auth: &[u8]) -> ();
    usage(owner: &KeyHash, auth: &[u8]) -> u64;
    quota(owner: &KeyHash, auth: &[u8]) -> u64;
    list_factors(username: &str, auth: &[u8]) -> Vec<MfaMethod>;
    add_totp(username: &str, auth: &[u8]) -> Totp;
    enable_totp(username: &str, credential: &[u8], code: &str, auth: &[u8]) -> ();
    add_mount_factor(username: &str, name: &str, auth: &[u8]) -> Totp;
    enable_mount_factor(username: &str, credential: &[u8], code: &str, auth: &[u8]) -> ();
    generate_backup_codes(username: &str, auth: &[u8]) -> BackupCodes;
    delete_factor(username: &str, credential: &[u8], auth: &[u8]) -> ();
}
