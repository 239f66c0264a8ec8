//! Which requests are for us (spec 02 §2.1).

use std::{collections::HashSet, net::SocketAddr};

use hyper::{
    Method, StatusCode,
    header::{self, HeaderMap},
};
use peergos_crypto::{cid::Cid, multibase};

/// The port that names need not mention.
const USUAL_PORT: u16 = 80;

/// What a request must have to be looked at.
pub(super) struct Gate {
    hosts: HashSet<String>,
    public: bool,
}

impl Gate {
    /// Lets requests to `address`, to this node's id and to `names` in.
    pub fn new(address: SocketAddr, id: &Cid, names: &[String], public: bool) -> Self {
        let port = address.port();
        let own = ["127.0.0.1".to_owned(), "localhost".to_owned(), "[::1]".to_owned(), host(address)];
        let mut hosts: HashSet<String> = own.iter().map(|name| format!("{name}:{port}")).collect();
        if port == USUAL_PORT {
            hosts.extend(own);
        }
        hosts.extend(names.iter().map(|name| name.to_ascii_lowercase()));
        // how requests arrive that come by way of other nodes
        hosts.extend([id.multihash(), id.to_bytes()].map(|id| multibase::base58_encode(&id).to_ascii_lowercase()));
        Self { hosts, public }
    }

    /// The host that a request is for, or why it is not for us.
    ///
    /// Other hosts are refused, because a browser can be led here under a name of an attacker's; and so are other
    /// methods, because a page of anybody's can make a browser send them.
    pub fn admit<'a>(&self, method: &Method, headers: &'a HeaderMap) -> Result<&'a str, StatusCode> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let host = host.filter(|host| self.hosts.contains(&host.to_ascii_lowercase())).ok_or(StatusCode::NOT_FOUND)?;
        match *method {
            Method::POST => Ok(host),
            Method::GET if self.public => Ok(host),
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

/// An address as it is in a `Host` header.
fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn gate(public: bool) -> (Gate, Cid) {
        let id = Cid::from_peer_id("12D3KooWEnCzE4uSeniFaCGXQuV1UnYkvqvbQJnYC363S2abgknr").unwrap();
        (Gate::new("192.0.2.7:8000".parse().unwrap(), &id, &["Drive.Example".to_owned()], public), id)
    }

    fn ask(gate: &Gate, method: Method, hosts: &[&str]) -> Result<(), u16> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        gate.admit(&method, &headers).map(drop).map_err(|status| status.as_u16())
    }

    #[test]
    fn hosts() {
        let (gate, id) = gate(false);
        let names = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "192.0.2.7:8000", "drive.example"];
        let ids = [multibase::base58_encode(&id.to_bytes()), multibase::base58_encode(&id.multihash())];
        for host in names.into_iter().chain(ids.iter().map(String::as_str)) {
            assert_eq!(ask(&gate, Method::POST, &[host]), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1", "127.0.0.1:80", "drive.example:8000", ""] {
            assert_eq!(ask(&gate, Method::POST, &[host]), Err(404), "{host}");
        }
        assert_eq!(ask(&gate, Method::POST, &[]), Err(404));
        assert_eq!(ask(&gate, Method::POST, &["127.0.0.1:8000", "evil.example"]), Err(404));
    }

    #[test]
    fn methods() {
        let (private, _) = gate(false);
        let (public, _) = gate(true);
        for method in [Method::GET, Method::OPTIONS, Method::HEAD, Method::PUT] {
            assert_eq!(ask(&private, method, &["localhost:8000"]), Err(405));
        }
        assert_eq!(ask(&public, Method::GET, &["localhost:8000"]), Ok(()));
        assert_eq!(ask(&public, Method::OPTIONS, &["localhost:8000"]), Err(405));
    }
}
