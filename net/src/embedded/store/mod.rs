//! Where the embedded node keeps things: a database for all that changes and for where blocks are, packs for small
//! blocks, a file each for large ones (the measurements behind it are in ARCHITECTURE.md).
//!
//! ```text
//! lock            held while the node is open
//! index.redb      the database (see `kv::Table`)
//! packs/N.pack    blocks up to 128 KiB
//! packs/epoch     see `epoch`
//! blocks/A/xx/…   larger blocks of account A
//! blocks/new/     larger blocks that are not committed yet
//! ```
//!
//! A block that was put is visible at once and *pending*: on no list but in memory. [`BlockStore::seal`] makes all
//! pending blocks durable and adds them to the batch that makes them known; when the batch is committed,
//! [`BlockStore::settle`] follows. So at any instant the disk holds the last committed state and, beyond what the
//! database knows of, leftovers that [`BlockStore::open`] removes.

mod blocks;
mod epoch;
mod files;
mod id;
mod kv;
mod large;
mod packs;

use std::{fs::File, path::Path};

use crate::{Error, Result};

pub(super) use blocks::{BlockStore, Location, read_pack_row};
pub(super) use epoch::Epoch;
pub(super) use id::{AccountId, BlockId};
pub(super) use kv::{Batch, Kv, Snapshot, Table};
pub(super) use packs::{Extent, HEAD as RECORD_HEAD, PackId};

/// Makes the entries of a folder durable.
fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("syncing a folder"))
}
