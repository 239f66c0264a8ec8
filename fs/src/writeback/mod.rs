//! File contents that are written but not committed: buffers bounded in memory, chunks encrypted while the file is still
//! being written, the state of one file's content over a commit, and where it goes when it must leave memory before.

mod budget;
mod content;
mod frozen;
mod open_chunks;
mod seal;
mod swap;

pub use budget::{Budget, Buffer};
pub use content::{Content, MIME_HEAD, Missing, Source, StoredContent};
pub use frozen::{Frozen, FrozenChunk};
pub use seal::{Seal, Workers};
pub use swap::{LEFT_BY_DATA, Swap, Swapped, check_disk};
