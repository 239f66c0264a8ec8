//! Changes of what files hold: noted in the journal, made once everything that they need is read, and made again.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use crate::{
    Result,
    cache::{ChunkId, Plain},
    capability::MapKey,
    cryptree::Time,
    journal::Record,
    posix::{
        FileSystem, attr,
        inode::Inode,
        io::{Piece, content_of, pieces},
    },
    tree::CHUNK,
    writeback::{Buffer, Content, Missing},
};

/// A change of a file's content.
pub(super) enum Edit<'a> {
    /// Bytes are written.
    Write(&'a Piece, &'a [u8]),
    /// A range inside the size becomes zeros.
    Zero(&'a Piece),
    /// It is cut, or made longer.
    Resize(u64),
}

impl<'a> Edit<'a> {
    fn record(&self, label: MapKey, at: Time) -> Record<'a> {
        match *self {
            Self::Write(piece, data) => Record::Wrote { label, offset: piece.offset(), at, data: data.into() },
            Self::Zero(piece) => Record::Zeroed { label, offset: piece.offset(), len: piece.len as u64, at },
            Self::Resize(size) => Record::Resized { label, size, at },
        }
    }

    /// What must be read first.
    fn check(&self, content: &Content, base: Option<(Missing, &Plain)>) -> std::result::Result<(), Missing> {
        match self {
            Self::Write(piece, data) => content.check_write(piece.index, piece.start, data.len(), base),
            Self::Zero(piece) => content.check_write(piece.index, piece.start, piece.len, base),
            Self::Resize(size) => content.check_size(*size, base),
        }
    }

    fn make(
        &self,
        content: &mut Content,
        base: Option<(Missing, &Plain)>,
    ) -> std::result::Result<Option<Arc<Buffer>>, Missing> {
        match self {
            Self::Write(piece, data) => content.write(piece.index, piece.start, data, base),
            Self::Zero(piece) => content.zero(piece.index, piece.start, piece.len, base).map(|()| None),
            Self::Resize(size) => content.set_size(*size, base).map(|()| None),
        }
    }
}

impl Piece {
    /// Where in the file it starts.
    const fn offset(&self) -> u64 {
        self.index * CHUNK + self.start as u64
    }
}

impl FileSystem {
    /// Makes a change of the content, reading first what it needs. Returns a buffer that is to be sealed.
    pub(super) fn change(
        &self,
        inode: &Arc<Inode>,
        content: &Mutex<Content>,
        edit: &Edit<'_>,
    ) -> Result<Option<Arc<Buffer>>> {
        let mut base: Option<(Missing, Arc<Plain>, Option<ChunkId>)> = None;
        loop {
            let missing = {
                let _gate = self.gate.change();
                self.introduce(inode)?;
                let label = self.noted_label(inode);
                let read = base.as_ref().map(|(missing, plain, _)| (*missing, &**plain));
                // the content is not locked any more where the state is
                let changed = self.try_change(label, &mut content.lock(), edit, read)?;
                match changed {
                    Ok(full) => {
                        if let Some((.., Some(outdated))) = base {
                            self.chunks.remove(&outdated);
                        }
                        self.mark(inode, &mut inode.state.lock());
                        return Ok(full);
                    }
                    Err(missing) => missing,
                }
            };
            let (plain, id) = self.read_chunk(inode, content, missing.index)?;
            base = Some((missing, plain, id));
        }
    }

    /// Notes a change of the content, and makes it, unless something must be read first.
    fn try_change(
        &self,
        label: Option<MapKey>,
        content: &mut Content,
        edit: &Edit<'_>,
        base: Option<(Missing, &Plain)>,
    ) -> Result<std::result::Result<Option<Arc<Buffer>>, Missing>> {
        if let Err(missing) = edit.check(content, base) {
            return Ok(Err(missing));
        }
        let now = SystemTime::now();
        if let Some(label) = label {
            self.note(edit.record(label, attr::protocol_time(now)))?;
        }
        let made = edit.make(content, base);
        content.modified = now;
        Ok(made)
    }

    /// Writes all of `data`, which was written before, again.
    pub(super) fn write_again(&self, inode: &Arc<Inode>, offset: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            done += self.write_to(inode, offset + done as u64, &data[done..])?;
        }
        Ok(())
    }

    /// Makes a range zeros again, as far as it is inside the size.
    pub(super) fn zero_again(&self, inode: &Arc<Inode>, offset: u64, len: u64) -> Result<()> {
        self.ensure_current_keys(inode)?;
        let content = content_of(inode)?;
        let end = offset.saturating_add(len).min(content.lock().size());
        for piece in pieces(offset, end.saturating_sub(offset) as usize) {
            self.change(inode, content, &Edit::Zero(&piece))?;
        }
        Ok(())
    }

    /// Gives a file the size again that it had.
    pub(super) fn resize_again(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        self.ensure_current_keys(inode)?;
        self.change(inode, content_of(inode)?, &Edit::Resize(size)).map(drop)
    }
}
