//! A real service behind a way that loses, delays, cuts and forges.

use std::{net::TcpListener, path::Path, sync::Arc};

use parking_lot::Mutex;
use peergos_crypto::signing::KeyHash;
use peergos_testing::{Answer, Asked, Server, troubled, way};

use super::client;
use crate::{
    Block, CacheSizes, ChampCap, EmbeddedNode, Error, Ledger, Node, Verified,
    embedded::tests::support::*,
    service::{Options, Service},
};

/// How many commits and reads a way with faults must bear.
const ROUNDS: u64 = 24;

/// A served node with one account, and the way to it.
struct World {
    _dir: tempfile::TempDir,
    node: Arc<EmbeddedNode>,
    ada: Client,
    way: Server,
    _service: Service,
}

impl World {
    fn new(fault: impl Fn(&Asked, usize, &dyn Fn() -> Vec<u8>) -> Answer + Send + Sync + 'static) -> Self {
        let (dir, node) = fresh();
        let ada = Client::new("ada");
        ada.sign_up(&*node).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service_at = listener.local_addr().unwrap();
        let service = Service::start(Arc::clone(&node) as Arc<dyn Node>, listener, None, Options::default()).unwrap();
        let way = way(service_at, fault);
        Self { _dir: dir, node, ada, way, _service: service }
    }

    fn verified(&self, ledger: &Path) -> Verified {
        let node = Arc::new(client(&self.way.url()));
        Verified::new(node, CacheSizes::default()).with_ledger(Ledger::open(ledger).unwrap())
    }

    fn owner(&self) -> &KeyHash {
        self.ada.owner()
    }

    fn writer(&self) -> &KeyHash {
        self.ada.writer.hash()
    }

    /// Commits an entry with a fragment over the way.
    fn commit(&self, remote: &dyn Node, i: u64) -> Result<(Block, Block), Error> {
        let fragment = fragment(i, 100_000, &[]);
        let entry = entry(i, 300, &[&fragment]);
        let (mut blocks, pointer) = self.ada.change(&self.node, vec![(map_key(i), Some(entry.cid().clone()))]);
        blocks.extend([entry.clone(), fragment.clone()]);
        let transaction = remote.start_transaction(self.owner())?;
        self.ada.put(remote, &transaction, &blocks)?;
        remote.set_pointers(self.owner(), &[pointer])?;
        remote.close_transaction(self.owner(), &transaction)?;
        Ok((entry, fragment))
    }

    /// Reads an entry and its fragment over the way.
    fn read(&self, verified: &Verified, i: u64, fragment: &Block) -> Result<(Block, Block), Error> {
        let owner = self.owner();
        let pointer = verified.pointer(owner, self.writer())?.unwrap();
        let data = verified.writer_data(owner, self.writer(), &pointer.updated.unwrap())?;
        let cap = ChampCap { map_key: map_key(i), bat: None };
        let found = verified.lookup(owner, &data.tree.unwrap(), &[cap])?.remove(0).unwrap();
        Ok((verified.block(owner, &found, None)?, verified.block(owner, fragment.cid(), None)?))
    }
}

#[test]
fn what_was_acknowledged_is_there_whatever_the_way_does() {
    let world = World::new(|_, before, truth| match before % 2 {
        0 => troubled(before / 2, truth),
        _ => Answer::Raw(truth()),
    });
    let (remote, ledger) = (client(&world.way.url()), tempfile::tempdir().unwrap());
    let before = world.ada.data(&world.node, &world.ada.writer).1.sequence.unwrap();
    let written: Vec<_> = (0..ROUNDS).map(|i| world.commit(&remote, i).unwrap()).collect();
    drop(remote);
    // each exactly once
    assert_eq!(world.ada.data(&world.node, &world.ada.writer).1.sequence.unwrap(), before + ROUNDS);
    for (i, (entry, fragment)) in (0..).zip(&written) {
        let read = world.read(&world.verified(ledger.path()), i, fragment).unwrap();
        assert_eq!(read, (entry.clone(), fragment.clone()));
    }
}

#[test]
fn forged_and_withheld_blocks_are_never_shown() {
    // what is done to every answer to block/get
    let forgeries: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        |mut answer| {
            *answer.last_mut().unwrap() ^= 1;
            answer
        },
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsomething".to_vec(),
    ];
    for forge in forgeries {
        let world = World::new(move |asked, _, truth| {
            let answer = truth();
            Answer::Raw(if asked.path.ends_with("block/get") { forge(answer) } else { answer })
        });
        let (entry, _) = world.commit(&client(&world.way.url()), 1).unwrap();
        let ledger = tempfile::tempdir().unwrap();
        let error = world.verified(ledger.path()).block(world.owner(), entry.cid(), None).unwrap_err();
        assert!(matches!(error, Error::WrongBlock(_) | Error::MissingBlock(_)), "{error}");
        assert!(error.to_string().contains(&entry.cid().to_string()), "{error}");
    }
}

#[test]
fn a_block_that_is_forged_once_is_read_all_the_same() {
    let world = World::new(|asked, before, truth| {
        let mut answer = truth();
        // lookups every time: what is missing from them is asked for by itself
        if asked.path.ends_with("champ/get/bulk") || (asked.path.ends_with("block/get") && before % 2 == 0) {
            let last = answer.len() - 5;
            answer[last] ^= 4;
        }
        Answer::Raw(answer)
    });
    let (entry, fragment) = world.commit(&client(&world.way.url()), 1).unwrap();
    let ledger = tempfile::tempdir().unwrap();
    assert_eq!(world.read(&world.verified(ledger.path()), 1, &fragment).unwrap(), (entry, fragment));
}

#[test]
fn an_old_pointer_is_refused_by_whoever_has_seen_a_newer_one() {
    let replay: Arc<Mutex<(bool, Option<Vec<u8>>)>> = Arc::default();
    let shared = Arc::clone(&replay);
    let world = World::new(move |asked, _, truth| {
        if !asked.path.ends_with("getPointer") {
            return Answer::Raw(truth());
        }
        let mut replay = shared.lock();
        match &*replay {
            (true, Some(old)) => Answer::Raw(old.clone()),
            _ => Answer::Raw(replay.1.get_or_insert_with(truth).clone()),
        }
    });
    let ledger = tempfile::tempdir().unwrap();
    let pointer = || world.verified(ledger.path()).pointer(world.owner(), world.writer());
    let first = pointer().unwrap().unwrap();
    replay.lock().1 = None;
    world.commit(&client(&world.way.url()), 1).unwrap();
    let second = pointer().unwrap().unwrap();
    assert!(second.sequence > first.sequence);

    let stale = first.sign(&world.ada.writer);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", stale.len());
    *replay.lock() = (true, Some([head.as_bytes(), &stale].concat()));
    // in a later run, too
    for _ in 0..2 {
        let error = pointer().unwrap_err();
        assert!(matches!(error, Error::Rollback { .. }), "{error}");
        assert!(error.to_string().contains("older state"), "{error}");
    }
}
