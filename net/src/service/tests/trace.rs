//! A day of the reference client on a reference server: every recorded request arrives at the node as what it means, and with
//! the node's answer goes back what was recorded, byte for byte.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    cid::{Cid, Codec},
    datastream::Reader,
    signing::{KeyHash, PublicSigningKey},
    totp::Totp,
};
use serde_json::Value as Json;

use super::*;
use crate::{
    Admission, ChampCap, Error, PointerWrite, Result, SignUp, SignedBlock, TransactionId,
    http::bodies,
    mfa::MfaMethod,
    tests::recorded::{Exchange, exchanges},
};

/// A node that answers what was recorded, having checked that it is asked what was recorded.
#[derive(Default)]
struct Recorded(Mutex<(Exchange, usize)>);

impl Recorded {
    /// The reply to a call that mentions all of `parameters`.
    fn reply(&self, parameters: &[String]) -> Vec<u8> {
        let mut now = self.0.lock();
        now.1 += 1;
        for parameter in parameters {
            assert!(now.0.target.split(['?', '&']).any(|found| found == parameter), "{parameter} in {}", now.0.target);
        }
        now.0.reply.clone()
    }

    fn request(&self) -> Vec<u8> {
        self.0.lock().0.request.clone()
    }

    fn cbor(&self, parameters: &[String]) -> Value {
        Value::decode(&self.reply(parameters)).unwrap()
    }
}

fn is<T: std::fmt::Display>(name: &str, value: T) -> String {
    format!("{name}={value}")
}

fn auth(bytes: &[u8]) -> String {
    is("auth", hex::encode(bytes))
}

impl Node for Recorded {
    fn id(&self) -> Result<Cid> {
        Ok(Cid::from_peer_id("12D3KooWEnCzE4uSeniFaCGXQuV1UnYkvqvbQJnYC363S2abgknr")?)
    }

    fn ids(&self) -> Result<Vec<Cid>> {
        let reply: Json = serde_json::from_slice(&self.reply(&[])).unwrap();
        Ok(vec![Cid::from_peer_id(reply["IDS"][0].as_str().unwrap())?])
    }

    fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId> {
        Ok(TransactionId(String::from_utf8(self.reply(&[is("owner", owner)])).unwrap()))
    }

    fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()> {
        self.reply(&[is("owner", owner), is("arg", &transaction.0)]);
        Ok(())
    }

    fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let format = if codec == Codec::Raw { "raw" } else { "dag-cbor" };
        let transaction = is("transaction", &transaction.0);
        self.reply(&[is("owner", owner), is("writer", writer), transaction, is("format", format)]);
        assert_eq!(bodies::block_group(&blocks), self.request());
        let Exchange { request_was_cut, reply_headers, .. } = self.0.lock().0.clone();
        // those that are made up nobody has signed
        if !request_was_cut {
            blocks.iter().for_each(|block| block.verify(&writer.signing_key().unwrap()).unwrap());
        }
        let refusal = reply_headers.iter().find(|(name, _)| name == trailer::NAME);
        refusal.map_or(Ok(()), |(_, text)| Err(trailer::error(&trailer::decode(text.as_bytes()))))
    }

    fn get_block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>> {
        let mut parameters = vec![is("owner", owner), is("arg", cid)];
        parameters.extend(bat.map(|bat| is("bat", bat.to_text())));
        let reply = self.reply(&parameters);
        Ok((!reply.is_empty()).then(|| reply.into()))
    }

    fn champ_get(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        let reply = self.cbor(&[is("owner", owner), is("arg", root), is("caps", bodies::champ_caps(caps))]);
        let blocks = reply.as_array("reply").unwrap().iter();
        Ok(blocks.map(|block| Bytes::copy_from_slice(block.as_bytes("block").unwrap())).collect())
    }

    fn get_pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        Ok(Some(self.reply(&[is("owner", owner), is("writer", writer)])))
    }

    fn set_pointer(&self, owner: &KeyHash, pointer: &PointerWrite) -> Result<()> {
        self.reply(&[is("owner", owner), is("writer", &pointer.writer)]);
        assert_eq!(pointer.signed, self.request());
        Ok(())
    }

    fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        self.reply(&[is("owner", owner)]);
        assert_eq!(bodies::pointers(pointers), self.request());
        for write in pointers {
            crate::PointerUpdate::open(&write.signed, &write.writer.signing_key()?)?;
        }
        Ok(())
    }

    fn get_public_key(&self, username: &str) -> Result<Option<KeyHash>> {
        assert_eq!(self.request(), bodies::username(username)?);
        let reply = self.reply(&[]);
        let mut stream = Reader::new(&reply);
        if !stream.bool()? {
            return Ok(None);
        }
        Ok(Some(KeyHash::from_cbor(&Value::decode(stream.bytes(100)?)?, "identity")?))
    }

    fn get_username(&self, identity: &KeyHash) -> Result<String> {
        assert_eq!(self.request(), bodies::identity(identity));
        let reply = self.reply(&[]);
        Ok(Reader::new(&reply).text(100)?.to_owned())
    }

    fn get_chain(&self, username: &str) -> Result<Vec<u8>> {
        assert_eq!(self.request(), bodies::username(username)?);
        Ok(self.reply(&[]))
    }

    fn update_chain(&self, _: &str, _: &[u8], _: &[u8], _: &str) -> Result<Admission> {
        Err(Error::Unimplemented)
    }

    fn sign_up(&self, request: &SignUp) -> Result<Admission> {
        assert_eq!(bodies::sign_up(request)?, self.request());
        bodies::read_admission(&self.reply(&[]))
    }

    fn get_login(&self, username: &str, key: &PublicSigningKey, signed: &[u8], mfa: Option<&[u8]>) -> Result<Vec<u8>> {
        let key = is("author", hex::encode(key.to_cbor().encode()));
        let mfa = mfa.map(|mfa| is("mfa", hex::encode(mfa)));
        let parameters: Vec<_> = [is("username", username), key, auth(signed)].into_iter().chain(mfa).collect();
        Ok(self.reply(&parameters))
    }

    fn set_login(&self, username: &str, data: &[u8], signature: &[u8; 64]) -> Result<()> {
        assert_eq!(data, self.request());
        self.reply(&[is("username", username), auth(signature)]);
        Ok(())
    }

    fn get_user_bats(&self, username: &str, signed: &[u8]) -> Result<Vec<BatWithId>> {
        let reply = self.cbor(&[is("username", username), auth(signed)]);
        reply.as_array("BATs")?.iter().map(|bat| Ok(BatWithId::from_cbor(bat)?)).collect()
    }

    fn add_bat(&self, _: &str, _: &BatWithId, _: &[u8]) -> Result<()> {
        Err(Error::Unimplemented)
    }

    fn usage(&self, owner: &KeyHash, signed: &[u8]) -> Result<u64> {
        Ok(self.cbor(&[is("owner", owner), auth(signed)]).as_uint("usage")?)
    }

    fn quota(&self, owner: &KeyHash, signed: &[u8]) -> Result<u64> {
        Ok(self.cbor(&[is("owner", owner), auth(signed)]).as_uint("quota")?)
    }

    fn get_link(&self, owner: &KeyHash, label: u32) -> Result<Vec<u8>> {
        Ok(self.reply(&[is("owner", owner), is("label", label)]))
    }

    fn usernames(&self, _: &str) -> Result<Vec<String>> {
        Ok(serde_json::from_slice(&unzipped(&self.reply(&[]))).unwrap())
    }

    fn list_factors(&self, username: &str, signed: &[u8]) -> Result<Vec<MfaMethod>> {
        MfaMethod::list_from_cbor(&self.cbor(&[is("username", username), auth(signed)]))
    }

    fn add_totp(&self, username: &str, signed: &[u8]) -> Result<Totp> {
        let reply = self.reply(&[is("username", username), auth(signed)]);
        Ok(Totp::from_text(&String::from_utf8(reply).unwrap())?)
    }
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn the_reference_client_gets_what_it_got() {
    let node = Arc::new(Recorded::default());
    let service = serve(Arc::clone(&node) as _);
    let exchanges = exchanges();
    for exchange in &exchanges {
        let Exchange { target, request, reply, .. } = exchange;
        *node.0.lock() = (exchange.clone(), 0);
        let answer = post(&service, target, request);
        let refusal = answer.refusal();
        assert_eq!(u64::from(answer.status), exchange.status, "{target}: {refusal:?}");
        for (name, value) in &exchange.reply_headers {
            assert_eq!(answer.header(name), Some(value.as_str()), "{name} of {target}");
        }
        if exchange.status == 400 {
            // the text of the header is in our body, too
            assert_eq!(Some(String::from_utf8(answer.body).unwrap()), refusal);
        } else if target.contains("getUsernamesGzip") {
            // compressors differ
            assert_eq!(unzipped(&answer.body), unzipped(reply));
        } else if exchange.request_was_cut && target.contains("block/put") {
            // the hashes of blocks that are made up
            assert_eq!(answer.body.len(), reply.len());
        } else {
            assert!(answer.body == *reply, "{target}");
        }
        let expected = usize::from(!target.ends_with("blockstore/props"));
        assert_eq!(node.0.lock().1, expected, "calls of the node by {target}");
    }
    assert_eq!(exchanges.len(), 208);
}
