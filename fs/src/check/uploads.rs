//! Uploads that other clients began and have not finished (spec 03 §7.5): a note in `.transactions`, and chunks that no
//! directory links yet.

use std::time::{Duration, UNIX_EPOCH};

use peergos_crypto::{cbor::Value, signing::KeyHash};

use crate::{
    Error, Result,
    capability::{MapKey, StreamSecret},
    check::{
        Kind,
        labels::{Claim, Labels},
        orphans::show,
        walk::Walk,
    },
    tree::CHUNK,
};

/// Where the notes are, as a path from the home directory.
pub(super) const FOLDER: &str = "/.transactions/";

/// The most bytes that a note may have.
pub(super) const MAX_NOTE: u64 = 16 << 20;

/// What a note says.
struct Upload {
    path: String,
    started_millis: u64,
    writer: KeyHash,
    first: MapKey,
    secret: StreamSecret,
    size: u64,
}

impl Upload {
    fn from_cbor(value: &Value) -> peergos_crypto::Result<Self> {
        const WHAT: &str = "upload transaction";
        let map = value.as_map(WHAT)?;
        let signer = map.require("writer", WHAT)?.as_map(WHAT)?;
        Ok(Self {
            path: map.require("path", WHAT)?.as_text(WHAT)?.to_owned(),
            started_millis: map.require("startTimeEpochMs", WHAT)?.as_uint(WHAT)?,
            writer: KeyHash::from_cbor(signer.require("p", WHAT)?, WHAT)?,
            first: MapKey(map.require("mapKey", WHAT)?.as_array_of(WHAT)?),
            secret: StreamSecret::from_bytes(map.require("streamSecret", WHAT)?.as_array_of(WHAT)?),
            size: map.require("size", WHAT)?.as_uint(WHAT)?,
        })
    }

    /// How many chunks are stored. They are uploaded in order.
    fn claim(&self, labels: &Labels<'_>) -> u64 {
        let mut label = self.first;
        let mut stored = 0;
        while stored < self.chunks() && labels.claim(&self.writer, label) == Claim::First {
            stored += 1;
            label = self.secret.next_chunk(label, None).0;
        }
        stored
    }

    fn chunks(&self) -> u64 {
        self.size.div_ceil(CHUNK).max(1)
    }
}

impl Walk<'_> {
    /// Reports the uploads that a note is about. Their chunks are no orphans.
    ///
    /// # Errors
    /// [`Error::Crypto`] for what is no such note.
    pub(super) fn uploads(&self, path: &str, mut note: &[u8]) -> Result<()> {
        while !note.is_empty() {
            let (value, len) = Value::decode_prefix(note).map_err(Error::from)?;
            note = note.get(len..).unwrap_or_default();
            let upload = Upload::from_cbor(&value)?;
            let (stored, chunks) = (upload.claim(&self.labels), upload.chunks());
            let started = UNIX_EPOCH + Duration::from_millis(upload.started_millis);
            let age = self.now.duration_since(started).unwrap_or_default();
            self.report(Kind::Unfinished, path, || {
                format!(
                    "an upload of /{}, begun {} ago: {stored} of {chunks} chunks are stored",
                    upload.path,
                    show(age)
                )
            });
        }
        Ok(())
    }
}
