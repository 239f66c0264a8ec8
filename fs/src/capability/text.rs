//! Capabilities as texts: the fragment of a capability URL (spec 03 §2.7).

use peergos_crypto::{
    Error, Result,
    bat::Bat,
    cbor::Value,
    multibase::{base58_decode, base58_encode},
    signing::KeyHash,
    symmetric::SymmetricKey,
};
use zeroize::Zeroizing;

use super::{Capability, MapKey};

impl Capability {
    /// The capability as a link: `#owner/writer/place/read`, and `/write` if it is writable. Whoever has the text has
    /// the access.
    pub fn to_link(&self) -> Zeroizing<String> {
        let part = |value: Value| base58_encode(&Zeroizing::new(Zeroizing::new(value).encode()));
        let mut place = Zeroizing::new(self.map_key.0.to_vec());
        if let Some(bat) = &self.bat {
            bat.to_cbor().encode_to(&mut place);
        }
        let mut link = format!(
            "#{}/{}/{}/{}",
            part((&self.owner).into()),
            part((&self.writer).into()),
            base58_encode(&place),
            part(self.read.to_cbor())
        );
        if let Some(write) = &self.write {
            link.push('/');
            link.push_str(&part(write.to_cbor()));
        }
        Zeroizing::new(link)
    }

    /// Reads [`Capability::to_link`], with or without the `#`.
    ///
    /// # Errors
    /// [`Error::Structure`], [`Error::Cid`], [`Error::Cbor`] or [`Error::Key`] if it is not such a link.
    pub fn from_link(link: &str) -> Result<Self> {
        let parts: Vec<&str> = link.strip_prefix('#').unwrap_or(link).splitn(6, '/').collect();
        let (&[owner, writer, place, read], write) =
            parts.split_first_chunk().ok_or(Error::Structure("capability link"))?;
        let secret = |text: &str| base58_decode(text).map(Zeroizing::new);
        let key_hash = |text: &str| KeyHash::from_cbor(&Value::decode(&base58_decode(text)?)?, "capability link");
        let key = |text: &str| SymmetricKey::from_cbor(&Zeroizing::new(Value::decode(&secret(text)?)?));
        let place = secret(place)?;
        let (map_key, bat) = place.split_first_chunk().ok_or(Error::Structure("capability link"))?;
        Ok(Self {
            owner: key_hash(owner)?,
            writer: key_hash(writer)?,
            map_key: MapKey(*map_key),
            bat: if bat.is_empty() { None } else { Some(Bat::from_cbor(&Value::decode(bat)?)?) },
            read: key(read)?,
            write: match write {
                [] => None,
                [write] => Some(key(write)?),
                _ => return Err(Error::Structure("capability link")),
            },
        })
    }
}
