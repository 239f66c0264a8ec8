//! The service over real sockets: what the reference recorded, and what nobody should send.

mod connections;
mod factors;
mod hostile;
mod links;
mod probes;
mod sign_ups;
mod slow;
mod strangers;
mod stub;
mod trace;
mod world;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType};

use super::{Options, Service};
use crate::{Node, http::trailer};

/// Serves a node on a free port.
fn serve(node: Arc<dyn Node>) -> Service {
    let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
    Service::start(node, socket(), Some(socket()), Options::default()).unwrap()
}

/// What a server has answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// In the order and letters of the wire.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Why a call was refused.
    fn refusal(&self) -> Option<String> {
        self.header(trailer::NAME).map(|text| trailer::decode(text.as_bytes()))
    }

    /// The body of a call that succeeded.
    #[track_caller]
    fn ok(self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{:?}", self.refusal());
        self.body
    }

    /// Asserts that a call was refused with a text that begins so.
    #[track_caller]
    fn refused(&self, text: &str) {
        let found = self.refusal().unwrap_or_default();
        assert!(self.status == 400 && found.starts_with(text), "{} {found}", self.status);
        assert_eq!(self.body, found.as_bytes());
    }
}

/// A request as it is written, and the answer. The connection is not used again.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = connect(address);
    send(&mut stream, address, method, path, headers, body);
    receive(&mut stream).expect("an answer")
}

fn post(service: &Service, path: &str, body: &[u8]) -> Answer {
    ask(service.address(), "POST", path, &[], body)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// A connection by a client at another address.
fn connect_from(client: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((client, 0))).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn send(stream: &mut TcpStream, address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: {address}\r\n");
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    if !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    // a server that refuses early may close before it has read everything
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
}

/// One answer; none if the connection ends before one.
fn receive(stream: &mut TcpStream) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    if answer.header("Transfer-Encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&line(stream), 16).unwrap();
            answer.body.extend(exactly(stream, size));
            line(stream);
            if size == 0 {
                return Some(answer);
            }
        }
    }
    let length = answer.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    answer.body = exactly(stream, length);
    Some(answer)
}

fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(exactly(stream, 1));
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn exactly(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}
