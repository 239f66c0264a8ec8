//! The record of an upload under way, by which its chunks can be found again (spec 03 §7.5).

use peergos_crypto::{
    Error, Result,
    bat::Bat,
    cbor::Value,
    cid::{Cid, Codec},
    signing::{KeyHash, SecretSigningKey},
};
use zeroize::Zeroizing;

use crate::capability::{MapKey, StreamSecret};

/// The content of a file in `.transactions`, as far as it takes to remove what the upload left behind.
#[derive(Debug, Clone)]
pub struct UploadTransaction {
    /// The path of the file, starting with the user's name, as the uploading client wrote it.
    pub path: String,
    /// When the upload began, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// The account uploaded to.
    pub owner: KeyHash,
    /// The key of the writing space uploaded to.
    pub writer: SecretSigningKey,
    /// The place of the first chunk.
    pub map_key: MapKey,
    /// The token of the first chunk.
    pub first_bat: Option<Bat>,
    /// Where the later chunks are.
    pub stream_secret: StreamSecret,
    /// The size of the file in bytes.
    pub size: u64,
}

impl UploadTransaction {
    /// The name of the record of an upload to `path`.
    pub fn name_for(path: &str) -> String {
        Cid::of_block(Codec::Raw, path.as_bytes()).to_string()
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Error::Structure`], [`Error::Key`] or [`Error::Cbor`].
    pub fn decode(content: &[u8]) -> Result<Self> {
        let value = Zeroizing::new(Value::decode(content)?);
        let map = value.as_map("upload transaction")?;
        if map.require("type", "transaction type")?.as_text("transaction type")? != "FILE_UPLOAD" {
            return Err(Error::Structure("transaction type"));
        }
        let writer = map.require("writer", "transaction writer")?.as_map("transaction writer")?;
        Ok(Self {
            path: map.require("path", "transaction path")?.as_text("transaction path")?.to_owned(),
            started_ms: map.require("startTimeEpochMs", "transaction start")?.as_uint("transaction start")?,
            owner: KeyHash::from_cbor(map.require("owner", "transaction owner")?, "transaction owner")?,
            writer: SecretSigningKey::from_cbor(writer.require("s", "transaction writer")?)?,
            map_key: MapKey(map.require("mapKey", "map key")?.as_array_of("map key")?),
            first_bat: map.get("firstBat").map(Bat::from_cbor).transpose()?,
            stream_secret: StreamSecret::from_bytes(
                map.require("streamSecret", "stream secret")?.as_array_of("stream secret")?,
            ),
            size: map.require("size", "transaction size")?.as_uint("transaction size")?,
        })
    }
}
