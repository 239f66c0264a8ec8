//! The thread that keeps what is pinned on this machine.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    Result,
    posix::{FileSystem, no_thread},
};

/// How long it rests, at the least, and in durations of the last look.
const REST: Duration = Duration::from_secs(1);
const SHARE: u32 = 5;

/// The thread; it ends when this is dropped.
pub(super) struct Keeper {
    wake: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins at once, and looks again for as long as `fs` is there.
    pub fn start(fs: &Arc<FileSystem>) -> Result<Self> {
        let (wake, woken) = mpsc::channel();
        let fs = Arc::downgrade(fs);
        let keep = move || {
            let mut rest = REST;
            while woken.recv_timeout(rest) != Err(mpsc::RecvTimeoutError::Disconnected) {
                let Some(fs) = fs.upgrade() else { return };
                let began = Instant::now();
                fs.keep_pins();
                rest = REST.max(began.elapsed() * SHARE);
            }
        };
        let thread = std::thread::Builder::new().name("pins".into()).spawn(keep).map_err(no_thread)?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Has it look at once.
    pub fn wake(&self) {
        // it ends with this
        let _ = self.wake.as_ref().map(|wake| wake.send(()));
    }
}

impl FileSystem {
    fn keep_pins(&self) {
        let Some(pins) = &self.pins else { return };
        if !self.drive.node.node().reach().is_offline()
            && let Err(error) = pins.keep(&self.drive, &self.account)
        {
            tracing::debug!(%error, "not all that is pinned could be fetched");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            // the last reference to the file system may have been its own
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}
