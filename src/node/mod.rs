//! `peergos-mount node`: this program as a Peergos server, and what its operator can tell it.

mod admin;
mod args;

use std::{
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    sync::Arc,
};

use anyhow::Context as _;
use peergos_net::{
    EmbeddedNode, Node,
    embedded::SignUps,
    service::{Options, Service},
};

pub use self::args::NodeArgs;
use self::{admin::Office, args::ServeArgs};
use crate::{
    failure::{Classify as _, Result, Status},
    harden, logging,
    progress::tell,
    signals::Signals,
    state::State,
};

/// Serves, or tells the server something.
pub fn command(args: NodeArgs) -> Result<()> {
    harden::process();
    match args.command {
        None => serve(&args.serve, args.state),
        Some(order) => {
            let state = State::open(args.state).status(Status::State)?;
            let answer = match admin::ask(state.dir(), &order).status(Status::State)? {
                Some(answer) => answer,
                // no server is running: the state is ours
                None => admin::carry_out(&state.node().status(Status::State)?, &order),
            };
            println!("{}", answer.map_err(|reason| anyhow::anyhow!("{reason}")).status(Status::State)?);
            Ok(())
        }
    }
}

/// Serves until a signal comes, and then answers what is under way.
fn serve(args: &ServeArgs, dir: Option<std::path::PathBuf>) -> Result<()> {
    let signals = Signals::take()?;
    logging::start(false);
    let state = State::open(dir).status(Status::State)?;
    let node = Arc::new(state.node().status(Status::State)?);
    node.admit(SignUps { open: args.open_sign_ups, quota: args.quota });
    let office = Office::open(state.dir(), Arc::clone(&node));
    if let Err(error) = &office {
        tracing::warn!("`peergos-mount node token` and `quota` will not reach this server: {error}");
    }
    let listener = listen(&args.listen)?;
    let metrics = args.metrics.map(listen_at).transpose()?;
    let options = Options {
        hosts: args.host.clone(),
        public: args.public,
        behind_proxy: args.behind_proxy,
        connections: args.connections,
        ..Options::default()
    };
    let served: Arc<dyn Node> = Arc::clone(&node) as _;
    let service = Service::start(served, listener, metrics, options).context("could not serve")?;
    if !service.address().ip().is_loopback() {
        tell(
            "This server speaks plain HTTP on a network. What it stores is encrypted and signed, but whoever listens learns \
             who reads what, and the tokens to read it too: put a proxy with TLS in front of it.",
        );
    }
    tell(format_args!("Serving at http://{}/.", service.address()));
    if let Some(address) = service.metrics_address() {
        tell(format_args!("Metrics at http://{address}/metrics."));
    }
    while signals.next(None).is_none() {}
    tell("Ending; calls that are under way are answered.");
    drop(service);
    Ok(())
}

fn listen(address: &str) -> Result<TcpListener> {
    let addresses = address.to_socket_addrs().doing(Status::Usage, || format!("--listen {address}"))?;
    let mut failure = anyhow::anyhow!("--listen {address}: no such address");
    for address in addresses {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error.error,
        }
    }
    Err(failure.into())
}

fn listen_at(address: SocketAddr) -> Result<TcpListener> {
    Ok(TcpListener::bind(address).with_context(|| format!("could not listen at {address}"))?)
}

/// What an account may and does store.
fn describe(node: &EmbeddedNode) -> peergos_net::Result<String> {
    let accounts = node.accounts()?;
    let limit = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    let rows = accounts.iter().map(|account| {
        format!("{}\t{}\t{}\t{}", account.username, account.used, limit(account.quota), limit(account.requested))
    });
    Ok(["USER\tUSED\tQUOTA\tREQUESTED".to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n"))
}
