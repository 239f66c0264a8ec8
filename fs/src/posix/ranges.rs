//! Ranges of files: reserving and emptying them (fallocate), finding holes (lseek), copying (copy_file_range).

use crate::{
    Error, Result,
    error::errno,
    posix::{
        FileSystem,
        edit::Edit,
        io::{content_of, pieces},
    },
    tree::CHUNK,
};

/// The most that one request copies, in bytes: whoever wants more asks again.
const MAX_COPY: u64 = 64 << 20;
/// How much is copied at a time, in bytes.
const COPY_STEP: u64 = 1 << 20;

impl FileSystem {
    /// Reserves room for a range of a file, or makes it zeros; `mode` is that of fallocate(2). Nothing is set aside: it is
    /// only checked whether there is room.
    ///
    /// # Errors
    /// `EBADF`, `EFBIG`, `ENOSPC`; `EOPNOTSUPP` for modes other than `KEEP_SIZE`, `PUNCH_HOLE`, `ZERO_RANGE`.
    pub fn fallocate(&self, handle: u64, offset: u64, len: u64, mode: i32) -> Result<()> {
        let handle = self.handles.get(handle)?;
        if !handle.is_writable() {
            return errno(libc::EBADF);
        }
        let keeps_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let empties = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => false,
            libc::FALLOC_FL_PUNCH_HOLE if keeps_size => true,
            libc::FALLOC_FL_ZERO_RANGE => true,
            _ => return errno(libc::EOPNOTSUPP),
        };
        let end = offset.checked_add(len).filter(|end| *end <= crate::cryptree::MAX_SIZE);
        let end = end.ok_or(Error::Errno(libc::EFBIG))?;
        let inode = &handle.inode;
        if mode & libc::FALLOC_FL_PUNCH_HOLE == 0 {
            self.check_growth(inode, end)?;
        }
        let content = content_of(inode)?;
        let size = content.lock().size();
        if empties && offset < size {
            self.ensure_current_keys(inode)?;
            for piece in pieces(offset, (end.min(size) - offset) as usize) {
                self.wait_for_room()?;
                self.making_room(|| self.change(inode, content, &Edit::Zero(&piece)))?;
            }
        }
        if !keeps_size && end > size {
            self.making_room(|| self.set_size(inode, end))?;
        }
        self.strip_privileges(inode);
        Ok(())
    }

    /// The next data or hole of a file from `offset` on, as `whence` asks for (`SEEK_DATA`, `SEEK_HOLE`). Holes are known
    /// until they are committed, and counted as data while anybody may write through a memory map.
    ///
    /// # Errors
    /// `EBADF`; `ENXIO` beyond the end, or if no data follows; `EINVAL` for anything else in `whence`, and in the folder
    /// `.peergos`.
    pub fn seek(&self, handle: u64, offset: u64, whence: i32) -> Result<u64> {
        if self.virtual_content(handle).is_some() {
            return errno(libc::EINVAL);
        }
        let handle = self.handles.get(handle)?;
        let is_written = self.handles.is_written(&handle.inode);
        let content = content_of(&handle.inode)?.lock();
        let size = content.size();
        if offset >= size {
            return errno(libc::ENXIO);
        }
        let first = offset / CHUNK;
        let mut holes = content.holes(first).filter(|_| !is_written);
        let at = match whence {
            libc::SEEK_HOLE => holes.next().map_or(size, |hole| offset.max(hole * CHUNK)),
            libc::SEEK_DATA => {
                let empty = (first..).zip(holes).take_while(|(index, hole)| index == hole).count() as u64;
                offset.max((first + empty) * CHUNK)
            }
            _ => return errno(libc::EINVAL),
        };
        if at >= size && whence == libc::SEEK_DATA { errno(libc::ENXIO) } else { Ok(at) }
    }

    /// Copies a range of one file to another, or within one. Returns how much was copied: less at the end of the file, of
    /// much at once, or where the rest fails.
    ///
    /// # Errors
    /// `EOPNOTSUPP` from the folder `.peergos`; as [`FileSystem::read`] and [`FileSystem::write`].
    pub fn copy_range(&self, from: (u64, u64), to: (u64, u64), len: u64) -> Result<u32> {
        if self.virtual_content(from.0).is_some() {
            return errno(libc::EOPNOTSUPP);
        }
        let source = self.handles.get(from.0)?;
        let len = len.min(MAX_COPY);
        let mut done = 0;
        while done < len {
            let step = (len - done).min(COPY_STEP) as usize;
            let copy = || -> Result<u64> {
                let bytes = self.read_at(&source.inode, from.1 + done, step, &source.pattern)?;
                if bytes.is_empty() { Ok(0) } else { self.write(to.0, to.1 + done, &bytes).map(u64::from) }
            };
            match copy() {
                Ok(0) => break,
                Ok(copied) => done += copied,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done as u32)
    }
}
