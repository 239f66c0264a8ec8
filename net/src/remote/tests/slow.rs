//! Lines that are slow, and servers that are.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use peergos_crypto::cid::{Cid, Codec};
use peergos_testing::{Answer, Server, slow_line};

use super::{key, options, owner};
use crate::{Block, Error, MAX_BLOCK, Node, RemoteNode, RemoteOptions, TransactionId, http::bodies};

const MIB: usize = 1 << 20;

#[test]
fn what_goes_on_is_given_the_time_that_it_takes() {
    const RATE: u32 = 1 << 20;
    const COUNT: u8 = 4;
    let server = Server::new(move |asked, _| match asked.path.as_str() {
        "/api/v0/block/get" => Answer::Ok(vec![0; MIB]),
        _ => {
            let blocks = bodies::read_block_group(Codec::Raw, &asked.body).unwrap();
            Answer::Ok(bodies::hashes(blocks.iter().map(|signed| signed.block.cid())).into_bytes())
        }
    });
    let url = format!("http://{}", slow_line(server.address(), RATE));
    let timeout = Duration::from_secs(2);
    let node = RemoteNode::new(&RemoteOptions { timeout, ..options(&url) }).unwrap();
    // all at a time take twice as long as nothing may move
    let wanted: Vec<_> = (0..COUNT).map(|i| (Cid::of_block(Codec::Raw, &[i]), None)).collect();
    let began = Instant::now();
    let read = node.get_blocks(&owner(), &wanted).unwrap();
    assert!(read.iter().flatten().all(|block| block.len() == MIB));
    assert!(began.elapsed() > timeout * 3 / 2, "the line is not slow");
    let blocks = (0..COUNT).map(|i| Block::new(Codec::Raw, vec![i; MAX_BLOCK]).sign(&key(2))).collect();
    node.put_blocks(&owner(), &owner(), &TransactionId("t".into()), Codec::Raw, blocks).unwrap();
    assert_eq!(server.asked().len(), 2 * usize::from(COUNT), "each is asked for once");
}

/// What a server makes of a connection on which a request has arrived.
type Talk = fn(&mut TcpStream) -> std::io::Result<()>;

/// How long a read from such a server is tried, where nothing may move for `timeout`; it fails.
fn tried(timeout: Duration, talk: Talk) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 4096]);
                // until the other side has enough
                let _ = talk(&mut stream);
            });
        }
    });
    let node = RemoteNode::new(&RemoteOptions { timeout, patience: Duration::ZERO, ..options(&url) }).unwrap();
    let began = Instant::now();
    let error = node.get_block(&owner(), &Cid::of_block(Codec::Raw, b"x"), None).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    began.elapsed()
}

#[test]
fn what_stands_still_is_given_up() {
    let silent: [Talk; 2] = [
        |stream| stream.read_to_end(&mut Vec::new()).map(drop),
        |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        },
    ];
    let timeout = Duration::from_millis(100);
    for silent in silent {
        let took = tried(timeout, silent);
        // twice, and not until the end of all patience
        assert!((2 * timeout..60 * timeout).contains(&took), "{took:?}");
    }
}

#[test]
fn what_never_ends_is_given_up() {
    let timeout = Duration::from_millis(20);
    let took = tried(timeout, |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
        loop {
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(1));
        }
    });
    // twice, and much else may go on
    assert!(took < 60 * 60 * timeout, "{took:?}");
}
