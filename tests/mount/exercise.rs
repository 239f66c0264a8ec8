//! The exercisers of the field: they change files at random, and know what must be read. Short here; `PEERGOS_TEST_LONG=1`
//! makes them as long as it takes to trust them.

use std::fs;

use crate::harness::{Aspects, Drive, command, run_ok, shell, tool};

fn is_long() -> bool {
    std::env::var_os("PEERGOS_TEST_LONG").is_some()
}

#[test]
fn fsx_reads_what_it_wrote() {
    let mut drive = Drive::mounted();
    let (seeds, operations) = if is_long() { (1..=5, 100_000) } else { (6..=6, 600) };
    for seed in seeds {
        run_ok(
            command(tool("fsx"))
                .args(["-q", "-S", &format!("{seed}"), "-N", &format!("{operations}"), "-f"])
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fsx.toml"))
                .arg("-P")
                .arg(drive.beside(""))
                .arg(drive.path("exercised")),
        );
    }
    let before = drive.tree();
    drive.remount();
    drive.tree().assert_equals(&before, Aspects::All, "after the remount");
    drive.check();
}

#[test]
fn fio_verifies_its_checksums() {
    let mut drive = Drive::mounted();
    let size = if is_long() { "1G" } else { "24M" };
    let job = |name: &str, options: &str| {
        format!(
            "fio --name={name} --filename=mount/{name} --size={size} --verify=crc32c --verify_fatal=1 --randseed=7 \
             --output-format=terse {options}"
        )
    };
    for script in [
        job("sequential", "--rw=write --bs=128k --fsync_on_close=1"),
        job("random", "--rw=randwrite --bs=4k --fsync=512"),
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
    let said = shell(&drive.root(), &format!("dbench -c /usr/share/dbench/client.txt -D . -t {seconds} 2"));
    assert!(said.contains("Throughput") && !said.to_lowercase().contains("error"), "{said}");
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
    let mut used = Vec::new();
    for round in 0..3 {
        let dir = drive.path(format!("{round}"));
        fs::create_dir(&dir).unwrap();
        shell(&dir, if round == 0 { "true" } else { &stress });
        fs::remove_dir_all(&dir).unwrap();
        shell(&drive.root(), "sync -f .; echo 2 > /proc/sys/vm/drop_caches");
        used.push((drive.daemon().open_files(), drive.daemon().memory()));
    }
    assert!(fs::read_dir(drive.root()).unwrap().next().is_none());
    let [(files, _), (_, once), (files_after, twice)] = used[..] else { unreachable!("three rounds") };
    // the node keeps a few packs open
    assert!(files_after <= files + 8, "{files} open files before, {files_after} after");
    // up to 245 MiB were seen
    assert!(twice < 300 << 20, "{} MiB after one round, {} after two", once >> 20, twice >> 20);
    drive.check();
}
