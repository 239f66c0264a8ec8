//! Signing up, and changes of a name's claims (spec 01 §4.5, §8.7).
//!
//! A whole sign-up is checked before anything of it is stored, and stored in one step: there are no half accounts.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Instant,
};

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    pow::ProofOfWork,
    signing::KeyHash,
};

use super::{
    accounts::{Account, next_id},
    bats,
    core::{Core, key_of},
    disk::Purpose,
    login,
    store::{Batch, Table},
    validate,
    view::{View, pointer_key},
};
use crate::{
    Admission, Error, PointerWrite, Result, SignUp, SignedBlock,
    claim::{ClaimChain, ClaimLink, links_from_cbor, links_to_cbor, username},
    login::{OpLog, Operation},
    owned::OwnershipSource,
};

/// The most bytes of an operation log, of claims, and of a proof of work.
const MAX_OP_LOG: usize = 65_536;
const MAX_CLAIMS: usize = 65_536;
const MAX_PROOF: usize = 100;

impl Core {
    /// See [`crate::Node::sign_up`].
    pub fn sign_up(&self, request: &SignUp) -> Result<Admission> {
        let _room = self.disk.room(Purpose::Structure, MAX_OP_LOG as u64)?;
        let proof = proof(&request.proof_of_work)?;
        let link = ClaimLink::from_cbor(&decode(&request.claim, MAX_CLAIMS)?)?;
        let op_log = OpLog::from_cbor(&decode(&request.op_log, MAX_OP_LOG)?)?;
        if !username::is_valid(&request.username) {
            return Err(Error::Refused("Invalid username".into()));
        }
        let commits = self.commits.lock();
        let existing = self.accounts.named(&request.username);
        let links = links_to_cbor(std::slice::from_ref(&link)).encode();
        let chain = ClaimChain::merge(&request.username, existing.as_ref().map(|a| &a.chain), vec![link])?;
        if *chain.home() != self.id {
            return Err(Error::Refused(format!("Trying to signup to wrong host! {} is not {}", chain.home(), self.id)));
        }
        if let Some(account) = existing {
            return self.repeated_sign_up(&account, &chain, &op_log).map(|()| Admission::Accepted);
        }
        if self.accounts.of(chain.identity()).is_ok() {
            return Err(Error::Refused("This identity has a name already".into()));
        }
        let mut batch = Batch::default();
        if let Some(difficulty) = self.admit_sign_up(&request.token, &proof, &links, &mut batch)? {
            return Ok(Admission::WorkRequired(difficulty));
        }
        let id = next_id(&self.kv, &mut batch)?;
        let mut account = Account { id, chain, writers: HashSet::new(), quota: self.door.quota() };
        let mut view = self.view(&account);
        account.writers = apply(&mut view, account.identity(), &op_log.operations)?;
        account.save(&mut batch);
        if let Some((data, auth)) = &op_log.login {
            data.verify(auth, &key_of(account.identity())?)?;
            if data.username != request.username || data.identity_update.is_some() {
                return Err(invalid());
            }
            login::save(&mut batch, id, data);
        }
        if let Some((bat, auth)) = &op_log.mirror_bat {
            self.check_bat(&account, bat, auth)?;
            bats::save(&mut batch, id, 0, bat);
        }
        let moved = view.save(&mut batch);
        let stored = self.store.put(id, &view.added()).and_then(|()| self.commit(batch, &commits));
        if let Err(error) = stored {
            // the number is free again, and nothing of this must turn up under it
            self.store.forget(id);
            return Err(error);
        }
        self.accounts.publish(account);
        self.moved(id, &moved);
        self.door.entered(Instant::now());
        Ok(Admission::Accepted)
    }

    /// A client that does not know whether its sign-up arrived sends it again.
    fn repeated_sign_up(&self, account: &Account, chain: &ClaimChain, op_log: &OpLog) -> Result<()> {
        let pointers = op_log.operations.iter().filter_map(|operation| match operation {
            Operation::Pointer(write) => Some(write),
            Operation::Block(_) => None,
        });
        // a writer's last pointer counts
        let pointers: BTreeMap<&KeyHash, &PointerWrite> = pointers.map(|write| (&write.writer, write)).collect();
        let mut same = account.chain == *chain && !pointers.is_empty();
        for (writer, write) in pointers {
            let stored = self.kv.get(Table::Pointers, &pointer_key(account.id, writer))?;
            same &= stored.as_ref() == Some(&write.signed);
        }
        if same { Ok(()) } else { Err(Error::Refused("User already exists!".into())) }
    }

    /// See [`crate::Node::update_chain`]. Only names that this node is home to can be continued.
    pub fn update_chain(&self, username: &str, links: &[u8], proof_of_work: &[u8]) -> Result<()> {
        if !username::is_valid(username) {
            return Err(Error::Refused("Invalid username".into()));
        }
        proof(proof_of_work)?;
        let links = links_from_cbor(&decode(links, MAX_CLAIMS)?)?;
        let commits = self.commits.lock();
        let account = self.accounts.require(username)?;
        let chain = ClaimChain::merge(username, Some(&account.chain), links)?;
        if chain == account.chain {
            return Ok(());
        }
        if self.accounts.of(chain.identity()).is_ok_and(|other| other.id != account.id) {
            return Err(Error::Refused("This identity has a name already".into()));
        }
        let writers = self.successors(&account, chain.identity())?;
        let account = Account { chain, writers, ..Account::clone(&account) };
        let mut batch = Batch::default();
        account.save(&mut batch);
        self.commit(batch, &commits)?;
        self.accounts.publish(account);
        Ok(())
    }

    /// Who may write when an account's identity becomes `identity`: it must own all that is in use.
    fn successors(&self, account: &Account, identity: &KeyHash) -> Result<HashSet<KeyHash>> {
        if identity == account.identity() {
            return Ok(account.writers.clone());
        }
        let view = self.view(account);
        let writers = view.writers(identity)?;
        for writer in account.writers.difference(&writers).filter(|writer| *writer != account.identity()) {
            if view.pointer(writer)?.is_some_and(|pointer| pointer.updated.is_some()) {
                return Err(Error::Refused(format!("The new identity does not own {writer}")));
            }
        }
        Ok(writers)
    }
}

/// Checks and applies the operations of a log, and returns who the writers of the new account are.
fn apply(view: &mut View<'_>, identity: &KeyHash, operations: &[Operation]) -> Result<HashSet<KeyHash>> {
    let mut groups: BTreeMap<(&KeyHash, Codec), Vec<SignedBlock>> = BTreeMap::new();
    for operation in operations {
        if let Operation::Block(write) = operation {
            let codec = write.block.block.cid().codec();
            groups.entry((&write.writer, codec)).or_default().push(write.block.clone());
        }
    }
    for ((writer, codec), blocks) in &groups {
        validate::blocks(&key_of(writer)?, *codec, blocks)?;
        blocks.iter().for_each(|block| view.add(block.block.clone()));
    }
    for operation in operations {
        if let Operation::Pointer(write) = operation {
            view.set(write)?;
        }
    }
    // the log is applied in one step, so it is the outcome that must be right
    let writers = view.writers(identity)?;
    let active: BTreeSet<&KeyHash> = operations.iter().map(Operation::writer).chain([identity]).collect();
    for writer in active {
        if !writers.contains(writer) {
            return Err(Error::UnknownWriter(writer.clone()));
        }
        let target = view.pointer(writer)?.and_then(|pointer| pointer.updated);
        check_complete(view, target.ok_or_else(invalid)?)?;
    }
    Ok(writers)
}

/// Checks that everything below `root` comes with the sign-up: an account without it could not be used.
fn check_complete(view: &View<'_>, root: Cid) -> Result<()> {
    let (mut stack, mut seen) = (vec![root], HashSet::new());
    while let Some(cid) = stack.pop() {
        if cid.identity_content().is_none() && seen.insert(cid.clone()) {
            let block = view.block(&cid)?;
            if cid.codec() == Codec::DagCbor {
                stack.extend(Value::decode(block.data())?.links().into_iter().cloned());
            }
        }
    }
    Ok(())
}

fn invalid() -> Error {
    Error::Refused("Invalid signup data!".into())
}

fn proof(proof: &[u8]) -> Result<ProofOfWork> {
    Ok(ProofOfWork::from_cbor(&decode(proof, MAX_PROOF)?)?)
}

fn decode(bytes: &[u8], max: usize) -> Result<Value> {
    if bytes.len() > max {
        return Err(Error::Refused(format!("Input exceeds maximum size of {max} bytes")));
    }
    Ok(Value::decode(bytes)?)
}
