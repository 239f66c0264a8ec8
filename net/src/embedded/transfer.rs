//! Whole accounts going in and out (see [`crate::archive`]).

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, Read, Write},
    path::Path,
};

use peergos_crypto::{
    cbor::Value,
    cid::Cid,
    signing::{KeyHash, PublicSigningKey},
};

use super::{
    accounts::{Account, next_id},
    bats,
    core::Core,
    dag::{Dag, Reached},
    disk::Purpose,
    factors,
    store::{AccountId, Batch, Kv, Snapshot, Table},
    view::{pointer_key, read_pointer},
};
use crate::{
    Block, Error, PointerUpdate, Result, WriterData,
    archive::{AccountState, CarReader, CarWriter},
    claim::ClaimChain,
};

/// The row of [`Table::Node`] with the number of the account that is being imported.
const IMPORTING: &[u8] = b"importing";
/// How many bytes of blocks are stored at once.
const PORTION: usize = 16 << 20;
/// The largest account file that is read, in bytes.
const MAX_STATE: u64 = 64 << 20;

impl Core {
    /// See [`super::EmbeddedNode::export`].
    pub fn export(&self, username: &str, car: impl Write, mut json: impl Write) -> Result<()> {
        let _no_sweep = self.sweeps.lock();
        self.accounts.require(username)?;
        let snapshot = self.kv.snapshot()?;
        let account = Account::read(&snapshot, username)?;
        let state = state_of(&snapshot, &account)?;
        let mut roots = Vec::new();
        for signed in state.pointers.values() {
            roots.extend(read_pointer(signed)?.updated);
        }
        let identity = state.pointers.get(account.identity()).map(|signed| read_pointer(signed)).transpose()?;
        let root = identity.and_then(|pointer| pointer.updated);
        let root = root.ok_or_else(|| Error::Refused(format!("{username} has been deleted")))?;
        let dag = Dag { store: &self.store, account: account.id };
        let mut car = CarWriter::new(io::BufWriter::new(car), &root)?;
        let mut write = |id: &_| car.write(&dag.block(id)?);
        dag.reach(roots.iter().filter_map(|root| dag.stored(root)), &mut Reached::default(), &mut write)?;
        car.finish()?;
        json.write_all(state.to_json().as_bytes()).and_then(|()| json.flush()).map_err(Error::io("writing an account"))
    }

    /// See [`super::EmbeddedNode::import`].
    pub fn import(&self, car: impl Read, json: impl Read) -> Result<String> {
        let _no_sweep = self.sweeps.lock();
        let mut text = Vec::new();
        json.take(MAX_STATE).read_to_end(&mut text).map_err(Error::io("reading an account"))?;
        let state = AccountState::from_json(&text)?;
        let chain = check(&state)?;
        self.check_free(&chain)?;
        let id = self.begin_import()?;
        match self.import_account(id, car, &state, chain) {
            Ok(()) => Ok(state.username),
            Err(error) => {
                // no commit of others may write down what is being forgotten
                let _commits = self.commits.lock();
                self.store.forget(id);
                remove(&self.dir, &self.kv, id)?;
                Err(error)
            }
        }
    }

    fn check_free(&self, chain: &ClaimChain) -> Result<()> {
        if self.accounts.named(chain.username()).is_some() || self.accounts.of(chain.identity()).is_ok() {
            return Err(Error::Refused("User already exists!".into()));
        }
        Ok(())
    }

    /// Takes a number, and writes down that what is stored under it is unfinished.
    fn begin_import(&self) -> Result<AccountId> {
        let commits = self.commits.lock();
        let mut batch = Batch::default();
        let id = next_id(&self.kv, &mut batch)?;
        batch.put(Table::Node, IMPORTING, id.to_key());
        self.commit(batch, &commits)?;
        Ok(id)
    }

    fn import_account(&self, id: AccountId, car: impl Read, state: &AccountState, chain: ClaimChain) -> Result<()> {
        let mut blocks = CarReader::new(io::BufReader::new(car))?;
        let (mut portion, mut size): (Vec<Block>, usize) = Default::default();
        loop {
            let block = blocks.next().transpose()?;
            let ends = block.is_none();
            size += block.as_ref().map_or(0, |block| block.data().len());
            portion.extend(block);
            if ends || size >= PORTION {
                let _room = self.disk.room(Purpose::Content, size as u64)?;
                self.store.put(id, &portion.iter().collect::<Vec<_>>())?;
                self.commit(Batch::default(), &self.commits.lock())?;
                (portion, size) = Default::default();
            }
            if ends {
                break;
            }
        }
        self.check_complete(id, state, blocks.root())?;
        let mut account = Account { id, chain, writers: HashSet::new(), quota: None };
        let mut batch = Batch::default();
        save(&mut batch, id, state);
        // ownership is read through the pointers
        self.commit(batch, &self.commits.lock())?;
        account.writers = self.view(&account).writers(account.identity())?;
        if !account.writers.iter().all(|writer| state.pointers.contains_key(writer)) {
            return Err(Error::Invalid("account file, which lacks the pointer of a writing space"));
        }
        let commits = self.commits.lock();
        // somebody may have signed up meanwhile
        self.check_free(&account.chain)?;
        let mut batch = Batch::default();
        account.save(&mut batch);
        batch.delete(Table::Node, IMPORTING);
        self.commit(batch, &commits)?;
        let writers: Vec<KeyHash> = account.writers.iter().cloned().collect();
        self.accounts.publish(account);
        self.moved(id, &writers);
        Ok(())
    }

    /// Checks that everything below the pointers is there, and that each points to what its writer controls.
    fn check_complete(&self, id: AccountId, state: &AccountState, root: &Cid) -> Result<()> {
        let dag = Dag { store: &self.store, account: id };
        let mut reached = Reached::default();
        for (writer, signed) in &state.pointers {
            let Some(target) = read_pointer(signed)?.updated else { continue };
            let block = dag.stored(&target).ok_or(Error::Invalid("pointer target"))?;
            WriterData::decode(dag.block(&block)?.data(), writer)?;
            dag.reach([block], &mut reached, &mut |id| match self.store.locate(id)? {
                Some(_) => Ok(()),
                None => Err(Error::MissingBlock(id.cid())),
            })?;
        }
        let identity = state.pointers.get(&state.identity).map(|signed| read_pointer(signed)).transpose()?;
        match identity.and_then(|pointer| pointer.updated) {
            Some(target) if target == *root => Ok(()),
            _ => Err(Error::Invalid("CAR file, which is of another version of the account")),
        }
    }
}

/// Checks what can be checked without blocks.
fn check(state: &AccountState) -> Result<ClaimChain> {
    let chain = ClaimChain::verify(&state.username, state.chain.clone())?;
    if *chain.identity() != state.identity {
        return Err(Error::Invalid("account file, whose claims are another identity's"));
    }
    for (writer, signed) in &state.pointers {
        PointerUpdate::open(signed, &writer.signing_key()?)?;
    }
    state.bats.iter().try_for_each(bats::check_id)?;
    Ok(chain)
}

/// Adds everything but the account itself to `batch`.
fn save(batch: &mut Batch, id: AccountId, state: &AccountState) {
    for (writer, signed) in &state.pointers {
        batch.put(Table::Pointers, pointer_key(id, writer), signed.as_slice());
    }
    for (entry, reader) in &state.logins {
        batch.put(Table::Logins, id.row(reader.as_bytes()), entry.encode());
    }
    for (number, bat) in state.bats.iter().enumerate() {
        bats::save(batch, id, number, bat);
    }
    for (number, factor) in state.factors.iter().enumerate() {
        factors::save(batch, id, &(number as u32).to_be_bytes(), factor);
    }
    for (number, request) in state.follow_requests.iter().enumerate() {
        batch.put(Table::FollowRequests, numbered(id, number), request.as_slice());
    }
}

fn numbered(id: AccountId, number: usize) -> Vec<u8> {
    id.row(&(number as u32).to_be_bytes())
}

fn state_of(snapshot: &Snapshot, account: &Account) -> Result<AccountState> {
    let rows = |table| snapshot.rows(table, &account.id.to_key());
    let pointer = |(writer, signed): (Vec<u8>, _)| Ok((KeyHash::from_cid(Cid::from_bytes(&writer)?)?, signed));
    let login = |(reader, entry): (Vec<u8>, Vec<u8>)| {
        let reader = reader.try_into().map_err(|_| Error::Invalid("login row"))?;
        Ok((Value::decode(&entry)?, PublicSigningKey::from_bytes(reader)))
    };
    let mut pointers = rows(Table::Pointers)?.into_iter().map(pointer).collect::<Result<BTreeMap<_, _>>>()?;
    // what was disowned is garbage
    pointers.retain(|writer, _| account.writers.contains(writer));
    Ok(AccountState {
        username: account.username().to_owned(),
        identity: account.identity().clone(),
        chain: account.chain.links().cloned().collect(),
        pointers,
        logins: rows(Table::Logins)?.into_iter().map(login).collect::<Result<_>>()?,
        factors: factors::rows(snapshot, account.id)?.into_iter().map(|(_, factor)| factor).collect(),
        bats: bats::list(snapshot, account.id)?,
        follow_requests: rows(Table::FollowRequests)?.into_iter().map(|(_, request)| request).collect(),
        server_id: account.chain.home().clone(),
    })
}

/// Removes what an import that was interrupted has left. Only while nobody else uses the store.
pub(super) fn remove_unfinished(dir: &Path, kv: &Kv) -> Result<()> {
    match kv.get(Table::Node, IMPORTING)? {
        Some(row) => {
            let id = row.try_into().map_err(|_| Error::Invalid("number of an account"))?;
            remove(dir, kv, AccountId(u32::from_be_bytes(id)))
        }
        None => Ok(()),
    }
}

fn remove(dir: &Path, kv: &Kv, id: AccountId) -> Result<()> {
    match fs::remove_dir_all(dir.join("blocks").join(id.0.to_string())) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("removing an unfinished import")(e)),
        _ => {}
    }
    let snapshot = kv.snapshot()?;
    let mut batch = Batch::default();
    let tables = [Table::Blocks, Table::Pointers, Table::Logins, Table::Bats, Table::Factors, Table::FollowRequests];
    for table in tables {
        snapshot.scan(table, &id.to_key(), &mut |key, _| {
            batch.delete(table, id.row(key));
            Ok(())
        })?;
    }
    batch.delete(Table::Node, IMPORTING);
    kv.commit(&batch)
}
