//! How orders reach a server that is running: at an abstract socket named after its state directory, as it is with
//! mounts ([`crate::control`]). One line asks, and the rest of the connection answers.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::MetadataExt as _,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use peergos_net::{EmbeddedNode, Error};

use super::{
    args::{Limit, Order, limit},
    describe,
};

/// How long the other side may take for a line.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest order and the longest answer, in bytes.
const MAX_ORDER: u64 = 1024;
const MAX_ANSWER: u64 = 16 << 20;

/// What an order has led to: something to show, or why it was not carried out.
pub type Answer = Result<String, String>;

/// Takes orders for a node until the process ends.
#[derive(Debug)]
pub struct Office;

impl Office {
    /// Takes orders for the node whose state directory is `dir`.
    pub fn open(dir: &Path, node: Arc<EmbeddedNode>) -> io::Result<Self> {
        let listener = UnixListener::bind_addr(&address(dir)?)?;
        // the node is closed when the last one lets go of it, and that must not be this thread
        let node = Arc::downgrade(&node);
        thread::Builder::new().name("orders".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten().filter(is_ours) {
                let Some(node) = node.upgrade() else { break };
                // whoever is gone does not care
                let _ = answer(&stream, &node);
            }
        })?;
        Ok(Self)
    }
}

fn answer(stream: &UnixStream, node: &EmbeddedNode) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ORDER)).read_line(&mut line)?;
    let answer = read(line.trim_end()).map_or_else(|| Err("no such order".to_owned()), |order| carry_out(node, &order));
    let (sign, text) = match &answer {
        Ok(text) => ('+', text),
        Err(text) => ('-', text),
    };
    write!(&*stream, "{sign}{text}")
}

/// Asks the server that runs on `dir`; none if there is none.
pub fn ask(dir: &Path, order: &Order) -> io::Result<Option<Answer>> {
    let mut stream = match UnixStream::connect_addr(&address(dir)?) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(error),
    };
    if !is_ours(&stream) {
        return Err(io::Error::other("another user has taken the server's place"));
    }
    stream.write_all(write(order).as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    match answer.split_at_checked(1) {
        Some(("+", text)) => Ok(Some(Ok(text.to_owned()))),
        Some(("-", text)) => Ok(Some(Err(text.to_owned()))),
        _ => Err(io::Error::other("the server has broken off")),
    }
}

/// Carries an order out.
pub fn carry_out(node: &EmbeddedNode, order: &Order) -> Answer {
    let done = match order {
        Order::Token => node.sign_up_token(),
        Order::Accounts => describe(node),
        Order::Quota { user, limit } => node.set_quota(user, limit.0).map(|()| match limit.0 {
            Some(bytes) => format!("{user} may store {bytes} bytes."),
            None => format!("{user} may store what there is space for."),
        }),
    };
    done.map_err(|error: Error| match error {
        Error::Refused(_) => "there is no such account".to_owned(),
        other => other.to_string(),
    })
}

/// An order as a line.
fn write(order: &Order) -> String {
    match order {
        Order::Token => "token\n".to_owned(),
        Order::Accounts => "accounts\n".to_owned(),
        Order::Quota { user, limit } => {
            format!("quota {user} {}\n", limit.0.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string()))
        }
    }
}

fn read(line: &str) -> Option<Order> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["token"] => Some(Order::Token),
        ["accounts"] => Some(Order::Accounts),
        ["quota", user, bytes] => {
            let limit: Limit = limit(bytes).ok()?;
            Some(Order::Quota { user: user.to_owned(), limit })
        }
        _ => None,
    }
}

/// Anyone can take and use an abstract name: both sides believe only their own user, and root.
fn is_ours(stream: &UnixStream) -> bool {
    let peer = getsockopt(stream, PeerCredentials).map(|credentials| credentials.uid());
    peer.is_ok_and(|uid| uid == 0 || uid == geteuid().as_raw())
}

fn address(dir: &Path) -> io::Result<SocketAddr> {
    let metadata = fs::metadata(dir)?;
    SocketAddr::from_abstract_name(format!("peergos-mount/node/{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_carried_out_by_whoever_has_the_node() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask(dir.path(), &Order::Token).unwrap().is_none());
        let node = Arc::new(EmbeddedNode::open(&dir.path().join("node")).unwrap());
        let quota = Order::Quota { user: "ada".into(), limit: Limit(Some(5)) };
        assert_eq!(carry_out(&node, &quota), Err("there is no such account".to_owned()));

        let _office = Office::open(dir.path(), Arc::clone(&node)).unwrap();
        let token = ask(dir.path(), &Order::Token).unwrap().unwrap().unwrap();
        assert_eq!(token.len(), 64);
        assert_ne!(ask(dir.path(), &Order::Token).unwrap().unwrap().unwrap(), token);
        assert_eq!(ask(dir.path(), &quota).unwrap(), Some(Err("there is no such account".to_owned())));
        assert_eq!(ask(dir.path(), &Order::Accounts).unwrap().unwrap().unwrap(), "USER\tUSED\tQUOTA\tREQUESTED");
    }

    #[test]
    fn lines_are_read_back() {
        let quota = |limit| Order::Quota { user: "ada".into(), limit: Limit(limit) };
        for order in [Order::Token, Order::Accounts, quota(Some(7)), quota(None)] {
            assert_eq!(read(write(&order).trim_end()), Some(order));
        }
        for line in ["", "tokens", "quota ada", "quota ada x", "quota ada 1 2"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
