//! Blocks, CHAMP lookups and pointers (spec 02 §3, §8).

use bytes::Bytes;
use peergos_crypto::{
    bat::BatWithId,
    cbor::{Map, Value, write_bytes, write_head},
    cbor_map,
    cid::{Cid, Codec},
    multibase,
};
use serde_json::{Value as Json, json};

use crate::{Block, ChampCap, Error, MAX_CHAMP_CAPS, PointerWrite, Result, SignedBlock};

/// Major types of CBOR.
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TEXT: u8 = 3;

/// What a body of blocks or pointers has at least, in bytes, for each of its items: keys, hashes and signatures.
const BYTES_PER_ITEM: usize = 32;
/// How many items may be smaller than that.
const SMALL_ITEMS: usize = 16;

/// Reads a body of blocks or pointers, of which nobody knows yet who has sent it.
fn decode(body: &[u8]) -> Result<Value> {
    Ok(Value::decode_within(body, SMALL_ITEMS + body.len() / BYTES_PER_ITEM)?)
}

/// A `BlockWriteGroup`: the body of `block/put/bulk`. The blocks are copied once.
pub fn block_group(blocks: &[SignedBlock]) -> Vec<u8> {
    let size: usize = blocks.iter().map(|signed| signed.block.data().len() + 128).sum();
    let mut out = Vec::with_capacity(size + 32);
    let key = |name: u8, out: &mut Vec<u8>| {
        write_head(TEXT, 1, out);
        out.push(name);
        write_head(ARRAY, blocks.len() as u64, out);
    };
    write_head(MAP, 2, &mut out);
    key(b'b', &mut out);
    blocks.iter().for_each(|signed| write_bytes(signed.block.data(), &mut out));
    key(b's', &mut out);
    blocks.iter().for_each(|signed| write_bytes(&signed.attached(), &mut out));
    out
}

/// Reads [`block_group`]. The signatures are not verified.
///
/// # Errors
/// [`Error::Crypto`] if it is malformed, [`Error::Refused`] if a signature is missing, [`Error::BlockSignature`] if
/// another digest is signed.
pub fn read_block_group(codec: Codec, body: &[u8]) -> Result<Vec<SignedBlock>> {
    const WHAT: &str = "block group";
    let value = decode(body)?;
    let map = value.as_map(WHAT)?;
    let (blocks, signatures) = (map.require("b", WHAT)?.as_array(WHAT)?, map.require("s", WHAT)?.as_array(WHAT)?);
    if blocks.len() != signatures.len() {
        let (blocks, signatures) = (blocks.len(), signatures.len());
        let text = format!("Different number of of blocks and signatures! {blocks} != {signatures}");
        return Err(Error::Refused(text));
    }
    let pairs = blocks.iter().zip(signatures);
    pairs
        .map(|(block, signed)| {
            let block = Block::new(codec, block.as_bytes(WHAT)?.to_vec());
            SignedBlock::from_attached(block, signed.as_bytes(WHAT)?)
        })
        .collect()
}

/// The reply to a put: one JSON object for each block, without anything between them.
pub fn hashes<'a>(cids: impl IntoIterator<Item = &'a Cid>) -> String {
    cids.into_iter().map(|cid| json!({ "Hash": cid.to_string() }).to_string()).collect()
}

/// Reads [`hashes`].
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Crypto`] for anything else.
pub fn read_hashes(reply: &[u8]) -> Result<Vec<Cid>> {
    const INVALID: Error = Error::Invalid("reply to a put");
    let objects = serde_json::Deserializer::from_slice(reply).into_iter::<Json>();
    objects.map(|object| Ok(object.map_err(|_| INVALID)?["Hash"].as_str().ok_or(INVALID)?.parse()?)).collect()
}

/// The reply to `id`.
pub fn id(id: &Cid) -> String {
    json!({ "ID": id.to_string() }).to_string()
}

/// Reads [`id`].
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Crypto`] for anything else.
pub fn read_id(reply: &[u8]) -> Result<Cid> {
    peer(&json_of(reply)?["ID"])
}

/// The reply to `ids`: the current one last.
pub fn ids(ids: &[Cid]) -> String {
    let ids: Vec<String> = ids.iter().map(Cid::to_string).collect();
    json!({ "IDS": ids }).to_string()
}

/// Reads [`ids`].
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Crypto`] for anything else.
pub fn read_ids(reply: &[u8]) -> Result<Vec<Cid>> {
    json_of(reply)?["IDS"].as_array().ok_or(Error::Invalid("node ids"))?.iter().map(peer).collect()
}

/// The reply to `block/stat`: the size in bytes, zero for a block that is absent.
pub fn size(bytes: u64) -> String {
    json!({ "Size": bytes }).to_string()
}

/// Reads [`size`].
///
/// # Errors
/// [`Error::Invalid`] for anything else.
pub fn read_size(reply: &[u8]) -> Result<u64> {
    json_of(reply)?["Size"].as_u64().ok_or(Error::Invalid("block size"))
}

fn json_of(reply: &[u8]) -> Result<Json> {
    serde_json::from_slice(reply).map_err(|_| Error::Invalid("JSON reply"))
}

fn peer(json: &Json) -> Result<Cid> {
    Ok(Cid::from_peer_id(json.as_str().ok_or(Error::Invalid("node id"))?)?)
}

/// What a server can do besides the calls of spec 02 §3: reading from and writing to S3 directly (§7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreProperties {
    /// Presigned writes.
    pub writes: bool,
    /// Presigned reads.
    pub reads: bool,
    /// Reads without authorisation.
    pub public_reads: bool,
    /// The base URL of public reads.
    pub public_base: Option<String>,
    /// The base URL of presigned reads.
    pub reads_base: Option<String>,
}

impl StoreProperties {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let mut map: Map = [("w", self.writes), ("ar", self.reads), ("pr", self.public_reads)].into_iter().collect();
        map.insert_some("b", self.public_base.as_deref());
        map.insert_some("ba", self.reads_base.as_deref());
        Value::Map(map)
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const WHAT: &str = "block store properties";
        let map = value.as_map(WHAT)?;
        let flag = |key| map.require(key, WHAT)?.as_bool(WHAT);
        let text = |key| map.get(key).map(|text| text.as_text(WHAT).map(str::to_owned)).transpose();
        Ok(Self {
            writes: flag("w")?,
            reads: flag("ar")?,
            public_reads: flag("pr")?,
            public_base: text("b")?,
            reads_base: text("ba")?,
        })
    }
}

/// The parameter `caps` of `champ/get/bulk`.
pub fn champ_caps(caps: &[ChampCap]) -> String {
    let cap = |cap: &ChampCap| {
        let mut map: Map = [("m", cap.map_key)].into_iter().collect();
        map.insert_some("b", cap.bat.as_ref().map(BatWithId::to_cbor));
        Value::Map(map)
    };
    multibase::encode(&Value::Array(caps.iter().map(cap).collect()).encode())
}

/// Reads [`champ_caps`].
///
/// # Errors
/// [`Error::Crypto`] if it is malformed, [`Error::Refused`] over [`MAX_CHAMP_CAPS`].
pub fn read_champ_caps(text: &str) -> Result<Vec<ChampCap>> {
    const WHAT: &str = "CHAMP lookups";
    let value = Value::decode(&multibase::decode(text)?)?;
    let caps = value.as_array(WHAT)?;
    if caps.len() > MAX_CHAMP_CAPS {
        return Err(Error::Refused(format!("Too many caps in bulk champ get call! {}", caps.len())));
    }
    let cap = |cap: &Value| {
        let map = cap.as_map(WHAT)?;
        let bat = map.get("b").map(BatWithId::from_cbor).transpose()?;
        Ok(ChampCap { map_key: map.require("m", WHAT)?.as_array_of(WHAT)?, bat })
    };
    caps.iter().map(cap).collect()
}

/// The reply to CHAMP lookups: a list of blocks.
pub fn block_list(blocks: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blocks.iter().map(|block| block.len() + 9).sum::<usize>() + 9);
    write_head(ARRAY, blocks.len() as u64, &mut out);
    blocks.iter().for_each(|block| write_bytes(block, &mut out));
    out
}

/// Reads [`block_list`]. The blocks share the memory of `reply`.
///
/// # Errors
/// [`Error::Crypto`] if it is malformed.
pub fn read_block_list(reply: &Bytes) -> Result<Vec<Bytes>> {
    const INVALID: Error = Error::Invalid("list of blocks");
    let head = |at: usize, major: u8| {
        let (found, number, len) = peergos_crypto::cbor::read_head(reply.get(at..).ok_or(INVALID)?)?;
        if found == major { Ok((number, at + len)) } else { Err(INVALID) }
    };
    let (count, mut at) = head(0, ARRAY)?;
    let mut blocks = Vec::new();
    for _ in 0..count {
        let (len, start) = head(at, BYTES)?;
        at = usize::try_from(len).ok().and_then(|len| start.checked_add(len)).ok_or(INVALID)?;
        if at > reply.len() {
            return Err(INVALID);
        }
        blocks.push(reply.slice(start..at));
    }
    if at == reply.len() { Ok(blocks) } else { Err(INVALID) }
}

/// A `MultiWriterCommit`: the body of `setPointers`.
pub fn pointers(writes: &[PointerWrite]) -> Vec<u8> {
    cbor_map! { "p" => writes.iter().map(PointerWrite::to_cbor).collect::<Vec<_>>() }.encode()
}

/// Reads [`pointers`], without verifying signatures.
///
/// # Errors
/// [`Error::Crypto`] if it is malformed.
pub fn read_pointers(body: &[u8]) -> Result<Vec<PointerWrite>> {
    const WHAT: &str = "pointer updates";
    let value = decode(body)?;
    value.as_map(WHAT)?.require("p", WHAT)?.as_array(WHAT)?.iter().map(PointerWrite::from_cbor).collect()
}

/// The blocks of an old client's `block/put`, a multipart form.
///
/// # Errors
/// [`Error::Refused`] if `content_type` names no boundary, or the body has another; [`Error::Invalid`] if it is cut off.
pub fn read_multipart(content_type: &str, body: &Bytes) -> Result<Vec<Bytes>> {
    const CUT: Error = Error::Invalid("multipart body");
    let (_, boundary) = content_type.split_once('=').ok_or_else(|| Error::Refused("No boundary!".into()))?;
    let line = |at: usize| find(body, b"\r\n", at).map(|end| (&body[at..end], end + 2)).ok_or(CUT);
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let (first, mut at) = line(0)?;
    let found = first.strip_prefix(b"--").ok_or(CUT)?;
    if found != boundary.as_bytes() {
        let found = String::from_utf8_lossy(found);
        return Err(Error::Refused(format!("Incorrect boundary! {boundary} != {found}")));
    }
    let mut parts = Vec::new();
    loop {
        let start = find(body, b"\r\n\r\n", at).ok_or(CUT)? + 4;
        let end = find(body, &delimiter, start).ok_or(CUT)?;
        parts.push(body.slice(start..end));
        at = end + delimiter.len();
        if body[at..].starts_with(b"--") {
            return Ok(parts);
        }
        at = line(at)?.1;
    }
}

fn find(body: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    body.get(from..)?.windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
}
