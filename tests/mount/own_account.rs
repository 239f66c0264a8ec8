//! An account made and filled by us: many files, a large one, every odd name, and long use.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::harness::{Aspects, Drive, Rng, Tree, fill, filled, name_cases, shell};

const FILES: u64 = 10_000;
const LARGE: u64 = 300 << 20;

/// `n` in base 6 makes folders up to five deep, about 1,500 of them; a file's place follows from its number alone.
fn place(n: u64) -> PathBuf {
    let mut dir = PathBuf::from("nested");
    let mut rest = n / 7;
    while rest > 0 {
        dir.push(format!("d{}", rest % 6));
        rest /= 6;
    }
    dir.join(format!("file {n}"))
}

/// A fixed time for everything, so that a copy can be told from what it is a copy of.
fn stamp(path: &Path, n: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + n, (n * 977 % 1_000_000_000) as u32);
    File::options()
        .write(true)
        .open(path)
        .and_then(|f| f.set_modified(time))
        .unwrap_or_else(|e| panic!("{path:?}: {e}"));
}

fn fill_account(root: &Path) {
    for n in 0..FILES {
        let path = root.join(place(n));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, filled(n, (n * n % 6007) as usize)).unwrap();
        stamp(&path, n);
    }
    fs::create_dir(root.join("names")).unwrap();
    for (n, name) in name_cases().into_iter().enumerate() {
        fs::write(root.join("names").join(&name), &name).unwrap();
        fs::create_dir(root.join(&name)).unwrap();
        stamp(&root.join("names").join(&name), n as u64);
    }
    let large = File::create(root.join("large")).unwrap();
    let mut buf = vec![0; 1 << 20];
    for offset in (0..LARGE).step_by(buf.len()) {
        fill(1, offset, &mut buf);
        large.write_all_at(&buf, offset).unwrap();
    }
    drop(large);
    stamp(&root.join("large"), 1);
}

/// Creating, overwriting, truncating, renaming, deleting: the same for the same seed.
fn churn(root: &Path, mut rng: Rng) {
    let large = File::options().write(true).open(root.join("large")).unwrap();
    for step in 0..2000 {
        let (a, b) = (root.join(place(rng.below(FILES))), root.join(place(rng.below(FILES))));
        let size = if rng.one_in(50) { rng.below(12 << 20) } else { rng.below(20_000) };
        match rng.below(7) {
            0 => fs::write(&a, filled(step, size as usize)).unwrap(),
            1 if a.exists() => File::options().write(true).open(&a).unwrap().write_all_at(b"patched", size).unwrap(),
            2 if a.exists() => File::options().write(true).open(&a).unwrap().set_len(size).unwrap(),
            3 if a.exists() => fs::rename(&a, &b).unwrap(),
            4 if a.exists() => fs::remove_file(&a).unwrap(),
            5 => large.write_all_at(&filled(step, 1000), rng.below(LARGE)).unwrap(),
            6 if rng.one_in(10) => large.set_len(LARGE - rng.below(12 << 20)).unwrap(),
            _ => continue,
        }
        for path in [&a, &b] {
            if path.exists() {
                stamp(path, step);
            }
        }
    }
    stamp(&root.join("large"), 2);
}

#[test]
fn ten_thousand_files_and_long_use() {
    let mut drive = Drive::mounted();
    let shadow = drive.beside("shadow");
    fs::create_dir(&shadow).unwrap();
    for root in [drive.root(), shadow.clone()] {
        fill_account(&root);
        churn(&root, Rng::new(11));
    }
    let used = drive.tree();
    used.assert_equals(&Tree::read(&shadow), Aspects::Content, "before the remount");
    drive.remount();
    drive.tree().assert_equals(&used, Aspects::All, "after the remount");
    shell(&drive.beside(""), "diff -r --no-dereference mount shadow");
    let times = |dir: &str| shell(&drive.beside(dir), "find . -type f -printf '%T@ %p\\n' | sort");
    assert!(times("mount") == times("shadow"), "modification times");
    drive.check().assert_shows("carol", false, &used);
}
