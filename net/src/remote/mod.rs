//! A node elsewhere, asked over HTTP (spec 02): every call of [`crate::Node`] as a Peergos server understands it.
//!
//! The threads that call are plain ones and wait; connections live on a small runtime of their own. From the ground up:
//! `dial` opens connections, `transport` exchanges one request for one answer, `retry` repeats what may be repeated, `health`
//! knows whether there is any point in it,
//! `blocks`, `pointers`, `transactions` and `account` make requests, `calls` offers them as a node, and `options` is what
//! a person can say about all that.

mod account;
mod blocks;
mod calls;
mod dial;
mod health;
mod options;
mod pointers;
mod retry;
#[cfg(test)]
mod tests;
mod transactions;
mod transport;

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use self::{options::Address, transactions::Transactions, transport::Transport};
use crate::{Error, Result};

pub use self::options::RemoteOptions;

/// Threads that move bytes between sockets and memory.
const THREADS: usize = 2;
/// How often a server that does not answer is asked whether it does, in waits before a first repetition.
const PAUSE: u32 = 3;

/// A Peergos server.
pub struct RemoteNode {
    runtime: Runtime,
    transport: Arc<Transport>,
    transactions: Transactions,
}

impl RemoteNode {
    /// Prepares to talk to a server; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Address`] for an address or a proxy that cannot be used, [`Error::Io`] for certificates that cannot be
    /// read.
    pub fn new(options: &RemoteOptions) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(Error::io("starting threads for connections"))?;
        let address = Address::parse(options)?;
        let transport = Arc::new(Transport::new(address, options)?);
        // ends with the runtime
        runtime.spawn(health::watch(Arc::clone(&transport), PAUSE * options.backoff));
        Ok(Self { runtime, transport, transactions: Transactions::default() })
    }

    /// The server's address, without a password that may be in it.
    pub fn address(&self) -> &str {
        self.transport.address()
    }
}

impl Drop for RemoteNode {
    fn drop(&mut self) {
        self.runtime.block_on(self.transactions.finish());
    }
}
