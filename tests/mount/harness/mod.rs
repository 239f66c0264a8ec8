//! What every test stands on: a drive of its own (state folder, mountpoint, daemon), the independent checker, folder trees
//! that can be compared, reproducible content, and commands that must succeed.

mod check;
mod content;
mod daemon;
mod drive;
mod golden;
mod keyring;
mod line;
mod load;
mod proxy;
mod scratch;
mod server;
mod shell;
mod tls;
mod tree;

pub use check::Export;
pub use content::{Rng, fill, filled, holds, write_synced};
pub use daemon::{is_long, is_mounted, poll};
pub use drive::{Account, Drive};
pub use golden::{Golden, name_cases};
pub use keyring::Keyring;
pub use line::Line;
pub use load::{Ledger, Worker};
pub use proxy::{Proxy, Way};
pub use scratch::{Scratch, free_space};
pub use server::{Server, node};
pub use shell::{Ran, command, expect_failure, program, python, run, run_ok, shell, terminal, tool};
pub use tls::Authority;
pub use tree::{Aspects, Kind, Node, Tree};
