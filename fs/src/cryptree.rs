//! How one entry of the tree is encoded and encrypted (spec 03 §3, §4). Pure: bytes in, bytes out; where blocks come
//! from and go to is decided above.
//!
//! An entry is a chain of chunks, each chunk is one [`Node`] in the CHAMP of its writer, and the payload of a node is a
//! [`Bulk`] ciphertext, inside the node or in fragments next to it.

pub mod bulk;
pub mod children;
pub mod mime;

mod keys;
mod node;
mod properties;
mod sections;

pub use bulk::Bulk;
pub use children::Children;
pub use keys::{DirectoryKeys, FileKeys};
pub use node::{Node, Opened};
pub use properties::{MAX_NAME, MAX_SIZE, MAX_THUMBNAIL, Properties, Thumbnail, Time, check_name};
pub use sections::{FromBase, FromParent, open_signer, seal_signer};

/// The most bytes of a file in one chunk.
pub const CHUNK_SIZE: usize = 5 << 20;
