//! A client without files and ciphertexts: it signs up, puts blocks and moves pointers as a real one does.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use peergos_crypto::{
    bat::{Bat, BatWithId},
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    pow::ProofOfWork,
    signed_request, signed_time,
    signing::{KeyHash, SecretSigningKey},
};

use crate::{
    Admission, Block, CacheSizes, ChampCap, EmbeddedNode, Node, PointerUpdate, PointerWrite, Result, SignUp,
    SignedBlock, TransactionId, Verified, WriterData,
    champ::{self, KeyHasher},
    claim::{ClaimChain, ClaimLink, Date},
    login::{BlockWrite, LoginData, OpLog, Operation},
    owned::{self, OwnerProof},
};

/// The size of fragments in these tests: enough for a file of their own.
pub const FRAGMENT: usize = 300_000;

pub fn millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

pub fn today() -> Date {
    Date::from_unix_seconds(millis() / 1000)
}

pub fn cbor_block(value: &Value) -> Block {
    Block::new(Codec::DagCbor, value.encode())
}

/// Bytes that differ from those of any other seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A raw block, public unless `bats` says otherwise.
pub fn fragment(seed: u64, len: usize, bats: &[Cid]) -> Block {
    let mut data = if bats.is_empty() { Vec::new() } else { peergos_crypto::bat::raw_prefix(bats) };
    data.extend(noise(seed, len));
    Block::new(Codec::Raw, data)
}

/// A dag-cbor block of about `len` bytes that links to `links`.
pub fn entry(seed: u64, len: usize, links: &[&Block]) -> Block {
    let links: Vec<Value> = links.iter().map(|block| Value::from(block.cid())).collect();
    cbor_block(&cbor_map! { "v" => 1i64, "d" => noise(seed, len), "f" => links })
}

/// The map key of an entry.
pub fn map_key(seed: u64) -> [u8; 32] {
    noise(seed ^ 0xabcd_ef01, 32).try_into().unwrap()
}

pub struct Client {
    pub username: String,
    pub identity: SecretSigningKey,
    pub writer: SecretSigningKey,
    pub login: SecretSigningKey,
    pub bat: Bat,
}

impl Client {
    /// A client whose keys depend on its name only.
    pub fn new(username: &str) -> Self {
        let seed = |n: u64| {
            let name = username.bytes().fold(n, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            <[u8; 32]>::try_from(noise(name, 32)).unwrap()
        };
        Self {
            username: username.to_owned(),
            identity: SecretSigningKey::from_seed(&seed(1)),
            writer: SecretSigningKey::from_seed(&seed(2)),
            login: SecretSigningKey::from_seed(&seed(3)),
            bat: Bat::from_bytes(seed(4)),
        }
    }

    pub fn owner(&self) -> &KeyHash {
        self.identity.hash()
    }

    pub fn claim(&self, home: &Cid) -> ClaimLink {
        let chain = ClaimChain::first(&self.identity, &self.username, home, today()).unwrap();
        chain.links().next().unwrap().clone()
    }

    pub fn login_data(&self) -> LoginData {
        LoginData {
            username: self.username.clone(),
            entry_points: Value::from(noise(9, 500)),
            reader: self.login.public(),
            identity_update: None,
        }
    }

    pub fn mirror_bat(&self) -> BatWithId {
        BatWithId { id: self.bat.mirror_id(), bat: self.bat.clone() }
    }

    pub fn request_auth(&self, path: &str) -> Vec<u8> {
        signed_request::sign(&self.identity, path, millis())
    }

    pub fn time_auth(&self) -> Vec<u8> {
        signed_time::sign(&self.identity, millis())
    }

    pub fn op_log(&self) -> OpLog {
        let proof = OwnerProof::sign(&self.writer, self.owner());
        let empty = champ::empty();
        let owned = owned::update(&Nothing, None, std::slice::from_ref(&proof), &[]).unwrap();
        let identity = WriterData { owned: Some(owned.root), ..WriterData::new(self.owner().clone()) };
        let home = WriterData {
            owned: Some(empty.cid().clone()),
            tree: Some(empty.cid().clone()),
            ..WriterData::new(self.writer.hash().clone())
        };
        let mut operations = Vec::new();
        let mut space = |key: &SecretSigningKey, blocks: Vec<Block>, data: &WriterData| {
            let blocks = blocks.into_iter().chain([data.block()]);
            operations.extend(blocks.map(|block| Operation::Block(block_write(block, key))));
            operations.push(Operation::Pointer(pointer_write(None, Some(data.block().cid().clone()), key)));
        };
        space(&self.identity, owned.blocks, &identity);
        space(&self.writer, vec![empty], &home);
        let login = self.login_data();
        let auth = login.authorise(&self.identity);
        OpLog {
            operations,
            login: Some((login, auth)),
            mirror_bat: Some((self.mirror_bat(), self.request_auth("peergos/v0/bats/addBat"))),
        }
    }

    pub fn request(&self, claim: &ClaimLink, op_log: &OpLog) -> SignUp {
        SignUp {
            username: self.username.clone(),
            claim: claim.to_cbor().encode(),
            op_log: op_log.to_cbor().encode(),
            proof_of_work: ProofOfWork::none().to_cbor().encode(),
            token: String::new(),
        }
    }

    pub fn sign_up(&self, node: &dyn Node) -> Result<()> {
        let request = self.request(&self.claim(&node.id()?), &self.op_log());
        assert_eq!(node.sign_up(&request)?, Admission::Accepted);
        Ok(())
    }

    /// The current data of one of the account's writers.
    pub fn data(&self, node: &Arc<EmbeddedNode>, writer: &SecretSigningKey) -> (Verified, PointerUpdate, WriterData) {
        let verified = Verified::new(Arc::clone(node) as Arc<dyn Node>, CacheSizes::default());
        let pointer = verified.pointer(self.owner(), writer.hash()).unwrap().unwrap();
        let target = pointer.updated.as_ref().unwrap();
        let data = verified.writer_data(self.owner(), writer.hash(), target).unwrap();
        (verified, pointer, data)
    }

    /// The blocks and the pointer that put `changes` into the home writer's tree.
    pub fn change(
        &self,
        node: &Arc<EmbeddedNode>,
        changes: Vec<([u8; 32], Option<Cid>)>,
    ) -> (Vec<Block>, PointerWrite) {
        let (verified, pointer, mut data) = self.data(node, &self.writer);
        let changes = changes.into_iter().map(|(key, value)| (key, value.as_ref().map(Value::from)));
        let tree = data.tree.clone();
        let owner = self.owner().clone();
        let applied = champ::apply(&verified.of(&owner), tree.as_ref(), changes, KeyHasher::Identity, None).unwrap();
        data.tree = Some(applied.root);
        let mut blocks = applied.blocks;
        blocks.push(data.block());
        let update = pointer_write(Some(&pointer), Some(data.block().cid().clone()), &self.writer);
        (blocks, update)
    }

    /// Puts blocks by the home writer.
    pub fn put(&self, node: &dyn Node, transaction: &TransactionId, blocks: &[Block]) -> Result<()> {
        for codec in [Codec::Raw, Codec::DagCbor] {
            let group: Vec<SignedBlock> = blocks
                .iter()
                .filter(|block| block.cid().codec() == codec)
                .map(|block| block.clone().sign(&self.writer))
                .collect();
            if !group.is_empty() {
                node.put_blocks(self.owner(), self.writer.hash(), transaction, codec, group)?;
            }
        }
        Ok(())
    }

    /// One whole commit: entries under their map keys, and the fragments they link to.
    pub fn commit(
        &self,
        node: &Arc<EmbeddedNode>,
        entries: &[([u8; 32], Option<Block>)],
        fragments: &[Block],
    ) -> Result<()> {
        let changes = entries.iter().map(|(key, block)| (*key, block.as_ref().map(|block| block.cid().clone())));
        let (mut blocks, pointer) = self.change(node, changes.collect());
        blocks.extend(entries.iter().filter_map(|(_, block)| block.clone()));
        blocks.extend_from_slice(fragments);
        let transaction = node.start_transaction(self.owner())?;
        self.put(&**node, &transaction, &blocks)?;
        node.set_pointer(self.owner(), &pointer)?;
        node.close_transaction(self.owner(), &transaction)
    }

    /// Makes the identity or a writer own keys, or give them up.
    pub fn own(
        &self,
        node: &Arc<EmbeddedNode>,
        parent: &SecretSigningKey,
        add: &[OwnerProof],
        remove: &[KeyHash],
    ) -> Result<()> {
        let (verified, pointer, mut data) = self.data(node, parent);
        let owner = self.owner().clone();
        let owned = owned::update(&verified.of(&owner), data.owned.as_ref(), add, remove).unwrap();
        data.owned = Some(owned.root);
        let mut blocks = owned.blocks;
        blocks.push(data.block());
        self.publish(&**node, parent, Some(&pointer), blocks, Some(data.block().cid().clone()))
    }

    /// Puts blocks by `writer` and moves its pointer.
    pub fn publish(
        &self,
        node: &dyn Node,
        writer: &SecretSigningKey,
        current: Option<&PointerUpdate>,
        blocks: Vec<Block>,
        target: Option<Cid>,
    ) -> Result<()> {
        let transaction = node.start_transaction(self.owner())?;
        let blocks = blocks.into_iter().map(|block| block.sign(writer)).collect();
        node.put_blocks(self.owner(), writer.hash(), &transaction, Codec::DagCbor, blocks)?;
        node.set_pointer(self.owner(), &pointer_write(current, target, writer))?;
        node.close_transaction(self.owner(), &transaction)
    }

    /// The entry under a map key, having checked that everything it links to is there.
    pub fn read(&self, node: &Arc<EmbeddedNode>, key: [u8; 32]) -> Option<Block> {
        self.read_all(node, [key]).remove(0)
    }

    /// Many entries.
    pub fn read_all(&self, node: &Arc<EmbeddedNode>, keys: impl IntoIterator<Item = [u8; 32]>) -> Vec<Option<Block>> {
        let (verified, _, data) = self.data(node, &self.writer);
        let caps: Vec<ChampCap> = keys.into_iter().map(|map_key| ChampCap { map_key, bat: None }).collect();
        let found = verified.lookup(self.owner(), &data.tree.unwrap(), &caps).unwrap();
        let get = |cid: Cid| verified.block(self.owner(), &cid, None).unwrap();
        let entries: Vec<Option<Block>> = found.into_iter().map(|cid| cid.map(get)).collect();
        for entry in entries.iter().flatten() {
            Value::decode(entry.data()).unwrap().links().into_iter().cloned().for_each(|cid| drop(get(cid)));
        }
        entries
    }
}

pub fn block_write(block: Block, writer: &SecretSigningKey) -> BlockWrite {
    BlockWrite { writer: writer.hash().clone(), block: block.sign(writer) }
}

pub fn pointer_write(current: Option<&PointerUpdate>, target: Option<Cid>, writer: &SecretSigningKey) -> PointerWrite {
    let signed = PointerUpdate::next(current, target).sign(writer);
    PointerWrite { writer: writer.hash().clone(), signed }
}

/// A source of CHAMP nodes for trees that are made from nothing.
pub struct Nothing;

impl champ::NodeSource for Nothing {
    fn node(&self, cid: &Cid) -> Result<Arc<champ::Node>> {
        Err(crate::Error::MissingBlock(cid.clone()))
    }
}

/// A node in a folder that goes away with it.
pub fn fresh() -> (tempfile::TempDir, Arc<EmbeddedNode>) {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    (dir, node)
}
