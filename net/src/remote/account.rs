//! Names, logging in, and space (spec 02 §12, §14, §17).

use std::fmt::Write as _;

use bytes::Bytes;
use peergos_crypto::{
    cbor::Value,
    signing::{KeyHash, PublicSigningKey},
};

use super::{
    retry::Repeat,
    transport::{Request, Transport},
};
use crate::{Admission, Error, Result, http::bodies};

/// The most bytes of an answer that is one small thing.
pub(super) const SMALL: usize = 4 << 10;
/// The most bytes of an answer that is a list.
pub(super) const MAX_LIST: usize = 1 << 20;
/// The most bytes of a claim chain.
const MAX_CHAIN: usize = 4 << 20;
/// The factors that can be answered here or are named for completeness: app, security key, backup codes, mount.
const FACTORS: &str = "1,2,3,4";

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("strings take everything");
        out
    })
}

impl Transport {
    /// A call of the core node.
    pub async fn core(&self, method: &str, body: Vec<u8>, repeat: Repeat) -> Result<Bytes> {
        let request = Request::new(&format!("/peergos/v0/core/{method}"), &[], MAX_CHAIN).with(body);
        self.call(&request, repeat).await
    }

    /// CBOR of the claim chain of a name.
    pub async fn chain(&self, username: &str) -> Result<Bytes> {
        self.core("getChain", bodies::username(username)?, Repeat::Freely).await
    }

    /// A call that publishes claims: if its answer is lost, the chain tells.
    pub async fn claim(&self, method: &str, body: Vec<u8>, username: &str, links: &[u8]) -> Result<Admission> {
        match self.core(method, body, Repeat::Never).await {
            Ok(reply) => bodies::read_admission(&reply),
            Err(error @ Error::NoAnswer(_)) => {
                let published = match (self.chain(username).await, last(links)) {
                    (Ok(chain), Some(sent)) => last(&chain) == Some(sent),
                    _ => false,
                };
                if published { Ok(Admission::Accepted) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// CBOR of the entry points of an account, or of a request for a second factor.
    pub async fn get_login(
        &self,
        username: &str,
        reader: &PublicSigningKey,
        auth: &[u8],
        mfa: Option<&[u8]>,
    ) -> Result<Bytes> {
        let (author, auth, mfa) = (hex(&reader.to_cbor().encode()), hex(auth), mfa.map(hex));
        let mut parameters = vec![
            ("username", username),
            ("author", &author),
            ("auth", &auth),
            ("proxy", "false"),
            ("mfaTypes", FACTORS),
        ];
        parameters.extend(mfa.as_deref().map(|mfa| ("mfa", mfa)));
        // codes are good for one use
        let repeat = if mfa.is_some() { Repeat::Never } else { Repeat::Signed };
        match self.call(&Request::new("/peergos/v0/login/getLogin", &parameters, MAX_LIST), repeat).await {
            // what a server says that knows no login data of this name
            Err(Error::Refused(text)) if text == "No value present" => Err(Error::IncorrectLogin),
            result => result,
        }
    }

    /// A call about space, with a signed time.
    pub async fn space(&self, method: &str, owner: &KeyHash, more: &[(&str, &str)], auth: &[u8]) -> Result<Bytes> {
        let (owner, auth) = (owner.to_string(), hex(auth));
        let parameters = [&[("owner", owner.as_str())], more, &[("auth", &auth)]].concat();
        let request = Request::new(&format!("/peergos/v0/storage/{method}"), &parameters, SMALL);
        self.call(&request, Repeat::Signed).await
    }
}

/// The newest claim of a list.
fn last(links: &[u8]) -> Option<Value> {
    match Value::decode(links) {
        Ok(Value::Array(mut links)) => links.pop(),
        _ => None,
    }
}
