//! The framing of Java's `DataOutputStream`, used by the PKI calls and inside username claims (spec 01 §1.2).

use crate::{Error, Result};

/// Builds a data stream.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty stream.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a boolean, one byte.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    /// Appends a 32-bit big-endian integer.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Appends a 64-bit big-endian integer.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Appends bytes with their 32-bit length.
    ///
    /// # Panics
    /// Beyond 2³¹ bytes: no call takes more than some MiB.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.i32(bytes.len().try_into().expect("a field of a call is below 2 GiB"));
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a text with its 32-bit length.
    ///
    /// # Errors
    /// [`Error::Structure`] if it is not ASCII: the length counts UTF-16 units, so peers would lose their place.
    pub fn text(&mut self, text: &str) -> Result<&mut Self> {
        if text.is_ascii() { Ok(self.bytes(text.as_bytes())) } else { Err(Error::Structure("text is not ASCII")) }
    }

    /// The stream.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Reads a data stream from front to back.
#[derive(Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The stream in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next boolean.
    ///
    /// # Errors
    /// [`Error::Structure`] on truncation, or for a byte other than 0 and 1.
    pub fn bool(&mut self) -> Result<bool> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Error::Structure("data stream boolean")),
        }
    }

    /// The next 32-bit integer.
    ///
    /// # Errors
    /// [`Error::Structure`] on truncation.
    pub fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// The next 64-bit integer.
    ///
    /// # Errors
    /// [`Error::Structure`] on truncation.
    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// The next bytes with their length, of which there may be `max`.
    ///
    /// # Errors
    /// [`Error::Structure`] on truncation or above `max`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8]> {
        let len = usize::try_from(self.i32()?).ok().filter(|len| *len <= max);
        let split = len.and_then(|len| self.0.split_at_checked(len));
        let (bytes, rest) = split.ok_or(Error::Structure("data stream length"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next text, of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Reader::bytes`], or if it is not ASCII.
    pub fn text(&mut self, max: usize) -> Result<&'a str> {
        let bytes = self.bytes(max)?;
        std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).ok_or(Error::Structure("data stream text"))
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Makes sure that everything has been read.
    ///
    /// # Errors
    /// [`Error::Structure`] if something follows.
    pub const fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Structure("data stream has more fields")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Error::Structure("data stream is truncated"))?;
        self.0 = rest;
        Ok(*bytes)
    }
}
