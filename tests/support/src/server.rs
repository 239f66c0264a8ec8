//! A server whose answers are what a closure makes of requests. The bytes on the wire are the test's own, so that they can
//! be wrong.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Such as `POST`.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The target before the question mark.
    pub path: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As long as the headers say.
    pub body: Vec<u8>,
}

/// What goes back.
pub enum Answer {
    /// Status 200.
    Ok(Vec<u8>),
    /// Status 400 with a text, as the reference sends it.
    Refuse(&'static str),
    /// This status, without a body.
    Status(u16),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then a reset of the connection.
    Reset(Vec<u8>),
}

/// Listens until it is dropped.
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Handler = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

impl Server {
    /// Answers with what `handler` says to a request and the number of requests before it.
    pub fn new(handler: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, handler)
    }

    /// The same over TLS.
    pub fn tls(config: ServerConfig, handler: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(Some(Arc::new(config)), handler)
    }

    fn start(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (asked, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let accept = {
            let (asked, stopped) = (Arc::clone(&asked), Arc::clone(&stopped));
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let (asked, handler, tls) = (Arc::clone(&asked), Arc::clone(&handler), tls.clone());
                    thread::spawn(move || match tls {
                        Some(config) => {
                            let tls = ServerConnection::new(config).expect("a configuration for servers");
                            serve(StreamOwned::new(tls, &stream), &stream, &asked, &*handler);
                        }
                        None => serve(&stream, &stream, &asked, &*handler),
                    });
                }
            }
        };
        Self { address, asked, stopped, thread: Some(thread::spawn(accept)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same for clients, if it is not over TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("nothing in it panics");
        }
    }
}

/// Answers what comes over `stream`, which `tcp` carries, until one of the two sides ends it.
fn serve(stream: impl Read + Write, tcp: &TcpStream, asked: &Mutex<Vec<Asked>>, handler: &Handler) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let before = {
            let mut asked = asked.lock();
            asked.push(request.clone());
            asked.len() - 1
        };
        let mut send = |bytes: &[u8]| -> io::Result<()> {
            reader.get_mut().write_all(bytes)?;
            reader.get_mut().flush()
        };
        let sent = match handler(&request, before) {
            Answer::Ok(body) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                send(&[head.as_bytes(), &body].concat())
            }
            Answer::Refuse(text) => send(&refusal(text)),
            Answer::Status(status) => send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes()),
            Answer::Raw(bytes) => {
                let _ = send(&bytes);
                return;
            }
            Answer::Reset(bytes) => {
                let _ = send(&bytes);
                set_socket_linger(tcp, Some(Duration::ZERO)).expect("a socket");
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// As recorded from the reference server, with its letters (spec 02 §2.3).
fn refusal(text: &str) -> Vec<u8> {
    let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    format!(
        "HTTP/1.1 400 Bad Request\r\nTrailer: {text}\r\nTransfer-encoding: chunked\r\nContent-type: text/plain\r\n\r\n0\r\n\r\n"
    )
    .into_bytes()
}

fn read(reader: &mut BufReader<impl Read>) -> Option<Asked> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = parse(target);
    Some(Asked { method, target: target.to_owned(), path, query, headers, body })
}

/// Path and query of a target. The query is decoded whole and then split, as the reference does.
pub fn parse(target: &str) -> (String, BTreeMap<String, String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = percent_decode_str(query).decode_utf8_lossy();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    (path.to_owned(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
