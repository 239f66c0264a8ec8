//! Connections, limits, metrics, and the end.

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    super::Options,
    stub::{GET, Stub},
    *,
};
use crate::embedded::tests::support::fresh;

#[test]
fn connections_are_kept_and_refusals_do_not_end_them() {
    let (_dir, node) = fresh();
    let service = serve(node);
    let mut stream = connect(service.address());
    for _ in 0..3 {
        send(&mut stream, service.address(), "POST", "/api/v0/id", &[], b"");
        assert_eq!(receive(&mut stream).unwrap().status, 200);
        send(&mut stream, service.address(), "POST", "/peergos/v0/core/nope", &[], b"");
        let refused = receive(&mut stream).unwrap();
        refused.refused("Unknown pkinode method!");
        assert_eq!(refused.header("Trailer"), Some("Unknown+pkinode+method%21"));
        assert_eq!(refused.header("Content-Type"), Some("text/plain"));
    }
}

#[test]
fn bodies_are_bounded() {
    let (_dir, node) = fresh();
    let service = serve(node);
    let path = "/peergos/v0/social/followRequest?owner=z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC";
    post(&service, path, &[0; 4097]).refused("Input exceeds maximum size of 4096 bytes");
    // one that does not say how long it is
    let chunk = [b"1001\r\n".as_slice(), &[0; 4097], b"\r\n0\r\n\r\n"].concat();
    let headers = [("Transfer-Encoding", "chunked")];
    ask(service.address(), "POST", path, &headers, &chunk).refused("Input exceeds maximum size of 4096 bytes");
    // one that lies about it: nothing of that size is ever reserved
    let mut stream = connect(service.address());
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 18446744073709551615\r\n\r\n",
        service.address()
    )
    .unwrap();
    assert!(receive(&mut stream).is_none_or(|answer| (400..500).contains(&answer.status)));
    assert_eq!(post(&service, "/api/v0/id", b"").status, 200);
}

#[test]
fn too_many_connections_wait() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { connections: 2, ..Options::default() };
    let service = Service::start(node, listener, None, options).unwrap();
    let address = service.address();
    let mut first = connect(address);
    let mut second = connect(address);
    for stream in [&mut first, &mut second] {
        send(stream, address, "POST", "/api/v0/id", &[], b"");
        assert_eq!(receive(stream).unwrap().status, 200);
    }
    let mut third = connect(address);
    send(&mut third, address, "POST", "/api/v0/id", &[], b"");
    third.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(receive(&mut third).is_none());
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(receive(&mut third).unwrap().status, 200);
}

/// Whether a connection is served.
fn is_served(mut stream: &TcpStream, address: SocketAddr) -> bool {
    send(&mut stream.try_clone().unwrap(), address, "POST", "/api/v0/id", &[], b"");
    let mut answer = [0; 15];
    let served = stream.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 200 OK";
    let _ = stream.read(&mut [0; 1000]);
    served
}

#[test]
fn one_client_does_not_get_all_connections() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { connections: 80, ..Options::default() };
    let service = Service::start(node, listener, None, options).unwrap();
    let address = service.address();
    let mut held: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    assert!(held.iter().all(|stream| is_served(stream, address)));
    assert!(!is_served(&connect(address), address));
    assert!(is_served(&connect_from([127, 0, 0, 2], address), address));
    // when one ends there is place for another
    held.pop();
    let begun = Instant::now();
    while !is_served(&connect(address), address) {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_proxy_gets_all_connections() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { connections: 80, behind_proxy: true, ..Options::default() };
    let service = Service::start(node, listener, None, options).unwrap();
    let held: Vec<TcpStream> = (0..80).map(|_| connect(service.address())).collect();
    assert!(held.iter().all(|stream| is_served(stream, service.address())));
}

#[test]
fn slow_clients_are_let_go() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let short = Duration::from_millis(200);
    let options = Options { head_time: short, body_time: short, connections: 1, ..Options::default() };
    let service = Service::start(node, listener, None, options).unwrap();
    let address = service.address();
    // one that says nothing, one that does not finish what it says, one that does not send what it has announced
    let idle = connect(address);
    let mut slow = connect(address);
    slow.write_all(b"POST /api/v0/id HTTP/1.1\r\nHost: ").unwrap();
    let mut lazy = connect(address);
    let head = format!("POST /peergos/v0/core/getChain HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\n\r\n");
    lazy.write_all(head.as_bytes()).unwrap();
    // there is one place for all of them, and each gives it up
    assert_eq!(ask(address, "POST", "/api/v0/id", &[], b"").status, 200);
    assert_eq!(receive(&mut lazy).unwrap().status, 429);
    drop((idle, slow));
}

#[test]
fn a_proxy_says_who_is_asking() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = Service::start(node, listener, None, Options { behind_proxy: true, ..Options::default() }).unwrap();
    let path = "/peergos/v0/social/followRequest?owner=z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC";
    let send = |from: &str| ask(service.address(), "POST", path, &[("X-Forwarded-For", from)], b"\x05").status;
    // what the client itself has said comes first, and counts for nothing
    let statuses: Vec<u16> = (0..40).map(|n| send(&format!("10.0.0.{n}, 192.0.2.1"))).collect();
    assert_eq!((statuses[0], statuses[39], send("192.0.2.1, 192.0.2.2")), (400, 429, 400));
}

#[test]
fn public_servers_answer_get_and_names() {
    let (_dir, node) = fresh();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { public: true, hosts: vec!["drive.example".to_owned()], ..Options::default() };
    let service = Service::start(node, listener, None, options).unwrap();
    let get = |host| ask(service.address(), "GET", "/api/v0/id", &[("Host", host)], b"").status;
    assert_eq!((get("drive.example"), get("evil.example")), (200, 404));
}

#[test]
fn nuisances_are_told_to_wait() {
    let (_dir, node) = fresh();
    let service = serve(node);
    let path = "/peergos/v0/social/followRequest?owner=z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC";
    let answers: Vec<Answer> = (0..40).map(|_| post(&service, path, b"\x05")).collect();
    assert_eq!(answers[0].status, 400);
    let last = answers.last().unwrap();
    assert_eq!((last.status, last.refusal().is_some()), (429, true));
    assert_eq!(post(&service, "/api/v0/id", b"").status, 200);
}

#[test]
fn metrics_have_no_names_in_them() {
    let (_dir, node) = fresh();
    let service = serve(node);
    post(&service, "/api/v0/id?secret=1", b"");
    let metrics = ask(service.metrics_address().unwrap(), "GET", "/metrics", &[], b"").ok();
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("peergos_requests_total{call=\"id\",status=\"200\"} 1"), "{metrics}");
    assert!(metrics.contains("peergos_accounts 0") && !metrics.contains("secret"));
    assert_eq!(post(&service, "/metrics", b"").status, 404);
}

#[test]
fn the_end_comes_at_once_when_nothing_is_under_way() {
    let (dir, node) = fresh();
    let service = serve(Arc::clone(&node) as _);
    let mut idle = connect(service.address());
    send(&mut idle, service.address(), "POST", "/api/v0/id", &[], b"");
    receive(&mut idle).unwrap();
    let address = service.address();
    drop(service);
    assert!(receive(&mut idle).is_none());
    assert!(std::net::TcpStream::connect(address).is_err());
    // nobody holds the node any more
    assert_eq!(Arc::strong_count(&node), 1);
    drop(node);
    crate::EmbeddedNode::open(dir.path()).unwrap();
}

#[test]
fn the_end_waits_for_calls_that_are_under_way() {
    let (began, begun) = mpsc::channel();
    let (finish, finished) = mpsc::channel();
    let finished = Mutex::new(finished);
    let service = serve(Arc::new(Stub(move || {
        began.send(()).unwrap();
        finished.lock().recv().unwrap();
        Bytes::from_static(b"late")
    })));
    let address = service.address();
    let mut stream = connect(address);
    send(&mut stream, address, "POST", GET, &[], b"");
    begun.recv().unwrap();
    let end = thread::spawn(move || drop(service));
    // nobody new is let in
    while TcpStream::connect(address).is_ok() {}
    assert!(!end.is_finished());
    finish.send(()).unwrap();
    assert_eq!(receive(&mut stream).unwrap().ok(), b"late");
    assert!(receive(&mut stream).is_none());
    end.join().unwrap();
}
