//! What every test stands on: a drive of its own (state folder, mountpoint, daemon), the independent checker, folder trees
//! that can be compared, reproducible content, and commands that must succeed.

mod check;
mod content;
mod daemon;
mod drive;
mod golden;
mod scratch;
mod server;
mod shell;
mod tree;

pub use check::Export;
pub use content::{Rng, fill, filled, holds};
pub use daemon::{is_mounted, poll};
pub use drive::{Account, Drive};
pub use golden::{Golden, name_cases};
pub use scratch::{Scratch, free_space};
pub use server::Server;
pub use shell::{command, expect_failure, program, python, run, run_ok, shell};
pub use tree::{Aspects, Kind, Node, Tree};
