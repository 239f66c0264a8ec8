//! The exercisers of the field: they change files at random, and know what must be read. Short here; `PEERGOS_TEST_LONG=1`
//! makes them as long as it takes to trust them.

use std::{fs, thread};

use crate::harness::{Aspects, Drive, command, is_long, run_ok, shell, tool};

/// How many files the daemon has open while nobody uses the drive, besides those in which its node has blocks.
struct Held(usize);

impl Held {
    /// The most files with blocks that the node keeps open: 1024 large blocks, 64 packs, and what it writes to.
    const BLOCKS: usize = 1100;

    fn by(drive: &Drive) -> Self {
        rest(drive);
        let node = drive.state().join("node");
        let (blocks, others): (Vec<_>, Vec<_>) =
            drive.daemon().open_files().into_iter().partition(|file| file.starts_with(&node));
        assert!(blocks.len() <= Self::BLOCKS, "{} files with blocks are open", blocks.len());
        Self(others.len())
    }

    /// Demands that what was done with the drive since has left nothing behind.
    fn is_all(&self, drive: &Drive) {
        let (files, memory) = (Self::by(drive).0, drive.daemon().memory());
        assert!(files <= self.0 + 2, "{} open files before, {files} after", self.0);
        // up to 245 MiB were seen
        assert!(memory < 300 << 20, "{} MiB", memory >> 20);
    }
}

/// Has everything saved, and the kernel forget what it can.
fn rest(drive: &Drive) {
    fs::File::open(drive.root()).unwrap().sync_all().unwrap();
    shell(&drive.root(), "sync -f .; echo 2 > /proc/sys/vm/drop_caches");
}

#[test]
fn fsx_reads_what_it_wrote() {
    let mut drive = Drive::mounted();
    let (seeds, operations) = if is_long() { (1..=5, 100_000) } else { (6..=6, 600) };
    let held = Held::by(&drive);
    // all at once: each has its own file, but they share the groups, the cache and the memory for what is not yet written
    thread::scope(|scope| {
        for seed in seeds {
            let mut fsx = command(tool("fsx"));
            fsx.args(["-q", "-S", &format!("{seed}"), "-N", &format!("{operations}"), "-f"])
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fsx.toml"))
                .arg("-P")
                .arg(drive.beside(""))
                .arg(drive.path(format!("exercised {seed}")));
            scope.spawn(move || {
                run_ok(&mut fsx);
                println!("seed {seed}: {operations} operations without a mismatch");
            });
        }
    });
    held.is_all(&drive);
    let before = drive.tree();
    drive.remount();
    drive.tree().assert_equals(&before, Aspects::All, "after the remount");
    drive.check();
}

#[test]
fn fio_verifies_its_checksums() {
    let mut drive = Drive::mounted();
    // each fsync writes every chunk again in which something was written: of so large a file, nearly all
    let (size, often) = if is_long() { ("1G", 16384) } else { ("24M", 512) };
    let job = |name: &str, options: &str| {
        format!(
            "fio --name={name} --filename=mount/{name} --size={size} --verify=crc32c --verify_fatal=1 --randseed=7 \
             --output-format=terse {options}"
        )
    };
    for script in [
        job("sequential", "--rw=write --bs=128k --fsync_on_close=1"),
        job("random", &format!("--rw=randwrite --bs=4k --fsync={often}")),
        job("mixed", "--rw=randrw --bsrange=512-256k --bs_unaligned --verify_backlog=64"),
        job("direct", "--rw=randwrite --bs=64k --direct=1"),
        job("mapped", "--rw=randwrite --bs=4k --ioengine=mmap"),
    ] {
        shell(&drive.beside(""), &script);
    }
    drive.remount();
    for (name, bs) in [("sequential", "128k"), ("random", "4k"), ("direct", "64k"), ("mapped", "4k")] {
        let rw = if name == "sequential" { "write" } else { "randwrite" };
        shell(&drive.beside(""), &job(name, &format!("--rw={rw} --bs={bs} --verify_only")));
    }
    drive.check();
}

#[test]
fn dbench_meets_no_error() {
    let mut drive = Drive::mounted();
    let seconds = if is_long() { 300 } else { 3 };
    let held = Held::by(&drive);
    let said = shell(&drive.root(), &format!("dbench -c /usr/share/dbench/client.txt -D . -t {seconds} 2"));
    assert!(said.contains("Throughput") && !said.to_lowercase().contains("error"), "{said}");
    held.is_all(&drive);
    drive.remount();
    drive.check();
}

#[test]
fn stressors_find_nothing_and_leave_nothing() {
    let mut drive = Drive::mounted();
    let seconds = if is_long() { 600 } else { 3 };
    // each checks what it made (--verify); together they do what fsstress does
    let stress = format!(
        "stress-ng --temp-path . --timeout {seconds}s --verify --quiet --seed 7 --hdd 1 --hdd-bytes 16m --dentry 1 \
         --dentries 200 --dir 1 --dir-dirs 200 --dirdeep 1 --dirdeep-inodes 300 --rename 1 --symlink 1 --chmod 1 --chown 1 \
         --fallocate 1 --fallocate-bytes 8m --seek 1 --seek-size 8m --filename 1 \
         --filename-opts posix --flock 1 --lockf 1 --locka 1 --mknod 1 --utime 1 --xattr 1 \
         --readahead 1 --readahead-bytes 16m --fstat 1 --getdent 1 --sync-file 1 --sync-file-bytes 8m --mmap 1 \
         --mmap-bytes 8m --mmap-file"
    );
    let dir = drive.path("stressed");
    let held = Held::by(&drive);
    for _ in 0..2 {
        fs::create_dir(&dir).unwrap();
        shell(&dir, &stress);
        fs::remove_dir_all(&dir).unwrap();
        held.is_all(&drive);
    }
    assert!(fs::read_dir(drive.root()).unwrap().next().is_none());
    drive.check();
}
