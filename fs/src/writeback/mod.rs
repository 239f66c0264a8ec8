//! File contents that are written but not committed: buffers bounded in memory, chunks encrypted while the file is still
//! being written, and the state of one file's content over a commit.

mod budget;
mod content;
mod seal;

pub use budget::{Budget, Buffer};
pub use content::{Content, Frozen, FrozenChunk, MIME_HEAD, Missing, Source, StoredContent};
pub use seal::Seal;
