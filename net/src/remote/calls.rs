//! The calls of a node, each as a request to the server.

use bytes::Bytes;
use futures_util::future::try_join_all;
use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey, SIGNATURE_LEN},
    totp::Totp,
};

use super::{
    RemoteNode,
    account::{MAX_LIST, SMALL, hex},
    blocks::groups,
    retry::Repeat,
    transactions,
    transport::Request,
};
use crate::{
    Admission, ChampCap, Error, MAX_CHAMP_CAPS, Node, PointerWrite, Reach, Result, SignUp, SignedBlock, TransactionId,
    http::bodies,
    mfa::{BackupCodes, MfaMethod},
    quota::{LinkCount, PaymentProperties},
};

impl RemoteNode {
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    fn call(&self, request: &Request, repeat: Repeat) -> Result<Bytes> {
        self.wait(self.transport.call(request, repeat))
    }

    /// A call about second factors.
    fn factors(
        &self,
        method: &str,
        username: &str,
        more: &[(&str, &str)],
        auth: &[u8],
        repeat: Repeat,
    ) -> Result<Bytes> {
        let auth = hex(auth);
        let parameters = [&[("username", username)], more, &[("auth", auth.as_str())]].concat();
        self.call(&Request::new(&format!("/peergos/v0/login/{method}"), &parameters, MAX_LIST), repeat)
    }

    fn enable(&self, method: &str, username: &str, credential: &[u8], code: &str, auth: &[u8]) -> Result<()> {
        let credential = hex(credential);
        let more = [("credid", credential.as_str()), ("code", code)];
        done(bodies::read_boolean(&self.factors(method, username, &more, auth, Repeat::Never)?)?)
    }
}

/// What a server says no to without a reason.
fn done(yes: bool) -> Result<()> {
    if yes { Ok(()) } else { Err(Error::Refused("the server refuses, and does not say why".into())) }
}

fn new_factor(reply: &[u8]) -> Result<Totp> {
    Ok(Totp::from_text(std::str::from_utf8(reply).map_err(|_| Error::Invalid("second factor"))?)?)
}

impl Node for RemoteNode {
    fn reach(&self) -> Reach {
        self.transport.health.reach()
    }

    fn id(&self) -> Result<Cid> {
        bodies::read_id(&self.call(&Request::id(), Repeat::Freely)?)
            .map_err(|_| self.transport.not_peergos("its id is none").error)
    }

    fn ids(&self) -> Result<Vec<Cid>> {
        bodies::read_ids(&self.call(&Request::new("/api/v0/ids", &[], MAX_LIST), Repeat::Freely)?)
    }

    fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId> {
        match self.transactions.take(owner) {
            Some(transaction) => Ok(transaction),
            None => self.wait(transactions::open(&self.transport, owner)),
        }
    }

    /// Returns at once.
    fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()> {
        self.transactions.close(self.runtime.handle(), self.transport.clone(), owner, transaction);
        Ok(())
    }

    /// In as many requests as it takes, in parallel: if one fails, others may have succeeded.
    fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let (owner, writer) = (owner.to_string(), writer.to_string());
        let format = if codec == Codec::Raw { "raw" } else { "dag-cbor" };
        let parameters =
            [("format", format), ("owner", &owner), ("transaction", &transaction.0), ("writer", writer.as_str())];
        let puts = groups(&blocks).map(|group| self.transport.put(&parameters, group));
        self.wait(try_join_all(puts)).map(drop)
    }

    fn parallelism(&self) -> usize {
        self.transport.parallelism
    }

    fn get_block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>> {
        self.wait(self.transport.block(&owner.to_string(), cid, bat))
    }

    fn get_blocks(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)]) -> Result<Vec<Option<Bytes>>> {
        let owner = owner.to_string();
        self.wait(try_join_all(wanted.iter().map(|(cid, bat)| self.transport.block(&owner, cid, bat.as_ref()))))
    }

    /// In as many calls as it takes, in parallel.
    fn champ_get(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        self.champ_get_all(owner, root, caps)
    }

    fn champ_get_all(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        let (owner, root) = (owner.to_string(), root.to_string());
        let lookups = caps.chunks(MAX_CHAMP_CAPS).map(|caps| self.transport.lookup(&owner, &root, caps));
        Ok(self.wait(try_join_all(lookups))?.concat())
    }

    fn block_size(&self, owner: &KeyHash, cid: &Cid) -> Result<Option<u64>> {
        let (cid, owner) = (cid.to_string(), owner.to_string());
        let parameters = [("arg", cid.as_str()), ("owner", &owner)];
        let request = Request::new("/api/v0/block/stat", &parameters, SMALL);
        let size = bodies::read_size(&self.call(&request, Repeat::Freely)?)?;
        Ok((size != 0).then_some(size))
    }

    fn get_pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        self.wait(self.transport.pointer(owner, writer))
    }

    fn set_pointer(&self, owner: &KeyHash, pointer: &PointerWrite) -> Result<()> {
        let (to, writer) = (owner.to_string(), pointer.writer.to_string());
        let parameters = [("owner", to.as_str()), ("writer", &writer)];
        let request = Request::new("/peergos/v0/mutable/setPointer", &parameters, SMALL).with(pointer.signed.clone());
        self.wait(self.transport.set(owner, std::slice::from_ref(pointer), &request))
    }

    fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        let request = Request::new("/peergos/v0/mutable/setPointers", &[("owner", &owner.to_string())], SMALL)
            .with(bodies::pointers(pointers));
        self.wait(self.transport.set(owner, pointers, &request))
    }

    fn get_public_key(&self, username: &str) -> Result<Option<KeyHash>> {
        let reply = self.wait(self.transport.core("getPublicKey", bodies::username(username)?, Repeat::Freely))?;
        bodies::read_public_key(&reply)
    }

    fn get_username(&self, identity: &KeyHash) -> Result<String> {
        let reply = self.wait(self.transport.core("getUsername", bodies::identity(identity), Repeat::Freely))?;
        bodies::read_username(&reply)
    }

    fn get_chain(&self, username: &str) -> Result<Vec<u8>> {
        self.wait(self.transport.chain(username)).map(Into::into)
    }

    fn update_chain(&self, username: &str, links: &[u8], proof_of_work: &[u8], token: &str) -> Result<Admission> {
        let update = bodies::ChainUpdate {
            username: username.to_owned(),
            links: links.to_vec(),
            proof_of_work: proof_of_work.to_vec(),
            token: token.to_owned(),
        };
        self.wait(self.transport.claim("updateChain", update.to_bytes()?, username, links))
    }

    fn sign_up(&self, request: &SignUp) -> Result<Admission> {
        let links = Value::Array(vec![Value::decode(&request.claim)?]).encode();
        self.wait(self.transport.claim("signup", bodies::sign_up(request)?, &request.username, &links))
    }

    fn get_login(&self, username: &str, reader: &PublicSigningKey, auth: &[u8], mfa: Option<&[u8]>) -> Result<Vec<u8>> {
        self.wait(self.transport.get_login(username, reader, auth, mfa)).map(Into::into)
    }

    fn set_login(&self, username: &str, login_data: &[u8], auth: &[u8; SIGNATURE_LEN]) -> Result<()> {
        let auth = hex(auth);
        let parameters = [("username", username), ("auth", &auth), ("local", "false")];
        let request = Request::new("/peergos/v0/login/setLogin", &parameters, SMALL).with(login_data.to_vec());
        done(bodies::read_yes(&self.call(&request, Repeat::Never)?)?)
    }

    fn get_user_bats(&self, username: &str, auth: &[u8]) -> Result<Vec<BatWithId>> {
        let parameters = [("username", username), ("auth", &hex(auth))];
        let request = Request::new("/peergos/v0/bats/getUserBats", &parameters, MAX_LIST);
        bodies::read_bats(&self.call(&request, Repeat::Signed)?)
    }

    fn add_bat(&self, username: &str, bat: &BatWithId, auth: &[u8]) -> Result<()> {
        let (id, secret, auth) = (bat.id.to_string(), bat.bat.to_text(), hex(auth));
        let parameters = [("username", username), ("batid", &id), ("bat", &secret), ("auth", &auth)];
        let request = Request::new("/peergos/v0/bats/addBat", &parameters, SMALL);
        done(bodies::read_boolean(&self.call(&request, Repeat::Signed)?)?)
    }

    fn usage(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        self.wait(self.transport.space("usage", owner, &[("local", "false")], auth))
            .and_then(|r| bodies::read_number(&r))
    }

    fn quota(&self, owner: &KeyHash, auth: &[u8]) -> Result<u64> {
        self.wait(self.transport.space("quota", owner, &[], auth)).and_then(|reply| bodies::read_number(&reply))
    }

    fn get_link(&self, owner: &KeyHash, label: u32) -> Result<Vec<u8>> {
        let parameters = [("label", &*label.to_string()), ("owner", &owner.to_string())];
        // it counts how often it is asked
        self.call(&Request::new("/api/v0/link/get", &parameters, MAX_LIST), Repeat::Never).map(Into::into)
    }

    fn link_counts(&self, username: &str, after: u64, bat: &BatWithId) -> Result<Vec<LinkCount>> {
        let parameters = [("after", &*after.to_string()), ("bat", &bat.to_text()), ("owner", username)];
        let reply = self.call(&Request::new("/api/v0/link/counts", &parameters, MAX_LIST), Repeat::Freely)?;
        LinkCount::list_from_cbor(&Value::decode(&reply)?)
    }

    fn list_factors(&self, username: &str, auth: &[u8]) -> Result<Vec<MfaMethod>> {
        let reply = self.factors("listMfa", username, &[], auth, Repeat::Signed)?;
        MfaMethod::list_from_cbor(&Value::decode(&reply)?)
    }

    fn add_totp(&self, username: &str, auth: &[u8]) -> Result<Totp> {
        new_factor(&self.factors("addTotp", username, &[], auth, Repeat::Never)?)
    }

    fn enable_totp(&self, username: &str, credential: &[u8], code: &str, auth: &[u8]) -> Result<()> {
        self.enable("enableTotp", username, credential, code, auth)
    }

    fn add_mount_factor(&self, username: &str, name: &str, auth: &[u8]) -> Result<Totp> {
        new_factor(&self.factors("addMount", username, &[("name", name)], auth, Repeat::Never)?)
    }

    fn enable_mount_factor(&self, username: &str, credential: &[u8], code: &str, auth: &[u8]) -> Result<()> {
        self.enable("enableMount", username, credential, code, auth)
    }

    fn generate_backup_codes(&self, username: &str, auth: &[u8]) -> Result<BackupCodes> {
        let reply = self.factors("genBackupCodes", username, &[], auth, Repeat::Never)?;
        BackupCodes::from_cbor(&Value::decode(&reply)?)
    }

    fn delete_factor(&self, username: &str, credential: &[u8], auth: &[u8]) -> Result<()> {
        let credential = hex(credential);
        let reply = self.factors("deleteMfa", username, &[("credid", &credential)], auth, Repeat::Signed)?;
        done(bodies::read_boolean(&reply)?)
    }

    fn send_follow_request(&self, target: &KeyHash, request: &[u8]) -> Result<bool> {
        let path = "/peergos/v0/social/followRequest";
        let request = Request::new(path, &[("owner", &target.to_string())], SMALL).with(request.to_vec());
        bodies::read_yes(&self.call(&request, Repeat::Never)?)
    }

    fn follow_requests(&self, owner: &KeyHash, auth: &[u8]) -> Result<Vec<Vec<u8>>> {
        let parameters = [("owner", &*owner.to_string()), ("auth", &hex(auth))];
        let request = Request::new("/peergos/v0/social/getFollowRequests", &parameters, MAX_LIST);
        bodies::read_follow_requests(&self.call(&request, Repeat::Signed)?)
    }

    fn remove_follow_request(&self, owner: &KeyHash, signed: &[u8]) -> Result<bool> {
        let path = "/peergos/v0/social/removeFollowRequest";
        let request = Request::new(path, &[("owner", &owner.to_string())], SMALL).with(signed.to_vec());
        bodies::read_yes(&self.call(&request, Repeat::Never)?)
    }

    fn payment_properties(&self, owner: &KeyHash, new_secret: bool, auth: &[u8]) -> Result<PaymentProperties> {
        let more = [("new-client-secret", if new_secret { "true" } else { "false" })];
        let reply = self.wait(self.transport.space("payment-properties", owner, &more, auth))?;
        PaymentProperties::from_cbor(&Value::decode(&reply)?)
    }

    fn request_space(&self, owner: &KeyHash, signed: &[u8]) -> Result<PaymentProperties> {
        let parameters = [("owner", &*owner.to_string()), ("req", &hex(signed))];
        let reply = self.call(&Request::new("/peergos/v0/storage/request", &parameters, SMALL), Repeat::Never)?;
        PaymentProperties::from_cbor(&Value::decode(&reply)?)
    }
}
