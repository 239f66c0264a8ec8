//! The content of one file: what is stored, and what was written since.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use peergos_crypto::cid::Cid;

use crate::{
    cache::Plain,
    cryptree::Time,
    tree::{
        CHUNK, ChunkState, SealedChunk,
        content::{Locations, OpenChunk},
    },
    writeback::{Budget, Buffer, Frozen, FrozenChunk, Seal, Swapped, open_chunks::OpenChunks},
};

/// One file's content. Callers lock it; nothing here waits.
#[derive(Debug)]
pub struct Content {
    /// Size in bytes, as programs see it.
    size: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// What the node holds.
    stored: StoredContent,
    /// Where the chunks are stored.
    pub locations: Locations,
    /// Chunks whose truth is here and not, or not yet, on the node.
    locals: BTreeMap<u64, Local>,
    /// Stored chunks whose nodes were opened lately.
    open: OpenChunks,
    /// Whether size or content changed since the last freeze.
    changed: bool,
    /// The first bytes, by which its mime type is told, if they were written lately.
    head: Option<Vec<u8>>,
    /// Grows whenever a chunk is found elsewhere than before, so that what was fetched without the lock can be told to
    /// be stale. A change of what is in memory already leaves it: fetching must end however much is written meanwhile.
    version: u64,
    budget: Arc<Budget>,
}

/// What the node holds of a file.
#[derive(Debug, Clone, Default)]
pub struct StoredContent {
    /// Size in bytes; what chunks hold beyond it does not count.
    pub size: u64,
    /// How many chunks there are: zero for a file that was never committed.
    pub chunks: u64,
    /// SHA-256 of each chunk, where that is known.
    pub leaves: Option<Arc<Vec<[u8; 32]>>>,
    /// When it was last written; none if not all of it is stored under the current keys.
    pub modified: Option<Time>,
}

#[derive(Debug)]
struct Local {
    data: Data,
    /// Changed since the last freeze.
    dirty: bool,
    /// In the group that is being committed.
    flushing: bool,
    /// Filled front to back so far, so that it is final when it is full.
    sequential: bool,
}

impl Local {
    /// Takes a buffer back that is being sealed: it is not final after all.
    fn unseal(&mut self) {
        if let Data::Sealing(buffer, _) = &self.data {
            self.data = Data::Buffer(buffer.clone());
        }
    }
}

#[derive(Debug, Clone)]
enum Data {
    Buffer(Arc<Buffer>),
    /// A buffer that is being sealed in the background.
    Sealing(Arc<Buffer>, Arc<Seal>),
    Sealed(Arc<SealedChunk>),
    /// Outside memory; with what it became when it was sealed for a group that failed, if it was.
    Swapped(Arc<Swapped>, Option<Arc<SealedChunk>>),
    Hole,
}

/// Where the bytes of a chunk are to be found.
#[derive(Debug, Clone)]
pub enum Source {
    /// In memory.
    Buffer(Arc<Buffer>),
    /// On the local disk.
    Swapped(Arc<Swapped>),
    /// With the node as ciphertext, and known how to open.
    Open(Arc<OpenChunk>),
    /// On the node, at its location.
    Stored,
    /// Nowhere: zeros.
    Zeros,
}

/// A chunk that must be read before a change can be made, and the version at which that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Number of the chunk.
    pub index: u64,
    /// Of the content.
    pub version: u64,
}

/// How many of the first bytes of a file tell its mime type (spec 03 §4.7).
pub const MIME_HEAD: usize = 40;

/// How many bytes chunk `index` of a file of `size` bytes has.
const fn chunk_len(size: u64, index: u64) -> u64 {
    let rest = size.saturating_sub(index * CHUNK);
    if rest < CHUNK { rest } else { CHUNK }
}

impl Content {
    /// Content that the node holds.
    pub fn new(stored: StoredContent, modified: SystemTime, locations: Locations, budget: &Arc<Budget>) -> Self {
        Self {
            size: stored.size,
            modified,
            stored,
            locations,
            locals: BTreeMap::new(),
            open: OpenChunks::default(),
            changed: false,
            head: None,
            version: 0,
            budget: budget.clone(),
        }
    }

    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What the node holds.
    pub const fn stored(&self) -> &StoredContent {
        &self.stored
    }

    /// The version, for [`Missing`] and [`Content::remember`].
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many bytes chunk `index` has.
    pub const fn chunk_len(&self, index: u64) -> u64 {
        chunk_len(self.size, index)
    }

    /// How many bytes of chunk `index` the node holds.
    pub const fn stored_len(&self, index: u64) -> u64 {
        chunk_len(self.stored.size, index)
    }

    /// Where the bytes of chunk `index` are, and how many of them count: the rest is zeros.
    pub fn source(&mut self, index: u64) -> (Source, usize) {
        let source = self.find(index);
        let is_local = self.locals.contains_key(&index);
        (source, if is_local { usize::MAX } else { self.stored_len(index) as usize })
    }

    fn find(&mut self, index: u64) -> Source {
        match self.locals.get(&index).map(|local| &local.data) {
            Some(Data::Buffer(buffer) | Data::Sealing(buffer, _)) => Source::Buffer(buffer.clone()),
            Some(Data::Sealed(sealed)) => Source::Open(sealed.open.clone()),
            Some(Data::Swapped(swapped, _)) => Source::Swapped(swapped.clone()),
            Some(Data::Hole) => Source::Zeros,
            None if self.stored_len(index) == 0 => Source::Zeros,
            None => self.open.get(index).map_or(Source::Stored, |open| Source::Open(open.clone())),
        }
    }

    /// How many bytes a write up to `end` in chunk `index` adds to what is to be stored: a chunk is stored as a whole.
    pub fn growth(&self, index: u64, end: usize) -> u64 {
        match self.locals.get(&index).map(|local| &local.data) {
            Some(Data::Buffer(buffer) | Data::Sealing(buffer, _)) => end.saturating_sub(buffer.bytes().len()) as u64,
            Some(Data::Swapped(swapped, _)) => end.saturating_sub(swapped.size()) as u64,
            Some(Data::Sealed(_) | Data::Hole) | None => self.chunk_len(index).max(end as u64),
        }
    }

    /// Remembers an opened chunk node that was fetched at this version.
    pub fn remember(&mut self, index: u64, open: &Arc<OpenChunk>) {
        self.open.put(index, open.clone());
    }

    /// Whether something of a chunk remains when `len` bytes are written at `start` of it.
    const fn keeps(&self, index: u64, start: usize, len: usize) -> bool {
        let old_len = self.chunk_len(index);
        old_len > 0 && (start > 0 || (len as u64) < old_len)
    }

    /// Whether [`Content::write`] can be called with this.
    ///
    /// # Errors
    /// [`Missing`] if the rest of a chunk must be read first.
    pub fn check_write(
        &self,
        index: u64,
        start: usize,
        len: usize,
        base: Option<(Missing, &Plain)>,
    ) -> Result<(), Missing> {
        if index * CHUNK > self.size {
            return self.check_grow(base);
        }
        self.check_local(index, self.keeps(index, start, len), base)
    }

    /// Whether [`Content::set_size`] can be called with this.
    ///
    /// # Errors
    /// As [`Content::check_write`].
    pub fn check_size(&self, size: u64, base: Option<(Missing, &Plain)>) -> Result<(), Missing> {
        if size > self.size {
            return self.check_grow(base);
        }
        let last = size.saturating_sub(1) / CHUNK;
        let cut = size - last * CHUNK;
        if cut < self.chunk_len(last) { self.check_local(last, cut > 0, base) } else { Ok(()) }
    }

    fn check_grow(&self, base: Option<(Missing, &Plain)>) -> Result<(), Missing> {
        let last = self.size / CHUNK;
        if self.size > last * CHUNK { self.check_local(last, true, base) } else { Ok(()) }
    }

    /// Whether chunk `index` can be made a local one, with its old bytes if `keep`.
    fn check_local(&self, index: u64, keep: bool, base: Option<(Missing, &Plain)>) -> Result<(), Missing> {
        let is_stored = match self.locals.get(&index).map(|local| &local.data) {
            Some(Data::Buffer(_) | Data::Sealing(..) | Data::Hole) => false,
            Some(Data::Sealed(_) | Data::Swapped(..)) => true,
            None => self.stored_len(index) > 0,
        };
        let missing = self.missing(index);
        if is_stored && keep && base.is_none_or(|(found, _)| found != missing) { Err(missing) } else { Ok(()) }
    }

    /// Writes `data` at `start` of chunk `index`; both lie inside the chunk. `base` is the chunk's plaintext, where an
    /// earlier call asked for it. Returns the buffer to seal, if the chunk is full and final.
    ///
    /// # Errors
    /// [`Missing`] if the rest of a chunk must be read first; nothing is changed then.
    pub fn write(
        &mut self,
        index: u64,
        start: usize,
        data: &[u8],
        base: Option<(Missing, &Plain)>,
    ) -> Result<Option<Arc<Buffer>>, Missing> {
        self.check_write(index, start, data.len(), base)?;
        let end = index * CHUNK + (start + data.len()) as u64;
        let keeps = self.keeps(index, start, data.len());
        if index * CHUNK > self.size {
            self.grow(index * CHUNK, base)?;
        }
        self.localise(index, keeps, base)?;
        let full = CHUNK as usize;
        let budget = self.budget.clone();
        let Some(local) = self.locals.get_mut(&index) else { return Err(self.missing(index)) };
        let mut buffer = match std::mem::replace(&mut local.data, Data::Hole) {
            Data::Buffer(buffer) | Data::Sealing(buffer, _) => buffer,
            _ => Arc::new(Buffer::new(&budget)),
        };
        local.sequential &= start == buffer.bytes().len();
        Arc::make_mut(&mut buffer).write(start, data, full);
        let is_final = local.sequential && buffer.bytes().len() == full;
        if index == 0 && start < MIME_HEAD {
            self.head = Some(buffer.bytes()[..buffer.bytes().len().min(MIME_HEAD)].to_vec());
        }
        local.data = Data::Buffer(buffer.clone());
        local.dirty = true;
        self.size = self.size.max(end);
        self.touch();
        Ok(is_final.then_some(buffer))
    }

    /// Changes the size: cuts, or appends zeros.
    ///
    /// # Errors
    /// As [`Content::write`].
    pub fn set_size(&mut self, size: u64, base: Option<(Missing, &Plain)>) -> Result<(), Missing> {
        if size > self.size {
            self.grow(size, base)?;
        } else if size < self.size {
            let last = size.saturating_sub(1) / CHUNK;
            let cut = (size - last * CHUNK) as usize;
            if (cut as u64) < self.chunk_len(last) {
                self.localise(last, cut > 0, base)?;
                if let Some(local) = self.locals.get_mut(&last) {
                    local.unseal();
                    if let Data::Buffer(buffer) = &mut local.data {
                        Arc::make_mut(buffer).truncate(cut);
                    }
                    local.dirty = true;
                    local.sequential = true;
                }
            }
            self.locals.retain(|index, _| *index <= last);
            self.open.retain(|index| index <= last);
            self.version += 1;
        }
        if size < MIME_HEAD as u64 {
            self.head = self.head.take().map(|mut head| {
                head.truncate(size as usize);
                head
            });
        }
        if size == 0 {
            self.head = Some(Vec::new());
        }
        self.size = size;
        self.touch();
        Ok(())
    }

    /// Makes a range inside one chunk, and inside the size, zeros. A chunk that is covered needs no memory.
    ///
    /// # Errors
    /// As [`Content::write`].
    pub fn zero(
        &mut self,
        index: u64,
        start: usize,
        len: usize,
        base: Option<(Missing, &Plain)>,
    ) -> Result<(), Missing> {
        if start > 0 || (len as u64) < self.chunk_len(index) {
            return self.write(index, start, &vec![0; len], base).map(|_| ());
        }
        self.locals.insert(index, Local { data: Data::Hole, dirty: true, flushing: false, sequential: false });
        if index == 0 {
            self.head = Some(vec![0; len.min(MIME_HEAD)]);
        }
        self.version += 1;
        self.touch();
        Ok(())
    }

    /// The numbers of the chunks from `first` on that were never written to, or emptied, and are not committed.
    pub fn holes(&self, first: u64) -> impl Iterator<Item = u64> {
        self.locals.range(first..).filter(|(_, local)| matches!(local.data, Data::Hole)).map(|(index, _)| *index)
    }

    /// Makes room up to `size` with zeros, chunk by chunk (spec 03 §7.6 step 1).
    fn grow(&mut self, size: u64, base: Option<(Missing, &Plain)>) -> Result<(), Missing> {
        let first = self.size / CHUNK;
        if self.size > first * CHUNK {
            // the last chunk gets longer, so it must be written anew
            self.localise(first, true, base)?;
            if let Some(local) = self.locals.get_mut(&first) {
                local.dirty = true;
                local.sequential = false;
                local.unseal();
            }
        }
        for index in first..size.div_ceil(CHUNK) {
            self.locals.entry(index).or_insert(Local {
                data: Data::Hole,
                dirty: true,
                flushing: false,
                sequential: false,
            });
        }
        self.size = self.size.max(size);
        self.version += 1;
        Ok(())
    }

    /// Makes chunk `index` a local one that can be changed: a buffer or a hole, with its old bytes if `keep`.
    fn localise(&mut self, index: u64, keep: bool, base: Option<(Missing, &Plain)>) -> Result<(), Missing> {
        let (exists, is_local) = match self.locals.get(&index).map(|local| &local.data) {
            Some(Data::Buffer(_) | Data::Sealing(..) | Data::Hole) => return Ok(()),
            Some(Data::Sealed(_) | Data::Swapped(..)) => (true, true),
            None => (self.stored_len(index) > 0, false),
        };
        let data = if exists && keep {
            let (missing, plain) = base.ok_or_else(|| self.missing(index))?;
            if missing != self.missing(index) {
                return Err(self.missing(index));
            }
            let len = plain.len().min(self.chunk_len(index) as usize);
            Data::Buffer(Arc::new(Buffer::from_slice(&self.budget, &plain[..len])))
        } else {
            Data::Buffer(Arc::new(Buffer::new(&self.budget)))
        };
        let flushing = is_local && self.locals.get(&index).is_some_and(|local| local.flushing);
        self.locals.insert(index, Local { data, dirty: true, flushing, sequential: !(exists && keep) });
        self.version += 1;
        Ok(())
    }

    const fn missing(&self, index: u64) -> Missing {
        Missing { index, version: self.version }
    }

    /// Says that it is going to be changed: others' changes meet ours from now on.
    pub const fn will_change(&mut self) {
        self.changed = true;
    }

    fn touch(&mut self) {
        self.changed = true;
        self.modified = SystemTime::now();
    }

    /// Notes that `buffer`, the whole of chunk `index`, is being sealed.
    pub fn sealing(&mut self, index: u64, buffer: &Arc<Buffer>, seal: &Arc<Seal>) {
        if let Some(local) = self.locals.get_mut(&index)
            && matches!(&local.data, Data::Buffer(current) if Arc::ptr_eq(current, buffer))
        {
            local.data = Data::Sealing(buffer.clone(), seal.clone());
        }
    }

    /// Notes how sealing `buffer` ended. Returns whether the chunk is sealed now, and the buffer no longer needed.
    pub fn sealed(&mut self, index: u64, buffer: &Arc<Buffer>, sealed: Option<Arc<SealedChunk>>) -> bool {
        let Some(local) = self.locals.get_mut(&index) else { return false };
        match &local.data {
            Data::Sealing(current, _) | Data::Buffer(current) if Arc::ptr_eq(current, buffer) => {}
            _ => return false,
        }
        match sealed {
            Some(sealed) => {
                local.data = Data::Sealed(sealed);
                true
            }
            None => {
                local.data = Data::Buffer(buffer.clone());
                false
            }
        }
    }

    /// Takes over a chunk that a group sealed and did not commit, unless it is another by now. Returns whether it is
    /// sealed now.
    pub fn sealed_already(&mut self, index: u64, plain: &FrozenChunk, sealed: &Arc<SealedChunk>) -> bool {
        let len = self.chunk_len(index);
        let Some(local) = self.locals.get_mut(&index).filter(|_| sealed.len == len) else { return false };
        local.data = match (&local.data, plain) {
            (Data::Buffer(now), FrozenChunk::State(ChunkState::Plain(then))) if Arc::ptr_eq(now, then) => {
                Data::Sealed(sealed.clone())
            }
            (Data::Hole, FrozenChunk::State(ChunkState::Hole)) => Data::Sealed(sealed.clone()),
            // it can be read from here whatever becomes of the node
            (Data::Swapped(now, _), FrozenChunk::Swapped(then, _)) if Arc::ptr_eq(now, then) => {
                Data::Swapped(now.clone(), Some(sealed.clone()))
            }
            _ => return false,
        };
        self.version += 1;
        true
    }

    /// Notes that what `buffer` holds is outside memory as well. Returns whether the buffer is no longer needed.
    pub fn swapped(&mut self, index: u64, buffer: &Arc<Buffer>, swapped: Arc<Swapped>) -> bool {
        let Some(local) = self.locals.get_mut(&index) else { return false };
        let is_current = matches!(&local.data, Data::Buffer(current) if Arc::ptr_eq(current, buffer));
        if is_current {
            local.data = Data::Swapped(swapped, None);
        }
        is_current
    }

    /// The first bytes, if they were written since the file was loaded.
    pub fn head(&self) -> Option<&[u8]> {
        self.head.as_deref()
    }

    /// Whether size or content changed since the last freeze.
    pub const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Keeps all of `chunks` open: the nodes of an unlinked file are about to go.
    pub fn pin(&mut self, chunks: Vec<(u64, Arc<OpenChunk>)>) {
        self.open.keep(chunks.len());
        for (index, open) in chunks {
            self.open.put(index, open);
        }
    }

    /// The buffers that are neither committed nor sealed: what could leave memory.
    pub fn buffers(&self) -> Vec<(u64, Arc<Buffer>)> {
        let buffer = |(index, local): (&u64, &Local)| match &local.data {
            Data::Buffer(buffer) => Some((*index, buffer.clone())),
            _ => None,
        };
        self.locals.iter().filter_map(buffer).collect()
    }

    /// The fragments of chunks that are stored and not committed.
    pub fn uncommitted(&self) -> Vec<Cid> {
        let sealed = self.locals.values().filter_map(|local| match &local.data {
            Data::Sealed(sealed) => Some(sealed.open.data.fragments()),
            _ => None,
        });
        sealed.flatten().map(|(cid, _)| cid.clone()).collect()
    }

    /// The state for a group. What changes from here on belongs to the next one.
    pub fn freeze(&mut self) -> Frozen {
        let mut chunks = BTreeMap::new();
        for (index, local) in self.locals.iter_mut().filter(|(_, local)| local.dirty) {
            local.dirty = false;
            local.flushing = true;
            let chunk = match &local.data {
                Data::Buffer(buffer) => FrozenChunk::State(ChunkState::Plain(buffer.clone())),
                Data::Sealing(buffer, seal) => FrozenChunk::Sealing(buffer.clone(), seal.clone()),
                Data::Sealed(sealed) => FrozenChunk::State(ChunkState::Sealed(sealed.clone())),
                Data::Swapped(swapped, sealed) => FrozenChunk::Swapped(swapped.clone(), sealed.clone()),
                Data::Hole => FrozenChunk::State(ChunkState::Hole),
            };
            chunks.insert(*index, chunk);
        }
        if self.stored.chunks == 0 && chunks.is_empty() {
            chunks.insert(0, FrozenChunk::State(ChunkState::Hole));
        }
        Frozen {
            size: self.size,
            chunks,
            changed: std::mem::take(&mut self.changed) || self.stored.chunks == 0,
            stored: self.stored.clone(),
            locations: self.locations.clone(),
        }
    }

    /// The group is committed: the node holds `stored` now, the changed chunks as `sealed`. Returns the buffers that a
    /// cache may keep, with what they became.
    pub fn committed(
        &mut self,
        stored: StoredContent,
        sealed: &BTreeMap<u64, Arc<OpenChunk>>,
    ) -> Vec<(Arc<OpenChunk>, Arc<Buffer>)> {
        let mut clean = Vec::new();
        self.locals.retain(|index, local| {
            if !std::mem::take(&mut local.flushing) || local.dirty {
                return true;
            }
            if let (Data::Buffer(buffer) | Data::Sealing(buffer, _), Some(open)) = (&local.data, sealed.get(index)) {
                buffer.uncharge();
                clean.push((open.clone(), buffer.clone()));
            }
            false
        });
        for (index, open) in sealed {
            self.open.put(*index, open.clone());
        }
        let count = stored.chunks;
        self.open.retain(|index| index < count);
        self.stored = stored;
        self.version += 1;
        clean
    }

    /// The group failed: what it held is dirty again. `changed` is what [`Frozen::changed`] was.
    pub fn failed(&mut self, changed: bool) {
        for local in self.locals.values_mut() {
            local.dirty |= std::mem::take(&mut local.flushing);
        }
        self.changed |= changed;
        self.version += 1;
    }

    /// Replaces everything by what another client stored.
    pub fn replace(&mut self, stored: StoredContent, modified: SystemTime, locations: Locations) {
        self.size = stored.size;
        (self.stored, self.modified, self.locations) = (stored, modified, locations);
        self.locals.clear();
        self.open.retain(|_| false);
        (self.changed, self.head) = (false, None);
        self.version += 1;
    }

    /// Replaces everything: the file got new keys, all its chunks are local, and `stored` of them are at the new
    /// locations already.
    pub fn rekeyed(&mut self, locations: Locations, stored_chunks: u64, chunks: Vec<(u64, ChunkState<Arc<Buffer>>)>) {
        self.locations = locations;
        self.stored = StoredContent { size: 0, chunks: stored_chunks, leaves: None, modified: None };
        self.open.retain(|_| false);
        for (index, state) in chunks {
            let data = match state {
                ChunkState::Plain(buffer) => Data::Buffer(buffer),
                ChunkState::Sealed(sealed) => Data::Sealed(sealed),
                ChunkState::Hole => Data::Hole,
            };
            self.locals.insert(index, Local { data, dirty: true, flushing: false, sequential: false });
        }
        self.changed = true;
        self.version += 1;
    }
}
