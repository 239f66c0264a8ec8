//! A disk that fills up: writers are told, and what was saved stays.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::harness::{Drive, command, filled, poll, program, run, run_ok};

/// A small disk for the state folder; needs root.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn at(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        run_ok(command("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=700", "small"]).arg(&path));
        Self(path)
    }

    pub fn grow(&self) {
        run_ok(command("mount").args(["-o", "remount,size=400m"]).arg(&self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = command("umount").arg("-l").arg(&self.0).status();
    }
}

fn save(path: &Path, seed: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&filled(seed, 1_500_000))?;
    file.sync_all()
}

fn name(i: u64) -> String {
    format!("file {i}")
}

/// Saves files until there is no room; returns how many were saved.
fn fill_up(drive: &Drive) -> u64 {
    fs::write(drive.path("first"), "first").unwrap();
    for i in 0..100 {
        if let Err(e) = save(&drive.path(name(i)), i) {
            assert_eq!(e.kind(), io::ErrorKind::StorageFull, "{e}");
            assert!(i > 5, "only {i} files fit");
            return i;
        }
    }
    panic!("64 MiB took 150 MB");
}

fn verify(drive: &Drive, saved: impl Iterator<Item = u64>) {
    assert_eq!(fs::read(drive.path("first")).unwrap(), b"first");
    for i in saved {
        assert!(fs::read(drive.path(name(i))).unwrap() == filled(i, 1_500_000), "{}", name(i));
    }
}

#[test]
fn a_full_disk_is_reported_and_loses_nothing_that_was_saved() {
    let mut drive = Drive::new();
    let disk = SmallDisk::at(drive.state());
    drive.mount();
    let saved = fill_up(&drive);
    verify(&drive, 0..saved);
    // What was written last could not be saved, and the unmount says so.
    let ran = run(program().arg("umount").arg(drive.root()));
    assert!(matches!(ran.code, Some(0 | 6)), "{ran:?}");
    assert!(ran.code == Some(0) || ran.err.contains("No space left"), "{ran:?}");
    assert_eq!(drive.take_daemon().ended().code(), ran.code);
    disk.grow();
    drive.mount();
    verify(&drive, 0..saved);
    save(&drive.path("later"), 1000).unwrap();
    drive.remount();
    verify(&drive, 0..saved);
    drive.check();
}

#[test]
fn writing_goes_on_once_there_is_room() {
    let mut drive = Drive::new();
    let disk = SmallDisk::at(drive.state());
    drive.mount();
    let saved = fill_up(&drive);
    disk.grow();
    save(&drive.path("later"), 1000).unwrap();
    fs::write(drive.path("unsynced"), "saved by the unmount").unwrap();
    drive.remount();
    verify(&drive, 0..saved);
    assert!(fs::read(drive.path("later")).unwrap() == filled(1000, 1_500_000));
    assert_eq!(fs::read(drive.path("unsynced")).unwrap(), b"saved by the unmount");
    drive.check();
}

#[test]
fn deleting_works_on_a_full_disk() {
    let mut drive = Drive::new();
    let disk = SmallDisk::at(drive.state());
    drive.mount();
    let saved = fill_up(&drive);
    for i in (0..saved).step_by(2) {
        fs::remove_file(drive.path(name(i))).unwrap_or_else(|e| panic!("{}: {e}", name(i)));
    }
    let _ = fs::remove_file(drive.path(name(saved)));
    File::open(drive.root()).unwrap().sync_all().unwrap();
    drive.kill();
    drive.mount();
    verify(&drive, (1..saved).step_by(2));
    assert!((0..saved).step_by(2).all(|i| !drive.path(name(i)).exists()), "what was deleted is back");
    disk.grow();
    save(&drive.path("later"), 1000).unwrap();
    drive.check();
}

#[test]
fn deleting_makes_room() {
    let mut drive = Drive::new();
    let _disk = SmallDisk::at(drive.state());
    drive.mount();
    let saved = fill_up(&drive);
    let _ = fs::remove_file(drive.path(name(saved)));
    for i in 0..saved / 2 {
        fs::remove_file(drive.path(name(i))).unwrap_or_else(|e| panic!("{}: {e}", name(i)));
    }
    assert!(poll(|| save(&drive.path("later"), 1000).is_ok()), "deleting half of everything made no room");
    drive.remount();
    verify(&drive, saved / 2..saved);
    assert!(fs::read(drive.path("later")).unwrap() == filled(1000, 1_500_000));
    drive.check();
}

#[test]
fn kill_9_on_a_full_disk() {
    let mut drive = Drive::new();
    let disk = SmallDisk::at(drive.state());
    drive.mount();
    let saved = fill_up(&drive);
    drive.kill();
    disk.grow();
    drive.mount();
    verify(&drive, 0..saved);
    drive.check();
}
