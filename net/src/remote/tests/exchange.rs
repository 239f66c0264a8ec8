//! Requests, refusals, and what is no answer.

use std::{net::TcpListener, thread};

use peergos_crypto::cid::{Cid, Codec};
use peergos_testing::{Answer, Server};

use super::{client, options, owner};
use crate::{Error, Node, RemoteNode, RemoteOptions};

fn cid() -> Cid {
    Cid::of_block(Codec::Raw, b"x")
}

/// The answers of a server that answers everything with these bytes.
fn raw(answer: &str) -> Result<Option<bytes::Bytes>, Error> {
    let answer = answer.as_bytes().to_vec();
    let server = Server::new(move |_, _| Answer::Raw(answer.clone()));
    client(&server.url()).get_block(&owner(), &cid(), None)
}

#[test]
fn a_header_named_trailer_arrives() {
    let server = Server::new(|_, _| Answer::Refuse("PointerCAS:EMPTY,5,EMPTY"));
    let node = client(&server.url());
    for _ in 0..3 {
        let error = node.get_block(&owner(), &cid(), None).unwrap_err();
        assert!(matches!(error, Error::PointerCas { existing: None, sequence: Some(5), claimed: None }), "{error}");
    }
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_refusal_whose_header_is_lost_has_its_body() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 13\r\n\r\nUnauthorised!";
    assert!(matches!(raw(refusal), Err(Error::Unauthorised)));
    assert!(matches!(raw("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), Err(Error::Refused(_))));
}

#[test]
fn calls_are_posts_with_all_in_the_query() {
    let server = Server::new(|_, _| Answer::Ok(Vec::new()));
    let url = server.url().replace("http://", "http://ada:p%40ss@");
    assert_eq!(client(&format!("{url}/base/")).get_block(&owner(), &cid(), None).unwrap(), None);
    let [asked] = &server.asked()[..] else { panic!("one request") };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/base/api/v0/block/get"));
    assert_eq!(asked.query["arg"], cid().to_string());
    assert_eq!(asked.query["owner"], owner().to_string());
    assert_eq!(asked.headers["authorization"], "Basic YWRhOnBAc3M=");
    assert_eq!(asked.headers["host"], server.url()["http://".len()..]);
    assert_eq!(asked.headers["content-length"], "0");
}

#[test]
fn connections_are_used_again() {
    let ports = std::sync::Arc::new(parking_lot::Mutex::new(std::collections::HashSet::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = ports.clone();
    thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            seen.lock().insert(stream.peer_addr().unwrap().port());
            thread::spawn(move || {
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").unwrap();
                }
            });
        }
    });
    let node = client(&url);
    for _ in 0..50 {
        assert_eq!(node.get_block(&owner(), &cid(), None).unwrap().unwrap(), "x");
    }
    // one may come back a little too late for the next call
    assert!(ports.lock().len() < 50);
}

#[test]
fn what_is_no_peergos_server_is_called_so() {
    for status in ["404 Not Found", "405 Method Not Allowed", "301 Moved", "500 Oops", "200 OK"] {
        let body = "<html>";
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = answer.into_bytes();
        let server = Server::new(move |_, _| Answer::Raw(answer.clone()));
        let error = client(&server.url()).id().unwrap_err();
        assert!(matches!(error, Error::NotPeergos { .. }), "{status}: {error}");
        assert!(error.to_string().contains(&server.url()), "{error}");
    }
    let error = raw("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").unwrap_err();
    assert!(matches!(error, Error::FrontLogin(_)), "{error}");
}

#[test]
fn answers_are_bounded_whatever_they_announce() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}", "x".repeat(2 << 20));
    assert!(matches!(raw(&long), Err(Error::NotPeergos { .. })));
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let chunks = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert!(matches!(raw(&chunks), Err(Error::NotPeergos { .. })));
}

#[test]
fn an_answer_that_breaks_off_is_none() {
    for broken in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        "nonsense\r\n\r\n",
    ] {
        let error = raw(broken).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{broken:?}: {error}");
    }
}

#[test]
fn nobody_there_is_said_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let node = RemoteNode::new(&RemoteOptions::new(&url)).unwrap();
    let error = node.id().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn tls_troubles_are_told_from_others() {
    // a server that speaks plain HTTP
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    let error = client(&url).id().unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(error.to_string().contains("--ca-file"));
    server.join().unwrap();
    let missing = RemoteOptions { ca_file: Some("/nowhere/ca.pem".into()), ..options(&url) };
    assert!(matches!(RemoteNode::new(&missing), Err(Error::Address(_))));
}
