//! Parameters of a call (spec 02 §2.2).

use std::str::FromStr;

use peergos_crypto::{bat::BatWithId, cid::Cid, multibase, signing::KeyHash};

use crate::{Error, Result};

/// The parameters, in order.
#[derive(Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. It is decoded before it is split, as the reference does.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is no text, or a parameter has no value.
    pub fn parse(query: &str) -> Result<Self> {
        let text = percent_decode(query).ok_or_else(|| Error::Refused("The query is malformed".into()))?;
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        let pairs: Option<Vec<_>> = pairs.map(pair).collect();
        pairs.map(Self).ok_or_else(|| Error::Refused("A parameter has no value".into()))
    }

    /// The value of a parameter that may be missing: the last one, if there are several.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter that may be there several times.
    pub fn first(&self, key: &str) -> Result<&str> {
        self.nth(key, 0)
    }

    /// The `n`th value of a parameter, from zero.
    pub fn nth(&self, key: &str, n: usize) -> Result<&str> {
        self.0.iter().filter(|(name, _)| name == key).nth(n).map(|(_, value)| value.as_str()).ok_or_else(missing)
    }

    /// The value of a parameter: the last one, if there are several.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.get(key).ok_or_else(missing)
    }

    /// Whose data: the parameter `owner`.
    pub fn owner(&self) -> Result<KeyHash> {
        key_hash(self.text("owner")?)
    }

    /// Bytes in hexadecimal.
    pub fn hex(&self, key: &str) -> Result<Vec<u8>> {
        Ok(multibase::hex_decode(self.text(key)?)?)
    }

    /// The parameter `bat`.
    pub fn bat(&self) -> Result<Option<BatWithId>> {
        Ok(self.get("bat").map(BatWithId::from_text).transpose()?)
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("true")
    }

    /// A number.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<T> {
        self.text(key)?.parse().map_err(|_| Error::Refused(format!("{key} is not a number")))
    }
}

fn missing() -> Error {
    Error::Refused("No value present".into())
}

/// Reads the text of a CID.
///
/// # Errors
/// [`Error::Refused`] in the reference's words.
pub(super) fn cid(text: &str) -> Result<Cid> {
    text.parse().map_err(|error: peergos_crypto::Error| match multibase::decode(text) {
        Ok(bytes) => Error::Refused(format!("Invalid cid bytes: {}", multibase::hex(&bytes))),
        Err(_) => error.into(),
    })
}

/// Reads the text of a key hash.
///
/// # Errors
/// As [`cid`].
pub(super) fn key_hash(text: &str) -> Result<KeyHash> {
    Ok(KeyHash::from_cid(cid(text)?)?)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let (digits, tail) = rest.split_first_chunk::<2>()?;
            let digit = |digit: u8| char::from(digit).to_digit(16);
            bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
            rest = tail;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_decoded_before_it_is_split() {
        let query = Query::parse("a=1&b=x%20+y&arg=p&arg=q&c%3D2%26d=").unwrap();
        assert_eq!(query.text("b").unwrap(), "x +y");
        assert_eq!(
            (query.first("arg").unwrap(), query.nth("arg", 1).unwrap(), query.text("arg").unwrap()),
            ("p", "q", "q")
        );
        assert_eq!((query.text("c").unwrap(), query.text("d").unwrap()), ("2", ""));
        assert_eq!(query.text("e").unwrap_err().to_string(), "No value present");
        assert!(Query::parse("").unwrap().owner().is_err());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for query in ["a", "a=1&b", "a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
        assert_eq!(cid("zzzz").unwrap_err().to_string(), "Invalid cid bytes: 02fa27");
    }

    proptest! {
        #[test]
        fn anything_is_read(query in "[ -~]{0,200}") {
            if let Ok(query) = Query::parse(&query) {
                let _ = (query.owner(), query.bat(), query.hex("a"), query.number::<u32>("a"));
            }
        }
    }
}
