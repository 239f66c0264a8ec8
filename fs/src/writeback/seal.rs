//! A chunk that is being encrypted and uploaded in the background, and the threads that do it.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
    process,
    sync::{Arc, mpsc},
    thread,
};

use parking_lot::{Condvar, Mutex};

use crate::{Result, tree::SealedChunk};

/// How many requests the fragments of a chunk are.
const FRAGMENTS: usize = 5;

type Job = Box<dyn FnOnce() + Send>;

/// As many threads as there are processors, and those that wait for the network, which end with this value. They are not rayon's: while a thread of rayon's waits
/// for part of a chunk it begins another chunk, and another, until all that wait are in memory as ciphertext too.
pub struct Sealers(mpsc::Sender<Job>);

impl Sealers {
    /// Starts the threads, for a node that is worth `parallelism` requests at a time.
    ///
    /// # Errors
    /// If the system has no more.
    pub fn start(parallelism: usize) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        let uploading = parallelism / FRAGMENTS;
        for _ in 0..thread::available_parallelism()?.get() + uploading {
            let jobs = jobs.clone();
            let next = move || jobs.lock().recv();
            thread::Builder::new().name("seal".into()).spawn(move || {
                while let Ok(job) = next() {
                    // as rayon does: what died would be waited for for ever
                    if panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                        process::abort();
                    }
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
