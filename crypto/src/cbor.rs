//! The CBOR dialect of every Peergos structure (spec 01 §1.1).
//!
//! What is written is canonical: hashes and signatures cover it. What is read may be older and laxer, and may be
//! followed by padding.

mod map;
mod reader;

pub use map::Map;
use reader::Reader;
use zeroize::Zeroize;

use crate::{Error, Result, cid::Cid};

/// One CBOR item.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer of 64 bits.
    Int(i64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// A map with text keys.
    Map(Map),
    /// Tag 42: a link to a block.
    Link(Cid),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
}

/// Builds a [`Map`] from `"key" => value` pairs, as a [`Value`].
#[macro_export]
macro_rules! cbor_map {
    ($($key:expr => $value:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut map = $crate::cbor::Map::new();
        $(map.insert($key, $value);)*
        $crate::cbor::Value::Map(map)
    }};
}

/// The first bytes of an item: major type and its number, in the shortest form.
pub fn write_head(major: u8, number: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match number {
        0..24 => out.push(major | number as u8),
        24..0x100 => out.extend_from_slice(&[major | 24, number as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Appends `bytes` as a CBOR byte string.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_head(2, bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Reads the head of an item: major type, its number, and how many bytes the head takes.
///
/// # Errors
/// [`Error::Cbor`] on truncation or an indefinite length.
pub fn read_head(input: &[u8]) -> Result<(u8, u64, usize)> {
    let mut reader = Reader::new(input);
    let (major, number) = reader.head()?;
    Ok((major, number, reader.position()))
}

impl Value {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Appends the canonical encoding.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(i) if *i >= 0 => write_head(0, *i as u64, out),
            Self::Int(i) => write_head(1, !*i as u64, out),
            Self::Bytes(bytes) => write_bytes(bytes, out),
            Self::Text(text) => {
                write_head(3, text.len() as u64, out);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Array(items) => {
                write_head(4, items.len() as u64, out);
                items.iter().for_each(|item| item.encode_to(out));
            }
            Self::Map(map) => {
                write_head(5, map.len() as u64, out);
                for (key, value) in map.iter() {
                    write_head(3, key.len() as u64, out);
                    out.extend_from_slice(key.as_bytes());
                    value.encode_to(out);
                }
            }
            Self::Link(cid) => {
                out.extend_from_slice(&[0xd8, 42]);
                write_head(2, cid.encoded_len() as u64 + 1, out);
                out.push(0);
                cid.write_to(out);
            }
            Self::Bool(false) => out.push(0xf4),
            Self::Bool(true) => out.push(0xf5),
            Self::Null => out.push(0xf6),
        }
    }

    /// Reads the first item of `input`; what follows it is padding and ignored.
    ///
    /// # Errors
    /// [`Error::Cbor`] for what spec 01 §1.1 rejects.
    pub fn decode(input: &[u8]) -> Result<Self> {
        Self::decode_prefix(input).map(|(value, _)| value)
    }

    /// As [`Value::decode`], of at most `items` items in all: an item of one byte takes some forty in memory, which a
    /// stranger's input should not be able to ask for.
    ///
    /// # Errors
    /// As [`Value::decode`], and [`Error::Cbor`] if there are more.
    pub fn decode_within(input: &[u8], items: usize) -> Result<Self> {
        Reader::within(input, items).item(0)
    }

    /// Reads the first item of `input`, and says how many bytes it takes.
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode_prefix(input: &[u8]) -> Result<(Self, usize)> {
        let mut reader = Reader::new(input);
        let value = reader.item(0)?;
        Ok((value, reader.position()))
    }

    /// Reads the value of `key` in the map that is the first item of `input`, and nothing else of it; none if there is no
    /// such key, or another item.
    ///
    /// # Errors
    /// [`Error::Cbor`] for what cannot be passed over, and if there is more than one.
    pub fn decode_entry(input: &[u8], key: &str) -> Result<Option<Self>> {
        Reader::new(input).entry(key)
    }

    /// Reads an item that fills `input` and is in canonical form: what a server accepts as a block.
    ///
    /// # Errors
    /// [`Error::Cbor`] if it is malformed, padded or not canonical.
    pub fn decode_canonical(input: &[u8]) -> Result<Self> {
        let value = Self::decode(input)?;
        if value.encode() == input { Ok(value) } else { Err(Error::Cbor("not canonical")) }
    }

    /// Every link in the item, in order: the edges of the block graph (spec 02 §5.3).
    pub fn links(&self) -> Vec<&Cid> {
        let mut found = Vec::new();
        let mut stack = vec![self];
        while let Some(value) = stack.pop() {
            match value {
                Self::Link(cid) => found.push(cid),
                Self::Array(items) => stack.extend(items.iter().rev()),
                Self::Map(map) => stack.extend(map.iter().rev().map(|(_, value)| value)),
                _ => {}
            }
        }
        found
    }

    /// The integer.
    ///
    /// # Errors
    /// [`Error::Structure`] naming `what` if this is another kind of item; likewise for the other `as_` methods.
    pub fn as_int(&self, what: &'static str) -> Result<i64> {
        if let Self::Int(i) = self { Ok(*i) } else { Err(Error::Structure(what)) }
    }

    /// The integer, which must not be negative.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_uint(&self, what: &'static str) -> Result<u64> {
        u64::try_from(self.as_int(what)?).map_err(|_| Error::Structure(what))
    }

    /// The byte string.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_bytes(&self, what: &'static str) -> Result<&[u8]> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Error::Structure(what)) }
    }

    /// The byte string, which must have `N` bytes.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_array_of<const N: usize>(&self, what: &'static str) -> Result<[u8; N]> {
        self.as_bytes(what)?.try_into().map_err(|_| Error::Structure(what))
    }

    /// The text.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_text(&self, what: &'static str) -> Result<&str> {
        if let Self::Text(text) = self { Ok(text) } else { Err(Error::Structure(what)) }
    }

    /// The list.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_array(&self, what: &'static str) -> Result<&[Self]> {
        if let Self::Array(items) = self { Ok(items) } else { Err(Error::Structure(what)) }
    }

    /// The map.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_map(&self, what: &'static str) -> Result<&Map> {
        if let Self::Map(map) = self { Ok(map) } else { Err(Error::Structure(what)) }
    }

    /// The link.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_link(&self, what: &'static str) -> Result<&Cid> {
        if let Self::Link(cid) = self { Ok(cid) } else { Err(Error::Structure(what)) }
    }

    /// The boolean.
    ///
    /// # Errors
    /// See [`Value::as_int`].
    pub fn as_bool(&self, what: &'static str) -> Result<bool> {
        if let Self::Bool(b) = self { Ok(*b) } else { Err(Error::Structure(what)) }
    }
}

/// Items can hold keys: erases the byte strings.
impl Zeroize for Value {
    fn zeroize(&mut self) {
        match self {
            Self::Bytes(bytes) => bytes.zeroize(),
            Self::Array(items) => items.iter_mut().for_each(Self::zeroize),
            Self::Map(map) => map.values_mut().for_each(Self::zeroize),
            _ => {}
        }
    }
}

/// Items can hold keys, so only their kind and size are shown.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(_) => f.write_str("int"),
            Self::Bytes(b) => write!(f, "bytes({})", b.len()),
            Self::Text(t) => write!(f, "text({})", t.len()),
            Self::Array(a) => f.debug_list().entries(a).finish(),
            Self::Map(m) => f.debug_map().entries(m.iter()).finish(),
            Self::Link(cid) => write!(f, "link({cid})"),
            Self::Bool(_) => f.write_str("bool"),
            Self::Null => f.write_str("null"),
        }
    }
}

macro_rules! from {
    ($($type:ty => |$x:ident| $value:expr),* $(,)?) => {
        $(impl From<$type> for Value {
            fn from($x: $type) -> Self {
                $value
            }
        })*
    };
}

from! {
    i64 => |x| Self::Int(x),
    u32 => |x| Self::Int(x.into()),
    Vec<u8> => |x| Self::Bytes(x),
    &[u8] => |x| Self::Bytes(x.to_vec()),
    String => |x| Self::Text(x),
    &str => |x| Self::Text(x.to_owned()),
    Vec<Value> => |x| Self::Array(x),
    Map => |x| Self::Map(x),
    Cid => |x| Self::Link(x),
    &Cid => |x| Self::Link(x.clone()),
    bool => |x| Self::Bool(x),
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}
