//! The reason for a refusal: a text in a header named `Trailer`, form-urlencoded, beside status 400 and an empty body
//! (spec 02 §2.3). Which [`Error`] a text stands for is in §22.

use std::{fmt::Write as _, str::FromStr};

use peergos_crypto::{cid::Cid, signing::KeyHash};

use crate::Error;

/// The header's name, in the letters of the reference server. It declares no trailers.
pub const NAME: &str = "Trailer";

/// The longest text that is taken from a server, in bytes of its encoding.
const MAX: usize = 8 << 10;

/// The header's value for a text: as Java's `URLEncoder` in UTF-8.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("strings take everything"),
        }
    }
    out
}

/// The text of a header's value. It comes from a server that may be hostile, and may be shown on a terminal: what is too
/// long is cut, what is no text is replaced, and so are control characters other than line ends.
pub fn decode(value: &[u8]) -> String {
    let mut rest = &value[..value.len().min(MAX)];
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.first_chunk().filter(|_| first == b'%').and_then(hex_byte);
        bytes.push(escaped.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    let replaced = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(&bytes).chars().map(replaced).collect()
}

fn hex_byte(digits: &[u8; 2]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

/// What a server means by a text. Those that it should use render as the same text again; what is not in the catalogue
/// is an [`Error::Refused`].
pub fn error(text: &str) -> Error {
    known(text).unwrap_or_else(|| Error::Refused(text.to_owned()))
}

fn known(text: &str) -> Option<Error> {
    if let Some(conflict) = text.strip_prefix("PointerCAS:") {
        let mut parts = conflict.splitn(3, ',');
        let (existing, sequence) = (target(parts.next()?)?, parts.next()?);
        let sequence = if sequence.is_empty() { None } else { Some(sequence.parse().ok()?) };
        return Some(Error::PointerCas { existing, sequence, claimed: target(parts.next()?)? });
    }
    if let Some(numbers) = text.strip_prefix("Invalid sequence number update in mutable pointer: ") {
        let (current, updated) = numbers.split_once(" => ")?;
        return Some(Error::Sequence { current: optional(current)?, updated: optional(updated)? });
    }
    if let Some(numbers) = text.strip_prefix("Storage quota reached!") {
        // whatever the numbers are, the storage is full
        let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let mut number = || numbers.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        return Some(Error::QuotaReached { used: number(), quota: number(), size: number() });
    }
    match text {
        "Unauthorised!" => Some(Error::Unauthorised),
        "Block too big!" => Some(Error::BlockTooBig),
        "Invalid signature for block!" => Some(Error::BlockSignature),
        "Incorrect username or password" => Some(Error::IncorrectLogin),
        "Unimplemented call!" => Some(Error::Unimplemented),
        _ if text.starts_with("Upload bandwidth exceeded") => Some(Error::UploadLimit),
        _ if text.contains("Queue full") => Some(Error::Busy),
        _ => after(text, "Champ root not present locally: ")
            .map(Error::ChampRootMissing)
            .or_else(|| key_after(text, "Writer not present on this server: ").map(Error::UnknownWriter))
            .or_else(|| key_after(text, "WriterData controller mismatch for ").map(Error::WrongController))
            .or_else(|| key_after(text, "Unknown identity key: ").map(Error::UnknownOwner)),
    }
}

fn after<T: FromStr>(text: &str, prefix: &str) -> Option<T> {
    text.strip_prefix(prefix)?.parse().ok()
}

fn key_after(text: &str, prefix: &str) -> Option<KeyHash> {
    KeyHash::from_cid(after(text, prefix)?).ok()
}

/// A pointer's target.
fn target(text: &str) -> Option<Option<Cid>> {
    if text == "EMPTY" { Some(None) } else { text.parse().ok().map(Some) }
}

/// A number as Java renders optional ones.
fn optional(text: &str) -> Option<Option<u64>> {
    if text == "Optional.empty" {
        return Some(None);
    }
    text.strip_prefix("Optional[")?.strip_suffix(']')?.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cases() -> Vec<serde_json::Value> {
        let file = include_str!("../../../tests/vectors/02-http-errors.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        file["cases"].as_array().unwrap().clone()
    }

    #[test]
    fn texts_of_the_reference_server_are_read_and_written_byte_for_byte() {
        let cases = cases();
        let refusals = cases.iter().filter_map(|case| case["trailer"].as_str().zip(case["trailerDecoded"].as_str()));
        let mut count = 0;
        for (encoded, text) in refusals {
            assert_eq!(decode(encoded.as_bytes()), text);
            assert_eq!(encode(text), encoded);
            assert_eq!(error(text).to_string(), text);
            count += 1;
        }
        assert!(count > 40, "only {count}");
    }

    #[test]
    fn texts_have_their_meanings() {
        let case = |name: &str| {
            let case = cases().into_iter().find(|case| case["name"] == name).unwrap();
            error(case["trailerDecoded"].as_str().unwrap())
        };
        let conflict = case("setPointer CAS mismatch (claimed empty)");
        assert!(matches!(conflict, Error::PointerCas { existing: Some(_), sequence: Some(5), claimed: None }));
        let sequence = case("setPointer no sequence");
        assert!(matches!(sequence, Error::Sequence { current: Some(5), updated: None }));
        let quota = case("fill 26");
        assert!(matches!(quota, Error::QuotaReached { used: 243_959, quota: 30_000_000, size: 30_146_052 }));
        assert!(matches!(case("fill 28"), Error::UploadLimit));
        assert!(matches!(case("put unknown writer"), Error::UnknownWriter(_)));
        assert!(matches!(case("put unknown owner"), Error::UnknownOwner(_)));
        assert!(matches!(case("champ/get absent root"), Error::ChampRootMissing(_)));
        assert!(matches!(case("champ/get wrong bat"), Error::Unauthorised));
        assert!(matches!(case("getLogin wrong author"), Error::IncorrectLogin));
        assert!(matches!(case("link/get none"), Error::Refused(_)));
    }

    #[test]
    fn a_conflict_over_nothing_is_a_conflict() {
        let conflict = error("PointerCAS:EMPTY,,EMPTY");
        assert!(matches!(conflict, Error::PointerCas { existing: None, sequence: None, claimed: None }));
        assert_eq!(conflict.to_string(), "PointerCAS:EMPTY,,EMPTY");
        assert!(matches!(error("PointerCAS:zdpu,5"), Error::Refused(_)));
    }

    #[test]
    fn a_terminal_is_safe_from_a_hostile_text() {
        assert_eq!(decode(b"a%1b%5B2J%0Ab%"), "a\u{fffd}[2J\nb%");
        assert_eq!(decode(b"%zz%f%F0+%2B"), "%zz%f\u{fffd} +");
        assert_eq!(decode(&[b'a'; 1 << 20]).len(), MAX);
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "[^\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f]{0,100}") {
            prop_assert_eq!(decode(encode(&text).as_bytes()), text);
        }

        #[test]
        fn any_header_is_read(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            error(&decode(&value));
        }

        #[test]
        fn broken_texts_are_read(i in 0..200_usize, cut in 0..100_usize) {
            let cases = cases();
            let texts: Vec<&str> = cases.iter().filter_map(|case| case["trailerDecoded"].as_str()).collect();
            let text = texts[i % texts.len()];
            error(&text.chars().take(cut).collect::<String>());
        }
    }
}
