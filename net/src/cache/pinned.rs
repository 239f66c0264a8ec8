//! Blocks that do not go when room is needed: `DIR/pinned/HOLDER/CID`. They come on top of the bound.

use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use peergos_crypto::cid::Cid;

use super::{DiskCache, NEW, path, read};
use crate::{Block, Error, Result};

/// Where they are; a name that no block's folder has.
pub(super) const PINNED: &str = "pinned";

impl DiskCache {
    /// Keeps a block for `holder`, who has a file name, until it is released.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::Io`].
    pub fn pin(&self, holder: &str, block: &Block) -> Result<()> {
        let folder = self.dir.join(PINNED).join(holder);
        let kept = folder.join(block.cid().to_string());
        if kept.exists() {
            return Ok(());
        }
        fs::create_dir_all(&folder).map_err(Error::io("making a folder for blocks that are kept"))?;
        if fs::rename(path(&self.dir, block.cid()), &kept).is_err() {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let new = self.dir.join(NEW).join(format!("{}-{number}", std::process::id()));
            let written = fs::write(&new, block.data()).and_then(|()| fs::rename(&new, &kept));
            written.map_err(Error::io("keeping a block"))?;
        }
        let mut holders = self.holders.write();
        if !holders.contains(&folder) {
            holders.push(folder);
        }
        Ok(())
    }

    /// Lets go of the blocks of `holder` that are not in `kept`: they are cached like others from now on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn release_others(&self, holder: &str, kept: &HashSet<Cid>) -> Result<()> {
        let kept: HashSet<String> = kept.iter().map(Cid::to_string).collect();
        let release = || -> io::Result<()> {
            for entry in fs::read_dir(self.dir.join(PINNED).join(holder))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if kept.contains(&name) {
                    continue;
                }
                // what is no block goes as well
                match name.parse::<Cid>().ok().filter(|cid| cid.identity_content().is_none()) {
                    Some(cid) => {
                        let back = path(&self.dir, &cid);
                        back.parent().map_or(Ok(()), fs::create_dir_all)?;
                        fs::rename(entry.path(), back)?;
                    }
                    None => fs::remove_file(entry.path())?,
                }
            }
            Ok(())
        };
        match release() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("releasing blocks")(error)),
            _ => Ok(()),
        }
    }

    /// A block that somebody keeps.
    pub(super) fn pinned(&self, cid: &Cid) -> Option<Block> {
        let holders = self.holders.read();
        if holders.is_empty() {
            return None;
        }
        let name = cid.to_string();
        holders.iter().find_map(|folder| read(&folder.join(&name), cid)).map(|(block, _)| block)
    }

    /// The folders of those who keep blocks.
    pub(super) fn holders(dir: &std::path::Path) -> Vec<PathBuf> {
        fs::read_dir(dir.join(PINNED)).map_or_else(|_| Vec::new(), |all| all.flatten().map(|e| e.path()).collect())
    }
}
