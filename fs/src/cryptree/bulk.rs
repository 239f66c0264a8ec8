//! The payload of a chunk as a ciphertext that hides its exact length, inside the node or in fragments of up to 1 MiB
//! (spec 03 §3.7).

pub mod parts;
mod range;

pub use range::Seekable;

use std::ops::Range;

use bytes::Bytes;
use peergos_crypto::{
    Error, Result,
    bat::{self, Bat, BatWithId},
    cbor::{self, Map, Value},
    cid::{Cid, Codec},
    random,
    secretbox::{self, NONCE_LEN, OVERHEAD},
    sha256::{self, Hash, Hashed},
    symmetric::SymmetricKey,
};
use peergos_net::Block;
use zeroize::Zeroizing;

use parts::{Parts, Which};

/// The most ciphertext in one fragment, in bytes.
pub const FRAGMENT_SIZE: usize = 1 << 20;
/// Plaintexts are padded to multiples of this, in bytes…
const PADDING: usize = 4096;
/// …and, beyond one, the head of a CBOR byte string of a round size comes on top.
pub const HEAD_ROOM: usize = 6;
/// Smaller fragments, in bytes, are hashed as fast as parts of them are verified.
const LARGE: usize = 128 << 10;
/// The most fragments that are read: 5 MiB in the 128 KiB of old clients, and some room.
const MAX_FRAGMENTS: usize = 64;

/// Where a fragment is, and what the node asks for it; legacy fragments have no token.
pub type Fragment = (Cid, Option<BatWithId>);

/// An encrypted payload.
#[derive(Clone, PartialEq, Eq)]
pub enum Bulk {
    /// The ciphertext is in the node.
    Inline {
        /// The random nonce.
        nonce: [u8; NONCE_LEN],
        /// The first bytes of the ciphertext; empty but on legacy nodes.
        header: Vec<u8>,
        /// The ciphertext.
        data: Bytes,
    },
    /// The ciphertext is in blocks of its own.
    Fragments {
        /// The random nonce.
        nonce: [u8; NONCE_LEN],
        /// The first bytes of the ciphertext; empty on some legacy nodes.
        header: Vec<u8>,
        /// Where the rest is, in order.
        links: Vec<Fragment>,
    },
}

/// What can be encrypted.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// The content of a file's chunk.
    Bytes(&'a [u8]),
    /// A structure: the children list of a directory's chunk.
    Item(&'a Value),
}

/// Encrypts a payload under a fresh nonce, each fragment behind a fresh token and that of `mirror`, and returns the
/// blocks of the fragments.
///
/// # Errors
/// [`Error::Key`] if the key is dirty: others may still know it, and it must be replaced first (spec 03 §8.5).
/// [`Error::Randomness`].
pub fn seal(key: &SymmetricKey, payload: Payload<'_>, mirror: Option<&Cid>) -> Result<(Bulk, Vec<Block>)> {
    check_clean(key)?;
    seal_with(key, random::bytes()?, payload, mirror, Bat::generate)
}

/// As [`seal`] for the content of a file's chunk, of which it returns the hash as well: it is found beside those of the
/// fragments, in the same time. With `parts`, the blocks of large fragments have authenticators of their parts beside them.
///
/// # Errors
/// As [`seal`].
pub fn seal_content(
    key: &SymmetricKey,
    content: &[u8],
    mirror: Option<&Cid>,
    parts: Option<&Parts>,
) -> Result<(Bulk, Vec<Block>, Hash)> {
    check_clean(key)?;
    let (nonce, mut hash, mut tags) = (random::bytes()?, None, Vec::new());
    let see = |index, ciphertext: &[u8]| {
        if let Some(parts) = parts.filter(|_| ciphertext.len() >= LARGE) {
            tags.push(parts.tags(Which { nonce: &nonce, index }, ciphertext));
        }
    };
    let (bulk, blocks) = seal_hashing(key, nonce, Payload::Bytes(content), mirror, Bat::generate, see, |fragments| {
        let (of_content, fragments) = sha256::hash_beside(content, fragments);
        hash = Some(of_content);
        fragments
    })?;
    // only the last fragment may be too small for any
    let mut tags = tags.into_iter();
    let with_tags = |block: Block| match tags.next() {
        Some(tags) => block.with_beside(tags.into()),
        None => block,
    };
    let blocks = blocks.into_iter().map(with_tags).collect();
    Ok((bulk, blocks, hash.unwrap_or_else(|| sha256::digest(content))))
}

fn check_clean(key: &SymmetricKey) -> Result<()> {
    match key.is_dirty() {
        true => Err(Error::Key("a dirty key must be replaced before it is written with")),
        false => Ok(()),
    }
}

/// As [`seal`], with a given nonce, which must never be used twice with one key, and source of tokens.
///
/// # Errors
/// Those of `next_bat`.
pub fn seal_with(
    key: &SymmetricKey,
    nonce: [u8; NONCE_LEN],
    payload: Payload<'_>,
    mirror: Option<&Cid>,
    next_bat: impl FnMut() -> Result<Bat>,
) -> Result<(Bulk, Vec<Block>)> {
    seal_hashing(key, nonce, payload, mirror, next_bat, |_, _| {}, sha256::hash_all)
}

/// `see` is shown each fragment's number and ciphertext as soon as it is made, and `hash` hashes all of them.
fn seal_hashing(
    key: &SymmetricKey,
    nonce: [u8; NONCE_LEN],
    payload: Payload<'_>,
    mirror: Option<&Cid>,
    mut next_bat: impl FnMut() -> Result<Bat>,
    mut see: impl FnMut(usize, &[u8]),
    hash: impl FnOnce(Vec<Vec<u8>>) -> Vec<Hashed<Vec<u8>>>,
) -> Result<(Bulk, Vec<Block>)> {
    let plain = Padded::new(payload);
    if plain.len <= PADDING + HEAD_ROOM {
        let mut data = vec![0; OVERHEAD];
        plain.append(0..plain.len, &mut data);
        secretbox::seal_in_place(key.as_bytes(), &nonce, &mut data);
        return Ok((Bulk::Inline { nonce, header: Vec::new(), data: data.into() }, Vec::new()));
    }
    let encrypt = |range: Range<usize>, buffer: &mut Vec<u8>| {
        let (start, at) = (buffer.len(), range.start as u64);
        plain.append(range, buffer);
        secretbox::encrypt_range(key.as_bytes(), &nonce, at, &mut buffer[start..]);
        start
    };
    let mut head = Vec::new();
    encrypt(0..HEAD_ROOM, &mut head);
    let (mut fragments, mut starts, mut bats) = (Vec::new(), Vec::new(), Vec::new());
    for at in (HEAD_ROOM..plain.len).step_by(FRAGMENT_SIZE) {
        let (range, bat) = (at..plain.len.min(at + FRAGMENT_SIZE), next_bat()?);
        let mut block = prefix(&bat, mirror, range.len());
        let start = encrypt(range, &mut block);
        see(fragments.len(), &block[start..]);
        starts.push(start);
        fragments.push(block);
        bats.push(bat);
    }
    let parts: Vec<&[u8]> = std::iter::once(&head[..])
        .chain(fragments.iter().zip(&starts).map(|(block, start)| &block[*start..]))
        .collect();
    let header = [&secretbox::tag(key.as_bytes(), &nonce, &parts)[..], &head].concat();
    let blocks: Vec<Block> = hash(fragments).into_iter().map(|hashed| Block::hashed(Codec::Raw, hashed)).collect();
    let links = blocks.iter().zip(&bats).map(|(block, bat)| (block.cid().clone(), Some(bat.with_chunk_id())));
    Ok((Bulk::Fragments { nonce, header, links: links.collect() }, blocks))
}

/// The padded encoding of a payload, which is never in one place: content is encrypted from where it is into fragments.
struct Padded<'a> {
    /// The head of the byte string, or the whole structure.
    encoded: Vec<u8>,
    content: &'a [u8],
    /// With the zeros that follow.
    len: usize,
}

impl<'a> Padded<'a> {
    fn new(payload: Payload<'a>) -> Self {
        let mut encoded = Vec::new();
        let content = match payload {
            Payload::Bytes(content) => {
                cbor::write_head(2, content.len() as u64, &mut encoded);
                content
            }
            Payload::Item(value) => {
                value.encode_to(&mut encoded);
                &[]
            }
        };
        Self { len: padded_len(encoded.len() + content.len()), encoded, content }
    }

    /// Appends the bytes of a range that lies inside.
    fn append(&self, range: Range<usize>, buffer: &mut Vec<u8>) {
        let end = buffer.len() + range.len();
        for (part, offset) in [(&self.encoded[..], 0), (self.content, self.encoded.len())] {
            let inside = |at: usize| at.saturating_sub(offset).min(part.len());
            buffer.extend_from_slice(&part[inside(range.start)..inside(range.end)]);
        }
        buffer.resize(end, 0);
    }
}

/// The length to which an encoding of `len` bytes is padded.
const fn padded_len(len: usize) -> usize {
    if len <= PADDING { len.next_multiple_of(PADDING) } else { HEAD_ROOM + (len - HEAD_ROOM).next_multiple_of(PADDING) }
}

/// What precedes the ciphertext in a fragment's block, with room for `len` bytes of it.
fn prefix(bat: &Bat, mirror: Option<&Cid>, len: usize) -> Vec<u8> {
    let ids: Vec<Cid> = std::iter::once(bat.inline_id()).chain(mirror.cloned()).collect();
    let mut prefix = bat::raw_prefix(&ids);
    prefix.reserve_exact(len);
    prefix
}

impl Bulk {
    /// The nonce: what tells this ciphertext from every other.
    pub const fn nonce(&self) -> &[u8; NONCE_LEN] {
        match self {
            Self::Inline { nonce, .. } | Self::Fragments { nonce, .. } => nonce,
        }
    }

    /// What must be fetched to decrypt the payload: nothing if it is inline.
    pub fn fragments(&self) -> &[Fragment] {
        match self {
            Self::Inline { .. } => &[],
            Self::Fragments { links, .. } => links,
        }
    }

    /// Decrypts the content of a file's chunk. `fragments` are the blocks of [`Bulk::fragments`] in their order, hashes
    /// checked; of the one buffer that is decrypted in place, the content is returned without its CBOR head.
    ///
    /// # Errors
    /// [`Error::Decryption`], [`Error::Structure`] if fragments are missing or the payload is not a byte string.
    pub fn open_whole(&self, key: &SymmetricKey, fragments: &[Bytes]) -> Result<Bytes> {
        let buffer = self.decrypt(key, fragments)?;
        let (major, len, head) = cbor::read_head(&buffer[OVERHEAD..])?;
        let start = OVERHEAD + head;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
        match end {
            Some(end) if major == 2 && end <= buffer.len() => Ok(Bytes::from(buffer).slice(start..end)),
            _ => Err(Error::Structure("content of a chunk")),
        }
    }

    /// Decrypts a structure; `fragments` as for [`Bulk::open_whole`].
    ///
    /// # Errors
    /// [`Error::Decryption`], [`Error::Structure`] if fragments are missing, [`Error::Cbor`].
    pub fn open_item(&self, key: &SymmetricKey, fragments: &[Bytes]) -> Result<Zeroizing<Value>> {
        let buffer = Zeroizing::new(self.decrypt(key, fragments)?);
        Ok(Zeroizing::new(Value::decode(&buffer[OVERHEAD..])?))
    }

    /// Collects the ciphertext and decrypts it in place: the plaintext is what follows the first [`OVERHEAD`] bytes.
    fn decrypt(&self, key: &SymmetricKey, fragments: &[Bytes]) -> Result<Vec<u8>> {
        let (nonce, mut ciphertext) = match self {
            Self::Inline { nonce, header, data } => (nonce, [header, data.as_ref()].concat()),
            Self::Fragments { nonce, header, links } => {
                if fragments.len() != links.len() {
                    return Err(Error::Structure("fragments of a chunk"));
                }
                let pieces = links.iter().zip(fragments).map(|((cid, _), block)| payload_of(cid, block));
                let pieces = pieces.collect::<Result<Vec<&[u8]>>>()?;
                let len = header.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
                let mut ciphertext = Vec::with_capacity(len);
                ciphertext.extend_from_slice(header);
                pieces.iter().for_each(|piece| ciphertext.extend_from_slice(piece));
                (nonce, ciphertext)
            }
        };
        secretbox::open_in_place(key.as_bytes(), nonce, &mut ciphertext)?;
        Ok(ciphertext)
    }

    /// The structure `bulk`.
    pub fn to_cbor(&self) -> Value {
        let mut map = Map::new();
        let (nonce, header) = match self {
            Self::Inline { nonce, header, data } => {
                map.insert("f", vec![Value::from(data.as_ref())]);
                (nonce, header)
            }
            Self::Fragments { nonce, header, links } => {
                let cids: Vec<Value> = links.iter().map(|(cid, _)| cid.into()).collect();
                let bats: Vec<Value> =
                    links.iter().map_while(|(_, bat)| bat.as_ref().map(BatWithId::to_cbor)).collect();
                map.insert("f", cids);
                map.insert_some("bats", (!bats.is_empty()).then_some(bats));
                (nonce, header)
            }
        };
        map.insert("n", nonce);
        map.insert_some("h", (!header.is_empty()).then_some(header.as_slice()));
        Value::Map(map)
    }

    /// Reads the structure `bulk` and its legacy variants.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Cid`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("bulk")?;
        let nonce = map.require("n", "bulk nonce")?.as_array_of("bulk nonce")?;
        let header = map.get("h").map_or(Ok(&[][..]), |h| h.as_bytes("bulk header"))?.to_vec();
        let inline = |data: &[u8]| Self::Inline { nonce, header: header.clone(), data: Bytes::copy_from_slice(data) };
        match map.require("f", "fragments")?.as_array("fragments")? {
            [Value::Bytes(data)] => Ok(inline(data)),
            // old clients put a short ciphertext into an identity CID
            [Value::Link(cid)] if cid.identity_content().is_some() => Ok(inline(cid.identity_content().unwrap_or(&[]))),
            cids if cids.len() <= MAX_FRAGMENTS => {
                let bats = map.get("bats").map_or(Ok(&[][..]), |bats| bats.as_array("fragment BATs"))?;
                let mut bats = bats.iter().map(BatWithId::from_cbor);
                let link = |cid: &Value| Ok((cid.as_link("fragment")?.clone(), bats.next().transpose()?));
                Ok(Self::Fragments { nonce, header, links: cids.iter().map(link).collect::<Result<_>>()? })
            }
            _ => Err(Error::Structure("too many fragments")),
        }
    }
}

/// The piece of ciphertext in a fragment's block: behind the BAT ids, or in old dag-cbor fragments a byte string.
///
/// # Errors
/// [`Error::Structure`] or [`Error::Cbor`] if the block is neither.
pub fn payload_of<'a>(cid: &Cid, block: &'a [u8]) -> Result<&'a [u8]> {
    if cid.codec() != Codec::DagCbor {
        return bat::split_raw(block).map(|(_, payload)| payload);
    }
    let (major, len, head) = cbor::read_head(block)?;
    let payload = &block[head..];
    match usize::try_from(len).ok().and_then(|len| payload.get(..len)) {
        Some(payload) if major == 2 => Ok(payload),
        _ => Err(Error::Structure("dag-cbor fragment")),
    }
}

impl std::fmt::Debug for Bulk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline { data, .. } => write!(f, "Inline({})", data.len()),
            Self::Fragments { links, .. } => f.debug_list().entries(links.iter().map(|(cid, _)| cid)).finish(),
        }
    }
}
