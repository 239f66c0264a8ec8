//! Failures on demand. A real node cannot be made to have them when a test wants them: a disk that is full for three calls,
//! an answer that is lost after the work was done, one damaged block among thousands. So a wrapper stands in for them,
//! and hands everything else to the real node below it.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey},
};
use peergos_net::{
    Admission, Block, ChampCap, EmbeddedNode, Error, Node, PointerWrite, Reach, Result, Room, SignUp, SignedBlock,
    TransactionId,
};

/// The calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    StartTransaction,
    PutBlocks,
    PutVitalBlocks,
    SetPointers,
    GetPointer,
    /// Any call for blocks.
    Read,
    Usage,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    DiskFull,
    Io,
    QuotaReached,
    /// Another client was faster.
    Conflict,
    /// It is done, and an error reported.
    LostReply,
    Panic,
}

impl Fault {
    fn error(self) -> Error {
        match self {
            Self::DiskFull => Error::DiskFull,
            Self::QuotaReached => Error::QuotaReached { used: 1, quota: 1, size: 1 },
            Self::Conflict => Error::PointerCas { existing: None, sequence: None, claimed: None },
            Self::Panic => panic!("on demand"),
            Self::Io | Self::LostReply => Error::Io { what: "a test", source: std::io::Error::other("on demand") },
        }
    }

    pub fn errno(self) -> i32 {
        peergos_fs::Error::from(self.error()).errno()
    }
}

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    Hidden,
    Corrupted,
}

impl Damage {
    fn apply(self, data: Bytes) -> Option<Bytes> {
        let mut bytes = data.to_vec();
        *bytes.last_mut()? ^= 1;
        (self == Self::Corrupted).then(|| bytes.into())
    }
}

struct Plan {
    call: Call,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// What a [`Faulty`] node has been told to do.
#[derive(Default)]
pub struct Faults {
    plans: Mutex<Vec<Plan>>,
    damaged: Mutex<HashMap<Cid, Damage>>,
    fragments: Mutex<Option<Damage>>,
    delay: Mutex<Duration>,
    uploads: RwLock<()>,
    asked: AtomicUsize,
    uploaded: AtomicUsize,
    /// Every call passes it.
    way: RwLock<()>,
    waiting: AtomicUsize,
    offline: AtomicBool,
    /// Whether blocks are also read in parts, as from a node in this process. Such calls meet no faults.
    pub reads_parts: AtomicBool,
}

impl Faults {
    /// Lets `skip` calls pass, and the next `times` fail.
    pub fn fail(&self, call: Call, skip: u32, times: u32, fault: Fault) {
        self.plans.lock().push(Plan { call, skip, times, fault });
    }

    /// Lets calls of one kind pass again.
    pub fn allow(&self, call: Call) {
        self.plans.lock().retain(|plan| plan.call != call);
    }

    /// Whether all failures that were asked for have happened.
    pub fn are_spent(&self) -> bool {
        self.plans.lock().iter().all(|plan| plan.times == 0)
    }

    /// Has the node seem to be out of reach, or within it again.
    pub fn seem_offline(&self, offline: bool) {
        self.offline.store(offline, Ordering::Relaxed);
    }

    /// Damages a block in all answers.
    pub fn damage(&self, cid: Cid, damage: Damage) {
        self.damaged.lock().insert(cid, damage);
    }

    /// Damages all fragments in all answers.
    pub fn damage_fragments(&self, damage: Damage) {
        *self.fragments.lock() = Some(damage);
    }

    /// Makes every answer with blocks take this much longer.
    pub fn delay_reads(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    /// Keeps blocks from being stored until the guard is dropped.
    pub fn hold_uploads(&self) -> RwLockWriteGuard<'_, ()> {
        self.uploads.write()
    }

    /// How often blocks were to be stored so far, whether they were held or not.
    pub fn uploads(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn pass_upload(&self) -> RwLockReadGuard<'_, ()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.uploads.read()
    }

    /// Keeps every call from being answered until the guard is dropped.
    pub fn wedge(&self) -> RwLockWriteGuard<'_, ()> {
        self.way.write()
    }

    /// How many calls wait for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How many bytes of blocks were stored so far.
    pub fn uploaded(&self) -> usize {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.plans.lock().clear();
        self.damaged.lock().clear();
        *self.fragments.lock() = None;
        self.delay_reads(Duration::ZERO);
    }

    fn run<T>(&self, call: Call, perform: impl FnOnce() -> Result<T>) -> Result<T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.way.read());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        match self.next(call) {
            None => perform(),
            Some(Fault::LostReply) => perform().and(Err(Fault::LostReply.error())),
            Some(fault) => Err(fault.error()),
        }
    }

    fn next(&self, call: Call) -> Option<Fault> {
        let mut plans = self.plans.lock();
        let plan = plans.iter_mut().find(|plan| plan.call == call && plan.times > 0)?;
        match plan.skip {
            0 => plan.times -= 1,
            _ => {
                plan.skip -= 1;
                return None;
            }
        }
        Some(plan.fault)
    }

    fn answer(&self, cid: &Cid, data: Bytes) -> Option<Bytes> {
        let fragments = self.fragments.lock().filter(|_| cid.codec() == Codec::Raw);
        match self.damaged.lock().get(cid).copied().or(fragments) {
            Some(damage) => damage.apply(data),
            None => Some(data),
        }
    }

    fn wait(&self) {
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

/// A real node that fails as it is told.
pub struct Faulty {
    pub node: Arc<EmbeddedNode>,
    pub faults: Arc<Faults>,
}

impl Node for Faulty {
    fn reach(&self) -> Reach {
        match self.faults.offline.load(Ordering::Relaxed) {
            true => Reach::Offline { since: SystemTime::now(), reason: "a test".into() },
            false => self.node.reach(),
        }
    }

    fn id(&self) -> Result<Cid> {
        self.node.id()
    }

    fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId> {
        self.faults.run(Call::StartTransaction, || self.node.start_transaction(owner))
    }

    fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()> {
        self.node.close_transaction(owner, transaction)
    }

    fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let _passed = self.faults.pass_upload();
        let bytes = blocks.iter().map(|block| block.block.data().len()).sum();
        self.faults.run(Call::PutBlocks, || self.node.put_blocks(owner, writer, transaction, codec, blocks))?;
        self.faults.uploaded.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn put_vital_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let _passed = self.faults.pass_upload();
        let bytes = blocks.iter().map(|block| block.block.data().len()).sum();
        let put = || self.node.put_vital_blocks(owner, writer, transaction, codec, blocks);
        self.faults.run(Call::PutVitalBlocks, put)?;
        self.faults.uploaded.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn hold_blocks(&self, owner: &KeyHash, transaction: &TransactionId, blocks: &[Cid]) -> Result<bool> {
        self.node.hold_blocks(owner, transaction, blocks)
    }

    fn get_block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>> {
        self.faults.wait();
        let found = self.faults.run(Call::Read, || self.node.get_block(owner, cid, bat));
        Ok(found?.and_then(|data| self.faults.answer(cid, data)))
    }

    fn get_blocks(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)]) -> Result<Vec<Option<Bytes>>> {
        self.faults.wait();
        let found = self.faults.run(Call::Read, || self.node.get_blocks(owner, wanted))?;
        let answers = wanted.iter().zip(found).map(|((cid, _), data)| self.faults.answer(cid, data?));
        Ok(answers.collect())
    }

    fn get_payload(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        Ok(self.keeps_beside() && self.node.get_payload(owner, cid, bat, range, out)?)
    }

    fn get_payloads(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)], out: &mut Vec<u8>) -> Result<bool> {
        Ok(self.keeps_beside() && self.node.get_payloads(owner, wanted, out)?)
    }

    fn keeps_beside(&self) -> bool {
        self.faults.reads_parts.load(Ordering::Relaxed)
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
        if self.keeps_beside() { self.node.get_part(owner, cid, bat, payload, beside, out) } else { Ok(None) }
    }

    fn champ_get(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        self.faults.wait();
        let found = self.faults.run(Call::Read, || self.node.champ_get(owner, root, caps))?.into_iter();
        let answer = |data: Bytes| self.faults.answer(Block::new(Codec::DagCbor, data.clone()).cid(), data);
        Ok(found.filter_map(answer).collect())
    }

    fn get_pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        self.faults.run(Call::GetPointer, || self.node.get_pointer(owner, writer))
    }

    fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        self.faults.run(Call::SetPointers, || self.node.set_pointers(owner, pointers))
    }

    fn get_public_key(&self, username: &str) -> Result<Option<KeyHash>> {
        self.node.get_public_key(username)
    }

    fn get_username(&self, identity: &KeyHash) -> Result<String> {
        self.node.get_username(identity)
    }

    fn get_chain(&self, username: &str) -> Result<Vec<u8>> {
        self.node.get_chain(username)
    }

    fn update_chain(&self, username: &str, links: &[u8], proof_of_work: &[u8], token: &str) -> Result<Admission> {
        self.node.update_chain(username, links, proof_of_work, token)
    }

    fn sign_up(&self, request: &SignUp) -> Result<Admission> {
        self.node.sign_up(request)
    }

    fn get_login(&self, username: &str, reader: &PublicSigningKey, auth: &[u8], mfa: Option<&[u8]>) -> Result<Vec<u8>> {
        self.node.get_login(username, reader, auth, mfa)
    }

    fn set_login(&self, username: &str, login_data: &[u8], auth: &[u8; 64]) -> Result<()> {
        self.node.set_login(username, login_data, auth)
    }

    fn get_user_bats(&self, username: &str, auth: &[u8]) -> Result<Vec<BatWithId>> {
        self.node.get_user_bats(username, auth)
    }

    fn add_bat(&self, username: &str, bat: &BatWithId, auth: &[u8]) -> Result<()> {
        self.node.add_bat(username, bat, auth)
    }

    fn usage(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        self.faults.run(Call::Usage, || self.node.usage(owner, auth))
    }

    fn room(&self, owner: &KeyHash) -> Result<Option<Room>> {
        self.node.room(owner)
    }

    fn quota(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        self.node.quota(owner, auth)
    }
}
