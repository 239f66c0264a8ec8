//! Unsigned LEB128 integers, as multiformats use them (spec 01 §1.3).

use crate::{Error, Result};

/// Appends `value` in its only encoding.
pub fn write(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint from the front of `input` and returns it with the rest.
///
/// # Errors
/// [`Error::Cid`] on truncation, overflow of 64 bits, or a longer encoding than necessary.
pub fn read(input: &[u8]) -> Result<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return Err(Error::Cid("varint overflow"));
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return Err(Error::Cid("varint is not minimal"));
            }
            return Ok((value, &input[i + 1..]));
        }
    }
    Err(Error::Cid("varint is truncated or too long"))
}
