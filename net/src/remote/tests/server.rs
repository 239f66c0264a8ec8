//! A server for tests. Each answer is what a closure makes of a request; the bytes on the wire are the test's own, so
//! that they can be wrong.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    pub path: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let accept = {
            let (asked, stopped) = (Arc::clone(&asked), Arc::clone(&stopped));
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let (asked, handler) = (Arc::clone(&asked), Arc::clone(&handler));
                    thread::spawn(move || serve(&stream.unwrap(), &asked, &*handler));
                }
            }
        };
        Self { address, asked, stopped, thread: Some(thread::spawn(accept)) }
    }

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
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(stream: &TcpStream, asked: &Mutex<Vec<Asked>>, handler: &Handler) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let before = {
            let mut asked = asked.lock();
            asked.push(request.clone());
            asked.len() - 1
        };
        let answer = match handler(&request, before) {
            Answer::Ok(body) => {
                [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat()
            }
            Answer::Refuse(text) => refusal(text),
            Answer::Status(status) => format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes(),
            Answer::Raw(bytes) => {
                let _ = (&mut &*stream).write_all(&bytes);
                return;
            }
        };
        if (&mut &*stream).write_all(&answer).is_err() {
            return;
        }
    }
}

/// As recorded from the reference server, with its letters (spec 02 §2.3).
fn refusal(text: &str) -> Vec<u8> {
    let text = crate::http::trailer::encode(text);
    format!(
        "HTTP/1.1 400 Bad Request\r\nTrailer: {text}\r\nTransfer-encoding: chunked\r\nContent-type: text/plain\r\n\r\n0\r\n\r\n"
    )
    .into_bytes()
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
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
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = parse(target);
    Some(Asked { method, target: target.to_owned(), path, query, headers, body })
}

/// Path and query of a target. The query is decoded whole and then split, as the reference does.
pub fn parse(target: &str) -> (String, BTreeMap<String, String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = crate::http::trailer::decode(query.replace('+', "%2B").as_bytes());
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    (path.to_owned(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
