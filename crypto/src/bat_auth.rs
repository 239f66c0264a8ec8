//! A block access token as a signature instead of the secret: AWS version 4, so that an S3 gateway could check it
//! (spec 02 §4.4).

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    Error, Result,
    bat::{Bat, BatWithId},
    cbor::Value,
    cbor_map,
    cid::Cid,
    hkdf::hmac_sha256,
    multibase,
};

/// How long an authorisation lasts unless told otherwise, in seconds.
pub const EXPIRY_SECONDS: u32 = 300;

const REGION: &str = "eu-central-1";

/// A moment as the structure holds it: UTC, to the second.
///
/// Packed into 32 signed bits with the years since 2000 on top, it overflows in 2032, on both sides in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedTime(i32);

impl PackedTime {
    /// Packs a calendar date and time of day.
    ///
    /// # Errors
    /// [`Error::Structure`] for fields out of range; years run from 2000 to 2063.
    pub fn new(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Result<Self> {
        let valid = (2000..2064).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !valid {
            return Err(Error::Structure("packed time"));
        }
        let packed = second | minute << 6 | hour << 12 | day << 17 | month << 22 | (year - 2000) << 26;
        Ok(Self(packed.cast_signed()))
    }
}

impl fmt::Display for PackedTime {
    /// `YYYYMMDDTHHMMSSZ`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |shift: u32, bits: u32| self.0.cast_unsigned() >> shift & ((1 << bits) - 1);
        let (year, month, day) = (2000 + field(26, 6), field(22, 4), field(17, 5));
        let (hour, minute, second) = (field(12, 5), field(6, 6), field(0, 6));
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

/// The authorisation of one node to get one block: `{"b": BAT id, "e": seconds, "s": signature, "t": packed time}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockAuth {
    /// The id of the token that signed.
    pub bat_id: Cid,
    /// For how many seconds after `time` it is valid. Not covered by the signature.
    pub expiry: u32,
    /// When it was signed.
    pub time: PackedTime,
    signature: [u8; 32],
}

impl BlockAuth {
    /// Authorises `node`, which will receive the block, to get the block `cid`.
    pub fn sign(bat: &BatWithId, cid: &Cid, node: &Cid, time: PackedTime) -> Self {
        let signature = signature(&bat.bat, cid, node, time);
        Self { bat_id: bat.id.clone(), expiry: EXPIRY_SECONDS, time, signature }
    }

    /// Whether `bat` signed this for `cid` and `node`. Whether it has expired is for the caller to see.
    pub fn verifies(&self, bat: &Bat, cid: &Cid, node: &Cid) -> bool {
        signature(bat, cid, node, self.time).ct_eq(&self.signature).into()
    }

    /// The structure `{"b", "e", "s", "t"}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! {
            "b" => self.bat_id.to_bytes(),
            "e" => self.expiry,
            "s" => self.signature,
            "t" => i64::from(self.time.0),
        }
    }

    /// Reads the structure `{"b", "e", "s", "t"}`.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Cid`], also for an id that is an identity CID.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("block authorisation")?;
        let field = |key| map.require(key, "block authorisation");
        let bat_id = Cid::from_bytes(field("b")?.as_bytes("block authorisation id")?)?;
        let (expiry, time) = (field("e")?.as_int("expiry")?, field("t")?.as_int("packed time")?);
        if bat_id.identity_content().is_some() {
            return Err(Error::Structure("block authorisation id"));
        }
        Ok(Self {
            bat_id,
            expiry: expiry.try_into().map_err(|_| Error::Structure("expiry"))?,
            time: PackedTime(time.try_into().map_err(|_| Error::Structure("packed time"))?),
            signature: field("s")?.as_array_of("block authorisation signature")?,
        })
    }
}

fn signature(bat: &Bat, cid: &Cid, node: &Cid, time: PackedTime) -> [u8; 32] {
    let time = time.to_string();
    let date = &time[..8];
    let scope = format!("{date}/{REGION}/s3/aws4_request");
    let request = multibase::hex(&Sha256::digest(canonical_request(cid, node, &time)));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
    let secret = zeroize::Zeroizing::new(format!("AWS4{}", multibase::encode(bat.as_bytes())));
    let key = hmac_sha256(secret.as_bytes(), &[date.as_bytes()]);
    let key =
        [REGION, "s3", "aws4_request"].iter().fold(key, |key, part| hmac_sha256(key.as_slice(), &[part.as_bytes()]));
    *hmac_sha256(key.as_slice(), &[to_sign.as_bytes()])
}

fn canonical_request(cid: &Cid, node: &Cid, time: &str) -> String {
    let (block, host) = (multibase::base58_encode(&cid.to_bytes()), multibase::base58_encode(&node.multihash()));
    format!(
        "GET\n/api/v0/block/get?arg={block}\n\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n\
         x-amz-date:{time}\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD"
    )
}
