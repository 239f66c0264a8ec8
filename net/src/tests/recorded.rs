//! The recorded exchanges of `02-http-trace.json`. Bodies were cut off at 1,200 bytes when they were recorded. What is missing
//! is made up, in the structure and to the length that were recorded, so that all exchanges can be repeated whole.

use std::ops::Range;

use peergos_crypto::cbor::write_head;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

/// Major types of CBOR.
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
/// A signed SHA-256.
const SIGNED: usize = 64 + 32;

/// One request and its answer.
#[derive(Clone, Default)]
pub struct Exchange {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub request: Vec<u8>,
    pub status: u64,
    pub reply_headers: Vec<(String, String)>,
    pub reply: Vec<u8>,
    /// Whether a part of the request is made up.
    pub request_was_cut: bool,
}

/// All of them, in their order.
pub fn exchanges() -> Vec<Exchange> {
    let trace: Json = serde_json::from_str(include_str!("../../../tests/vectors/02-http-trace.json")).unwrap();
    trace["exchanges"].as_array().unwrap().iter().map(Exchange::read).collect()
}

impl Exchange {
    fn read(json: &Json) -> Self {
        let text = |field: &str| json[field].as_str().unwrap().to_owned();
        let number = |field: &str| json[field].as_u64().unwrap();
        let target = text("path");
        let call = target.split('?').next().unwrap().rsplit_once("v0/").unwrap().1.to_owned();
        let body = |field: &str, len: &str| {
            let recorded = hex::decode(text(field)).unwrap();
            let whole = completed(&call, recorded.clone(), usize::try_from(number(len)).unwrap());
            assert!(whole.starts_with(&recorded) && whole.len() as u64 == number(len), "{call}");
            (whole.len() > recorded.len(), whole)
        };
        let (request_was_cut, request) = body("req", "reqLen");
        let headers = json["respHeaders"].as_object().unwrap().iter();
        Self {
            request,
            request_was_cut,
            reply: body("resp", "respLen").1,
            method: text("method"),
            status: number("status"),
            reply_headers: headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
            target,
        }
    }
}

/// A body of a call with what is missing of its `len` bytes.
fn completed(call: &str, mut body: Vec<u8>, len: usize) -> Vec<u8> {
    if body.len() < len {
        match call {
            "block/put/bulk" => block_group(&mut body, len),
            "champ/get/bulk" => {
                let (count, at) = head(&body, 0);
                byte_strings(&mut body, at, count, len);
            }
            "core/signup" => sign_up(&mut body, len),
            _ => body.resize(len, 0),
        }
    }
    body
}

/// `{"b": [bytes …], "s": [signed …]}`.
fn block_group(body: &mut Vec<u8>, len: usize) {
    let (count, at) = head(body, b"\xa2\x61b".len());
    let mut signatures = b"\x61s".to_vec();
    write_head(ARRAY, count as u64, &mut signatures);
    let mut one = Vec::new();
    write_head(BYTES, SIGNED as u64, &mut one);
    let end = len - signatures.len() - count * (one.len() + SIGNED);
    for block in byte_strings(body, at, count, end) {
        signatures.extend_from_slice(&one);
        signatures.extend_from_slice(&[0; 64]);
        signatures.extend_from_slice(&Sha256::digest(&body[block]));
    }
    body.extend(signatures);
}

/// Name, claim, log, proof of work and token, each after its length; the proof is made as long as need be.
fn sign_up(body: &mut Vec<u8>, len: usize) {
    let mut at = 0;
    for _ in 0..3 {
        let size = u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        at += 4 + size as usize;
    }
    body.resize(at, 0);
    let proof = len - at - 8;
    body.extend((proof as u32).to_be_bytes());
    body.resize(len, 0);
}

/// Completes `count` byte strings that begin at `at` and are to end at `end`: those that have begun as they have begun, and
/// of others the last one as long as need be. Returns where their contents are.
fn byte_strings(body: &mut Vec<u8>, mut at: usize, count: usize, end: usize) -> Vec<Range<usize>> {
    let mut contents = Vec::new();
    for n in 1..=count {
        if at == body.len() {
            let left = end - at;
            let len = if n < count { 0 } else { (0..left).find(|len| head_len(*len) + len == left).unwrap() };
            write_head(BYTES, len as u64, body);
        }
        let (len, content) = head(body, at);
        at = content + len;
        body.resize(body.len().max(at), 0);
        contents.push(content..at);
    }
    assert_eq!(body.len(), end);
    contents
}

fn head_len(number: usize) -> usize {
    let mut head = Vec::new();
    write_head(BYTES, number as u64, &mut head);
    head.len()
}

/// The number in a head of CBOR, and where the head ends.
fn head(body: &[u8], at: usize) -> (usize, usize) {
    let more = match body[at] & 31 {
        small @ 0..24 => return (usize::from(small), at + 1),
        size => 1 << (size - 24),
    };
    let number = body[at + 1..at + 1 + more].iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    (number, at + 1 + more)
}
