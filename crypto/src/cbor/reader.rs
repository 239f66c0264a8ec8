//! The decoder: as lenient as old data needs (spec 01 §1.1), and bounded by the input in memory and depth.

use super::{Map, Value};
use crate::{Error, Result, cid::Cid};

/// How deeply items may be nested; legitimate structures stay below ten.
const MAX_DEPTH: usize = 64;
/// For how many items memory is set aside on the word of a length alone.
const MAX_RESERVED: usize = 16;

/// What is left of an input.
pub(super) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// How many more items may be made of it.
    items: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(input: &'a [u8]) -> Self {
        Self::within(input, usize::MAX)
    }

    pub(super) const fn within(input: &'a [u8], items: usize) -> Self {
        Self { input, at: 0, items }
    }

    /// How many bytes have been read.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.input.len());
        let end = end.ok_or(Error::Cbor("truncated"))?;
        let bytes = &self.input[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn head(&mut self) -> Result<(u8, u64)> {
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

    fn map(&mut self, len: usize, depth: usize) -> Result<Map> {
        let mut entries = Vec::with_capacity(len.min(MAX_RESERVED));
        for _ in 0..len {
            let (major, number) = self.head()?;
            if major != 3 {
                return Err(Error::Cbor("map key is not a text"));
            }
            entries.push((self.text(number)?, self.item(depth + 1)?));
        }
        Map::from_entries(entries).ok_or(Error::Cbor("duplicate key"))
    }

    /// The value of `key` in the next item, if that is a map.
    pub(super) fn entry(&mut self, key: &str) -> Result<Option<Value>> {
        let (major, number) = self.head()?;
        if major != 5 {
            return Ok(None);
        }
        let mut found = None;
        for _ in 0..self.count(number)? {
            let (major, number) = self.head()?;
            let len = self.count(number)?;
            if major != 3 || self.take(len)? != key.as_bytes() {
                self.skip(1)?;
            } else if found.replace(self.item(1)?).is_some() {
                return Err(Error::Cbor("duplicate key"));
            }
        }
        Ok(found)
    }

    /// Passes over the next item, which stands in `depth` others.
    fn skip(&mut self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::Cbor("nested too deeply"));
        }
        let (major, number) = self.head()?;
        match major {
            2 | 3 => {
                let len = self.count(number)?;
                self.take(len).map(drop)
            }
            4 => (0..self.count(number)?).try_for_each(|_| self.skip(depth + 1)),
            5 => (0..self.count(number)?).try_for_each(|_| {
                self.skip(depth + 1)?;
                self.skip(depth + 1)
            }),
            6 => self.skip(depth + 1),
            _ => Ok(()),
        }
    }

    /// The next item, which stands in `depth` others.
    pub(super) fn item(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(Error::Cbor("nested too deeply"));
        }
        self.items = self.items.checked_sub(1).ok_or(Error::Cbor("too many items"))?;
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
                let mut items = Vec::with_capacity(n.min(MAX_RESERVED));
                for _ in 0..n {
                    items.push(self.item(depth + 1)?);
                }
                Ok(Value::Array(items))
            }
            5 => {
                let n = self.count(number)?;
                self.map(n, depth).map(Value::Map)
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
