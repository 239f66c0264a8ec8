//! The command line of `peergos-mount node`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use crate::units;

/// The server, or an order to it.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub command: Option<Order>,
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Where accounts and their encrypted blocks are kept [default: $XDG_STATE_HOME/peergos-mount, or
    /// ~/.local/state/peergos-mount]
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
}

/// What an operator can tell the node, whether it is being served or not.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Order {
    /// Prints a new token, with which one account can sign up
    Token,
    /// Limits what an account may store
    Quota {
        /// The account's user name
        user: String,
        /// In bytes, or with a unit: 500M, 10G; `none` for the space that there is
        #[arg(value_parser = limit)]
        limit: Limit,
    },
    /// Lists the accounts, with what they store, may store and have asked for, in bytes
    Accounts,
}

/// How much an account may store; none for the space that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    pub listen: String,
    /// A name by which clients call this server, with the port unless it is the usual one; may be repeated
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Accept GET besides POST: only for a server that is on the open net anyway
    #[arg(long)]
    pub public: bool,
    /// Believe the X-Forwarded-For of a proxy in front of this server
    #[arg(long)]
    pub behind_proxy: bool,
    /// Let anybody sign up, without a token
    #[arg(long)]
    pub open_sign_ups: bool,
    /// What a new account may store, in bytes, or with a unit [default: the space that there is]
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub quota: Option<u64>,
    /// Where to show metrics for Prometheus, on this machine
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub metrics: Option<SocketAddr>,
    /// The most connections at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1024)]
    pub connections: usize,
}

/// Reads a limit.
pub fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit(None)) } else { units::bytes(text).map(|bytes| Limit(Some(bytes))) }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "not an address with a port, such as 127.0.0.1:9100".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("metrics are shown on this machine only".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn node(args: &[&str]) -> Result<NodeArgs, clap::Error> {
        match Cli::try_parse_from([&["peergos-mount", "node"], args].concat())?.command {
            Some(Command::Node(args)) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn serving() {
        let args = node(&["--state", "/s", "--host", "a.example", "--host", "b.example", "--quota", "1G"]).unwrap();
        assert_eq!((args.command, args.state), (None, Some("/s".into())));
        assert_eq!((args.serve.listen.as_str(), args.serve.host.len()), ("127.0.0.1:8000", 2));
        assert_eq!((args.serve.quota, args.serve.open_sign_ups), (Some(1 << 30), false));
        assert!(node(&["--metrics", "192.0.2.1:9100"]).is_err());
        assert!(node(&["--metrics", "127.0.0.1:9100"]).is_ok());
    }

    #[test]
    fn orders() {
        for args in [["--state", "/s", "token"], ["token", "--state", "/s"]] {
            let args = node(&args).unwrap();
            assert_eq!((args.command, args.state), (Some(Order::Token), Some("/s".into())));
        }
        let quota = |limit| Order::Quota { user: "ada".into(), limit: Limit(limit) };
        assert_eq!(node(&["quota", "ada", "500M"]).unwrap().command, Some(quota(Some(500 << 20))));
        assert_eq!(node(&["quota", "ada", "none"]).unwrap().command, Some(quota(None)));
        assert!(node(&["quota", "ada"]).is_err());
        assert!(node(&["quota", "ada", "many"]).is_err());
    }
}
