//! A Peergos server: any [`Node`] over HTTP, for every Peergos client (spec 02 §2).
//!
//! | room | knows |
//! |---|---|
//! | `server` | connections: how many there may be, how long they may take, how they end |
//! | `shares`, `pace`, `body` | what one client may have of them, of time, and of memory |
//! | `gate` | which requests are for us: method, host, path, size |
//! | `query`, `reply` | parameters; what goes back, and how refusals are told |
//! | `storage`, `mutable`, `core`, `login`, `bats`, `social`, `space`, `admin` | the calls, by family |
//! | `limits` | how often somebody may ask |
//! | `metrics` | what an operator watches |
//!
//! The node's calls block, so each runs on one of a bounded number of threads. Queries hold BATs and signatures: they
//! are not logged.

mod admin;
mod bats;
mod body;
mod call;
mod core;
mod gate;
mod limits;
mod login;
mod metrics;
mod mutable;
mod pace;
mod query;
mod reply;
mod server;
mod shares;
mod social;
mod space;
mod storage;
#[cfg(test)]
mod tests;

use std::{net::TcpListener, sync::Arc, time::Duration};

pub use self::server::Service;
use crate::Node;

/// How a node is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names besides its address by which clients may call the server, each with its port unless that is the usual one.
    pub hosts: Vec<String>,
    /// Whether to accept GET as well as POST: only where no browser of somebody who may do more can reach the server.
    pub public: bool,
    /// Whether the server is behind a proxy that says in `X-Forwarded-For` who is asking.
    pub behind_proxy: bool,
    /// How many connections may be open. One client has at most a quarter of them, or 16.
    pub connections: usize,
    /// How many calls of the node may run at once.
    pub threads: usize,
    /// How long a client may take to begin a request and to say what it is: idle connections last that long.
    pub head_time: Duration,
    /// How long a client may take to send a body.
    pub body_time: Duration,
    /// How long a client may take to send 64 KiB of a body, or to take 64 KiB of a reply.
    pub pace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            public: false,
            behind_proxy: false,
            connections: 1024,
            threads: 32,
            head_time: Duration::from_secs(75),
            body_time: Duration::from_secs(120),
            pace: Duration::from_secs(30),
        }
    }
}

impl Service {
    /// Serves `node` to whoever connects to `listener`, and what there is to watch to whoever connects to `metrics`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the system has no threads or sockets left.
    pub fn start(
        node: Arc<dyn Node>,
        listener: TcpListener,
        metrics: Option<TcpListener>,
        options: Options,
    ) -> crate::Result<Self> {
        Self::run(node, listener, metrics, options)
    }
}
