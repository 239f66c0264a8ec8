//! Asking for others' changes from time to time: there is no other way to learn of them (spec 02 §8.7).

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    Result,
    error::survive,
    posix::{FileSystem, no_thread},
};

/// How much longer than usual the pauses get while nobody uses the drive.
const MOST_PATIENT: u32 = 8;

/// The thread that asks; it ends when this is dropped.
pub(in crate::posix) struct Poller {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Asks every `interval`, and less often while the drive is idle. When the node is back after it was out of reach,
    /// what was not committed is.
    pub fn start(fs: &Arc<FileSystem>, interval: Duration) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let fs = Arc::downgrade(fs);
        let poll = move || {
            let (mut patience, mut was_offline) = (1, false);
            while stopped.recv_timeout(interval * patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(fs) = fs.upgrade() else { return };
                let is_idle = poll(&fs);
                let is_offline = fs.drive.node.node().reach().is_offline();
                if was_offline && !is_offline {
                    fs.schedule.request();
                }
                was_offline = is_offline;
                patience = if is_idle && !is_offline { (patience * 2).min(MOST_PATIENT) } else { 1 };
            }
        };
        let thread = std::thread::Builder::new().name("poll".into()).spawn(poll).map_err(no_thread)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// Asks once, and says whether the drive was idle since the last time.
fn poll(fs: &FileSystem) -> bool {
    if let Err(error) = survive(|| fs.refresh()) {
        tracing::warn!(%error, "could not ask for changes of other clients");
    }
    !fs.inodes.was_used()
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            // the last reference to the file system may have been the poll's own
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}
