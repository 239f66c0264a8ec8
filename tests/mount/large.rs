//! More than memory holds.

use std::fs::File;
use std::io::{Read as _, Write as _};

use crate::harness::{Drive, Scratch, fill, free_space, holds};

const SIZE: u64 = 6 << 30;
const MEMORY: u64 = 600 << 20;

#[test]
fn six_gibibytes_in_bounded_memory() {
    let scratch = Scratch::on_disk();
    assert!(free_space(&scratch) > 2 * SIZE, "this test needs {} GiB in {}", (2 * SIZE) >> 30, scratch.display());
    let mut drive = Drive::within(scratch);
    drive.mount();
    let path = drive.path("large");
    let mut file = File::create(&path).unwrap();
    let mut buf = vec![0; 1 << 20];
    for offset in (0..SIZE).step_by(buf.len()) {
        fill(6, offset, &mut buf);
        file.write_all(&buf).unwrap_or_else(|e| panic!("at {offset}: {e}"));
    }
    file.sync_all().unwrap();
    drop(file);
    let writing = drive.daemon().peak_memory();
    drive.remount();
    holds(File::open(&path).unwrap(), 6, SIZE).unwrap();
    let reading = drive.daemon().peak_memory();
    println!("peak memory: {} MiB writing, {} MiB reading", writing >> 20, reading >> 20);
    assert!(writing < MEMORY, "{} MiB while writing", writing >> 20);
    assert!(reading < MEMORY, "{} MiB while reading", reading >> 20);
    // Deleting that much must be quick and leave nothing in the way.
    std::fs::remove_file(&path).unwrap();
    drive.remount();
    assert!(File::open(&path).is_err());
    let mut rest = Vec::new();
    std::fs::write(drive.path("small"), "after").unwrap();
    File::open(drive.path("small")).unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"after");
}
