//! The CBOR dialect of every Peergos structure (spec 01 §1.1).
//!
//! What is written is canonical: hashes and signatures cover it. What is read may be older and laxer, and may be
//! followed by padding.

use std::cmp::Ordering;

use zeroize::Zeroize;

use crate::{Error, Result, cid::Cid};

/// How deeply items may be nested; legitimate structures stay below ten.
const MAX_DEPTH: usize = 64;

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

/// A map with unique text keys, kept in canonical order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Map(Vec<(String, Value)>);

/// The canonical order of map keys: length in UTF-16 code units, then those units.
fn key_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a.len().cmp(&b.len()).then_with(|| a.cmp(b));
    }
    let len = |s: &str| s.encode_utf16().count();
    len(a).cmp(&len(b)).then_with(|| a.encode_utf16().cmp(b.encode_utf16()))
}

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn position(&self, key: &str) -> std::result::Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| key_order(k, key))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).ok().map(|i| &self.0[i].1)
    }

    /// Sets `key`, and returns the value it had.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, value)),
            Err(i) => {
                self.0.insert(i, (key, value));
                None
            }
        }
    }

    /// Sets `key` if there is a value: optional fields are absent, never null.
    pub fn insert_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.insert(key, value);
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).ok().map(|i| self.0.remove(i).1)
    }

    /// The entries in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `key`, which must be there.
    ///
    /// # Errors
    /// [`Error::Structure`] naming `what` if it is not.
    pub fn require(&self, key: &str, what: &'static str) -> Result<&Value> {
        self.get(key).ok_or(Error::Structure(what))
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
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
    let mut reader = Reader { input, at: 0 };
    let (major, number) = reader.head()?;
    Ok((major, number, reader.at))
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

    /// Reads the first item of `input`, and says how many bytes it takes.
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode_prefix(input: &[u8]) -> Result<(Self, usize)> {
        let mut reader = Reader { input, at: 0 };
        let value = reader.item(0)?;
        Ok((value, reader.at))
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
                Self::Map(map) => stack.extend(map.0.iter().rev().map(|(_, v)| v)),
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
            Self::Map(map) => map.0.iter_mut().for_each(|(_, value)| value.zeroize()),
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

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.input.len());
        let end = end.ok_or(Error::Cbor("truncated"))?;
        let bytes = &self.input[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn head(&mut self) -> Result<(u8, u64)> {
        let first = self.take(1)?[0];
        let number = match first & 31 {
            n @ 0..24 => u64::from(n),
            24 => u64::from(self.take(1)?[0]),
            25 => self.take(2)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            26 => self.take(4)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            27 => self.take(8)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            _ => return Err(Error::Cbor("indefinite or reserved length")),
        };
        Ok((first >> 5, number))
    }

    /// A count of bytes or items, each of which takes at least a byte of what is left.
    fn count(&self, number: u64) -> Result<usize> {
        usize::try_from(number)
            .ok()
            .filter(|n| *n <= self.input.len() - self.at)
            .ok_or(Error::Cbor("length beyond the input"))
    }

    fn text(&mut self, number: u64) -> Result<String> {
        let n = self.count(number)?;
        Ok(String::from_utf8_lossy(self.take(n)?).into_owned())
    }

    fn item(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(Error::Cbor("nested too deeply"));
        }
        let start = self.at;
        let (major, number) = self.head()?;
        match major {
            0 | 1 => {
                let n = i64::try_from(number).map_err(|_| Error::Cbor("integer beyond 64 bits"))?;
                Ok(Value::Int(if major == 0 { n } else { !n }))
            }
            2 => {
                let n = self.count(number)?;
                Ok(Value::Bytes(self.take(n)?.to_vec()))
            }
            3 => Ok(Value::Text(self.text(number)?)),
            4 => {
                let n = self.count(number)?;
                (0..n).map(|_| self.item(depth + 1)).collect::<Result<_>>().map(Value::Array)
            }
            5 => {
                let n = self.count(number)?;
                let mut map = Map::new();
                for _ in 0..n {
                    let (major, number) = self.head()?;
                    if major != 3 {
                        return Err(Error::Cbor("map key is not a text"));
                    }
                    let key = self.text(number)?;
                    let value = self.item(depth + 1)?;
                    if map.insert(key, value).is_some() {
                        return Err(Error::Cbor("duplicate key"));
                    }
                }
                Ok(Value::Map(map))
            }
            6 if number == 42 => {
                let (major, number) = self.head()?;
                if major != 2 {
                    return Err(Error::Cbor("link is not a byte string"));
                }
                let n = self.count(number)?;
                match self.take(n)?.split_first() {
                    Some((0, cid)) => Cid::from_bytes(cid).map(Value::Link),
                    _ => Err(Error::Cbor("link does not start with a zero byte")),
                }
            }
            6 => Err(Error::Cbor("unknown tag")),
            // one byte, so that `f8 f5` and the like are not booleans
            _ => match self.input[start] {
                0xf4 => Ok(Value::Bool(false)),
                0xf5 => Ok(Value::Bool(true)),
                0xf6 => Ok(Value::Null),
                _ => Err(Error::Cbor("float or unknown simple value")),
            },
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
