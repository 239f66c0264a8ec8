//! Maps in canonical order.

use std::{cmp::Ordering, fmt};

use super::Value;
use crate::{Error, Result};

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
        if self.0.last().is_none_or(|(last, _)| key_order(last, &key).is_lt()) {
            self.0.push((key, value));
            return None;
        }
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

    /// The map of entries in any order, or none if a key is there twice.
    ///
    /// It sorts once: inserting one by one in descending order would take quadratic time.
    pub(super) fn from_entries(mut entries: Vec<(String, Value)>) -> Option<Self> {
        let order = |(a, _): &(String, Value), (b, _): &(String, Value)| key_order(a, b);
        if !entries.is_sorted_by(|a, b| order(a, b).is_lt()) {
            entries.sort_by(order);
            if entries.windows(2).any(|pair| order(&pair[0], &pair[1]).is_eq()) {
                return None;
            }
        }
        Some(Self(entries))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// The entries in canonical order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
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

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
