//! Name, size, times and the rest of what is known of an entry (spec 03 §4).

use std::fmt;

use peergos_crypto::{
    Error, Result,
    cbor::{Map, Value},
    hash_tree::HashBranch,
};

use crate::capability::StreamSecret;

/// The most UTF-16 code units in a name.
pub const MAX_NAME: usize = 255;
/// The most bytes in a thumbnail.
pub const MAX_THUMBNAIL: usize = 100 << 10;
/// The largest size of a file, in bytes: what a client in JavaScript can count.
pub const MAX_SIZE: u64 = 1 << 53;

/// The keys of the structure; all others are kept as they are.
const KNOWN: [&str; 15] = ["c", "d", "h", "i", "l", "m", "n", "p", "s", "t", "cn", "im", "th", "tn", "posix"];

/// A time, in seconds and nanoseconds since 1970 UTC; nanoseconds count forward also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds on top, below 10^9.
    pub nanos: u32,
}

impl Time {
    /// The earliest second of the reference's calendar: the first of the year −999,999,999.
    pub const MIN_SECS: i64 = -31_557_014_167_219_200;
    /// The last second of the reference's calendar, in the year 999,999,999.
    pub const MAX_SECS: i64 = 31_556_889_864_403_199;

    /// The structure `[seconds, nanoseconds]`, which is this program's own.
    pub fn to_cbor(self) -> Value {
        Value::Array(vec![self.secs.into(), self.nanos.into()])
    }

    /// Reads the structure `[seconds, nanoseconds]`.
    ///
    /// # Errors
    /// [`Error::Structure`], also for a time outside the calendar.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let [secs, nanos] = value.as_array("time")? else { return Err(Error::Structure("time")) };
        let nanos = u32::try_from(nanos.as_uint("nanoseconds")?).map_err(|_| Error::Structure("nanoseconds"))?;
        let time = Self { secs: secs.as_int("time")?, nanos };
        time.check().map(|()| time)
    }

    fn check(self) -> Result<()> {
        let valid = (Self::MIN_SECS..=Self::MAX_SECS).contains(&self.secs) && self.nanos < 1_000_000_000;
        if valid { Ok(()) } else { Err(Error::Structure("time")) }
    }
}

/// A small picture of the content.
#[derive(Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// The encoded picture, at most [`MAX_THUMBNAIL`] bytes.
    pub data: Vec<u8>,
    /// Its mime type.
    pub mime: String,
}

/// The properties of an entry, of which only those on its first chunk count.
#[derive(Clone, PartialEq, Eq)]
pub struct Properties {
    /// The name; see [`check_name`].
    pub name: String,
    /// Whether this is a directory; of a link node whether its target is.
    pub is_dir: bool,
    /// Whether this is a link node: not a symlink, but a stand-in for an entry in another writing space (spec 03 §3.11).
    pub is_link: bool,
    /// Whether clients leave the entry out of listings.
    pub hidden: bool,
    /// The mime type, empty for directories.
    pub mime: String,
    /// The size in bytes, 0 for directories.
    pub size: u64,
    /// When the entry was made.
    pub created: Time,
    /// When the content was last changed.
    pub modified: Time,
    /// Where the later chunks of a file are; none for directories and legacy files.
    pub stream_secret: Option<StreamSecret>,
    /// A preview.
    pub thumbnail: Option<Thumbnail>,
    /// The hashes of the content, for clients that synchronise; never to be relied on.
    pub tree_hash: Option<HashBranch>,
    /// POSIX attributes that the protocol has no field for, which other clients drop at their next change
    /// (spec 03 §11.3).
    pub posix: Option<Value>,
    /// Keys that this version does not know; kept.
    pub unknown: Map,
}

/// Whether an entry may have this name: 1 to 255 UTF-16 code units, not `.` or `..`, without `/`. A node with any
/// other makes its whole directory unreadable to other clients.
///
/// # Errors
/// [`Error::Structure`].
pub fn check_name(name: &str) -> Result<()> {
    let valid = !matches!(name, "" | "." | "..") && !name.contains('/') && name.encode_utf16().nth(MAX_NAME).is_none();
    if valid { Ok(()) } else { Err(Error::Structure("name of an entry")) }
}

impl Properties {
    /// The properties of a new directory, made at `time`.
    pub fn directory(name: impl Into<String>, time: Time) -> Self {
        Self {
            name: name.into(),
            is_dir: true,
            is_link: false,
            hidden: false,
            mime: String::new(),
            size: 0,
            created: time,
            modified: time,
            stream_secret: None,
            thumbnail: None,
            tree_hash: None,
            posix: None,
            unknown: Map::new(),
        }
    }

    /// What all chunks of a directory but the first carry (spec 03 §4.3).
    pub fn later_directory_chunk() -> Self {
        Self::directory(".subsequent-dir-chunk", Time { secs: -31_557_014_135_596_800, nanos: 0 })
    }

    fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        self.created.check()?;
        self.modified.check()?;
        if self.size > MAX_SIZE {
            return Err(Error::Structure("size of an entry"));
        }
        if self.is_dir && self.stream_secret.is_some() {
            return Err(Error::Structure("stream secret of a directory"));
        }
        if self.thumbnail.as_ref().is_some_and(|thumbnail| thumbnail.data.len() > MAX_THUMBNAIL) {
            return Err(Error::Structure("thumbnail size"));
        }
        Ok(())
    }

    /// The structure `fileprops`.
    ///
    /// # Errors
    /// [`Error::Structure`] if it breaks a rule by which other clients would refuse the whole directory (spec 03 §4.2).
    pub fn to_cbor(&self) -> Result<Value> {
        self.check()?;
        let mut map = self.unknown.clone();
        map.insert("c", self.created.secs);
        map.insert("cn", self.created.nanos);
        map.insert("d", self.is_dir);
        map.insert("h", self.hidden);
        map.insert_some("i", self.thumbnail.as_ref().map(|thumbnail| thumbnail.data.as_slice()));
        map.insert_some("im", self.thumbnail.as_ref().map(|thumbnail| thumbnail.mime.as_str()));
        map.insert("l", self.is_link);
        map.insert("m", self.mime.as_str());
        map.insert("n", self.name.as_str());
        map.insert_some("p", self.stream_secret.as_ref().map(|secret| secret.as_bytes()));
        map.insert("s", i64::try_from(self.size).map_err(|_| Error::Structure("size of an entry"))?);
        map.insert("t", self.modified.secs);
        map.insert("tn", self.modified.nanos);
        map.insert_some("th", self.tree_hash.as_ref().map(HashBranch::to_cbor));
        map.insert_some("posix", self.posix.clone());
        Ok(Value::Map(map))
    }

    /// Reads the structure `fileprops`, also as older clients wrote it.
    ///
    /// # Errors
    /// [`Error::Structure`] if it is malformed or breaks a rule of spec 03 §4.2.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("properties")?;
        let flag = |key, what| map.get(key).map_or(Ok(false), |value| value.as_bool(what));
        let text = |key, what| map.require(key, what)?.as_text(what).map(str::to_owned);
        let nanos = |key| match map.get(key) {
            Some(value) => u32::try_from(value.as_uint("nanoseconds")?).map_err(|_| Error::Structure("nanoseconds")),
            None => Ok(0),
        };
        let modified =
            Time { secs: map.require("t", "modification time")?.as_int("modification time")?, nanos: nanos("tn")? };
        let created = match map.get("c") {
            Some(secs) => Time { secs: secs.as_int("creation time")?, nanos: nanos("cn")? },
            None => Time { nanos: 0, ..modified },
        };
        let thumbnail = match map.get("i") {
            Some(data) => Some(Thumbnail {
                data: data.as_bytes("thumbnail")?.to_vec(),
                mime: map.get("im").map_or(Ok("image/png"), |mime| mime.as_text("thumbnail type"))?.to_owned(),
            }),
            None => None,
        };
        let properties = Self {
            name: text("n", "name")?,
            is_dir: flag("d", "is directory")?,
            is_link: flag("l", "is link")?,
            hidden: flag("h", "hidden")?,
            mime: text("m", "mime type")?,
            size: map.require("s", "size")?.as_uint("size")?,
            created,
            modified,
            stream_secret: match map.get("p") {
                Some(secret) => Some(StreamSecret::from_bytes(secret.as_array_of("stream secret")?)),
                None => None,
            },
            thumbnail,
            tree_hash: map.get("th").map(HashBranch::from_cbor).transpose()?,
            posix: map.get("posix").cloned(),
            unknown: map.iter().filter(|(key, _)| !KNOWN.contains(key)).map(|(k, v)| (k, v.clone())).collect(),
        };
        properties.check()?;
        Ok(properties)
    }
}

/// Names and hashes of content are nobody's business.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties")
            .field("is_dir", &self.is_dir)
            .field("is_link", &self.is_link)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
