//! A way to a real server, on which things happen.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{Answer, Asked, Server};

/// A way to the server at `to`. `fault` makes of a request, the number of requests with the same path before it, and the
/// true answer what arrives; the server is asked when the true answer is.
pub fn way(
    to: SocketAddr,
    fault: impl Fn(&Asked, usize, &dyn Fn() -> Vec<u8>) -> Answer + Send + Sync + 'static,
) -> Server {
    let counts: Mutex<HashMap<String, usize>> = Mutex::default();
    Server::new(move |asked, _| {
        let before = {
            let mut counts = counts.lock();
            let count = counts.entry(asked.path.clone()).or_default();
            *count += 1;
            *count - 1
        };
        fault(asked, before, &|| forward(to, asked))
    })
}

/// Asks the server itself. The answer is as it came, to the end of the connection; nothing if it cannot be reached.
pub fn forward(to: SocketAddr, asked: &Asked) -> Vec<u8> {
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(to)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            asked.target,
            asked.body.len()
        );
        stream.write_all(&[head.as_bytes(), &asked.body].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    exchange().unwrap_or_default()
}

/// How many things [`troubled`] knows.
pub const TROUBLES: usize = 9;

/// The `n`th of the things that a client must survive; after the last comes the first again.
pub fn troubled(n: usize, truth: &dyn Fn() -> Vec<u8>) -> Answer {
    let part = |cut: fn(usize) -> usize| {
        let mut answer = truth();
        answer.truncate(cut(answer.len()));
        answer
    };
    match n % TROUBLES {
        // lost before it arrives, and after the server has acted on it
        0 => Answer::Raw(Vec::new()),
        1 => Answer::Raw(part(|_| 0)),
        2 => Answer::Status(429),
        3 => Answer::Status(502),
        4 => {
            truth();
            Answer::Status(503)
        }
        // cut in the head, before the last byte of the body, and in its middle
        5 => Answer::Raw(part(|_| 20)),
        6 => Answer::Raw(part(|len| len.saturating_sub(1))),
        7 => Answer::Reset(part(|len| len / 2)),
        _ => {
            thread::sleep(Duration::from_millis(50));
            Answer::Raw(truth())
        }
    }
}
