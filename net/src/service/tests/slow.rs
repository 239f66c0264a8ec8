//! Clients that take their time, and what others get meanwhile.

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use peergos_crypto::cid::Codec;

use super::{
    super::Options,
    stub::{GET, Stub},
    world::World,
    *,
};
use crate::{MAX_BLOCK, embedded::tests::support::*};

const PUT: &str = "/api/v0/block/put/bulk?format=raw&transaction=t&\
    owner=z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC&\
    writer=z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC";
/// About as much as a put may have.
const LONG: usize = 2_300_000;
/// What others wait at most.
const SOON: Duration = Duration::from_secs(20);

/// A client whose put is being received, and of which nothing is there yet.
fn announce(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = "Expect: 100-continue\r\n\r\n";
    write!(stream, "POST {PUT} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {LONG}\r\n{head}").unwrap();
    assert_eq!(exactly(&mut stream, 25), b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn who_only_announces_a_body_keeps_nobody_out() {
    let world = World::new();
    let mut idle: Vec<TcpStream> = (0..80).map(|_| announce(world.service.address())).collect();
    idle.iter_mut().for_each(|stream| stream.write_all(&[0; 1000]).unwrap());
    let group = world.group(Codec::Raw, &noise(7, MAX_BLOCK - 100));
    world.put("raw", &group).ok();
}

#[test]
fn bodies_must_come_at_a_pace() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hour = Duration::from_secs(3600);
    let options = Options { body_time: hour, pace: Duration::from_millis(300), ..Options::default() };
    let service = Service::start(node, listener, None, options).unwrap();
    // one that has sent much and stops
    let mut stalled = announce(service.address());
    let _ = stalled.write_all(&[0; 150_000]);
    assert_eq!(receive(&mut stalled).unwrap().status, 429);
    // one that goes on for ever
    let mut trickle = announce(service.address());
    trickle.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let begun = Instant::now();
    while trickle.peek(&mut [0]).is_err() {
        assert!(begun.elapsed() < SOON, "still received");
        let _ = trickle.write_all(&[0]);
    }
    assert_eq!(receive(&mut trickle).unwrap().status, 429);
}

/// Serves one connection at a time, lets a client ask for much, and returns a way to ask for more.
fn one_at_a_time(client: impl FnOnce(TcpStream, &AtomicBool) + Send) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { connections: 1, pace: Duration::from_millis(300), ..Options::default() };
    // more than the system takes on behalf of a client
    let much = Bytes::from(vec![0; 64 << 20]);
    let service = Service::start(Arc::new(Stub(move || much.clone())), listener, None, options).unwrap();
    let address = service.address();
    let mut stream = connect(address);
    send(&mut stream, address, "POST", GET, &[], b"");
    assert_eq!(exactly(&mut stream, 15), b"HTTP/1.1 200 OK");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| client(stream, &done));
        let mut other = connect(address);
        other.set_read_timeout(Some(SOON)).unwrap();
        send(&mut other, address, "POST", "/api/v0/id", &[], b"");
        let answer = receive(&mut other);
        done.store(true, Ordering::Relaxed);
        assert_eq!(answer.expect("the other client is cut off").status, 200);
    });
}

#[test]
fn who_does_not_read_is_cut_off() {
    one_at_a_time(|_stream, done| {
        while !done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn who_reads_too_slowly_is_cut_off() {
    one_at_a_time(|mut stream, done| {
        while !done.load(Ordering::Relaxed) {
            let _ = stream.read(&mut [0; 100]);
            thread::sleep(Duration::from_millis(10));
        }
    });
}
