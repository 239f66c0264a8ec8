//! More than memory holds.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    thread,
};

use crate::harness::{Drive, Rng, Scratch, fill, free_space, holds, shell};

const SIZE: u64 = 6 << 30;
const MIB: u64 = 1 << 20;

/// The most memory with so many MiB of `--cache-size`.
const fn most(cache: u64) -> u64 {
    cache * MIB * 6 / 5 + 150 * MIB
}

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
    assert!(writing < most(64), "{} MiB while writing", writing >> 20);
    assert!(reading < most(64), "{} MiB while reading", reading >> 20);
    // Deleting that much must be quick and leave nothing in the way.
    fs::remove_file(&path).unwrap();
    drive.remount();
    assert!(File::open(&path).is_err());
    let mut rest = Vec::new();
    fs::write(drive.path("small"), "after").unwrap();
    File::open(drive.path("small")).unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"after");
}

#[test]
fn a_walk_and_random_work_take_no_more_memory_than_they_may() {
    const FILES: u64 = 4;
    const LEN: u64 = 64 * MIB;
    for cache in [16, 64] {
        let mut drive = Drive::new().with_args(&["--cache-size", &format!("{cache}M")]);
        drive.mount();
        // so many files that no more of them stay in memory
        for folder in 0..cache / 2 {
            let folder = drive.path(format!("folder{folder}"));
            fs::create_dir(&folder).unwrap();
            (0..600).for_each(|file| fs::write(folder.join(file.to_string()), b"small").unwrap());
        }
        drive.remount();
        assert_eq!(
            shell(&drive.root(), "find folder* -type f -printf '%s\n' | wc -l").trim(),
            (cache / 2 * 600).to_string()
        );
        let work = |number: u64| {
            let mut random = Rng::new(number);
            let file =
                File::options().read(true).write(true).create_new(true).open(drive.path(number.to_string())).unwrap();
            let mut buf = vec![0; MIB as usize];
            for _ in 0..400 {
                let (offset, len) = (random.below(LEN), random.below(MIB) as usize);
                match random.below(20) {
                    0..8 => {
                        fill(number, offset, &mut buf[..len]);
                        file.write_all_at(&buf[..len], offset).unwrap();
                    }
                    8..18 => drop(file.read_at(&mut buf[..len], offset).unwrap()),
                    18 => file.sync_all().unwrap(),
                    _ => file.set_len(offset).unwrap(),
                }
            }
        };
        thread::scope(|scope| (0..FILES).for_each(|number| drop(scope.spawn(move || work(number)))));
        let peak = drive.daemon().peak_memory();
        println!("peak memory: {} MiB with a cache of {cache}", peak / MIB);
        assert!(peak < most(cache), "{} MiB with a cache of {cache}", peak / MIB);
    }
}
