//! Making an account: everything is built here and submitted in one request (spec 01 §8).

use std::{sync::Arc, time::SystemTime};

use peergos_crypto::{
    boxing::BoxingKeyPair,
    cbor::Value,
    cid::{Cid, Codec},
    password::{self, Algorithm},
    signed_request,
    signing::{KeyHash, SecretSigningKey},
    symmetric::CipherText,
};
use peergos_net::{
    Block, Node, PointerUpdate, PointerWrite, SignUp, WriterData,
    champ::{self, Applied, KeyHasher, NodeSource},
    login::{BlockWrite, LoginData, OpLog, Operation},
    owned::{self, OwnerProof},
};

use super::{
    ADD_BAT, Account, EntryPoints, Person, Step,
    claim::{self, with_work},
    millis, new_mirror_bat, since_epoch,
};
use crate::{
    Result,
    capability::ChildLink,
    cryptree::{self, DirectoryKeys, FromParent, Properties, Time},
};

/// The directories that a home begins with, all hidden.
const FOLDERS: [&str; 3] = ["shared", ".transactions", ".capabilitycache"];

/// A node with its place in the writing space.
type PlacedNode = ([u8; 32], Block);

/// Trees that are made from nothing have no old nodes.
pub(super) struct Nothing;

impl NodeSource for Nothing {
    fn node(&self, cid: &Cid) -> peergos_net::Result<Arc<champ::Node>> {
        Err(peergos_net::Error::MissingBlock(cid.clone()))
    }
}

/// Makes the account `username` on `node`, where the name must be free.
///
/// # Errors
/// [`Error::InvalidUsername`], [`Error::UsernameTaken`]; [`Error::Crypto`] if the password is not allowed; what the node
/// refuses.
pub fn sign_up(
    node: &dyn Node,
    username: &str,
    password: &str,
    token: &str,
    now: SystemTime,
    person: &mut dyn Person,
) -> Result<Account> {
    password::check_new(username, password)?;
    let identity = SecretSigningKey::generate()?;
    let claims = claim::first(node, username, &identity, now)?;

    person.wait_for(Step::DerivingKeys);
    let algorithm = Algorithm::generate()?;
    let keys = password::derive(username, password, &algorithm)?;

    let home_signer = SecretSigningKey::generate()?;
    let boxing = BoxingKeyPair::generate()?;
    let mirror = new_mirror_bat()?;
    let (home, nodes) = home_directory(username, identity.hash(), &home_signer, &mirror.id, now)?;
    let points = EntryPoints::new(username, home.cap.clone(), identity.clone(), boxing.clone());
    let account = Account {
        username: username.to_owned(),
        owner: identity.hash().clone(),
        identity,
        home: home.cap,
        home_signer,
        mirror_bat: Some(mirror),
        boxing,
        claims,
        is_legacy: false,
        algorithm,
        keys,
        code_was_typed: false,
        points,
    };

    let login = LoginData {
        username: username.to_owned(),
        entry_points: account.points.seal(&account.keys.root)?.to_cbor(),
        reader: account.keys.signing.public(),
        identity_update: None,
    };
    let mut operations = identity_operations(&account)?;
    operations.extend(home_operations(&account.home_signer, nodes)?);
    let op_log = OpLog {
        operations,
        login: Some((login.clone(), login.authorise(&account.identity))),
        mirror_bat: account.mirror_bat.clone().map(|bat| {
            let auth = signed_request::sign(&account.identity, ADD_BAT, millis(now));
            (bat, auth)
        }),
    };
    person.wait_for(Step::Asking);
    let claim = account.claims.links().next().expect("a chain has a link").to_cbor();
    let request = SignUp {
        username: username.to_owned(),
        claim: claim.encode(),
        op_log: op_log.to_cbor().encode(),
        proof_of_work: Vec::new(),
        token: token.to_owned(),
    };
    match submit(node, &request, claim.clone()) {
        // if the answer was lost, the name may be ours: the same request again is no harm, and tells
        Err(_) if is_ours(node, &account) => submit(node, &request, claim)?,
        outcome => outcome?,
    }
    Ok(account)
}

fn submit(node: &dyn Node, request: &SignUp, claim: Value) -> Result<()> {
    let mut request = request.clone();
    with_work(&Value::Array(vec![claim]).encode(), |proof| {
        request.proof_of_work = proof.to_vec();
        node.sign_up(&request)
    })
}

/// Whether the name already belongs to the new identity.
fn is_ours(node: &dyn Node, account: &Account) -> bool {
    let links = claim::links(node, &account.username).unwrap_or_default();
    links.last().is_some_and(|link| link.owner == account.owner)
}

/// The identity's blocks and pointer: its boxing key, and that it owns the home's writing space.
fn identity_operations(account: &Account) -> Result<Vec<Operation>> {
    let proof = OwnerProof::sign(&account.home_signer, &account.owner);
    let Applied { root: owned, mut blocks } = owned::update(&Nothing, None, &[proof], &[])?;
    let boxing = account.boxing.public();
    blocks.push(Block::new(Codec::DagCbor, boxing.to_cbor().encode()));
    let data = WriterData {
        algorithm: Some(account.algorithm.to_cbor()),
        inbound: Some(boxing.hash()),
        owned: Some(owned),
        ..WriterData::new(account.owner.clone())
    };
    Ok(commit(&account.identity, blocks, &data))
}

/// The blocks and pointer of the home's writing space.
fn home_operations(signer: &SecretSigningKey, nodes: Vec<PlacedNode>) -> Result<Vec<Operation>> {
    let entries = nodes.iter().map(|(key, block)| (*key, Some(block.cid().into())));
    let tree = champ::apply(&Nothing, None, entries, KeyHasher::Identity, None)?;
    let empty = champ::empty();
    let data = WriterData {
        owned: Some(empty.cid().clone()),
        tree: Some(tree.root),
        ..WriterData::new(signer.hash().clone())
    };
    let nodes = nodes.into_iter().map(|(_, block)| block);
    Ok(commit(signer, nodes.chain(tree.blocks).chain([empty]), &data))
}

/// A writer's first state: its blocks, and the pointer to its data.
fn commit(writer: &SecretSigningKey, blocks: impl IntoIterator<Item = Block>, data: &WriterData) -> Vec<Operation> {
    let data = data.block();
    let target = data.cid().clone();
    let write =
        |block: Block| Operation::Block(BlockWrite { writer: writer.hash().clone(), block: block.sign(writer) });
    let signed = PointerUpdate::next(None, Some(target)).sign(writer);
    let pointer = PointerWrite { writer: writer.hash().clone(), signed };
    blocks.into_iter().chain([data]).map(write).chain([Operation::Pointer(pointer)]).collect()
}

/// A home with its hidden directories: its keys, and the nodes with their map keys.
fn home_directory(
    username: &str,
    owner: &KeyHash,
    signer: &SecretSigningKey,
    mirror: &Cid,
    now: SystemTime,
) -> Result<(DirectoryKeys, Vec<PlacedNode>)> {
    let since = since_epoch(now);
    let time = Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() };
    let home = DirectoryKeys::generate(owner, signer.hash())?;
    let mut nodes = Vec::with_capacity(FOLDERS.len() + 1);
    let mut children = Vec::with_capacity(FOLDERS.len());
    for name in FOLDERS {
        let folder = DirectoryKeys::generate(owner, signer.hash())?;
        let properties = Properties { hidden: true, ..Properties::directory(name, time) };
        children.push(ChildLink::new(&home.cap, &folder.cap, &properties)?);
        let from_parent = FromParent { parent: Some(home.parent_link(signer.hash())), properties };
        nodes.push(place(&folder, &from_parent, &[], None, mirror)?);
    }
    let properties = Properties::directory(username, time);
    let from_parent = FromParent { parent: None, properties };
    let key = home.cap.write.as_ref().map(|write| cryptree::seal_signer(signer, write)).transpose()?;
    nodes.push(place(&home, &from_parent, &children, key, mirror)?);
    Ok((home, nodes))
}

fn place(
    keys: &DirectoryKeys,
    from_parent: &FromParent,
    children: &[ChildLink],
    signer: Option<CipherText>,
    mirror: &Cid,
) -> Result<PlacedNode> {
    let (node, fragments) = keys.first_node(from_parent, children, signer, Some(mirror))?;
    debug_assert!(fragments.is_empty(), "three children fit the node itself");
    Ok((keys.cap.map_key.0, node.to_block()))
}
