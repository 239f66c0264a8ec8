//! Asking for space and paying for it, and how often links were opened (spec 02 §3.8, §17).

use peergos_crypto::{
    cbor::{Map, Value},
    cbor_map,
};

use crate::Result;

/// A request for more space, signed by the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceRequest {
    /// Who asks.
    pub username: String,
    /// For how many bytes in all.
    pub bytes: u64,
    /// Whether to pay for a year at a time.
    pub annual: bool,
    /// When, in milliseconds since the epoch.
    pub time: i64,
    /// A proof of payment.
    pub proof: Option<Vec<u8>>,
}

impl SpaceRequest {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let mut map: Map = [("s", int(self.bytes)), ("t", self.time.into())].into_iter().collect();
        map.insert("a", self.annual);
        map.insert("u", self.username.as_str());
        map.insert_some("p", self.proof.as_deref());
        Value::Map(map)
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`crate::Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const WHAT: &str = "space request";
        let map = value.as_map(WHAT)?;
        Ok(Self {
            username: map.require("u", WHAT)?.as_text(WHAT)?.to_owned(),
            bytes: map.require("s", WHAT)?.as_uint(WHAT)?,
            annual: map.require("a", WHAT)?.as_bool(WHAT)?,
            time: map.require("t", WHAT)?.as_int(WHAT)?,
            proof: map.get("p").map(|proof| proof.as_bytes(WHAT).map(<[u8]>::to_vec)).transpose()?,
        })
    }
}

/// What an account's space costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentProperties {
    /// Where to pay.
    pub url: Option<String>,
    /// Why a payment failed.
    pub error: Option<String>,
    /// Until when it is paid, in seconds since the epoch.
    pub expiry: Option<u64>,
    /// Whether by the year.
    pub annual: bool,
    /// Bytes that cost nothing.
    pub free_quota: u64,
    /// Bytes that were asked for.
    pub desired_quota: u64,
    /// The next charge, in hundredths.
    pub next_charge: u64,
    /// What the payment server knows the client by.
    pub client_secret: Option<String>,
}

impl PaymentProperties {
    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let numbers =
            [("freeQuota", self.free_quota), ("nextCharge", self.next_charge), ("desiredQuota", self.desired_quota)];
        let mut map: Map = numbers.into_iter().map(|(key, number)| (key, int(number))).collect();
        map.insert("annual", self.annual);
        map.insert_some("url", self.url.as_deref());
        map.insert_some("err", self.error.as_deref());
        map.insert_some("expiry", self.expiry.map(int));
        map.insert_some("client_secret", self.client_secret.as_deref());
        Value::Map(map)
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`crate::Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const WHAT: &str = "payment properties";
        let map = value.as_map(WHAT)?;
        let text = |key| map.get(key).map(|text| text.as_text(WHAT).map(str::to_owned)).transpose();
        let number = |key| map.get(key).map(|number| number.as_uint(WHAT)).transpose();
        Ok(Self {
            url: text("url")?,
            error: text("err")?,
            expiry: number("expiry")?,
            annual: map.get("annual").is_some_and(|annual| *annual == Value::Bool(true)),
            free_quota: map.require("freeQuota", WHAT)?.as_uint(WHAT)?,
            desired_quota: map.require("desiredQuota", WHAT)?.as_uint(WHAT)?,
            next_charge: number("nextCharge")?.unwrap_or(0),
            client_secret: text("client_secret")?,
        })
    }
}

/// How often a secret link was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkCount {
    /// The link's label.
    pub label: u32,
    /// How often.
    pub count: u64,
    /// When last, in seconds since the epoch.
    pub modified: u64,
}

impl LinkCount {
    /// A list of them.
    pub fn list_to_cbor(counts: &[Self]) -> Value {
        let triples = counts.iter().flat_map(|link| [Value::from(link.label), int(link.count), int(link.modified)]);
        cbor_map! { "d" => triples.collect::<Vec<_>>() }
    }

    /// Reads a list.
    ///
    /// # Errors
    /// [`crate::Error::Crypto`] if it is malformed.
    pub fn list_from_cbor(value: &Value) -> Result<Vec<Self>> {
        const WHAT: &str = "link counts";
        let triples = value.as_map(WHAT)?.require("d", WHAT)?.as_array(WHAT)?.chunks(3);
        let count = |triple: &[Value]| match triple {
            [label, count, modified] => Ok(Self {
                label: u32::try_from(label.as_uint(WHAT)?).map_err(|_| crate::Error::Invalid(WHAT))?,
                count: count.as_uint(WHAT)?,
                modified: modified.as_uint(WHAT)?,
            }),
            _ => Err(crate::Error::Invalid(WHAT)),
        };
        triples.map(count).collect()
    }
}

/// A number on the wire; none that comes up is beyond 63 bits.
fn int(number: u64) -> Value {
    Value::from(i64::try_from(number).unwrap_or(i64::MAX))
}
