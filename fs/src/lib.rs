//! Everything only the owner of a Peergos drive can see (spec 03): the cryptree, caches, write-back, the POSIX view and
//! its FUSE adapter.

pub mod account;
pub mod cache;
pub mod capability;
pub mod check;
pub mod commit;
pub mod cryptree;
mod error;
pub mod fuse;
pub mod journal;
pub mod pins;
pub mod posix;
pub mod space;
mod spare;
pub mod tree;
mod turns;
mod uptime;
pub mod writeback;

pub use error::{Error, Result};
