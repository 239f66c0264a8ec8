//! What an account costs as it grows: `cargo bench --bench scale [-- --most] [-- --chart docs/scale.svg]`. Prints tables.
//!
//! `--most` goes on to 1,000,000 files (10 GB on the disk), which takes some ten minutes. `PEERGOS_BENCH_DIR` says where accounts are stored; the default is a folder in `/var/tmp`.

// as in tests, what goes wrong ends it
#![allow(clippy::unwrap_used)]

mod drive;
mod measure;
#[path = "../../src/memory.rs"]
mod memory;
mod store;
mod table;

use std::{env, fs, path::PathBuf};

fn main() {
    // as the program does
    memory::give_back();
    let arguments: Vec<_> = env::args().collect();
    let is_most = arguments.iter().any(|argument| argument == "--most");
    let chart = arguments.iter().position(|argument| argument == "--chart").map(|at| PathBuf::from(&arguments[at + 1]));
    let parent = env::var_os("PEERGOS_BENCH_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let dir = || tempfile::Builder::new().prefix("peergos-mount-scale-").tempdir_in(&parent).unwrap();
    let sizes = [1_000, 10_000, 100_000, 1_000_000];
    let tables = [
        measure::accounts(dir().path(), if is_most { &sizes } else { &sizes[..3] }),
        measure::folders(dir().path(), &sizes[..3]),
        measure::file(dir().path(), if is_most { &[1, 10, 100] } else { &[1, 10] }),
    ];
    tables.iter().for_each(|table| println!("{}", table.markdown()));
    if let Some(path) = chart {
        fs::write(path, table::chart(&tables)).unwrap();
    }
}
