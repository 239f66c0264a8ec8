//! CARv1: blocks one after the other, each with its CID (<https://ipld.io/specs/transport/car/carv1/>).

use std::io::{self, Read, Write};

use peergos_crypto::{cbor::Value, cbor_map, cid::Cid, varint};

use crate::{Block, Error, MAX_BLOCK, Result};

/// The longest header in bytes: ours has one root.
const MAX_HEADER: u64 = 1024;
/// The longest CID in bytes.
const MAX_CID: usize = 100;

/// Writes a CAR.
pub struct CarWriter<W> {
    out: W,
}

impl<W: Write> CarWriter<W> {
    /// Begins a CAR with one root.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`]; likewise for the other methods.
    pub fn new(out: W, root: &Cid) -> Result<Self> {
        let header = cbor_map! { "roots" => vec![Value::from(root)], "version" => 1i64 }.encode();
        let mut writer = Self { out };
        writer.section(&[&header])?;
        Ok(writer)
    }

    /// Appends a block. Each is to be written once.
    ///
    /// # Errors
    /// See [`CarWriter::new`].
    pub fn write(&mut self, block: &Block) -> Result<()> {
        self.section(&[&block.cid().to_bytes(), block.data()])
    }

    /// Ends the CAR.
    ///
    /// # Errors
    /// See [`CarWriter::new`].
    pub fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(Error::io("writing a CAR"))
    }

    fn section(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut head = Vec::with_capacity(10);
        varint::write(parts.iter().map(|part| part.len() as u64).sum(), &mut head);
        let mut write = |bytes| self.out.write_all(bytes).map_err(Error::io("writing a CAR"));
        write(&head)?;
        parts.iter().try_for_each(|part| write(part))
    }
}

/// Reads a CAR: an iterator of its blocks, checked against their CIDs.
pub struct CarReader<R> {
    input: R,
    root: Cid,
}

const INVALID: Error = Error::Invalid("CAR file");

impl<R: Read> CarReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless it is version 1 with one root.
    pub fn new(mut input: R) -> Result<Self> {
        let len = read_len(&mut input)?.filter(|len| *len <= MAX_HEADER).ok_or(INVALID)?;
        let header = Value::decode(&read(&mut input, len as usize)?)?;
        let header = header.as_map("CAR header")?;
        let version = header.require("version", "CAR version")?.as_int("CAR version")?;
        match header.require("roots", "CAR roots")?.as_array("CAR roots")? {
            [root] if version == 1 => Ok(Self { input, root: root.as_link("CAR root")?.clone() }),
            _ => Err(INVALID),
        }
    }

    /// The root.
    pub const fn root(&self) -> &Cid {
        &self.root
    }

    fn block(&mut self) -> Result<Option<Block>> {
        let Some(len) = read_len(&mut self.input)? else { return Ok(None) };
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_CID + MAX_BLOCK).ok_or(INVALID)?;
        let section = bytes::Bytes::from(read(&mut self.input, len)?);
        let cid = Cid::from_bytes(section.get(..cid_len(&section)?).ok_or(INVALID)?)?;
        let data = section.slice(cid.encoded_len()..);
        Block::verified(&cid, data).map(Some)
    }
}

impl<R: Read> Iterator for CarReader<R> {
    type Item = Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        self.block().transpose()
    }
}

/// How many of the bytes are the CID: version, codec, hash function, digest length and digest.
fn cid_len(section: &[u8]) -> Result<usize> {
    let mut rest = section;
    let mut digest = 0;
    for _ in 0..4 {
        (digest, rest) = varint::read(rest)?;
    }
    let head = section.len() - rest.len();
    usize::try_from(digest)
        .ok()
        .and_then(|digest| head.checked_add(digest))
        .filter(|len| *len <= MAX_CID)
        .ok_or(INVALID)
}

/// The varint before a section; none at the end of the file.
fn read_len(input: &mut impl Read) -> Result<Option<u64>> {
    let mut bytes = Vec::with_capacity(10);
    loop {
        let mut byte = [0];
        match input.read_exact(&mut byte) {
            Ok(()) => bytes.push(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && bytes.is_empty() => return Ok(None),
            Err(e) => return Err(Error::io("reading a CAR")(e)),
        }
        if byte[0] & 0x80 == 0 {
            return Ok(Some(varint::read(&bytes)?.0));
        }
        if bytes.len() > 9 {
            return Err(INVALID);
        }
    }
}

fn read(input: &mut impl Read, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(len as u64).read_to_end(&mut bytes).map_err(Error::io("reading a CAR"))?;
    if bytes.len() == len { Ok(bytes) } else { Err(INVALID) }
}
