//! Everything a Peergos server can see (spec 02): blocks, CHAMPs, signed pointers, claims, accounts, and the nodes that
//! store and serve them. Nothing here holds a plaintext, a file name or a symmetric key.

pub mod archive;
mod block;
pub mod cache;
pub mod champ;
pub mod claim;
pub mod embedded;
mod error;
pub mod http;
pub mod inode_fs;
pub mod login;
pub mod mfa;
mod node;
pub mod owned;
mod pointer;
pub mod quota;
pub mod remote;
pub mod service;
#[cfg(test)]
mod tests;
mod uptime;
mod verified;
mod writer_data;

pub use block::{Block, MAX_BLOCK, SignedBlock};
pub use cache::DiskCache;
pub use embedded::EmbeddedNode;
pub use error::{Error, Result};
pub use node::{Admission, ChampCap, MAX_CHAMP_CAPS, Node, Reach, Room, SignUp, TransactionId};
pub use pointer::{PointerUpdate, PointerWrite};
pub use remote::{RemoteNode, RemoteOptions};
pub use uptime::uptime;
pub use verified::{CacheSizes, Ledger, Of, Verified};
pub use writer_data::WriterData;
