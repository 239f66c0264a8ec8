//! The thread that looks after the account of a mount that lasts.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use peergos_fs::{Error, account::Upkeep};
use peergos_net::Error as NetError;

use crate::{ending::End, keyring::Keyring};

/// How often to look whether something is due.
const STEP: Duration = Duration::from_secs(60);

/// Whose login it is, for the keyring: server and user name.
pub type Name = (String, String);

/// The thread; it ends when this is dropped, and the node is let go of then.
#[derive(Debug)]
pub struct Caretaker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Caretaker {
    /// Begins at once. `end` hears of it if the account must not be used any more.
    pub fn start(mut upkeep: Upkeep, name: Name, end: Sender<End>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            loop {
                match upkeep.tend(SystemTime::now()) {
                    Ok(()) => {}
                    Err(Error::Net(NetError::IncorrectLogin)) if renew(&mut upkeep, &name) => continue,
                    // whoever listens has gone on if this is late
                    Err(error) => return drop(end.send(End::Revoked(error))),
                }
                if stopped.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("caretaker".to_owned()).spawn(work)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic there has been reported
            let _ = thread.join();
        }
    }
}

/// Takes the keys over that `peergos-mount passwd` has put into the keyring; false if there are no other ones.
fn renew(upkeep: &mut Upkeep, (server, username): &Name) -> bool {
    let kept = Keyring::open().and_then(|keyring| keyring.load(server, username));
    match kept {
        Ok(Some(kept)) if !upkeep.uses(&kept.keys) => {
            upkeep.renew(kept.keys.clone(), SystemTime::now());
            true
        }
        _ => false,
    }
}
