//! Reading and writing what files hold.

use std::{
    cmp::Ordering,
    sync::{Arc, atomic},
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Error, Result,
    cache::{ChunkId, Plain},
    error::{errno, survive},
    posix::{
        FileSystem, Kind,
        crowd::INODE,
        edit::Edit,
        handles::{Access, Pattern},
        inode::Inode,
        unlinked::{fragments_of, hold, keep_of},
    },
    tree::{
        CHUNK,
        content::{self, OpenChunk},
        seal_chunk,
    },
    writeback::{Buffer, Content, Seal, Source},
};

/// How many chunks ahead of a sequential reader are fetched.
const PREFETCH: u64 = 2;

/// The part of a read or write that falls into one chunk.
pub(super) struct Piece {
    /// Number of the chunk.
    pub index: u64,
    /// Where in the chunk it starts.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
}

/// Cuts a range of a file at the borders of its chunks.
pub(super) fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let (index, start) = (at / CHUNK, at % CHUNK);
        let len = (CHUNK - start).min(end - at);
        at += len;
        (len > 0).then_some(Piece { index, start: start as usize, len: len as usize })
    })
}

impl FileSystem {
    /// Opens a file.
    ///
    /// # Errors
    /// `EROFS`, `EPERM`, `EACCES` when opened for writing; `EISDIR`.
    pub fn open_file(&self, ino: u64, flags: i32) -> Result<u64> {
        if let Some(handle) = self.open_virtual(ino) {
            return Ok(handle);
        }
        let inode = self.inode(ino)?;
        if inode.kind == Kind::Directory {
            return errno(libc::EISDIR);
        }
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            self.check_writable(&inode)?;
        }
        Ok(self.handles.open(&inode, flags))
    }

    /// Closes a file; nothing is waited for.
    pub fn release(&self, handle: u64) {
        match self.handles.close(handle) {
            Some(inode) => self.inodes.drop_unused(inode),
            None => self.release_virtual(handle),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` for anything else.
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        if inode.kind != Kind::Symlink {
            return errno(libc::EINVAL);
        }
        let target = self.read_at(&inode, 0, libc::PATH_MAX as usize, &Mutex::default())?.to_vec();
        self.accessed(&inode);
        Ok(target)
    }

    /// Reads at most `size` bytes at `offset`, fewer only at the end of the file, and hands them to `reply`.
    ///
    /// # Errors
    /// `EBADF`; `EIO` if what the node has is missing or damaged.
    pub fn read<R>(&self, handle: u64, offset: u64, size: u32, reply: impl FnOnce(&[u8]) -> R) -> Result<R> {
        if let Some(content) = self.virtual_content(handle) {
            let from = content.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
            return Ok(reply(&content[from..content.len().min(from + size as usize)]));
        }
        let handle = self.handles.get(handle)?;
        let bytes = self.read_at(&handle.inode, offset, size as usize, &handle.pattern)?;
        if handle.flags & libc::O_NOATIME == 0 {
            self.accessed(&handle.inode);
        }
        Ok(reply(&bytes))
    }

    pub(super) fn read_at(
        &self,
        inode: &Arc<Inode>,
        offset: u64,
        len: usize,
        pattern: &Mutex<Pattern>,
    ) -> Result<Bytes> {
        let content = content_of(inode)?;
        let size = content.lock().size();
        let len = size.saturating_sub(offset).min(len as u64) as usize;
        let access = pattern.lock().note(offset, len as u64);
        let mut pieces = pieces(offset, len);
        let Some(first) = pieces.next() else { return Ok(Bytes::new()) };
        let bytes = self.read_piece(inode, content, &first, access)?;
        if bytes.len() == len {
            return Ok(bytes);
        }
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(&bytes);
        for piece in pieces {
            whole.extend_from_slice(&self.read_piece(inode, content, &piece, access)?);
        }
        Ok(whole.into())
    }

    /// Reads exactly one piece; what is not stored of it is zeros.
    pub(super) fn read_piece(
        &self,
        inode: &Arc<Inode>,
        content: &Mutex<Content>,
        piece: &Piece,
        access: Access,
    ) -> Result<Bytes> {
        let range = piece.start..piece.start + piece.len;
        let (bytes, limit) = loop {
            let (source, limit) = content.lock().source(piece.index);
            let bytes = match source {
                Source::Zeros => Bytes::new(),
                Source::Buffer(buffer) => slice(Bytes::from_owner(Shared(Arc::new(Plain::Written(buffer)))), &range),
                Source::Swapped(swapped) => slice(swapped.read()?.into(), &range),
                Source::Open(open) => self.read_open(inode, content, &open, piece.index, &range, access)?,
                // opened, it is asked for again: it may have changed meanwhile
                Source::Stored => {
                    self.open_chunk(inode, content, piece.index)?;
                    continue;
                }
            };
            break (bytes, limit);
        };
        // bytes beyond the size are left over from before a truncation by another client
        let valid = limit.saturating_sub(piece.start).min(bytes.len());
        if valid == piece.len {
            return Ok(bytes.slice(..valid));
        }
        let mut extended = bytes[..valid].to_vec();
        extended.resize(piece.len, 0);
        Ok(extended.into())
    }

    /// Reads a range of an opened chunk: from the cache, from the one fragment that holds it, or by fetching all.
    fn read_open(
        &self,
        inode: &Arc<Inode>,
        content: &Mutex<Content>,
        open: &Arc<OpenChunk>,
        index: u64,
        range: &std::ops::Range<usize>,
        access: Access,
    ) -> Result<Bytes> {
        let id = open.data.nonce();
        if access == Access::Sequential {
            self.prefetch(inode, content, index);
        }
        if let Some(plain) = self.chunks.get(id) {
            return Ok(slice(Bytes::from_owner(Shared(plain)), range));
        }
        if access != Access::Sequential
            && !self.chunks.is_coming(id)
            && let Some(part) = content::read_range(&self.drive, open, range.clone())?
        {
            return Ok(part.into());
        }
        let plain =
            self.chunks.get_or_fetch(id, open.room(), || Ok(Plain::Read(content::read_content(&self.drive, open)?)))?;
        Ok(slice(Bytes::from_owner(Shared(plain)), range))
    }

    /// Opens the node of a stored chunk, so that [`Content::source`] has it, unless the content changes meanwhile.
    fn open_chunk(&self, inode: &Inode, content: &Mutex<Content>, index: u64) -> Result<()> {
        let (version, mut locations) = {
            let content = content.lock();
            (content.version(), content.locations.clone())
        };
        let keys = inode.keys();
        let location = locations.get(&self.drive, &keys, index)?;
        let open = content::open_chunks(&self.drive, &keys, &[location])?.pop().flatten();
        let mut content = content.lock();
        if content.version() != version {
            return Ok(());
        }
        content.locations.learn(locations);
        content.remember(index, &Arc::new(open.ok_or(Error::Damaged("a file lacks a chunk"))?));
        Ok(())
    }

    /// A chunk's ciphertext, opened; none if it is not stored but here.
    pub(super) fn opened(&self, inode: &Inode, content: &Mutex<Content>, index: u64) -> Result<Option<Arc<OpenChunk>>> {
        loop {
            let (source, _) = content.lock().source(index);
            match source {
                Source::Open(open) => return Ok(Some(open)),
                Source::Stored => self.open_chunk(inode, content, index)?,
                Source::Buffer(_) | Source::Swapped(_) | Source::Zeros => return Ok(None),
            }
        }
    }

    /// Fetches the chunks after `index` in the background, unless they are here or on their way.
    fn prefetch(&self, inode: &Arc<Inode>, content: &Mutex<Content>, index: u64) {
        for ahead in index + 1..=index + PREFETCH {
            let Ok(Some(open)) = self.opened(inode, content, ahead) else { return };
            if self.chunks.is_coming(open.data.nonce()) {
                continue;
            }
            let (drive, chunks) = (self.drive.clone(), self.chunks.clone());
            self.fetchers.spawn(move || {
                let fetch = || Ok(Plain::Read(content::read_content(&drive, &open)?));
                if let Err(error) = chunks.fetch_unless_coming(open.data.nonce(), open.room(), fetch) {
                    tracing::debug!(%error, "a chunk could not be fetched ahead");
                }
            });
        }
    }

    /// Writes `data` at `offset`, or less if a chunk behind its beginning must be read first and cannot be. Waits where
    /// too much written data is not committed yet.
    ///
    /// # Errors
    /// `EBADF`, `EFBIG`; `ENOSPC`, `EDQUOT` where it does not fit; these or `EIO` where commits fail and there is no memory
    /// for more.
    pub fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32> {
        if let Some(done) = self.write_virtual(handle, data) {
            return done.map(|()| data.len() as u32);
        }
        let handle = self.handles.get(handle)?;
        if !handle.is_writable() {
            return errno(libc::EBADF);
        }
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > crate::cryptree::MAX_SIZE) {
            return errno(libc::EFBIG);
        }
        let inode = &handle.inode;
        self.check_growth(inode, offset)?;
        self.making_room(|| self.write_to(inode, offset, data)).map(|written| written as u32)
    }

    /// Writes `data` at `offset`, or less; returns how much.
    pub(super) fn write_to(&self, inode: &Arc<Inode>, offset: u64, data: &[u8]) -> Result<usize> {
        self.wait_for_room()?;
        self.ensure_current_keys(inode)?;
        let content = content_of(inode)?;
        let more = {
            let content = content.lock();
            let growth = |piece: Piece| content.growth(piece.index, piece.start + piece.len);
            pieces(offset, data.len()).map(growth).sum()
        };
        if !self.replaying.load(atomic::Ordering::Relaxed) {
            self.check_room(more)?;
        }
        let mut done = 0;
        for piece in pieces(offset, data.len()) {
            let edit = Edit::Write(&piece, &data[done..done + piece.len]);
            let full = self.change(inode, content, &edit);
            if done > 0 && full.is_err() {
                break;
            }
            if let Some(buffer) = full? {
                self.seal_in_background(inode, piece.index, buffer);
            }
            done += piece.len;
        }
        Ok(done)
    }

    /// Cuts a file, or makes it longer with zeros.
    pub(super) fn set_size(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        if size > crate::cryptree::MAX_SIZE {
            return errno(libc::EFBIG);
        }
        self.ensure_current_keys(inode)?;
        let content = content_of(inode)?;
        match size.cmp(&content.lock().size()) {
            Ordering::Equal => return Ok(()),
            Ordering::Less => self.space.makes_room(),
            Ordering::Greater => {}
        }
        self.check_growth(inode, size)?;
        self.change(inode, content, &Edit::Resize(size)).map(drop)
    }

    /// The whole plaintext of a chunk that is not being written, and what the cache has it under.
    pub(super) fn read_chunk(
        &self,
        inode: &Arc<Inode>,
        content: &Mutex<Content>,
        index: u64,
    ) -> Result<(Arc<Plain>, Option<ChunkId>)> {
        if let (Source::Swapped(swapped), _) = content.lock().source(index) {
            return Ok((Arc::new(Plain::Read(swapped.read()?.into())), None));
        }
        let Some(open) = self.opened(inode, content, index)? else {
            // it changed meanwhile, which whoever asked will see
            return Ok((Arc::new(Plain::Read(Bytes::new())), None));
        };
        let id = *open.data.nonce();
        let plain = self
            .chunks
            .get_or_fetch(&id, open.room(), || Ok(Plain::Read(content::read_content(&self.drive, &open)?)))?;
        Ok((plain, Some(id)))
    }

    /// Waits until written data is within its bound, or moves it out of memory while it cannot be committed.
    pub(super) fn wait_for_room(&self) -> Result<()> {
        self.wait_for_journal()?;
        self.chunks.yield_to_written();
        self.budget.lend(self.inodes.len() * INODE);
        while self.budget.is_exceeded() {
            let failure = if self.is_offline() || self.schedule.is_held() {
                self.swap_out().err().map(|error| error.errno())
            } else {
                self.schedule.error().filter(|error| !error.is_out_of_reach()).map(|error| error.errno())
            };
            if let Some(number) = failure {
                // what is made again was taken once
                if self.replaying.load(atomic::Ordering::Relaxed) {
                    break;
                }
                return errno(number);
            }
            if let Some(number) = self.spill_error.lock().take() {
                self.schedule.touch();
                return errno(number);
            }
            self.schedule.request();
            self.budget.wait(std::time::Duration::from_millis(100));
        }
        Ok(())
    }

    /// Encrypts and uploads a full chunk while the file is still being written.
    fn seal_in_background(&self, inode: &Arc<Inode>, index: u64, buffer: Arc<Buffer>) {
        let Some(content) = inode.content.as_ref().filter(|_| !self.is_offline()) else { return };
        let seal = Arc::new(Seal::default());
        content.lock().sealing(index, &buffer, &seal);
        let (drive, upload, chunks) = (self.drive.clone(), self.upload.clone(), self.chunks.clone());
        let (keys, unlinked, inode) = (inode.keys(), inode.state.lock().unlinked, inode.clone());
        self.sealers.spawn(move || {
            let sink = |signer: &_, blocks| match unlinked {
                true => keep_of(&drive, &inode)?.put(signer, blocks),
                false => upload.fragments(signer, blocks),
            };
            let sealed = seal.finish(survive(|| seal_chunk(&drive, &keys, buffer.bytes(), CHUNK, &sink)));
            let Some(content) = &inode.content else { return };
            // unlinked since: its group may be over
            if !unlinked
                && inode.state.lock().unlinked
                && let Some(sealed) = &sealed
            {
                hold(&drive, &inode, &fragments_of(&sealed.open));
            }
            if content.lock().sealed(index, &buffer, sealed.clone())
                && let Some(sealed) = sealed
            {
                buffer.uncharge();
                chunks.insert(*sealed.open.data.nonce(), Arc::new(Plain::Written(buffer)));
            }
        });
    }
}

/// The content of a file or symlink.
pub(super) fn content_of(inode: &Inode) -> Result<&Mutex<Content>> {
    inode.content.as_ref().ok_or(Error::Errno(libc::EISDIR))
}

/// A chunk's plaintext as the owner of a [`Bytes`], so that parts of it are handed out without copies.
struct Shared(Arc<Plain>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// As much of `range` as there is.
fn slice(bytes: Bytes, range: &std::ops::Range<usize>) -> Bytes {
    let end = range.end.min(bytes.len());
    bytes.slice(range.start.min(end)..end)
}
