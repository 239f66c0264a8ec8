//! A node that hosts one account, just well enough to sign up and log in.

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    cid::{Cid, Codec},
    pow::ProofOfWork,
    signed_request, signed_time,
    signing::{KeyHash, PublicSigningKey},
};
use peergos_net::{
    Admission, ChampCap, Error, Node, PointerUpdate, PointerWrite, Result, SignUp, SignedBlock, TransactionId,
    claim::{ClaimChain, links_from_cbor, links_to_cbor},
    login::{LoginResponse, OpLog, Operation},
};
use std::collections::HashMap;

pub const NOW_MILLIS: i64 = 1_795_000_000_578;

#[derive(Default)]
pub struct Account {
    pub username: String,
    pub owner: Option<KeyHash>,
    pub chain: Vec<u8>,
    pub op_log: OpLog,
    pub blocks: HashMap<Cid, Bytes>,
    pub pointers: HashMap<KeyHash, Vec<u8>>,
    pub bats: Vec<BatWithId>,
}

/// The node.
pub struct Hosted {
    id: Cid,
    /// What each call that may ask for a proof of work answers, last first.
    pub difficulties: Mutex<Vec<u32>>,
    pub account: Mutex<Account>,
}

impl Hosted {
    /// An empty node with the id that `provider` gives.
    pub fn new(id: Cid) -> Self {
        Self { id, difficulties: Mutex::default(), account: Mutex::default() }
    }

    /// Takes an account over as it was signed up elsewhere.
    pub fn take(&self, request: &SignUp) -> Result<()> {
        let links = links_from_cbor(&Value::Array(vec![Value::decode(&request.claim)?]))?;
        let chain = ClaimChain::verify(&request.username, links.clone())?;
        let owner = chain.identity().clone();
        let op_log = OpLog::from_cbor(&Value::decode(&request.op_log)?)?;
        let mut account = Account {
            username: request.username.clone(),
            owner: Some(owner.clone()),
            chain: links_to_cbor(&links).encode(),
            ..Account::default()
        };
        for operation in &op_log.operations {
            match operation {
                Operation::Block(write) => {
                    write.verify()?;
                    let block = &write.block.block;
                    account.blocks.insert(block.cid().clone(), block.data().clone());
                }
                Operation::Pointer(write) => {
                    let update = PointerUpdate::open(&write.signed, &write.writer.signing_key()?)?;
                    assert_eq!((update.original, update.sequence), (None, Some(1)));
                    assert!(account.blocks.contains_key(&update.updated.unwrap()), "pointer to nowhere");
                    account.pointers.insert(write.writer.clone(), write.signed.clone());
                }
            }
        }
        if let Some((login, auth)) = &op_log.login {
            login.verify(auth, &owner.signing_key()?)?;
        }
        account.bats.extend(op_log.mirror_bat.iter().map(|(bat, _)| bat.clone()));
        account.op_log = op_log;
        *self.account.lock() = account;
        Ok(())
    }

    fn admission(&self, data: &[u8], proof: &[u8]) -> Result<Admission> {
        let proof = ProofOfWork::from_cbor(&Value::decode(proof)?)?;
        match self.difficulties.lock().pop() {
            Some(difficulty) if !proof.satisfies(data, difficulty) => Ok(Admission::WorkRequired(difficulty)),
            _ => Ok(Admission::Accepted),
        }
    }

    fn identity(&self) -> Result<PublicSigningKey> {
        Ok(self.account.lock().owner.clone().unwrap().signing_key()?)
    }
}

impl Node for Hosted {
    fn id(&self) -> Result<Cid> {
        Ok(self.id.clone())
    }

    fn start_transaction(&self, _: &KeyHash) -> Result<TransactionId> {
        Err(Error::Invalid("call"))
    }

    fn close_transaction(&self, _: &KeyHash, _: &TransactionId) -> Result<()> {
        Err(Error::Invalid("call"))
    }

    fn put_blocks(&self, _: &KeyHash, _: &KeyHash, _: &TransactionId, _: Codec, _: Vec<SignedBlock>) -> Result<()> {
        Err(Error::Invalid("call"))
    }

    fn get_block(&self, _: &KeyHash, cid: &Cid, _: Option<&BatWithId>) -> Result<Option<Bytes>> {
        Ok(self.account.lock().blocks.get(cid).cloned())
    }

    fn champ_get(&self, _: &KeyHash, _: &Cid, _: &[ChampCap]) -> Result<Vec<Bytes>> {
        Ok(self.account.lock().blocks.values().cloned().collect())
    }

    fn get_pointer(&self, _: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        Ok(self.account.lock().pointers.get(writer).cloned())
    }

    fn set_pointers(&self, _: &KeyHash, _: &[PointerWrite]) -> Result<()> {
        Err(Error::Invalid("call"))
    }

    fn get_public_key(&self, username: &str) -> Result<Option<KeyHash>> {
        let account = self.account.lock();
        Ok(account.owner.clone().filter(|_| account.username == username))
    }

    fn get_username(&self, _: &KeyHash) -> Result<String> {
        Ok(self.account.lock().username.clone())
    }

    fn get_chain(&self, username: &str) -> Result<Vec<u8>> {
        let account = self.account.lock();
        Ok(if account.username == username { account.chain.clone() } else { Value::Array(Vec::new()).encode() })
    }

    fn update_chain(&self, username: &str, links: &[u8], proof: &[u8], _: &str) -> Result<Admission> {
        let admission = self.admission(links, proof)?;
        if admission == Admission::Accepted {
            let existing = ClaimChain::verify(username, links_from_cbor(&Value::decode(&self.get_chain(username)?)?)?)?;
            let merged = ClaimChain::merge(username, Some(&existing), links_from_cbor(&Value::decode(links)?)?)?;
            self.account.lock().chain = links_to_cbor(&merged.links().cloned().collect::<Vec<_>>()).encode();
        }
        Ok(admission)
    }

    fn sign_up(&self, request: &SignUp) -> Result<Admission> {
        let work_on = Value::Array(vec![Value::decode(&request.claim)?]).encode();
        let admission = self.admission(&work_on, &request.proof_of_work)?;
        if admission == Admission::Accepted {
            self.take(request)?;
        }
        Ok(admission)
    }

    fn get_login(&self, _: &str, reader: &PublicSigningKey, auth: &[u8], _: Option<&[u8]>) -> Result<Vec<u8>> {
        signed_time::verify(reader, auth, NOW_MILLIS, 0)?;
        match &self.account.lock().op_log.login {
            Some((login, _)) if login.reader == *reader => {
                Ok(LoginResponse::EntryPoints(login.entry_points.clone()).to_cbor().encode())
            }
            _ => Err(Error::IncorrectLogin),
        }
    }

    fn set_login(&self, _: &str, _: &[u8], _: &[u8; 64]) -> Result<()> {
        Err(Error::Invalid("call"))
    }

    fn get_user_bats(&self, _: &str, auth: &[u8]) -> Result<Vec<BatWithId>> {
        signed_request::verify(&self.identity()?, auth, "peergos/v0/bats/getUserBats", NOW_MILLIS, 0)?;
        Ok(self.account.lock().bats.clone())
    }

    fn add_bat(&self, _: &str, bat: &BatWithId, auth: &[u8]) -> Result<()> {
        signed_request::verify(&self.identity()?, auth, "peergos/v0/bats/addBat", NOW_MILLIS, 0)?;
        self.account.lock().bats.push(bat.clone());
        Ok(())
    }

    fn usage(&self, _: &KeyHash, _: &[u8]) -> Result<u64> {
        Err(Error::Invalid("call"))
    }

    fn quota(&self, _: &KeyHash, _: &[u8]) -> Result<u64> {
        Err(Error::Invalid("call"))
    }
}
