//! A server that goes out of reach and comes back.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use peergos_crypto::cid::{Cid, Codec};
use peergos_testing::{Answer, Asked, Server};

use super::{id, options, owner};
use crate::{Error, Node, Reach, RemoteNode, RemoteOptions};

type Answers = fn(&Asked) -> Answer;

/// A server that answers what a test says at the time.
struct Changing {
    answers: Arc<Mutex<Answers>>,
    server: Server,
}

impl Changing {
    fn new(first: Answers) -> Self {
        let answers = Arc::new(Mutex::new(first));
        let current = Arc::clone(&answers);
        let server = Server::new(move |asked, _| {
            let answer = *current.lock();
            answer(asked)
        });
        Self { answers, server }
    }

    fn becomes(&self, answers: Answers) {
        *self.answers.lock() = answers;
    }

    /// A client that loses its patience at once.
    fn client(&self) -> RemoteNode {
        RemoteNode::new(&RemoteOptions { patience: Duration::ZERO, ..options(&self.server.url()) }).unwrap()
    }

    /// How often something else was asked for than whether it is back.
    fn asked(&self) -> usize {
        self.server.asked().iter().filter(|asked| asked.path != "/api/v0/id").count()
    }

    /// Waits until it was asked `times` more whether it is back.
    fn is_asked_for_its_id(&self, times: usize) {
        let mut asked = 0;
        wait_until("it is not asked whether it is back", || {
            asked += self.server.asked().iter().filter(|asked| asked.path == "/api/v0/id").count();
            asked >= times
        });
    }
}

fn peergos(asked: &Asked) -> Answer {
    Answer::Ok(if asked.path == "/api/v0/id" { id() } else { b"x".to_vec() })
}

/// What a network says that wants one to log in first.
fn portal(_: &Asked) -> Answer {
    Answer::Raw(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n".to_vec())
}

fn get(node: &RemoteNode) -> Result<(), Error> {
    node.get_block(&owner(), &Cid::of_block(Codec::Raw, b"x"), None).map(drop)
}

fn wait_until(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{otherwise}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_server_that_is_gone_is_left_alone_until_it_is_back() {
    let gone: [Answers; 4] = [
        |_| Answer::Raw(Vec::new()),
        // what gateways say that do not reach it
        |_| Answer::Status(502),
        |_| Answer::Status(503),
        |_| Answer::Status(504),
    ];
    for gone in gone {
        let server = Changing::new(peergos);
        let node = server.client();
        get(&node).unwrap();
        assert!(matches!(node.reach(), Reach::Online { .. }));

        server.becomes(gone);
        server.asked();
        assert!(matches!(get(&node), Err(Error::Unreachable { .. })));
        assert!(node.reach().is_offline());
        assert_eq!(server.asked(), 2);
        for _ in 0..20 {
            assert!(matches!(get(&node), Err(Error::Unreachable { .. })));
        }
        assert_eq!(server.asked(), 0, "only one asks whether it is back");

        server.becomes(peergos);
        wait_until("it is never found to be back", || !node.reach().is_offline());
        get(&node).unwrap();
    }
}

#[test]
fn others_that_answer_for_the_server_do_not_bring_it_back() {
    let others: [Answers; 5] = [
        portal,
        |_| Answer::Ok(b"<html>Welcome to our network".to_vec()),
        |_| Answer::Ok(Vec::new()),
        |_| Answer::Status(401),
        |_| Answer::Status(404),
    ];
    let server = Changing::new(peergos);
    let node = server.client();
    get(&node).unwrap();
    server.becomes(|_| Answer::Raw(Vec::new()));
    get(&node).unwrap_err();
    for other in others {
        server.becomes(other);
        server.is_asked_for_its_id(3);
        assert!(node.reach().is_offline());
        assert!(matches!(get(&node), Err(Error::Unreachable { .. })));
    }
    server.becomes(peergos);
    wait_until("it is never found to be back", || !node.reach().is_offline());
}

#[test]
fn who_answers_in_place_of_the_server_has_it_out_of_reach() {
    let server = Changing::new(peergos);
    let node = server.client();
    get(&node).unwrap();
    server.becomes(portal);
    let error = get(&node).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains("302"), "{error}");
    assert!(node.reach().is_offline());

    // a call that it does not know is not the end of it
    let server = Changing::new(|asked| match asked.path.as_str() {
        "/api/v0/block/get" => Answer::Status(404),
        _ => peergos(asked),
    });
    let node = server.client();
    assert!(matches!(get(&node), Err(Error::NotPeergos { .. })));
    assert!(!node.reach().is_offline());
}

#[test]
fn without_tls_nobody_passes_for_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = RemoteNode::new(&options(&format!("https://{}", listener.local_addr().unwrap()))).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    assert!(matches!(get(&node), Err(Error::Tls { .. })), "who asks first is told why");
    wait_until("it is not asked whether it is back", || asked.load(Ordering::SeqCst) > 5);
    assert!(node.reach().is_offline());
    assert!(matches!(get(&node), Err(Error::Unreachable { .. })));
}
