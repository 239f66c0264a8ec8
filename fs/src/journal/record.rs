//! What the journal says about one change.
//!
//! Entries are called by their labels, which renames do not change. A record is a CBOR map, followed by the bytes that
//! were written, where there are any.

use std::{borrow::Cow, fmt};

use peergos_crypto::{
    Error, Result,
    bat::Bat,
    cbor::{Map, Value},
    cid::Cid,
    signing::KeyHash,
    symmetric::SymmetricKey,
};
use peergos_net::PointerUpdate;
use zeroize::Zeroizing;

use crate::{
    capability::{Capability, MapKey},
    cryptree::{Properties, Time},
    space::Location,
};

/// A change that was acknowledged, or what it takes to make one again.
#[derive(Clone, PartialEq)]
pub enum Record<'a> {
    /// First in each segment: what the changes that follow are based on.
    Base {
        /// Number and length in records of the segment before.
        previous: Option<(u64, u64)>,
        /// The state of the writing spaces, as far as they are in use.
        spaces: Vec<(KeyHash, PointerUpdate)>,
    },
    /// A group was committed, which led to the state that the changes that follow are based on, and so are those of this
    /// segment that were recorded meanwhile.
    Saved {
        /// The last segment that had anything of the group; zero if the group is not all that was in those segments.
        until: u64,
        /// As in [`Record::Base`].
        spaces: Vec<(KeyHash, PointerUpdate)>,
        /// The entries that were left out.
        left_out: Vec<MapKey>,
    },
    /// Where an entry is that the segment speaks of, and has not made.
    Known {
        /// What addresses it.
        cap: Capability,
        /// Where it is.
        place: Place,
    },
    /// An entry was made.
    Made(Box<Made<'a>>),
    /// Bytes of a file were written.
    Wrote {
        /// The file.
        label: MapKey,
        /// Where they begin.
        offset: u64,
        /// When.
        at: Time,
        /// The bytes.
        data: Cow<'a, [u8]>,
    },
    /// A range of a file became zeros.
    Zeroed {
        /// The file.
        label: MapKey,
        /// Where the range begins.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// When.
        at: Time,
    },
    /// A file was cut, or made longer with zeros.
    Resized {
        /// The file.
        label: MapKey,
        /// Its size in bytes.
        size: u64,
        /// When.
        at: Time,
    },
    /// Attributes were changed.
    Attributes {
        /// The entry.
        label: MapKey,
        /// The new [`Properties::posix`].
        posix: Option<Value>,
        /// The new time of modification, if that was set.
        modified: Option<Time>,
    },
    /// An entry was moved or renamed.
    Moved {
        /// The entry.
        label: MapKey,
        /// Where it was.
        from: Place,
        /// Where it is.
        to: Place,
        /// What had its name before.
        replaced: Option<MapKey>,
        /// Its mime type, if the new name changed that.
        mime: Option<String>,
        /// When.
        at: Time,
    },
    /// An entry was removed.
    Removed {
        /// The entry.
        label: MapKey,
        /// Where it was.
        from: Place,
        /// When.
        at: Time,
    },
    /// An entry got another label.
    Relabelled {
        /// The label that it had.
        old: MapKey,
        /// The label that it has.
        new: MapKey,
    },
    /// What other clients committed was taken in: from here on, changes are based on these states.
    TakenIn {
        /// As in [`Record::Base`].
        spaces: Vec<(KeyHash, PointerUpdate)>,
    },
    /// Last in a segment: the pointers that were to be set with what is in this segment, and in those before.
    Committing {
        /// Whether that is all of it.
        is_complete: bool,
        /// The targets of the writers; none where a space is deleted.
        targets: Vec<(KeyHash, Option<Cid>)>,
    },
    /// The disk has taken in what was recorded before.
    Synced {
        /// The segments that there was something new of, and how many bytes of them are on the disk.
        segments: Vec<(u64, u64)>,
    },
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The label of the directory.
    pub directory: MapKey,
    /// The name.
    pub name: String,
}

/// A new entry.
#[derive(Clone, PartialEq)]
pub struct Made<'a> {
    /// What addresses and opens it.
    pub cap: Capability,
    /// What parent links to it carry.
    pub parent_key: SymmetricKey,
    /// What opens its data.
    pub data_key: SymmetricKey,
    /// Of a directory, where its next chunk would be.
    pub next: Option<Location>,
    /// The label of the directory that it is in; the name is among the properties.
    pub directory: MapKey,
    /// Its properties.
    pub properties: Properties,
    /// When it was made.
    pub at: Time,
    /// What it holds: of a symlink its target.
    pub content: Cow<'a, [u8]>,
}

impl Record<'_> {
    /// The entry that changed, if it is the change of one.
    pub fn label(&self) -> Option<&MapKey> {
        match self {
            Self::Made(made) => Some(&made.cap.map_key),
            Self::Wrote { label, .. }
            | Self::Zeroed { label, .. }
            | Self::Resized { label, .. }
            | Self::Attributes { label, .. }
            | Self::Moved { label, .. }
            | Self::Removed { label, .. } => Some(label),
            Self::Base { .. }
            | Self::Saved { .. }
            | Self::Known { .. }
            | Self::Relabelled { .. }
            | Self::TakenIn { .. }
            | Self::Committing { .. }
            | Self::Synced { .. } => None,
        }
    }

    /// Appends the record to `out`.
    ///
    /// # Errors
    /// [`Error::Structure`] if the properties of a new entry break a rule.
    pub fn encode_to(&self, out: &mut Vec<u8>) -> Result<()> {
        let (mut map, tail) = self.to_map()?;
        if !tail.is_empty() {
            map.insert("tail", int(tail.len() as u64)?);
        }
        Zeroizing::new(Value::Map(map)).encode_to(out);
        out.extend_from_slice(tail);
        Ok(())
    }

    fn to_map(&self) -> Result<(Map, &[u8])> {
        let mut map = Map::new();
        let mut tail: &[u8] = &[];
        let kind = match self {
            Self::Base { previous, spaces } => {
                if let Some((number, records)) = previous {
                    map.insert("previous", vec![int(*number)?, int(*records)?]);
                }
                map.insert("spaces", states(spaces));
                "base"
            }
            Self::Saved { until, spaces, left_out } => {
                map.insert("until", int(*until)?);
                map.insert("spaces", states(spaces));
                map.insert("left out", left_out.iter().map(|label| label.0.into()).collect::<Vec<Value>>());
                "saved"
            }
            Self::Known { cap, place } => {
                map.insert("cap", cap.to_cbor());
                map.insert("at", place.to_cbor());
                "known"
            }
            Self::Made(made) => {
                made.insert_into(&mut map)?;
                tail = &made.content;
                "made"
            }
            Self::Wrote { label, offset, at, data } => {
                map.insert("label", label.0);
                map.insert("offset", int(*offset)?);
                map.insert("time", at.to_cbor());
                tail = data;
                "wrote"
            }
            Self::Zeroed { label, offset, len, at } => {
                map.insert("label", label.0);
                map.insert("offset", int(*offset)?);
                map.insert("size", int(*len)?);
                map.insert("time", at.to_cbor());
                "zeroed"
            }
            Self::Resized { label, size, at } => {
                map.insert("label", label.0);
                map.insert("size", int(*size)?);
                map.insert("time", at.to_cbor());
                "resized"
            }
            Self::Attributes { label, posix, modified } => {
                map.insert("label", label.0);
                map.insert_some("posix", posix.clone());
                map.insert_some("time", modified.map(Time::to_cbor));
                "attributes"
            }
            Self::Moved { label, from, to, replaced, mime, at } => {
                map.insert("label", label.0);
                map.insert("from", from.to_cbor());
                map.insert("at", to.to_cbor());
                map.insert_some("replaced", replaced.map(|label| label.0));
                map.insert_some("mime", mime.as_deref());
                map.insert("time", at.to_cbor());
                "moved"
            }
            Self::Removed { label, from, at } => {
                map.insert("label", label.0);
                map.insert("from", from.to_cbor());
                map.insert("time", at.to_cbor());
                "removed"
            }
            Self::Relabelled { old, new } => {
                map.insert("old", old.0);
                map.insert("label", new.0);
                "relabelled"
            }
            Self::TakenIn { spaces } => {
                map.insert("spaces", states(spaces));
                "taken in"
            }
            Self::Committing { is_complete, targets } => {
                let pair = |(writer, target): &(KeyHash, Option<Cid>)| {
                    vec![writer.into(), target.as_ref().map_or(Value::Null, Value::from)].into()
                };
                map.insert("targets", targets.iter().map(pair).collect::<Vec<Value>>());
                map.insert("complete", *is_complete);
                "committing"
            }
            Self::Synced { segments } => {
                let pair = |(number, bytes): &(u64, u64)| Ok(vec![int(*number)?, int(*bytes)?].into());
                map.insert("segments", segments.iter().map(pair).collect::<Result<Vec<Value>>>()?);
                "synced"
            }
        };
        map.insert("is", kind);
        Ok((map, tail))
    }
}

impl<'a> Record<'a> {
    /// Reads the record that `input` begins with; returns it and what follows.
    ///
    /// # Errors
    /// [`Error::Cbor`], [`Error::Structure`] and the like.
    pub fn decode(input: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let (value, len) = Value::decode_prefix(input)?;
        let value = Zeroizing::new(value);
        let map = value.as_map("journal record")?;
        let rest = input.get(len..).unwrap_or_default();
        let tail_len = map.get("tail").map_or(Ok(0), |len| len.as_uint("length of journalled bytes"))?;
        let tail_len = usize::try_from(tail_len).map_err(|_| Error::Structure("length of journalled bytes"))?;
        let (tail, rest) = rest.split_at_checked(tail_len).ok_or(Error::Structure("journalled bytes"))?;
        Ok((Self::from_map(map, tail)?, rest))
    }

    fn from_map(map: &Map, tail: &'a [u8]) -> Result<Self> {
        let field = |key| map.require(key, "journal record");
        let label = || field("label").and_then(map_key);
        let at = || Time::from_cbor(field("time")?);
        let place = |key| Place::from_cbor(field(key)?);
        let pointer = |value: &Value| PointerUpdate::from_cbor(value).map_err(|_| Error::Structure("pointer update"));
        let spaces = || pairs(field("spaces")?, pointer);
        Ok(match field("is")?.as_text("kind of journal record")? {
            "base" => Self::Base { previous: map.get("previous").map(numbers).transpose()?, spaces: spaces()? },
            "saved" => Self::Saved {
                until: field("until")?.as_uint("segment")?,
                spaces: spaces()?,
                left_out: field("left out")?
                    .as_array("what was left out")?
                    .iter()
                    .map(map_key)
                    .collect::<Result<_>>()?,
            },
            "known" => Self::Known { cap: Capability::from_cbor(field("cap")?)?, place: place("at")? },
            "made" => Self::Made(Box::new(Made::from_map(map, tail)?)),
            "wrote" => Self::Wrote {
                label: label()?,
                offset: field("offset")?.as_uint("offset")?,
                at: at()?,
                data: Cow::Borrowed(tail),
            },
            "zeroed" => Self::Zeroed {
                label: label()?,
                offset: field("offset")?.as_uint("offset")?,
                len: field("size")?.as_uint("size")?,
                at: at()?,
            },
            "resized" => Self::Resized { label: label()?, size: field("size")?.as_uint("size")?, at: at()? },
            "attributes" => Self::Attributes {
                label: label()?,
                posix: map.get("posix").cloned(),
                modified: map.get("time").map(Time::from_cbor).transpose()?,
            },
            "moved" => Self::Moved {
                label: label()?,
                from: place("from")?,
                to: place("at")?,
                replaced: map.get("replaced").map(map_key).transpose()?,
                mime: map.get("mime").map(|mime| mime.as_text("mime type").map(str::to_owned)).transpose()?,
                at: at()?,
            },
            "removed" => Self::Removed { label: label()?, from: place("from")?, at: at()? },
            "relabelled" => Self::Relabelled { old: map_key(field("old")?)?, new: label()? },
            "taken in" => Self::TakenIn { spaces: spaces()? },
            "committing" => Self::Committing {
                is_complete: field("complete")?.as_bool("whether a group is complete")?,
                targets: pairs(field("targets")?, |target| match target {
                    Value::Null => Ok(None),
                    target => target.as_link("pointer target").cloned().map(Some),
                })?,
            },
            "synced" => Self::Synced {
                segments: field("segments")?.as_array("segments")?.iter().map(numbers).collect::<Result<_>>()?,
            },
            _ => return Err(Error::Structure("kind of journal record")),
        })
    }
}

impl<'a> Made<'a> {
    fn insert_into(&self, map: &mut Map) -> Result<()> {
        map.insert("cap", self.cap.to_cbor());
        map.insert("parent key", self.parent_key.to_cbor());
        map.insert("data key", self.data_key.to_cbor());
        if let Some((key, bat)) = &self.next {
            map.insert("next", key.0);
            map.insert_some("next bat", bat.as_ref().map(Bat::to_cbor));
        }
        map.insert("directory", self.directory.0);
        map.insert("properties", self.properties.to_cbor()?);
        map.insert("time", self.at.to_cbor());
        Ok(())
    }

    fn from_map(map: &Map, content: &'a [u8]) -> Result<Self> {
        let field = |key| map.require(key, "journal record of a new entry");
        let next = match map.get("next") {
            Some(key) => Some((map_key(key)?, map.get("next bat").map(Bat::from_cbor).transpose()?)),
            None => None,
        };
        Ok(Self {
            cap: Capability::from_cbor(field("cap")?)?,
            parent_key: SymmetricKey::from_cbor(field("parent key")?)?,
            data_key: SymmetricKey::from_cbor(field("data key")?)?,
            next,
            directory: map_key(field("directory")?)?,
            properties: Properties::from_cbor(field("properties")?)?,
            at: Time::from_cbor(field("time")?)?,
            content: Cow::Borrowed(content),
        })
    }
}

impl Place {
    fn to_cbor(&self) -> Value {
        Value::Array(vec![self.directory.0.into(), self.name.as_str().into()])
    }

    fn from_cbor(value: &Value) -> Result<Self> {
        match value.as_array("place")? {
            [directory, name] => Ok(Self { directory: map_key(directory)?, name: name.as_text("name")?.to_owned() }),
            _ => Err(Error::Structure("place")),
        }
    }
}

fn map_key(value: &Value) -> Result<MapKey> {
    Ok(MapKey(value.as_array_of("label")?))
}

/// The states of writing spaces, as [`pairs`] reads them.
fn states(spaces: &[(KeyHash, PointerUpdate)]) -> Vec<Value> {
    spaces.iter().map(|(writer, pointer)| vec![writer.into(), pointer.to_cbor()].into()).collect()
}

fn int(number: u64) -> Result<Value> {
    i64::try_from(number).map(Value::Int).map_err(|_| Error::Structure("number"))
}

/// The number of a segment, and how much of it is meant.
fn numbers(value: &Value) -> Result<(u64, u64)> {
    match value.as_array("segment")? {
        [number, amount] => Ok((number.as_uint("segment")?, amount.as_uint("segment")?)),
        _ => Err(Error::Structure("segment")),
    }
}

/// An array of writers, each with something.
fn pairs<T>(value: &Value, second: impl Fn(&Value) -> Result<T>) -> Result<Vec<(KeyHash, T)>> {
    let pair = |pair: &Value| match pair.as_array("writing space")? {
        [writer, other] => Ok((KeyHash::from_cbor(writer, "writer")?, second(other)?)),
        _ => Err(Error::Structure("writing space")),
    };
    value.as_array("writing spaces")?.iter().map(pair).collect()
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:?})", self.directory)
    }
}

/// Names, keys and contents are nobody's business.
impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base { .. } => "Base",
            Self::Saved { .. } => "Saved",
            Self::Known { .. } => "Known",
            Self::Made(_) => "Made",
            Self::Wrote { .. } => "Wrote",
            Self::Zeroed { .. } => "Zeroed",
            Self::Resized { .. } => "Resized",
            Self::Attributes { .. } => "Attributes",
            Self::Moved { .. } => "Moved",
            Self::Removed { .. } => "Removed",
            Self::Relabelled { .. } => "Relabelled",
            Self::TakenIn { .. } => "TakenIn",
            Self::Committing { .. } => "Committing",
            Self::Synced { .. } => "Synced",
        })
    }
}

#[cfg(test)]
mod tests;
