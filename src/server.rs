//! The node that holds a drive: the one in this program, or a server.

use std::{num::NonZeroU16, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::Result;
use clap::Args;
use peergos_crypto::cid::Cid;
use peergos_net::{DiskCache, EmbeddedNode, Ledger, Node, RemoteNode, RemoteOptions, Verified};

use crate::{state::State, units};

/// Where a drive is, and the way there.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The node to which the drive belongs: `embedded` is the one in this program, which keeps everything in the state
    /// directory; or a server, as https://peergos.example. A user name and password in the address are for a gateway in
    /// front of it
    #[arg(long, value_name = "URL", env = "PEERGOS_SERVER", hide_env_values = true, default_value = "embedded")]
    pub server: Server,
    /// Certificates, in PEM, to trust besides those of the system
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The way to the server: http://HOST:PORT, or socks5://HOST:PORT as for Tor
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Allow an http:// server on another machine, where everybody on the way can look on and interfere
    #[arg(long)]
    pub insecure_http: bool,
    /// The most requests at a time, for reading and likewise for writing
    #[arg(long, value_name = "N", default_value = "8")]
    pub parallelism: NonZeroU16,
    /// Disk space in the state directory for encrypted blocks of servers, in bytes, or with a unit
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = units::bytes)]
    pub disk_cache: u64,
}

/// The node to which a drive belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The one in this program.
    Embedded,
    /// A Peergos server.
    Url(String),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "embedded" => Ok(Self::Embedded),
            url if url.contains("://") => Ok(Self::Url(url.to_owned())),
            _ => Err("a server is `embedded` or an address, as https://peergos.example".into()),
        }
    }
}

/// A node to log in to.
pub struct Connection {
    /// The node itself, for calls about accounts.
    pub node: Arc<dyn Node>,
    /// The same with its answers checked.
    pub verified: Arc<Verified>,
    /// What tells it from other nodes, for what is kept of accounts.
    pub name: String,
    /// The same if it is in this program.
    embedded: Option<Arc<EmbeddedNode>>,
}

impl Connection {
    /// Opens the node in the state directory, or prepares to talk to a server.
    pub fn open(args: &ServerArgs, state: &State) -> Result<Self> {
        let Server::Url(url) = &args.server else {
            let node = Arc::new(state.node()?);
            let verified = Arc::new(Verified::new(node.clone(), Default::default()));
            return Ok(Self {
                node: node.clone(),
                verified,
                name: state.dir().display().to_string(),
                embedded: Some(node),
            });
        };
        let node = Arc::new(RemoteNode::new(&RemoteOptions {
            ca_file: args.ca_file.clone(),
            proxy: args.proxy.clone(),
            insecure_http: args.insecure_http,
            parallelism: usize::from(args.parallelism.get()),
            ..RemoteOptions::new(url)
        })?);
        let verified = Verified::new(node.clone(), Default::default())
            .with_ledger(Ledger::open(&state.ledger(node.address()))?)
            .with_disk_cache(DiskCache::open(&state.cache(), args.disk_cache)?);
        Ok(Self { node, verified: Arc::new(verified), name: without_login(url), embedded: None })
    }

    /// The id of the node in this program, which is the home of all its accounts. Those on a server may be only looked
    /// at through it.
    pub fn home(&self) -> Result<Option<Cid>> {
        Ok(self.embedded.as_ref().map(|node| node.id()).transpose()?)
    }

    /// The names of all accounts, of the node in this program.
    pub fn usernames(&self) -> Option<Vec<String>> {
        self.embedded.as_ref().map(|node| node.usernames())
    }

    /// Whether the node knows an account of this name.
    pub fn knows(&self, username: &str) -> Result<bool> {
        Ok(self.node.get_public_key(username)?.is_some())
    }
}

/// An address without the user name and password for a gateway.
fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.find('/').unwrap_or(rest.len());
            let host = rest[..host].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", rest[host..].trim_end_matches('/'))
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_embedded_or_urls() {
        assert_eq!("embedded".parse(), Ok(Server::Embedded));
        assert_eq!("https://h".parse(), Ok(Server::Url("https://h".into())));
        assert!("peergos.example".parse::<Server>().is_err());
    }

    #[test]
    fn gateway_logins_are_no_part_of_the_name() {
        for (url, name) in
            [("https://a:b@h/", "https://h"), ("https://h/x@y", "https://h/x@y"), ("http://h", "http://h")]
        {
            assert_eq!(without_login(url), name);
        }
    }
}
