//! A server that goes out of reach and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use peergos_crypto::cid::{Cid, Codec};
use peergos_testing::{Answer, Server};

use super::{options, owner};
use crate::{Error, Node, Reach, RemoteNode, RemoteOptions};

#[test]
fn a_server_that_is_gone_is_left_alone_until_it_is_back() {
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let server = Server::new(move |_, _| match is_gone.load(Ordering::SeqCst) {
        true => Answer::Raw(Vec::new()),
        false => Answer::Ok(b"x".to_vec()),
    });
    let node = RemoteNode::new(&RemoteOptions { patience: Duration::ZERO, ..options(&server.url()) }).unwrap();
    let cid = Cid::of_block(Codec::Raw, b"x");
    let get = || node.get_block(&owner(), &cid, None);
    get().unwrap();
    assert!(matches!(node.reach(), Reach::Online { .. }));

    gone.store(true, Ordering::SeqCst);
    server.asked();
    assert!(matches!(get(), Err(Error::Unreachable { .. })));
    assert!(node.reach().is_offline());
    assert_eq!(server.asked().iter().filter(|asked| asked.path.ends_with("block/get")).count(), 2);
    for _ in 0..20 {
        assert!(matches!(get(), Err(Error::Unreachable { .. })));
    }
    assert!(server.asked().iter().all(|asked| asked.path == "/api/v0/id"), "only one asks whether it is back");

    gone.store(false, Ordering::SeqCst);
    let started = Instant::now();
    while node.reach().is_offline() {
        assert!(started.elapsed() < Duration::from_secs(60), "it is never found to be back");
        thread::sleep(Duration::from_millis(1));
    }
    get().unwrap();
}
