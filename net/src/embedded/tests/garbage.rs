//! Garbage collection while clients go on: at every step, and all the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    super::gc::{Collected, Sweep},
    support::*,
};
use crate::{Block, EmbeddedNode, Node, PointerWrite, TransactionId};

/// The moments between the steps of a collection.
const MOMENTS: usize = 4;

/// Collects, and calls `meanwhile` at each moment.
fn collect(node: &EmbeddedNode, meanwhile: &mut dyn FnMut(usize)) -> Collected {
    let mut collected = Collected::default();
    meanwhile(0);
    let account = node.core.accounts.named("alice").unwrap();
    let sweep = Sweep::begin(&node.core, account, false).unwrap().expect("pointers have moved");
    meanwhile(1);
    let marked = sweep.mark().unwrap();
    meanwhile(2);
    marked.sweep(&mut collected).unwrap();
    meanwhile(3);
    collected
}

/// What a client uploads: an entry with a fragment, and what it takes to reach them.
struct Upload<'a> {
    client: &'a Client,
    node: &'a Arc<EmbeddedNode>,
    seed: u64,
    transaction: Option<TransactionId>,
    pointer: Option<PointerWrite>,
}

impl<'a> Upload<'a> {
    fn new(client: &'a Client, node: &'a Arc<EmbeddedNode>, seed: u64) -> Self {
        Self { client, node, seed, transaction: None, pointer: None }
    }

    fn blocks(&self) -> [Block; 2] {
        let large = fragment(self.seed, FRAGMENT, &[]);
        [entry(self.seed, 500, &[&large]), large]
    }

    fn put(&mut self) {
        let [entry, large] = self.blocks();
        let (mut blocks, pointer) =
            self.client.change(self.node, vec![(map_key(self.seed), Some(entry.cid().clone()))]);
        blocks.extend([entry, large]);
        let transaction = self.node.start_transaction(self.client.owner()).unwrap();
        self.client.put(&**self.node, &transaction, &blocks).unwrap();
        (self.transaction, self.pointer) = (Some(transaction), Some(pointer));
    }

    fn commit(&mut self) {
        self.node.set_pointer(self.client.owner(), &self.pointer.take().unwrap()).unwrap();
    }

    fn close(&mut self) {
        self.node.close_transaction(self.client.owner(), &self.transaction.take().unwrap()).unwrap();
    }

    fn assert_there(&self) {
        let [entry, _] = self.blocks();
        assert_eq!(self.client.read(self.node, map_key(self.seed)), Some(entry));
    }
}

/// Runs a collection while an upload is put, committed and closed at three given moments. The blocks were there before,
/// as garbage (`again`) or were not; and somebody else's commit in between makes what is pending known (`flushed`).
fn interleave(moments: [usize; 3], again: bool, flushed: bool) {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let mut upload = Upload::new(&client, &node, 1);
    if again {
        let [entry, large] = upload.blocks();
        client.commit(&node, &[(map_key(1), Some(entry))], &[large]).unwrap();
        client.commit(&node, &[(map_key(1), None)], &[]).unwrap();
        node.usage(client.owner(), &client.time_auth()).unwrap();
    } else {
        client.commit(&node, &[(map_key(2), Some(entry(2, 10, &[])))], &[]).unwrap();
    }
    let mut other = 0;
    collect(&node, &mut |moment| {
        if moments[0] == moment {
            upload.put();
        }
        if flushed {
            other += 1;
            node.set_quota("alice", Some(u64::MAX >> other)).unwrap();
        }
        if moments[1] == moment {
            upload.commit();
        }
        if moments[2] == moment {
            upload.close();
        }
    });
    upload.assert_there();
    // and nothing that is needed goes when it is all over
    node.collect_garbage().unwrap();
    upload.assert_there();
}

#[test]
fn an_upload_at_any_moment_is_safe() {
    for put in 0..MOMENTS {
        for commit in put..MOMENTS {
            for close in commit..MOMENTS {
                for (again, flushed) in [(false, false), (false, true), (true, false), (true, true)] {
                    interleave([put, commit, close], again, flushed);
                }
            }
        }
    }
}

#[test]
fn an_upload_that_outlives_a_collection_is_safe() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    for again in [false, true] {
        for moment in 0..MOMENTS {
            let seed = 100 + 10 * u64::from(again) + moment as u64;
            let mut upload = Upload::new(&client, &node, seed);
            if again {
                let [entry, large] = upload.blocks();
                client.commit(&node, &[(map_key(seed), Some(entry))], &[large]).unwrap();
                client.commit(&node, &[(map_key(seed), None)], &[]).unwrap();
            }
            client.commit(&node, &[(map_key(seed + 1000), Some(entry(seed, 10, &[])))], &[]).unwrap();
            collect(&node, &mut |now| {
                if now == moment {
                    upload.put();
                }
            });
            upload.commit();
            upload.assert_there();
            upload.close();
        }
    }
}

#[test]
fn what_becomes_garbage_meanwhile_goes_next_time() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let large = fragment(1, FRAGMENT, &[]);
    let there = |node: &EmbeddedNode| node.get_block(client.owner(), large.cid(), None).unwrap().is_some();
    let add = || client.commit(&node, &[(map_key(1), Some(entry(1, 10, &[&large])))], std::slice::from_ref(&large));
    add().unwrap();
    collect(&node, &mut |moment| {
        if moment == 2 {
            client.commit(&node, &[(map_key(1), None)], &[]).unwrap();
        }
    });
    assert!(there(&node));
    node.usage(client.owner(), &client.time_auth()).unwrap();
    assert!(node.collect_garbage().unwrap().bytes > FRAGMENT as u64);
    assert!(!there(&node));
}

#[test]
fn uploads_that_were_overtaken_count_as_garbage() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let count = || {
        node.usage(client.owner(), &client.time_auth()).unwrap();
        node.core.space.lost.load(Ordering::Relaxed)
    };
    count();
    node.collect_garbage().unwrap();
    // nobody ever points to this, and nothing else becomes garbage than the nodes that the commit replaces
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &[fragment(1, FRAGMENT, &[])]).unwrap();
    client.commit(&node, &[(map_key(1), Some(entry(1, 10, &[])))], &[]).unwrap();
    let lost = count();
    assert!((FRAGMENT as u64..FRAGMENT as u64 + 10_000).contains(&lost), "{lost}");
    // this is pointed to later
    let ahead = fragment(2, FRAGMENT, &[]);
    client.put(&*node, &transaction, std::slice::from_ref(&ahead)).unwrap();
    client.commit(&node, &[(map_key(2), Some(entry(2, 10, &[])))], &[]).unwrap();
    assert!(count() > 2 * FRAGMENT as u64);
    client.commit(&node, &[(map_key(3), Some(entry(3, 10, &[&ahead])))], &[]).unwrap();
    assert!((FRAGMENT as u64..FRAGMENT as u64 + 30_000).contains(&count()));
}

#[test]
fn what_is_held_stays_when_pointers_let_go_of_it() {
    // held, let go of, and given back at these moments
    for (hold, remove) in (0..MOMENTS).flat_map(|hold| (hold..MOMENTS).map(move |remove| (hold, remove))) {
        let (_dir, node) = fresh();
        let client = Client::new("alice");
        client.sign_up(&*node).unwrap();
        let large = fragment(1, FRAGMENT, &[]);
        let add = [(map_key(1), Some(entry(1, 10, &[&large])))];
        client.commit(&node, &add, std::slice::from_ref(&large)).unwrap();
        let there = || node.get_block(client.owner(), large.cid(), None).unwrap().is_some();
        let transaction = node.start_transaction(client.owner()).unwrap();
        collect(&node, &mut |moment| {
            if moment == hold {
                let held = node.hold_blocks(client.owner(), &transaction, std::slice::from_ref(large.cid()));
                assert!(held.unwrap());
            }
            if moment == remove {
                client.commit(&node, &[(map_key(1), None)], &[]).unwrap();
                node.usage(client.owner(), &client.time_auth()).unwrap();
            }
        });
        node.collect_garbage().unwrap();
        assert!(there(), "held at {hold}, removed at {remove}");
        node.close_transaction(client.owner(), &transaction).unwrap();
        node.collect_garbage().unwrap();
        assert!(!there());
    }
}

#[test]
fn a_busy_account_stays_whole() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                node.collect_garbage().unwrap();
            }
        });
        // the same entries come and go, so that much is put again that was garbage
        for round in 0..150u64 {
            let add: Vec<u64> = (0..8).map(|i| (round * 5 + i * 3) % 24).collect();
            let fragments: Vec<Block> = add.iter().map(|seed| fragment(*seed, 140_000, &[])).collect();
            let entries = add.iter().zip(&fragments).map(|(seed, f)| (map_key(*seed), Some(entry(*seed, 300, &[f]))));
            let removed = (0..24).filter(|seed| !add.contains(seed)).map(|seed| (map_key(seed), None));
            client.commit(&node, &entries.chain(removed).collect::<Vec<_>>(), &fragments).unwrap();
            let there = client.read_all(&node, (0..24).map(map_key));
            for (seed, found) in (0..24).zip(there) {
                assert_eq!(found.is_some(), add.contains(&seed), "entry {seed} in round {round}");
            }
        }
    });
}

/// Ends the collections, also if an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
