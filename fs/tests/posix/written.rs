//! How much is written to the node for what programs write.

use std::time::{Duration, Instant};

use crate::drive::{Drive, Watchdog};

const MIB: usize = 1 << 20;
/// What the node of a file with 4 KiB of content inside has at least, in bytes (spec 03 §3.6).
const SMALL_FILE: usize = 4700;

/// What `work` and the commit after it wrote to the node, in bytes.
fn written(drive: &Drive, work: impl FnOnce()) -> usize {
    let before = drive.faults.uploaded();
    work();
    drive.fs().sync().unwrap();
    drive.faults.uploaded() - before
}

#[test]
fn small_files_cost_little_more_than_their_nodes() {
    let _alive = Watchdog::new("small files");
    let drive = Drive::new();
    drive.mkdir("d").unwrap();
    drive.fs().sync().unwrap();
    let bytes = written(&drive, || {
        (0..1000u32).for_each(|i| drive.write(&format!("d/{i}"), 0, &[i as u8; 4096]).unwrap());
    });
    assert!(bytes >= 1000 * SMALL_FILE, "{bytes}");
    assert!(bytes as f64 <= 1.35 * 1000.0 * SMALL_FILE as f64, "{bytes}");
}

#[test]
fn appended_bytes_share_a_chunk() {
    let _alive = Watchdog::new("appends");
    let mut drive = Drive::new();
    drive.options.commit_interval = Duration::from_secs(5);
    drive.remount();
    drive.write("log", 0, &vec![1; MIB]).unwrap();
    drive.fs().sync().unwrap();
    let began = Instant::now();
    let bytes = written(&drive, || {
        (0..1000).for_each(|i| drive.write("log", (MIB + i) as u64, b"x").unwrap());
    });
    let encryptions = 2 + began.elapsed().as_secs() as usize / 5;
    assert!(bytes <= encryptions * (MIB + MIB / 8), "{bytes} bytes for 1,000");
}

#[test]
fn one_new_file_costs_its_path() {
    let _alive = Watchdog::new("a new file");
    let mut drive = Drive::new();
    for folder in 0..20 {
        drive.mkdir(&folder.to_string()).unwrap();
        (0..100).for_each(|i| drive.write(&format!("{folder}/{i}"), 0, b"small").unwrap());
    }
    drive.remount();
    let bytes = written(&drive, || drive.write("7/new", 0, b"small").unwrap());
    // one node for the file, the folder's list, and the nodes of the CHAMP above both
    assert!(bytes <= 40 << 10, "{bytes}");
}
