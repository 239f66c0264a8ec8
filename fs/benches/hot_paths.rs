//! What reading and writing spend their time with: `cargo bench -p peergos-fs`.

// as in tests, what goes wrong ends it
#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    collections::HashMap,
    ffi::OsStr,
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    secretbox,
    signing::SecretSigningKey,
    symmetric::SymmetricKey,
};
use peergos_fs::{
    account::{self, Step},
    capability::{Capability, RelativeCapability},
    cryptree::{
        self, Bulk, FromBase, FromParent, Properties, Time,
        bulk::{Payload, payload_of, seal},
    },
    posix::{Caller, FileSystem, Options},
};
use peergos_net::{
    Block, CacheSizes, EmbeddedNode, Verified,
    champ::{self, KeyHasher, NodeSource},
};
use tempfile::TempDir;

const CHUNK: usize = 5 << 20;
const ROOT: u64 = 1;

fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn ciphers(c: &mut Criterion) {
    let mut group = c.benchmark_group("secretbox");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let mut chunk = noise(CHUNK + secretbox::OVERHEAD);
    group.bench_function("seal 5 MiB", |b| b.iter(|| secretbox::seal_in_place(&[1; 32], &[2; 24], &mut chunk)));
    group.finish();

    let key = SymmetricKey::from_bytes([3; 32]);
    let content = noise(CHUNK);
    let mut group = c.benchmark_group("chunk of 5 MiB");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.bench_function("encrypt, cut and hash", |b| b.iter(|| seal(&key, Payload::Bytes(&content), None).unwrap()));
    let (bulk, blocks) = seal(&key, Payload::Bytes(&content), None).unwrap();
    let fragments: Vec<_> = blocks.iter().map(|block| block.data().clone()).collect();
    group.bench_function("hash and decrypt", |b| {
        b.iter(|| {
            for (block, data) in blocks.iter().zip(&fragments) {
                Block::verified(block.cid(), data.clone()).unwrap();
            }
            bulk.open_whole(&key, &fragments).unwrap()
        });
    });
    group.finish();

    let by_cid: HashMap<&Cid, &Block> = blocks.iter().map(|block| (block.cid(), block)).collect();
    c.bench_function("4 KiB decrypted from the middle of a fragment", |b| {
        let seekable = bulk.seekable(&key).unwrap();
        b.iter(|| {
            seekable.read(2_500_000..2_504_096, |(_, (cid, _)), range, out| {
                payload_of(cid, by_cid[cid].data()).map(|payload| out.extend_from_slice(&payload[range]))?;
                Ok::<_, peergos_crypto::Error>(true)
            })
        });
    });
}

fn entries(c: &mut Criterion) {
    let signer = SecretSigningKey::generate().unwrap();
    let cap = Capability::generate(signer.hash(), signer.hash()).unwrap();
    let (bulk, _) = seal(&cap.read, Payload::Bytes(&noise(4096)), None).unwrap();
    let next =
        RelativeCapability { writer: None, map_key: cap.map_key, bat: None, read: cap.read.clone(), write: None };
    let from_base = FromBase { key: cap.read.clone(), next, signer: None };
    let properties = Properties {
        is_dir: false,
        mime: "text/plain".into(),
        size: 4096,
        ..Properties::directory("file.txt", Time { secs: 1_700_000_000, nanos: 5 })
    };
    let from_parent = FromParent { parent: None, properties };
    let make = |data: Bulk| cryptree::Node::seal(&cap, None, &from_base, &cap.read, &from_parent, data).unwrap();
    c.bench_function("entry of 4 KiB, encrypted and encoded", |b| {
        b.iter_batched(|| bulk.clone(), |bulk| make(bulk).to_block(), BatchSize::SmallInput);
    });
    let block = make(bulk.clone()).to_block();
    c.bench_function("entry of 4 KiB, decoded and decrypted", |b| {
        b.iter(|| cryptree::Node::decode(block.data()).unwrap().open(&cap.read).unwrap());
    });
}

/// Nodes in memory.
#[derive(Default)]
struct Nodes(HashMap<Cid, Arc<champ::Node>>);

impl NodeSource for Nodes {
    fn node(&self, cid: &Cid) -> peergos_net::Result<Arc<champ::Node>> {
        Ok(self.0[cid].clone())
    }
}

fn trees(c: &mut Criterion) {
    let value = || Some(Value::Link(Cid::of_block(Codec::DagCbor, b"entry")));
    let changes = |from: u64, count: u64| {
        (from..from + count)
            .map(move |i| (Block::new(Codec::Raw, i.to_le_bytes().to_vec()), value()))
            .map(|(key, value)| (key.cid().sha256_digest().unwrap().to_vec(), value))
    };
    let full = champ::apply(&Nodes::default(), None, changes(0, 100_000), KeyHasher::Identity, None).unwrap();
    let decode = |block: &Block| (block.cid().clone(), Arc::new(champ::Node::decode(block.data()).unwrap()));
    let nodes = Nodes(full.blocks.iter().map(decode).collect());
    let mut group = c.benchmark_group("put in a CHAMP of 100,000");
    for count in [1, 100, 10_000] {
        let changes: Vec<_> = changes(1_000_000, count).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::from_parameter(count), &changes, |b, changes| {
            b.iter(|| champ::apply(&nodes, Some(&full.root), changes.clone(), KeyHasher::Identity, None).unwrap());
        });
    }
    group.finish();
    let largest = full.blocks.iter().max_by_key(|block| block.data().len()).unwrap();
    c.bench_function("node of a CHAMP, decoded", |b| b.iter(|| champ::Node::decode(largest.data()).unwrap()));
}

/// A drive on an embedded node in memory, which commits when it is asked to.
struct Drive {
    fs: Arc<FileSystem>,
    _dir: TempDir,
}

impl Drive {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
        let account =
            account::sign_up(&*node, "ada", "correct horse", "", SystemTime::now(), &mut |_: Step| {}).unwrap();
        let options = Options {
            cache_bytes: 64 << 20,
            dirty_bytes: 128 << 20,
            commit_interval: Duration::from_secs(3600),
            commit_idle: Duration::from_secs(3600),
            journal: None,
            poll_interval: None,
            pins: None,
            read_only: false,
            show_hidden: false,
            uid: 0,
            gid: 0,
        };
        let fs = FileSystem::open(Arc::new(Verified::new(node, CacheSizes::default())), account, options).unwrap();
        Self { fs, _dir: dir }
    }

    fn caller(&self) -> Caller {
        Caller { uid: 0, gid: 0, umask: 0 }
    }

    fn folder(&self, name: &str) -> u64 {
        self.fs.mkdir(ROOT, OsStr::new(name), 0o755, self.caller()).unwrap().ino
    }

    /// Writes a file, and returns its inode number.
    fn file(&self, parent: u64, name: &str, content: &[u8]) -> u64 {
        let (attr, handle) = self.fs.create(parent, OsStr::new(name), 0o644, libc::O_RDWR, self.caller()).unwrap();
        for (i, piece) in content.chunks(1 << 20).enumerate() {
            self.fs.write(handle, (i << 20) as u64, piece).unwrap();
        }
        self.fs.release(handle);
        attr.ino
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.fs.shutdown().unwrap();
    }
}

fn posix(c: &mut Criterion) {
    let drive = Drive::new();
    let fs = &drive.fs;
    let ino = drive.file(ROOT, "file", &noise(CHUNK));
    fs.sync().unwrap();
    c.bench_function("lookup, cached", |b| {
        b.iter(|| {
            let attr = fs.lookup(ROOT, OsStr::new("file")).unwrap();
            fs.forget(attr.ino, 1);
        });
    });
    c.bench_function("getattr, cached", |b| b.iter(|| fs.getattr(ino).unwrap()));
    let handle = fs.open_file(ino, libc::O_RDONLY).unwrap();
    let mut group = c.benchmark_group("read, cached");
    for len in [4 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(len));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| fs.read(handle, 4096, len as u32, |bytes| black_box(bytes).len()).unwrap());
        });
    }
    group.finish();
    fs.release(handle);

    let mut group = c.benchmark_group("commit of new files of 4 KiB");
    group.sample_size(10);
    let (round, content) = (Cell::new(0), noise(4096));
    for count in [1, 100, 10_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let make = || {
                round.set(round.get() + 1);
                let folder = drive.folder(&round.get().to_string());
                for i in 0..count {
                    drive.fs.forget(drive.file(folder, &i.to_string(), &content), 1);
                }
            };
            b.iter_batched(make, |()| fs.sync().unwrap(), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, ciphers, entries, trees, posix);
criterion_main!(benches);
