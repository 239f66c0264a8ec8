//! Everything only the owner of a Peergos drive can see (spec 03): the cryptree, caches, write-back, the POSIX view and
//! its FUSE adapter.

pub mod account;
pub mod capability;
pub mod cryptree;
mod error;

pub use error::{Error, Result};
