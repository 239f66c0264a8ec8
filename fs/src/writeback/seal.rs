//! A chunk that is being encrypted and uploaded in the background, and threads for work of that kind.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, mpsc},
    thread,
};

use parking_lot::{Condvar, Mutex};

use crate::{Result, tree::SealedChunk};

type Job = Box<dyn FnOnce() + Send>;

/// Threads for what may wait for the node, which end with this value. They are not rayon's, whose threads compute what
/// needs no node as well; and while one of those waits for part of a chunk it begins another chunk, and another, until all
/// that wait are in memory as ciphertext too.
pub struct Workers(mpsc::Sender<Job>);

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// If the system has no more.
    pub fn start(name: &str, count: usize) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..count {
            let jobs = jobs.clone();
            let next = move || jobs.lock().recv();
            thread::Builder::new().name(name.into()).spawn(move || {
                while let Ok(job) = next() {
                    // the panic is in the log, and the others that wait have done nothing
                    let _ = panic::catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self(sender))
    }

    /// Does a job when its turn comes.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        self.0.send(Box::new(job)).expect("the threads live as long as this value");
    }
}

/// The outcome of sealing one chunk, to be waited for.
#[derive(Debug, Default)]
pub struct Seal {
    outcome: Mutex<Option<Option<Arc<SealedChunk>>>>,
    done: Condvar,
}

impl Seal {
    /// Says how it ended. A failure is not kept: the commit meets it again when it seals the chunk itself.
    pub fn finish(&self, result: Result<SealedChunk>) -> Option<Arc<SealedChunk>> {
        let sealed = match result {
            Ok(sealed) => Some(Arc::new(sealed)),
            Err(error) => {
                tracing::warn!(%error, "a chunk could not be uploaded ahead of its commit");
                None
            }
        };
        *self.outcome.lock() = Some(sealed.clone());
        self.done.notify_all();
        sealed
    }

    /// Waits for the end; none if it failed.
    pub fn wait(&self) -> Option<Arc<SealedChunk>> {
        let mut outcome = self.outcome.lock();
        while outcome.is_none() {
            self.done.wait(&mut outcome);
        }
        outcome.clone().flatten()
    }
}
