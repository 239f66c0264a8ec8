//! The node that holds a drive: the one in this program, or a server.

use std::{num::NonZeroU16, path::PathBuf, str::FromStr, sync::Arc};

use clap::Args;
use peergos_crypto::cid::Cid;
use peergos_net::{DiskCache, EmbeddedNode, Ledger, Node, RemoteNode, RemoteOptions, Verified};

use crate::{
    failure::{Classify as _, Result, Status, fail},
    state::State,
    units,
};

/// Where addresses may be that have passwords in them, other than in arguments, which everybody can read.
const SERVER: &str = "PEERGOS_SERVER";
const PROXY: &str = "PEERGOS_PROXY";

/// Where a drive is, and the way there.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The node to which the drive belongs: `embedded` is the one in this program, which keeps everything in the state
    /// directory; or a server, as https://peergos.example. PEERGOS_SERVER may have a user name and password in the
    /// address, for a gateway in front of the server
    #[arg(long, value_name = "URL", env = SERVER, hide_env_values = true, default_value = "embedded")]
    pub server: Server,
    /// Certificates, in PEM, to trust besides those of the system
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The way to the server: http://HOST:PORT, or socks5://HOST:PORT as for Tor. PEERGOS_PROXY may have a user name and
    /// password in the address
    #[arg(long, value_name = "URL", env = PROXY, hide_env_values = true)]
    pub proxy: Option<String>,
    /// Allow an http:// server on another machine, where everybody on the way can look on and interfere
    #[arg(long)]
    pub insecure_http: bool,
    /// The most requests at a time, for reading and likewise for writing
    #[arg(long, value_name = "N", default_value = "16")]
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

    fn from_str(text: &str) -> std::result::Result<Self, String> {
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
        match &args.server {
            Server::Embedded => Self::embedded(state).status(Status::State),
            Server::Url(url) => Self::remote(url, args, state),
        }
    }

    fn embedded(state: &State) -> anyhow::Result<Self> {
        let node = Arc::new(state.node()?);
        let verified = Arc::new(Verified::new(node.clone(), Default::default()));
        Ok(Self { node: node.clone(), verified, name: state.dir().display().to_string(), embedded: Some(node) })
    }

    fn remote(url: &str, args: &ServerArgs, state: &State) -> Result<Self> {
        keep_private(url, SERVER)?;
        args.proxy.as_deref().map_or(Ok(()), |proxy| keep_private(proxy, PROXY))?;
        let options = RemoteOptions {
            ca_file: args.ca_file.clone(),
            proxy: args.proxy.clone(),
            insecure_http: args.insecure_http,
            parallelism: usize::from(args.parallelism.get()),
            ..RemoteOptions::new(url)
        };
        let node = Arc::new(RemoteNode::new(&options).status(Status::Usage)?);
        let ledger = Ledger::open(&state.ledger(node.address())).status(Status::State)?;
        let cache = DiskCache::open(&state.cache(), args.disk_cache).status(Status::State)?;
        let verified = Verified::new(node.clone(), Default::default()).with_ledger(ledger).with_disk_cache(cache);
        Ok(Self { node, verified: Arc::new(verified), name: without_login(url), embedded: None })
    }

    /// Whether the node is a server, which may be out of reach.
    pub const fn is_server(&self) -> bool {
        self.embedded.is_none()
    }

    /// The id of the node in this program, which is the home of all its accounts. Those on a server may be only looked
    /// at through it.
    pub fn home(&self) -> anyhow::Result<Option<Cid>> {
        Ok(self.embedded.as_ref().map(|node| node.id()).transpose()?)
    }

    /// The names of all accounts, of the node in this program.
    pub fn usernames(&self) -> Option<Vec<String>> {
        self.embedded.as_ref().map(|node| node.usernames())
    }

    /// Whether the node knows an account of this name.
    pub fn knows(&self, username: &str) -> peergos_net::Result<bool> {
        Ok(self.node.get_public_key(username)?.is_some())
    }
}

/// Refuses an address with a password in it that is not from the environment.
fn keep_private(url: &str, variable: &str) -> Result<()> {
    let (_, login, _) = parts(url);
    if login.is_empty() || std::env::var(variable).is_ok_and(|value| value == url) {
        return Ok(());
    }
    fail(Status::Usage, format!("a password in an argument can be read by everybody: put that address into {variable}"))
}

/// An address without the user name and password for a gateway.
fn without_login(url: &str) -> String {
    let (scheme, _, rest) = parts(url);
    format!("{scheme}{}", rest.trim_end_matches('/'))
}

/// Scheme with its slashes, user name and password with their `@`, and the rest of an address.
fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    let host = rest.find('/').unwrap_or(rest.len());
    let (login, rest) = rest.split_at(rest[..host].rfind('@').map_or(0, |at| at + 1));
    (scheme, login, rest)
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
        assert_eq!(keep_private("https://a:b@h/", SERVER).unwrap_err().status, Status::Usage);
        assert!(keep_private("https://h/x@y", SERVER).is_ok());
    }
}
