//! The node's interface.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::{self, BatWithId},
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey, SIGNATURE_LEN},
    totp::Totp,
};

use super::{
    EmbeddedNode, bats,
    core::{Core, key_of},
    dag::Dag,
    disk::Purpose,
    store::{AccountId, BlockId},
    transactions::Transactions,
    validate,
};
use crate::{
    Admission, ChampCap, Error, MAX_CHAMP_CAPS, Node, PointerWrite, Result, Room, SignUp, SignedBlock, TransactionId,
    champ::{self, KeyHasher, NodeSource},
    mfa::{BackupCodes, FactorKind, MfaMethod},
    quota::{LinkCount, PaymentProperties},
};

/// The most bytes of a reply to lookups: what [`crate::RemoteNode`] takes. Honest trees stay below, with values of a
/// MiB even for all of [`MAX_CHAMP_CAPS`].
const MAX_LOOKUP: usize = 32 << 20;
/// What stands before a list, or before a block in it, in bytes at most.
const MAX_HEAD: usize = 9;

/// The longest transaction id in bytes. Ours have 36, but clients may invent some.
const MAX_TRANSACTION_ID: usize = 64;

impl Core {
    fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: &[SignedBlock],
        purpose: Purpose,
    ) -> Result<()> {
        let account = self.accounts.of(owner)?;
        if !account.writers.contains(writer) {
            return Err(Error::UnknownWriter(writer.clone()));
        }
        if transaction.0.len() > MAX_TRANSACTION_ID {
            return Err(Error::Invalid("transaction id"));
        }
        let size: u64 = blocks.iter().map(|block| block.block.data().len() as u64).sum();
        if i32::try_from(size).is_err() {
            return Err(Error::Refused(format!("Total write size too large: {size}")));
        }
        validate::blocks(&key_of(writer)?, codec, blocks)?;
        let _room = self.disk.room(purpose, size)?;
        self.admit(&account, writer, size, purpose)?;
        let blocks: Vec<_> = blocks.iter().map(|block| &block.block).collect();
        let ids: Vec<_> = blocks.iter().map(|block| BlockId::new(account.id, block.cid())).collect::<Result<_>>()?;
        self.transactions.protect(account.id, transaction, ids.into_iter());
        let stored = self.store.put(account.id, &blocks);
        if stored.is_err() {
            self.space.withdraw(&account, writer, size);
        }
        stored
    }

    fn get_block(&self, owner: &KeyHash, cid: &Cid, token: Option<&BatWithId>) -> Result<Option<Bytes>> {
        if let Some(content) = cid.identity_content() {
            return Ok(Some(Bytes::copy_from_slice(content)));
        }
        let id = BlockId::new(self.accounts.of(owner)?.id, cid)?;
        let block = self.store.get(&id)?;
        if let Some(data) = &block {
            // what is damaged refuses nobody
            let refuse = |refused| if cid.verifies(data) { refused } else { Error::WrongBlock(cid.clone()) };
            bats::authorise(cid, data, token).map_err(refuse)?;
        }
        Ok(block)
    }

    fn get_payload(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        token: Option<&BatWithId>,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        if cid.codec() != Codec::Raw || cid.identity_content().is_some() {
            return Ok(false);
        }
        let id = BlockId::new(self.accounts.of(owner)?.id, cid)?;
        let Some(block) = self.store.large(&id)? else { return Ok(false) };
        let start = block.start();
        let Ok((_, payload)) = bat::split_raw(start) else { return Ok(false) };
        if let Err(refused) = bats::authorise(cid, start, token) {
            return if block.read(0..0, out)? { Err(refused) } else { Ok(false) };
        }
        let prefix = start.len() - payload.len();
        block.read(prefix + range.start..range.end.saturating_add(prefix), out)
    }

    fn get_part(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        token: Option<&BatWithId>,
        payload: Range<usize>,
        beside: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        if cid.codec() != Codec::Raw || cid.identity_content().is_some() {
            return Ok(None);
        }
        let id = BlockId::new(self.accounts.of(owner)?.id, cid)?;
        let Some(block) = self.store.large(&id)?.filter(|block| block.has_beside()) else { return Ok(None) };
        let Ok((_, start)) = bat::split_raw(block.start()) else { return Ok(None) };
        if bats::authorise(cid, block.start(), token).is_err() {
            return Ok(None);
        }
        let prefix = block.start().len() - start.len();
        let payload = prefix.saturating_add(payload.start)..prefix.saturating_add(payload.end);
        block.part(payload, beside, out).map(Some)
    }

    fn get_payloads(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)], out: &mut Vec<u8>) -> Result<bool> {
        let account = self.accounts.of(owner)?.id;
        let mut blocks = Vec::with_capacity(wanted.len());
        for (cid, token) in wanted {
            if cid.codec() != Codec::Raw || cid.identity_content().is_some() {
                return Ok(false);
            }
            let Some(block) = self.store.large(&BlockId::new(account, cid)?)? else { return Ok(false) };
            let Ok((_, payload)) = bat::split_raw(block.start()) else { return Ok(false) };
            if bats::authorise(cid, block.start(), token.as_ref()).is_err() {
                return Ok(false);
            }
            let prefix = block.start().len() - payload.len();
            blocks.push((block, prefix));
        }
        self.store.read_whole(&blocks, out)
    }

    fn champ_get(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        if caps.len() > MAX_CHAMP_CAPS {
            return Err(Error::Refused(format!("Too many caps in bulk champ get call! {}", caps.len())));
        }
        let account = self.accounts.of(owner)?.id;
        let walk = Walk { core: self, account, read: Mutex::default() };
        match walk.node(root) {
            Err(Error::MissingBlock(_)) => return Err(Error::ChampRootMissing(root.clone())),
            found => found?,
        };
        for cap in caps {
            let value = champ::get(&walk, root, &cap.map_key, KeyHasher::Identity)?;
            let Some(cid) = value.as_ref().and_then(|value| value.as_link("CHAMP value").ok()) else { continue };
            if cid.codec() == Codec::DagCbor
                && let Some(block) = self.get_block(owner, cid, cap.bat.as_ref())?
            {
                walk.read.lock().add(cid, block)?;
            }
        }
        Ok(walk.read.into_inner().blocks.into_values().collect())
    }
}

/// A lookup that remembers the blocks it touches.
struct Walk<'a> {
    core: &'a Core,
    account: AccountId,
    read: Mutex<Touched>,
}

/// The blocks that lookups have touched.
#[derive(Default)]
struct Touched {
    blocks: BTreeMap<Cid, Bytes>,
    /// All of them together.
    bytes: usize,
}

impl Touched {
    /// Adds a block.
    ///
    /// # Errors
    /// [`Error::Refused`] if there are too many for a reply, in words that tell clients to ask for less.
    fn add(&mut self, cid: &Cid, block: Bytes) -> Result<()> {
        let len = block.len();
        if self.blocks.insert(cid.clone(), block).is_none() {
            self.bytes += len + MAX_HEAD;
        }
        if self.bytes <= MAX_LOOKUP - MAX_HEAD {
            return Ok(());
        }
        let text = format!("Too many caps in bulk champ get call! Their blocks have more than {MAX_LOOKUP} bytes");
        Err(Error::Refused(text))
    }
}

impl NodeSource for Walk<'_> {
    fn node(&self, cid: &Cid) -> Result<Arc<champ::Node>> {
        let known = self.read.lock().blocks.get(cid).cloned();
        let data = match known {
            Some(data) => data,
            None => {
                let dag = Dag { store: &self.core.store, account: self.account };
                let id = dag.stored(cid).ok_or_else(|| Error::MissingBlock(cid.clone()))?;
                let data = dag.block(&id)?.data().clone();
                // the root of secret links is no business of everybody's
                bats::authorise(cid, &data, None)?;
                self.read.lock().add(cid, data.clone())?;
                data
            }
        };
        Ok(Arc::new(champ::Node::decode(&data)?))
    }
}

impl Node for EmbeddedNode {
    fn id(&self) -> Result<Cid> {
        Ok(self.core.id.clone())
    }

    fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId> {
        self.core.accounts.of(owner)?;
        Transactions::start()
    }

    fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()> {
        self.core.transactions.close(self.core.accounts.of(owner)?.id, transaction);
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
        let purpose = Purpose::of(codec);
        self.core.make_room_after(self.core.put_blocks(owner, writer, transaction, codec, &blocks, purpose))
    }

    fn put_vital_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let put = self.core.put_blocks(owner, writer, transaction, codec, &blocks, Purpose::Vital);
        self.core.make_room_after(put)
    }

    fn hold_blocks(&self, owner: &KeyHash, transaction: &TransactionId, blocks: &[Cid]) -> Result<bool> {
        let account = self.core.accounts.of(owner)?.id;
        let stored = blocks.iter().filter(|cid| cid.identity_content().is_none());
        let ids = stored.map(|cid| BlockId::new(account, cid)).collect::<Result<Vec<_>>>()?;
        self.core.transactions.hold(account, transaction, ids);
        Ok(true)
    }

    fn get_block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>> {
        self.core.get_block(owner, cid, bat)
    }

    fn get_payload(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        self.core.get_payload(owner, cid, bat, range, out)
    }

    fn keeps_beside(&self) -> bool {
        true
    }

    fn get_part(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        payload: Range<usize>,
        beside: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        self.core.get_part(owner, cid, bat, payload, beside, out)
    }

    fn get_payloads(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)], out: &mut Vec<u8>) -> Result<bool> {
        self.core.get_payloads(owner, wanted, out)
    }

    fn champ_get(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        self.core.champ_get(owner, root, caps)
    }

    /// Nothing: whoever is in this process reads what it lacks one by one as fast, and each only once.
    fn champ_get_all(&self, _: &KeyHash, _: &Cid, _: &[ChampCap]) -> Result<Vec<Bytes>> {
        Ok(Vec::new())
    }

    fn get_pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        self.core.get_pointer(owner, writer)
    }

    fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        self.core.make_room_after(self.core.set_pointers(owner, pointers))
    }

    fn get_public_key(&self, username: &str) -> Result<Option<KeyHash>> {
        Ok(self.core.accounts.named(username).map(|account| account.identity().clone()))
    }

    fn get_username(&self, identity: &KeyHash) -> Result<String> {
        Ok(self.core.accounts.of(identity)?.username().to_owned())
    }

    fn get_chain(&self, username: &str) -> Result<Vec<u8>> {
        // the empty list for a name that is free
        Ok(self.core.accounts.named(username).map_or_else(|| vec![0x80], |account| account.chain_cbor()))
    }

    fn update_chain(&self, username: &str, links: &[u8], proof_of_work: &[u8], _token: &str) -> Result<Admission> {
        self.core.update_chain(username, links, proof_of_work).map(|()| Admission::Accepted)
    }

    fn sign_up(&self, request: &SignUp) -> Result<Admission> {
        self.core.sign_up(request)
    }

    fn get_login(&self, username: &str, reader: &PublicSigningKey, auth: &[u8], mfa: Option<&[u8]>) -> Result<Vec<u8>> {
        self.core.get_login(username, reader, auth, mfa)
    }

    fn set_login(&self, username: &str, login_data: &[u8], auth: &[u8; SIGNATURE_LEN]) -> Result<()> {
        self.core.set_login(username, login_data, auth)
    }

    fn get_user_bats(&self, username: &str, auth: &[u8]) -> Result<Vec<BatWithId>> {
        self.core.get_user_bats(username, auth)
    }

    fn add_bat(&self, username: &str, bat: &BatWithId, auth: &[u8]) -> Result<()> {
        self.core.add_bat(username, bat, auth)
    }

    fn usage(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        self.core.usage(owner, auth)
    }

    fn quota(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        self.core.quota(owner, auth)
    }

    fn room(&self, owner: &KeyHash) -> Result<Option<Room>> {
        self.core.room(owner).map(Some)
    }

    fn get_link(&self, owner: &KeyHash, label: u32) -> Result<Vec<u8>> {
        self.core.get_link(owner, label)
    }

    fn link_counts(&self, username: &str, after: u64, bat: &BatWithId) -> Result<Vec<LinkCount>> {
        self.core.link_counts(username, after, bat)
    }

    fn list_factors(&self, username: &str, auth: &[u8]) -> Result<Vec<MfaMethod>> {
        self.core.list_factors(username, auth)
    }

    fn add_totp(&self, username: &str, auth: &[u8]) -> Result<Totp> {
        self.core.add_code_factor(username, FactorKind::Totp, "", auth)
    }

    fn enable_totp(&self, username: &str, credential: &[u8], code: &str, auth: &[u8]) -> Result<()> {
        self.core.enable_code_factor(username, FactorKind::Totp, credential, code, auth)
    }

    fn add_mount_factor(&self, username: &str, name: &str, auth: &[u8]) -> Result<Totp> {
        self.core.add_code_factor(username, FactorKind::Mount, name, auth)
    }

    fn enable_mount_factor(&self, username: &str, credential: &[u8], code: &str, auth: &[u8]) -> Result<()> {
        self.core.enable_code_factor(username, FactorKind::Mount, credential, code, auth)
    }

    fn generate_backup_codes(&self, username: &str, auth: &[u8]) -> Result<BackupCodes> {
        self.core.generate_backup_codes(username, auth)
    }

    fn delete_factor(&self, username: &str, credential: &[u8], auth: &[u8]) -> Result<()> {
        self.core.delete_factor(username, credential, auth)
    }

    fn send_follow_request(&self, target: &KeyHash, request: &[u8]) -> Result<bool> {
        self.core.send_follow_request(target, request)
    }

    fn follow_requests(&self, owner: &KeyHash, auth: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.core.follow_requests(owner, auth)
    }

    fn remove_follow_request(&self, owner: &KeyHash, signed: &[u8]) -> Result<bool> {
        self.core.remove_follow_request(owner, signed)
    }

    fn payment_properties(&self, owner: &KeyHash, _new_secret: bool, auth: &[u8]) -> Result<PaymentProperties> {
        self.core.payment_properties(owner, auth)
    }

    fn request_space(&self, owner: &KeyHash, signed: &[u8]) -> Result<PaymentProperties> {
        self.core.request_space(owner, signed)
    }

    fn block_size(&self, owner: &KeyHash, cid: &Cid) -> Result<Option<u64>> {
        if let Some(content) = cid.identity_content() {
            return Ok(Some(content.len() as u64));
        }
        let id = BlockId::new(self.core.accounts.of(owner)?.id, cid)?;
        Ok(self.core.store.get(&id)?.map(|block| block.len() as u64))
    }

    fn sign_ups_are_open(&self) -> Result<bool> {
        Ok(self.core.door.is_open())
    }

    fn usernames(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(Self::usernames(self).into_iter().filter(|name| name.starts_with(prefix)).collect())
    }
}
