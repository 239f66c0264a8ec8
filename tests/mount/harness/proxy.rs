//! Proxies as stand between people and servers: HTTP with CONNECT, and SOCKS 5.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// HTTP with CONNECT.
    Http,
    /// SOCKS 5.
    Socks,
}

/// Leads everybody to one place, wherever they want to go, and remembers where that was. It demands [`Proxy::LOGIN`].
pub struct Proxy {
    way: Way,
    address: SocketAddr,
    wanted: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// User name and password.
    pub const LOGIN: &str = "ada:secret";
    /// The same in Base64.
    const BASIC: &str = "YWRhOnNlY3JldA==";

    /// Leads to `to`.
    pub fn start(way: Way, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (wanted, stopped) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let accept = {
            let (wanted, stopped) = (Arc::clone(&wanted), Arc::clone(&stopped));
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let wanted = Arc::clone(&wanted);
                    // an error is the end of a connection, whoever made it
                    thread::spawn(move || lead(way, &client, to, &wanted));
                }
            }
        };
        Self { way, address, wanted, stopped, thread: Some(thread::spawn(accept)) }
    }

    /// For `--proxy`; without user name and password.
    pub fn url(&self) -> String {
        self.url_as("")
    }

    /// The same for who comes with a user name and a password.
    pub fn url_with_login(&self) -> String {
        self.url_as(&format!("{}@", Self::LOGIN))
    }

    fn url_as(&self, login: &str) -> String {
        let scheme = match self.way {
            Way::Http => "http",
            Way::Socks => "socks5",
        };
        format!("{scheme}://{login}{}", self.address)
    }

    /// Where people wanted to go, as `HOST:PORT`.
    pub fn wanted(&self) -> Vec<String> {
        self.wanted.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lead(way: Way, client: &TcpStream, to: SocketAddr, wanted: &Mutex<Vec<String>>) -> io::Result<()> {
    let (target, welcome) = match way {
        Way::Http => greet_http(client)?,
        Way::Socks => greet_socks(client)?,
    };
    wanted.lock().expect("nobody panics with it").push(target);
    let server = TcpStream::connect(to)?;
    (&mut &*client).write_all(welcome)?;
    thread::scope(|scope| {
        scope.spawn(|| carry(client, &server));
        carry(&server, client);
    });
    Ok(())
}

/// Carries bytes one way until they end.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Reads where a client wants to go, and what to say when it is there.
fn greet_http(mut client: &TcpStream) -> io::Result<(String, &'static [u8])> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if !head.to_lowercase().contains("proxy-authorization: basic") || !head.contains(Proxy::BASIC) {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    Ok((target.ok_or(io::ErrorKind::InvalidData)?.to_owned(), b"HTTP/1.1 200 OK\r\n\r\n"))
}

/// As [`greet_http`] (RFC 1928, RFC 1929).
fn greet_socks(mut client: &TcpStream) -> io::Result<(String, &'static [u8])> {
    let methods = counted(client, 1)?;
    if !methods.contains(&2) {
        client.write_all(&[5, 0xff])?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    client.write_all(&[5, 2])?;
    let login = [counted(client, 1)?, counted(client, 0)?].join(&b':');
    if login != Proxy::LOGIN.as_bytes() {
        client.write_all(&[1, 1])?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    client.write_all(&[1, 0])?;
    // version, command, reserved and the kind of address, of which names are the only one that a client should use
    let host = String::from_utf8(counted(client, 4)?).map_err(io::Error::other)?;
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    Ok((format!("{host}:{}", u16::from_be_bytes(port)), &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
}

/// Reads some bytes, and then a byte and as many as it says, which are returned.
fn counted(mut client: &TcpStream, before: usize) -> io::Result<Vec<u8>> {
    let mut start = vec![0; before + 1];
    client.read_exact(&mut start)?;
    let mut counted = vec![0; usize::from(start[before])];
    client.read_exact(&mut counted)?;
    Ok(counted)
}
