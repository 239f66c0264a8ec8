//! Everything a Peergos server can see (spec 02): blocks, CHAMPs, signed pointers, claims, accounts, and the nodes that
//! store and serve them. Nothing here holds a plaintext, a file name or a symmetric key.

mod block;
pub mod champ;
pub mod claim;
mod error;
pub mod inode_fs;
pub mod login;
mod node;
pub mod owned;
mod pointer;
mod writer_data;

pub use block::{Block, MAX_BLOCK, SignedBlock};
pub use error::{Error, Result};
pub use node::{Admission, ChampCap, MAX_CHAMP_CAPS, Node, SignUp, TransactionId};
pub use pointer::{PointerUpdate, PointerWrite};
pub use writer_data::WriterData;

/// A file of known answers.
#[cfg(test)]
fn test_vectors(file: &str) -> serde_json::Value {
    let path = format!("{}/../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
