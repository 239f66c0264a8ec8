//! What is asked again and what is not, and how the outcome is found out where an answer is lost.

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::{
    cid::{Cid, Codec},
    signing::KeyHash,
};
use peergos_testing::{Answer, Asked, Server};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{client, id, key, owner};
use crate::{
    Block, ChampCap, Error, MAX_BLOCK, Node, PointerUpdate, PointerWrite, SignedBlock, TransactionId, http::bodies,
};

fn transaction() -> TransactionId {
    TransactionId("t".into())
}

fn block(len: usize, fill: u8) -> SignedBlock {
    Block::new(Codec::Raw, vec![fill; len]).sign(&key(2))
}

fn stored(asked: &Asked) -> Answer {
    let blocks = bodies::read_block_group(Codec::Raw, &asked.body).unwrap();
    Answer::Ok(bodies::hashes(blocks.iter().map(|signed| signed.block.cid())).into_bytes())
}

fn update(from: Option<u8>, to: u8, sequence: u64) -> PointerWrite {
    let target = |i: u8| Cid::of_block(Codec::DagCbor, &[i]);
    let update = PointerUpdate { original: from.map(target), updated: Some(target(to)), sequence: Some(sequence) };
    PointerWrite { writer: key(2).hash().clone(), signed: update.sign(&key(2)) }
}

#[test]
fn a_server_that_comes_back_is_waited_for() {
    for trouble in [429, 502, 503, 504] {
        let server =
            Server::new(move |_, before| if before < 4 { Answer::Status(trouble) } else { Answer::Ok(vec![1]) });
        let node = client(&server.url());
        assert_eq!(node.get_block(&owner(), &Cid::of_block(Codec::Raw, b""), None).unwrap().unwrap(), [1_u8][..]);
        assert_eq!(server.asked().len(), 5);
    }
    let server = Server::new(|_, _| Answer::Refuse("Queue full, try later"));
    let node = client(&server.url());
    assert!(matches!(node.get_block(&owner(), &Cid::of_block(Codec::Raw, b""), None), Err(Error::Busy)));
    assert_eq!(server.asked().len(), 7);
}

#[test]
fn refusals_are_final() {
    let texts =
        ["Storage quota reached! \nUsed 1 out of 2 bytes.", "Champ root not present locally: z", "Unauthorised!"];
    for text in texts {
        let server = Server::new(move |_, _| Answer::Refuse(text));
        client(&server.url())
            .put_blocks(&owner(), &owner(), &transaction(), Codec::Raw, vec![block(9, 1)])
            .unwrap_err();
        assert_eq!(server.asked().len(), 1, "{text}");
    }
}

#[test]
fn who_breaks_off_at_a_signature_is_not_insisted_on() {
    let server = Server::new(|asked, _| match asked.path.as_str() {
        "/api/v0/id" => Answer::Ok(id()),
        _ => Answer::Raw(Vec::new()),
    });
    let node = client(&server.url());
    let asked = || server.asked().iter().filter(|asked| asked.path != "/api/v0/id").count();
    let error = node.put_blocks(&owner(), &owner(), &transaction(), Codec::Raw, vec![block(9, 1)]).unwrap_err();
    assert!(matches!(error, Error::NoAnswer(_)), "{error}");
    assert_eq!(asked(), 3);
    let error = node.set_login("ada", b"data", &[0; 64]).unwrap_err();
    assert!(matches!(error, Error::NoAnswer(_)), "{error}");
    assert_eq!(asked(), 1);
    let error = node.get_login("ada", &key(1).public(), b"", Some(b"code")).unwrap_err();
    assert!(matches!(error, Error::NoAnswer(_)), "{error}");
    assert_eq!(asked(), 1);
    assert!(!node.reach().is_offline());
}

#[test]
fn who_breaks_off_because_it_restarts_is_waited_for() {
    // more often than it may break off at a signature, but at everything else as well
    for trouble in [|| Answer::Raw(Vec::new()), || Answer::Status(502)] {
        let server = Server::new(move |asked, before| match asked.path.as_str() {
            _ if before < 5 => trouble(),
            "/api/v0/id" => Answer::Ok(id()),
            _ => stored(asked),
        });
        let put =
            || client(&server.url()).put_blocks(&owner(), &owner(), &transaction(), Codec::Raw, vec![block(9, 1)]);
        put().unwrap();
        assert_eq!(server.asked().iter().filter(|asked| asked.path != "/api/v0/id").count(), 2);
    }
}

#[test]
fn puts_are_filled_and_parallel() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::new(move |asked, _| {
        peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // until others arrive, but not for ever
        let started = std::time::Instant::now();
        while peak.load(Ordering::SeqCst) < 4 && started.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        count.fetch_sub(1, Ordering::SeqCst);
        stored(asked)
    });
    let mut blocks: Vec<_> = (0..4).map(|i| block(MAX_BLOCK, i)).collect();
    blocks.extend((0..200).map(|i| block(10_000 + i, 9)));
    client(&server.url()).put_blocks(&owner(), &owner(), &transaction(), Codec::Raw, blocks).unwrap();
    let sizes: Vec<usize> = server.asked().iter().map(|asked| asked.body.len()).collect();
    // 200 blocks of 10 kB fit into two requests
    assert_eq!(sizes.len(), 6, "{sizes:?}");
    assert!(most.load(Ordering::SeqCst) >= 4);
}

#[test]
fn a_server_that_stores_something_else_is_caught() {
    let server = Server::new(|_, _| Answer::Ok(bodies::hashes([block(1, 2).block.cid()]).into_bytes()));
    let put = client(&server.url()).put_blocks(&owner(), &owner(), &transaction(), Codec::Raw, vec![block(1, 1)]);
    assert!(matches!(put, Err(Error::Invalid(_))));
}

#[test]
fn blocks_and_lookups_come_in_the_order_asked_for() {
    let server = Server::new(|asked, _| match asked.path.as_str() {
        "/api/v0/block/get" => Answer::Ok(asked.query["arg"].clone().into_bytes()),
        _ => {
            let caps = bodies::read_champ_caps(&asked.query["caps"]).unwrap();
            let keys = caps.iter().map(|cap| Bytes::copy_from_slice(&cap.map_key));
            Answer::Ok(bodies::block_list(&keys.collect::<Vec<_>>()))
        }
    });
    let node = client(&server.url());
    let wanted: Vec<_> = (0..50).map(|i| (Cid::of_block(Codec::Raw, &[i]), None)).collect();
    let blocks = node.get_blocks(&owner(), &wanted).unwrap();
    assert!(
        blocks.iter().zip(&wanted).all(|(block, (cid, _))| **block.as_ref().unwrap() == *cid.to_string().as_bytes())
    );

    let caps: Vec<_> = (0..45).map(|i| ChampCap { map_key: [i; 32], bat: None }).collect();
    server.asked();
    let found = node.champ_get(&owner(), &wanted[0].0, &caps).unwrap();
    assert!(found.iter().zip(0..).all(|(key, i)| key[..] == [i; 32]));
    assert_eq!((found.len(), server.asked().len()), (45, 3));
}

/// A server with one pointer, which fails as the script says after it has set it.
fn pointer_server(script: impl Fn(usize) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let current = Mutex::new(update(None, 1, 1).signed);
    let sets = AtomicUsize::new(0);
    Server::new(move |asked, _| {
        if asked.path.ends_with("getPointer") {
            return Answer::Ok(current.lock().clone());
        }
        let writes = bodies::read_pointers(&asked.body).unwrap();
        let open = |signed: &[u8]| PointerUpdate::open(signed, &key(2).public()).unwrap();
        let mut current = current.lock();
        let conflict = open(&writes[0].signed).original != open(&current).updated;
        if !conflict {
            current.clone_from(&writes[0].signed);
        }
        let answer = script(sets.fetch_add(1, Ordering::SeqCst));
        answer.unwrap_or_else(|| if conflict { Answer::Ok(vec![0]) } else { Answer::Ok(vec![1]) })
    })
}

fn set(server: &Server, write: PointerWrite) -> Result<(), Error> {
    client(&server.url()).set_pointers(&owner(), &[write])
}

#[test]
fn a_pointer_whose_answer_is_lost_is_looked_at() {
    let lost: [fn() -> Answer; 3] = [
        || Answer::Raw(Vec::new()),
        || Answer::Status(502),
        || Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n".into()),
    ];
    for lost in lost {
        let server = pointer_server(move |_| Some(lost()));
        set(&server, update(Some(1), 2, 2)).unwrap();
        let sets = server.asked().iter().filter(|asked| asked.path.ends_with("setPointers")).count();
        assert_eq!(sets, 1);
    }
}

#[test]
fn a_pointer_that_was_not_set_is_set_again() {
    let reached = AtomicBool::new(false);
    let current = Mutex::new(update(None, 1, 1).signed);
    let server = Server::new(move |asked, _| {
        if asked.path.ends_with("getPointer") {
            return Answer::Ok(current.lock().clone());
        }
        if !reached.swap(true, Ordering::SeqCst) {
            return Answer::Raw(Vec::new());
        }
        current.lock().clone_from(&bodies::read_pointers(&asked.body).unwrap()[0].signed);
        Answer::Ok(vec![1])
    });
    set(&server, update(Some(1), 2, 2)).unwrap();
}

#[test]
fn a_late_success_is_not_taken_for_a_conflict() {
    // the first attempt arrives after it was looked for
    let current = Mutex::new(update(None, 1, 1).signed);
    let server = Server::new(move |asked, before| {
        if asked.path.ends_with("getPointer") {
            let shown = current.lock().clone();
            if before == 1 {
                *current.lock() = update(Some(1), 2, 2).signed;
            }
            return Answer::Ok(shown);
        }
        if before == 0 { Answer::Raw(Vec::new()) } else { Answer::Refuse("PointerCAS:EMPTY,2,EMPTY") }
    });
    set(&server, update(Some(1), 2, 2)).unwrap();
}

#[test]
fn conflicts_come_as_an_error_or_as_false() {
    let server = pointer_server(|_| None);
    let error = set(&server, update(Some(7), 8, 2)).unwrap_err();
    let target = |i: u8| Some(Cid::of_block(Codec::DagCbor, &[i]));
    let Error::PointerCas { existing, sequence, claimed } = error else { panic!("{error}") };
    assert_eq!((existing, sequence, claimed), (target(1), Some(1), target(7)));

    let server = pointer_server(|_| Some(Answer::Refuse("PointerCAS:EMPTY,,EMPTY")));
    assert!(matches!(set(&server, update(Some(7), 8, 2)), Err(Error::PointerCas { .. })));
    // another reason than a conflict
    let server = pointer_server(|_| Some(Answer::Ok(vec![0])));
    let error = client(&server.url()).set_pointers(&owner(), &[update(Some(1), 1, 2), update(Some(7), 8, 2)]);
    assert!(error.is_err());
}

#[test]
fn transactions_are_closed_and_opened_in_the_background() {
    let server = Server::new(|asked, before| match asked.path.as_str() {
        "/api/v0/transaction/start" => Answer::Ok(format!("t{before}").into_bytes()),
        _ => Answer::Ok(b"1".to_vec()),
    });
    let node = client(&server.url());
    let first = node.start_transaction(&owner()).unwrap();
    node.close_transaction(&owner(), &first).unwrap();
    let other: KeyHash = key(3).hash().clone();
    node.start_transaction(&other).unwrap();
    // the next one may be there already or not
    let second = node.start_transaction(&owner()).unwrap();
    assert_ne!(first, second);
    node.close_transaction(&owner(), &second).unwrap();
    drop(node);
    let closed: Vec<_> = server.asked().into_iter().filter(|asked| asked.path.ends_with("close")).collect();
    assert_eq!(closed.len(), 2);
    for transaction in [first, second] {
        assert!(closed.iter().any(|asked| asked.query["arg"] == transaction.0));
    }
}
