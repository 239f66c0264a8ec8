//! Texts for bytes: base58btc, and the multibase prefixes that Peergos reads (spec 01 §1.3).

use crate::{Error, Result};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE32_HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The longest text that [`decode`] and [`base58_decode`] accept, in bytes. Base conversion is quadratic,
/// and the longest legitimate text is a legacy inlined fragment.
pub const MAX_TEXT: usize = 8192;

/// `z` and the base58btc text: the one multibase form that is written.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = base58_encode(bytes);
    text.insert(0, 'z');
    text
}

/// Reads any multibase text that Peergos reads: prefixes `f`, `b`, `B`, `v`, `V`, `k`, `z`, `m`, `M`.
///
/// # Errors
/// [`Error::Cid`] for an unknown prefix, a foreign character, or a text longer than [`MAX_TEXT`].
pub fn decode(text: &str) -> Result<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return Err(Error::Cid("text too long"));
    }
    let (prefix, rest) = text.split_at_checked(1).ok_or(Error::Cid("empty multibase text"))?;
    match prefix {
        "z" => positional_decode(rest, BASE58),
        "k" => positional_decode(rest, BASE36),
        "f" => bits_decode(rest, HEX, 4),
        "b" => bits_decode(rest, BASE32, 5),
        "B" => base32_decode(rest),
        "v" => bits_decode(rest, BASE32_HEX, 5),
        "V" => bits_decode(&lower(rest)?, BASE32_HEX, 5),
        "m" | "M" => bits_decode(
            rest.trim_end_matches('='),
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            6,
        ),
        _ => Err(Error::Cid("unknown multibase prefix")),
    }
}

/// Plain base58btc (Bitcoin alphabet): one leading `1` for each leading zero byte.
pub fn base58_encode(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len() * 138 / 100 + 1);
    for &byte in &bytes[zeros..] {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let mut text = "1".repeat(zeros);
    text.extend(digits.iter().rev().map(|d| char::from(BASE58[usize::from(*d)])));
    text
}

/// The inverse of [`base58_encode`].
///
/// # Errors
/// [`Error::Cid`] for a foreign character or a text longer than [`MAX_TEXT`].
pub fn base58_decode(text: &str) -> Result<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return Err(Error::Cid("text too long"));
    }
    positional_decode(text, BASE58)
}

/// Lower-case hexadecimal without prefix.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(HEX[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The inverse of [`hex`].
///
/// # Errors
/// [`Error::Cid`] for a foreign character or an odd length.
pub fn hex_decode(text: &str) -> Result<Vec<u8>> {
    bits_decode(text, HEX, 4)
}

/// RFC 4648 base32 in upper case without padding: block-store keys and TOTP secrets.
pub fn base32_upper(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0u32, 0);
    let digit = |value: u32| char::from(BASE32[(value & 31) as usize].to_ascii_uppercase());
    for &byte in bytes {
        buffer = buffer << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(buffer >> bits));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(digit(buffer << (5 - bits)));
    }
    text
}

/// The inverse of [`base32_upper`].
///
/// # Errors
/// [`Error::Cid`] for a foreign character or dangling bits.
pub fn base32_decode(text: &str) -> Result<Vec<u8>> {
    bits_decode(&lower(text)?, BASE32, 5)
}

fn lower(text: &str) -> Result<String> {
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Error::Cid("mixed case"));
    }
    Ok(text.to_ascii_lowercase())
}

fn value_of(byte: u8, alphabet: &[u8]) -> Result<u32> {
    alphabet.iter().position(|a| *a == byte).map(|i| i as u32).ok_or(Error::Cid("foreign character in text"))
}

fn positional_decode(text: &str, alphabet: &[u8]) -> Result<Vec<u8>> {
    let base = alphabet.len() as u32;
    let zeros = text.bytes().take_while(|b| *b == alphabet[0]).count();
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes().skip(zeros) {
        let mut carry = value_of(byte, alphabet)?;
        for b in &mut bytes {
            carry += u32::from(*b) * base;
            *b = carry as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry as u8);
            carry >>= 8;
        }
    }
    bytes.resize(bytes.len() + zeros, 0);
    bytes.reverse();
    Ok(bytes)
}

fn bits_decode(text: &str, alphabet: &[u8], width: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * width as usize / 8);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in text.bytes() {
        buffer = buffer << width | value_of(byte, alphabet)?;
        bits += width;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    if buffer != 0 || bits >= width {
        return Err(Error::Cid("dangling bits in text"));
    }
    Ok(bytes)
}
