//! Calls without what is random in them, or differs from one account to another.

use std::collections::{BTreeMap, BTreeSet};

use peergos_crypto::bat::BatWithId;
use peergos_crypto::cbor::Value;
use peergos_crypto::cid::{Cid, Codec};
use peergos_crypto::signing::{KeyHash, PublicSigningKey, SIGNATURE_LEN};
use peergos_net::http::bodies;
use peergos_net::login::{BlockWrite, LoginData, OpLog, Operation};
use peergos_net::{PointerUpdate, PointerWrite, SignedBlock};
use peergos_testing::{Asked, parse};
use serde_json::Value as Json;

// Nothing here looks at the replies.
#[allow(dead_code)]
#[path = "../../../net/src/tests/recorded.rs"]
mod recorded;

/// What changes an account, in the order in which a commit goes.
const CHANGES: [&str; 6] = [
    "core/signup",
    "block/put/bulk",
    "mutable/setPointer",
    "mutable/setPointers",
    "transaction/close",
    "login/setLogin",
];

/// One request.
pub struct Call {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// The calls in one situation, in their order.
#[derive(Default)]
pub struct Calls(Vec<Call>);

/// What the reference client did: the recorded situations, in their order.
pub fn recorded() -> Vec<(String, Calls)> {
    let trace: Json = serde_json::from_str(include_str!("../../vectors/02-http-trace.json")).unwrap();
    let sections = trace["exchanges"].as_array().unwrap().iter().map(|exchange| exchange["section"].as_str().unwrap());
    let mut recorded: Vec<(String, Calls)> = Vec::new();
    for (section, exchange) in sections.zip(recorded::exchanges()) {
        let (path, query) = parse(&exchange.target);
        let mut call = Call { method: exchange.method, path, query, body: exchange.request };
        if call.is("core/signup") {
            // the trace has only its beginning
            call.body = whole_sign_up();
        }
        match recorded.last_mut() {
            Some((last, calls)) if last == section => calls.0.push(call),
            _ => recorded.push((section.to_owned(), Calls(vec![call]))),
        }
    }
    recorded
}

/// Another sign-up of the reference client.
fn whole_sign_up() -> Vec<u8> {
    let json: Json = serde_json::from_str(include_str!("../../vectors/02-signup-oplog.json")).unwrap();
    hex::decode(json["body"].as_str().unwrap()).unwrap()
}

impl Calls {
    /// Goes on with what has been asked since.
    pub fn extend(&mut self, asked: Vec<Asked>) {
        self.0.extend(asked.into_iter().map(|Asked { method, path, query, body, .. }| Call {
            method,
            path,
            query,
            body,
        }));
    }

    /// Whether a call was made.
    pub fn have(&self, call: &str) -> bool {
        self.last(call).is_some()
    }

    fn last(&self, call: &str) -> Option<usize> {
        self.0.iter().rposition(|made| made.is(call))
    }

    /// Whether the transaction of each commit is closed, in the background.
    pub fn are_settled(&self) -> bool {
        self.last("mutable/setPointers") <= self.last("transaction/close")
    }

    /// Each kind of call, with the call's name.
    pub fn kinds(&self) -> BTreeMap<String, &str> {
        self.0.iter().map(|call| (call.kind(), call.name())).collect()
    }

    /// What they change, but for some calls, in the order of a commit. Within one of its phases there is none.
    pub fn changes(&self, except: &[&str]) -> Vec<String> {
        let mut transactions = Vec::new();
        let mut changes = Vec::new();
        for call in &self.0 {
            let phase = CHANGES.iter().position(|change| call.is(change) && !except.contains(change));
            let Some(phase) = phase else { continue };
            // a fragment that is sent while its file is written may be in that of the commit after this one
            let transaction = match call.query.get("transaction") {
                None if call.is("transaction/close") => call.query.get("arg"),
                Some(_) if call.query["format"] == "raw" => None,
                transaction => transaction,
            };
            let number = transaction.map(|transaction| {
                let known = transactions.iter().position(|known| known == transaction);
                known.unwrap_or_else(|| {
                    transactions.push(transaction.clone());
                    transactions.len() - 1
                })
            });
            let within = number.map(|number| format!(" in transaction {number}")).unwrap_or_default();
            changes.push((phase, format!("{}{}{within}", CHANGES[phase], call.extent())));
        }
        assert!(changes.is_sorted_by_key(|(phase, _)| *phase), "{changes:#?}");
        changes.sort();
        changes.into_iter().map(|(_, change)| change).collect()
    }

    /// Every change of a pointer, in order.
    pub fn pointers(&self) -> Vec<PointerWrite> {
        self.0.iter().flat_map(Call::pointers).collect()
    }

    /// The different fragments that are asked for.
    pub fn fragments(&self) -> BTreeSet<&str> {
        let of = |call: &&Call| call.is("block/get") && call.cid("arg").codec() == Codec::Raw;
        self.0.iter().filter(of).map(|call| call.query["arg"].as_str()).collect()
    }
}

impl Call {
    fn name(&self) -> &str {
        self.path.rsplit_once("v0/").map(|(_, name)| name.trim_end_matches('/')).unwrap()
    }

    fn is(&self, name: &str) -> bool {
        self.name() == name
    }

    fn cid(&self, name: &str) -> Cid {
        self.query[name].parse().unwrap()
    }

    fn key(&self, name: &str) -> KeyHash {
        KeyHash::from_cid(self.cid(name)).unwrap()
    }

    fn cbor(&self, name: &str) -> Value {
        Value::decode(&hex::decode(&self.query[name]).unwrap()).unwrap()
    }

    /// Method, path, parameters and structure of the body.
    fn kind(&self) -> String {
        let parameters = self.query.iter().map(|(name, value)| format!("{name}={}", self.parameter(name, value)));
        format!("{} {}?{} {}", self.method, self.path, parameters.collect::<Vec<_>>().join("&"), self.content())
    }

    fn parameter(&self, name: &str, value: &str) -> String {
        match name {
            "arg" if self.is("transaction/close") => self.parameter("transaction", value),
            "transaction" => {
                assert!(!value.is_empty());
                "id".to_owned()
            }
            "arg" | "batid" => format!("hash of {:?}", self.cid(name).codec()),
            "owner" | "writer" => {
                let key = self.key(name);
                if key == self.key("owner") { "identity".to_owned() } else { "writer".to_owned() }
            }
            "author" => shape(&PublicSigningKey::from_cbor(&self.cbor(name)).unwrap().to_cbor()),
            "auth" => self.authorisation(),
            "username" => "name".to_owned(),
            "bat" => shape(&BatWithId::from_text(value).unwrap().to_cbor()),
            "caps" => {
                let caps = bodies::read_champ_caps(value).unwrap();
                let have_bats: BTreeSet<_> = caps.iter().map(|cap| cap.bat.is_some()).collect();
                format!("lookups, with BATs: {have_bats:?}")
            }
            // the same for everybody
            _ => value.to_owned(),
        }
    }

    /// What is signed, verified where the request says by whom.
    fn authorisation(&self) -> String {
        let auth = hex::decode(&self.query["auth"]).unwrap();
        let Some((_, message)) = auth.split_at_checked(SIGNATURE_LEN).filter(|(_, message)| !message.is_empty()) else {
            // of the body
            return format!("{} bytes", auth.len());
        };
        let signer = match self.query.contains_key("author") {
            true => Some(PublicSigningKey::from_cbor(&self.cbor("author")).unwrap()),
            false => self.query.get("owner").map(|_| self.key("owner").signing_key().unwrap()),
        };
        signer.iter().for_each(|signer| assert_eq!(signer.open(&auth).unwrap(), message));
        let signed = Value::decode(message).unwrap();
        let path = signed.as_map("a request").ok().and_then(|request| request.get("p"));
        let path = path.map(|path| path.as_text("a path").unwrap().to_owned());
        format!("signed {} {path:?}", shape(&signed))
    }

    fn content(&self) -> String {
        let body = &self.body;
        if self.is("core/signup") {
            return of_sign_up(body);
        }
        if self.is("login/setLogin") {
            // the recorded one is cut after this
            let block = Value::decode_entry(body, "b").unwrap().map(|block| shape(&block));
            return format!("{:x} with {block:?}", body[0]);
        }
        if self.is("block/put/bulk") {
            assert!(!self.blocks().is_empty());
            return "blocks, and as many signatures".to_owned();
        }
        if self.path.contains("mutable/set") {
            let pointers: BTreeSet<_> = self.pointers().iter().map(of_pointer).collect();
            return format!("{pointers:?}");
        }
        if body.is_empty() { String::new() } else { bodies::read_username(body).map(|_| "name".to_owned()).unwrap() }
    }

    fn blocks(&self) -> Vec<SignedBlock> {
        let codec = if self.query["format"] == "raw" { Codec::Raw } else { Codec::DagCbor };
        bodies::read_block_group(codec, &self.body).unwrap()
    }

    /// The pointers that it sets.
    fn pointers(&self) -> Vec<PointerWrite> {
        if self.is("mutable/setPointers") {
            bodies::read_pointers(&self.body).unwrap()
        } else if self.is("mutable/setPointer") {
            vec![PointerWrite { writer: self.key("writer"), signed: self.body.clone() }]
        } else if self.is("core/signup") {
            let log = bodies::read_sign_up(&self.body).unwrap().op_log;
            let operations = OpLog::from_cbor(&Value::decode(&log).unwrap()).unwrap().operations;
            let pointer = |operation| if let Operation::Pointer(pointer) = operation { Some(pointer) } else { None };
            operations.into_iter().filter_map(pointer).collect()
        } else if self.is("login/setLogin") {
            // the recorded one is cut before it
            let login = Value::decode(&self.body).ok().map(|login| LoginData::from_cbor(&login).unwrap());
            login.and_then(|login| login.identity_update).map(|(_, pointer)| pointer).into_iter().collect()
        } else {
            Vec::new()
        }
    }

    /// How much it changes.
    fn extent(&self) -> String {
        if self.is("mutable/setPointers") {
            return format!(" of {}", self.pointers().len());
        }
        if !self.is("block/put/bulk") {
            return String::new();
        }
        let blocks = self.blocks();
        if self.query["format"] == "raw" {
            let sizes: Vec<_> = blocks.iter().map(|signed| signed.block.data().len()).collect();
            return format!(" of fragments of {sizes:?}");
        }
        // a CHAMP is as deep as its keys happen to make it; its nodes are lists, and other blocks are not
        let is_node = |signed: &&SignedBlock| matches!(Value::decode(signed.block.data()), Ok(Value::Array(_)));
        let nodes = blocks.iter().filter(is_node).count();
        format!(" of {} blocks", blocks.len() - nodes.saturating_sub(1))
    }
}

/// Compare and swap, without its hashes.
fn of_pointer(pointer: &PointerWrite) -> String {
    let update = opened(pointer);
    let codec = |cid: Option<Cid>| cid.map(|cid| cid.codec());
    let is_first = update.sequence.map(|sequence| sequence == 1);
    format!("{:?} -> {:?}, the first: {is_first:?}", codec(update.original), codec(update.updated))
}

/// What its writer has signed.
pub fn opened(pointer: &PointerWrite) -> PointerUpdate {
    PointerUpdate::open(&pointer.signed, &pointer.writer.signing_key().unwrap()).unwrap()
}

fn of_sign_up(body: &[u8]) -> String {
    let request = bodies::read_sign_up(body).unwrap();
    let [claim, proof, log] =
        [&request.claim, &request.proof_of_work, &request.op_log].map(|cbor| Value::decode(cbor).unwrap());
    // the blocks before a pointer are in any order
    let mut groups = vec![Vec::new()];
    for operation in OpLog::from_cbor(&log).unwrap().operations {
        let group = groups.last_mut().unwrap();
        match operation {
            Operation::Block(BlockWrite { block, .. }) => {
                group.push(shape(&Value::decode(block.block.data()).unwrap()));
                group.sort();
            }
            Operation::Pointer(pointer) => groups.push(vec![of_pointer(&pointer)]),
        }
    }
    let [claim, proof, log] = [&claim, &proof, &log].map(shape);
    format!("name {claim} {proof} token of {} {log} {groups:#?}", request.token.len())
}

/// The structure of an item; of lists, each kind of item once.
fn shape(value: &Value) -> String {
    match value {
        Value::Int(_) => "int".to_owned(),
        Value::Bytes(_) => "bytes".to_owned(),
        Value::Text(_) => "text".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Link(_) => "link".to_owned(),
        Value::Array(items) => format!("{:?}", items.iter().map(shape).collect::<BTreeSet<_>>()).replace('"', ""),
        Value::Map(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}: {}", shape(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}
