//! What a person can say about a server and the way to it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hyper::{Uri, header::HeaderValue, http::uri::Scheme};

use crate::{Error, Result};

/// A server and the way to it.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Such as `https://peergos.example`; a user name and password in it are for a gateway in front of the server.
    pub url: String,
    /// Certificates in PEM to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Such as `socks5://127.0.0.1:9050` or `http://user:password@proxy:3128`. It resolves names.
    pub proxy: Option<String>,
    /// Allow plain HTTP to other machines.
    pub insecure_http: bool,
    /// The most reads at a time, and likewise the most writes.
    pub parallelism: usize,
    /// The longest that connecting may take, and that nothing may come from the other end of a connection in use.
    pub connect_timeout: Duration,
    /// The longest that nothing may move over the connection while a server is asked, so that slow lines are given the
    /// time that they need; all of a request and its answer may take sixty times as long.
    pub timeout: Duration,
    /// The wait before the first repetition; each next one is twice as long.
    pub backoff: Duration,
    /// How long a server that cannot be reached is asked again before it counts as out of reach.
    pub patience: Duration,
}

impl RemoteOptions {
    /// The server at `url`, with defaults for the rest (spec 02 §2.4, §21.2).
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_file: None,
            proxy: None,
            insecure_http: false,
            parallelism: 16,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            backoff: Duration::from_secs(1),
            patience: Duration::from_secs(8),
        }
    }
}

/// Where requests go.
#[derive(Debug)]
pub(super) struct Address {
    /// Scheme, host, port and path, without a slash at the end. Can be shown.
    pub base: String,
    /// The answer to HTTP Basic authentication.
    pub authorization: Option<HeaderValue>,
    /// Whether connections are encrypted.
    pub secure: bool,
}

impl Address {
    /// Reads the server's address. Plain HTTP is for this machine, for onion services, and for who insists.
    pub fn parse(options: &RemoteOptions) -> Result<Self> {
        let invalid = |why: &str| Error::Address(format!("the server's address {why}"));
        let uri: Uri = options.url.parse().map_err(|_| invalid("is not a URL"))?;
        let (host, authority) = (uri.host().unwrap_or_default(), uri.authority());
        let (Some(scheme), Some(authority)) = (uri.scheme(), authority.filter(|_| !host.is_empty())) else {
            return Err(invalid("does not begin with https:// and a host"));
        };
        let secure = *scheme == Scheme::HTTPS;
        if !secure && *scheme != Scheme::HTTP {
            return Err(invalid("begins with neither https:// nor http://"));
        }
        if uri.query().is_some() {
            return Err(invalid("has a query"));
        }
        let onion = options.proxy.is_some() && host.ends_with(".onion");
        if !secure && !options.insecure_http && !onion && !is_loopback(host) {
            return Err(invalid(
                "is plain http: everybody on the way could see which blocks pass and pretend to be the server. Use \
                 https, or say --insecure-http",
            ));
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if !authority.as_str().ends_with(host) => return Err(invalid("has a port that is none")),
            None if secure => 443,
            None => 80,
        };
        let base = format!("{scheme}://{host}:{port}{}", uri.path().trim_end_matches('/'));
        Ok(Self { base, authorization: basic(authority.as_str()), secure })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// User name and password of an authority, percent-decoded.
pub(super) fn credentials(authority: &str) -> Option<(String, String)> {
    let (user, password) = authority.rsplit_once('@')?.0.split_once(':')?;
    Some((percent_decode(user), percent_decode(password)))
}

/// The header that user name and password in an authority make.
pub(super) fn basic(authority: &str) -> Option<HeaderValue> {
    let (user, password) = credentials(authority)?;
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(format!("{user}:{password}")))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn percent_decode(text: &str) -> String {
    // the same but for spaces
    crate::http::trailer::decode(text.replace('+', "%2B").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&RemoteOptions::new(url))
    }

    #[test]
    fn addresses_get_a_port_and_lose_their_password() {
        let base = |url| parse(url).unwrap().base;
        assert_eq!(base("https://peergos.example"), "https://peergos.example:443");
        assert_eq!(base("http://127.0.0.1:8000/"), "http://127.0.0.1:8000");
        assert_eq!(base("http://[::1]/a/b/"), "http://[::1]:80/a/b");
        let address = parse("https://ada:a%40%3a+@h:1").unwrap();
        assert_eq!(address.base, "https://h:1");
        assert_eq!(address.authorization.unwrap(), &format!("Basic {}", BASE64.encode("ada:a@:+")));
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for url in ["http://localhost:1", "http://127.9.9.9", "http://[::1]:1"] {
            parse(url).unwrap();
        }
        let public = RemoteOptions::new("http://peergos.example");
        assert!(Address::parse(&public).unwrap_err().to_string().contains("--insecure-http"));
        Address::parse(&RemoteOptions { insecure_http: true, ..public }).unwrap();
        let onion = RemoteOptions::new("http://abc.onion");
        assert!(Address::parse(&onion).is_err());
        Address::parse(&RemoteOptions { proxy: Some("socks5://127.0.0.1:9050".into()), ..onion }).unwrap();
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in ["", "peergos.example", "ftp://h", "https://", "/path", "https://h/?q", "https://h:99999", "a b"] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
