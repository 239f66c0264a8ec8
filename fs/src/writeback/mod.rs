//! File contents that are written but not committed: buffers bounded in memory, chunks encrypted while the file is still
//! being written, and the state of one file's content over a commit.

mod budget;
mod content;
mod frozen;
mod open_chunks;
mod seal;

pub use budget::{Budget, Buffer};
pub use content::{Content, MIME_HEAD, Missing, Source, StoredContent};
pub use frozen::{Frozen, FrozenChunk};
pub use seal::{Seal, Workers};
