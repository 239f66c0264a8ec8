//! What outlives a run: pointers, claims, and blocks on disk.

use std::{fs, path::Path};

use super::*;
use crate::{
    DiskCache, Ledger,
    claim::{ClaimChain, ClaimLink, Date, links_to_cbor},
};

/// A new run, with what the ones before have left in `dir`.
fn run(puppet: &Arc<Puppet>, dir: &Path) -> Verified {
    Verified::new(Arc::clone(puppet) as Arc<dyn Node>, CacheSizes::default())
        .with_ledger(Ledger::open(&dir.join("ledger")).unwrap())
        .with_disk_cache(DiskCache::open(&dir.join("cache"), 1 << 30).unwrap())
}

fn key(seed: u8) -> SecretSigningKey {
    SecretSigningKey::from_seed(&[seed; 32])
}

fn update(i: u8, sequence: u64) -> PointerUpdate {
    PointerUpdate { original: None, updated: Some(Cid::sha256(Codec::DagCbor, [i; 32])), sequence: Some(sequence) }
}

#[test]
fn a_pointer_does_not_go_back_in_a_later_run() {
    let (dir, puppet, key) = (tempfile::tempdir().unwrap(), Arc::default(), key(1));
    let present = |update: &PointerUpdate| {
        let puppet: &Arc<Puppet> = &puppet;
        *puppet.pointer.lock() = Some(update.sign(&key));
        run(puppet, dir.path()).pointer(key.hash(), key.hash())
    };
    assert_eq!(present(&update(3, 3)).unwrap(), Some(update(3, 3)));
    for old in [update(2, 2), update(4, 3)] {
        assert!(matches!(present(&old), Err(Error::Rollback { seen: 3, .. })));
    }
    // what we set ourselves counts as well
    let write = PointerWrite { writer: key.hash().clone(), signed: update(5, 5).sign(&key) };
    run(&puppet, dir.path()).set_pointers(key.hash(), &[write]).unwrap();
    assert!(matches!(present(&update(4, 4)), Err(Error::Rollback { seen: 5, .. })));
    *puppet.pointer.lock() = None;
    assert!(matches!(run(&puppet, dir.path()).pointer(key.hash(), key.hash()), Err(Error::Rollback { seen: 5, .. })));
    // a file that a crash has torn is as good as none
    let file = dir.path().join("ledger/pointers").join(key.hash().to_string());
    fs::write(&file, &fs::read(&file).unwrap()[..50]).unwrap();
    assert_eq!(present(&update(4, 4)).unwrap(), Some(update(4, 4)));
}

#[test]
fn a_slower_process_does_not_undo_what_another_has_noted() {
    let (dir, puppet, key) = (tempfile::tempdir().unwrap(), Arc::default(), key(1));
    let (slow, fast) = (run(&puppet, dir.path()), run(&puppet, dir.path()));
    let write = |i| [PointerWrite { writer: key.hash().clone(), signed: update(i, i.into()).sign(&key) }];
    fast.set_pointers(key.hash(), &write(9)).unwrap();
    slow.set_pointers(key.hash(), &write(8)).unwrap();
    *puppet.pointer.lock() = Some(update(8, 8).sign(&key));
    assert!(matches!(run(&puppet, dir.path()).pointer(key.hash(), key.hash()), Err(Error::Rollback { seen: 9, .. })));
}

#[test]
fn without_the_server_what_was_read_can_be_read() {
    let (dir, puppet, key): (_, Arc<Puppet>, _) = (tempfile::tempdir().unwrap(), Arc::default(), key(1));
    let (root, nodes, entries) = tree(200);
    let fragment = raw(500_000, 9);
    puppet.put(std::slice::from_ref(&fragment));
    let values = entries.iter().map(|(_, block)| block);
    *puppet.champ.lock() = nodes.iter().chain(values).map(|block| block.data().clone()).collect();
    *puppet.pointer.lock() = Some(update(1, 1).sign(&key));
    let caps: Vec<ChampCap> = entries.iter().map(|(key, _)| cap(*key)).collect();
    let read = |verified: &Verified| -> Result<Vec<Option<Cid>>> {
        assert_eq!(verified.pointer(key.hash(), key.hash())?, Some(update(1, 1)));
        verified.block(key.hash(), fragment.cid(), None)?;
        let found = verified.lookup(key.hash(), &root, &caps)?;
        let wanted: Vec<_> = found.iter().flatten().map(|cid| (cid.clone(), None)).collect();
        verified.blocks(key.hash(), &wanted)?;
        Ok(found)
    };
    let found = read(&run(&puppet, dir.path())).unwrap();
    assert_eq!(found.iter().flatten().count(), 200);
    puppet.asked();
    // a warm run asks for pointers only
    assert_eq!(read(&run(&puppet, dir.path())).unwrap(), found);
    assert_eq!(puppet.asked(), (0, vec![]));
    *puppet.down.lock() = true;
    let alone = run(&puppet, dir.path());
    assert_eq!(read(&alone).unwrap(), found);
    let other = key.hash();
    assert!(matches!(alone.block(other, raw(1, 7).cid(), None), Err(Error::Unreachable { .. })));
}

#[test]
fn values_come_along_from_far_away() {
    let (dir, puppet, key): (_, Arc<Puppet>, _) = (tempfile::tempdir().unwrap(), Arc::default(), key(1));
    let (root, nodes, entries) = tree(100);
    *puppet.champ.lock() = nodes.iter().map(|block| block.data().clone()).collect();
    let verified = run(&puppet, dir.path());
    verified.lookup(key.hash(), &root, &[cap(entries[0].0)]).unwrap();
    puppet.asked();
    // all nodes are known now, and no value is
    *puppet.champ.lock() = entries.iter().map(|(_, block)| block.data().clone()).collect();
    let caps: Vec<ChampCap> = entries.iter().map(|(key, _)| cap(*key)).collect();
    let found = verified.lookup(key.hash(), &root, &caps).unwrap();
    let wanted: Vec<_> = found.into_iter().flatten().map(|cid| (cid, None)).collect();
    verified.blocks(key.hash(), &wanted).unwrap();
    let (alone, calls) = puppet.asked();
    assert_eq!((alone, calls.len()), (0, 5));
}

#[test]
fn a_block_that_arrives_damaged_is_asked_for_again() {
    let (puppet, verified, key) = puppet();
    let blocks = [raw(10, 1), raw(10, 2)];
    puppet.put(&blocks);
    *puppet.damaged.lock() = 1;
    assert_eq!(verified.block(key.hash(), blocks[0].cid(), None).unwrap(), blocks[0]);
    *puppet.damaged.lock() = 2;
    assert!(matches!(verified.block(key.hash(), blocks[1].cid(), None), Err(Error::WrongBlock(_))));
    *puppet.damaged.lock() = 1;
    let wanted: Vec<_> = blocks.iter().map(|block| (block.cid().clone(), None)).collect();
    assert_eq!(verified.blocks(key.hash(), &wanted).unwrap(), blocks);
}

#[test]
fn a_name_stays_whose_it_was() {
    let (dir, puppet): (_, Arc<Puppet>) = (tempfile::tempdir().unwrap(), Arc::default());
    let home = Cid::identity(Codec::LibP2pKey, &[1; 36]).unwrap();
    let day = |text: &str| text.parse::<Date>().unwrap();
    let present = |links: &[ClaimLink]| {
        *puppet.chain.lock() = links_to_cbor(links).encode();
        run(&puppet, dir.path()).claims("ada")
    };
    let links = |chain: &ClaimChain| chain.links().cloned().collect::<Vec<_>>();
    assert_eq!(present(&[]).unwrap(), None);
    let first = ClaimChain::first(&key(1), "ada", &home, day("2026-01-01")).unwrap();
    assert_eq!(present(&links(&first)).unwrap(), Some(first.clone()));
    let renewed = first.renewed(&key(1), &home, day("2026-03-01")).unwrap();
    assert_eq!(present(&links(&renewed)).unwrap(), Some(renewed.clone()));

    let other = ClaimChain::first(&key(2), "ada", &home, day("2027-01-01")).unwrap();
    for lie in [links(&other), links(&first), Vec::new()] {
        let error = present(&lie).unwrap_err();
        assert!(matches!(error, Error::ClaimConflict { .. }), "{error}");
        assert!(error.to_string().contains("claims/ada"), "{error}");
    }
    *puppet.down.lock() = true;
    assert_eq!(run(&puppet, dir.path()).claims("ada").unwrap(), Some(renewed));
    assert!(matches!(run(&puppet, dir.path()).claims("bob"), Err(Error::Unreachable { .. })));
    *puppet.down.lock() = false;
    // a person may know better
    fs::remove_file(dir.path().join("ledger/claims/ada")).unwrap();
    assert_eq!(present(&links(&other)).unwrap(), Some(other));
}
