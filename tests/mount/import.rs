//! Backups that are not what they should be: refused with a clear error, and without a trace in the state they were meant for.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Drive, Export, Golden, expect_failure};

/// What an error about a backup speaks of.
const WORDS: [&str; 9] = ["backup", "car", "json", "block", "damaged", "invalid", "pointer", "login", "missing"];

/// An unsigned LEB128 number and what follows it.
fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let len = bytes.iter().position(|b| b & 0x80 == 0).expect("a varint ends") + 1;
    (bytes[..len].iter().rev().fold(0, |n, b| n << 7 | usize::from(b & 0x7f)), &bytes[len..])
}

/// The header and the blocks of a CAR file, each with its length and CID.
fn sections(mut car: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    while !car.is_empty() {
        let (len, rest) = varint(car);
        let end = car.len() - rest.len() + len;
        sections.push(&car[..end]);
        car = &car[end..];
    }
    sections
}

/// A state with an account of its own in it, into which nothing damaged may come.
struct Importer {
    drive: Drive,
    golden: Golden,
    car: Vec<u8>,
    json: Value,
}

impl Importer {
    fn new() -> Self {
        let mut drive = Drive::mounted();
        fs::write(drive.path("x"), "untouched").unwrap();
        drive.unmount();
        let golden = Golden::load("bob");
        let export = golden.export();
        let car = fs::read(&export.car).unwrap();
        let json = serde_json::from_slice(&fs::read(&export.json).unwrap()).unwrap();
        Self { drive, golden, car, json }
    }

    fn refuses(&self, what: &str, car: &[u8], json: &str) {
        let export = Export::at(&self.drive.beside(""), "damaged");
        fs::write(&export.car, car).unwrap();
        fs::write(&export.json, json).unwrap();
        println!("{what}");
        expect_failure(&mut self.drive.import_command(&export), &WORDS);
    }

    fn refuses_car(&self, what: &str, car: &[u8]) {
        self.refuses(what, car, &self.json.to_string());
    }

    fn refuses_json(&self, what: &str, change: impl FnOnce(&mut Value)) {
        let mut json = self.json.clone();
        change(&mut json);
        assert_ne!(json, self.json, "{what} changes nothing");
        self.refuses(what, &self.car, &json.to_string());
    }

    /// The account that was there is unharmed, and the good backup can still be imported.
    fn finish(mut self) {
        self.drive.mount();
        assert_eq!(fs::read(self.drive.path("x")).unwrap(), b"untouched");
        self.drive.check();
        self.drive.import(&self.golden.export());
        self.drive.account = self.golden.account;
        self.drive.mount();
        assert!(self.drive.path("private.txt").exists());
    }
}

#[test]
fn damaged_blocks() {
    let importer = Importer::new();
    let car = importer.car.clone();
    for len in [0, 1, 10, 40, 100, car.len() / 2, car.len() - 1] {
        importer.refuses_car(&format!("cut to {len} bytes"), &car[..len]);
    }
    for i in 0..24 {
        let (mut changed, at) = (car.clone(), i * (car.len() - 1) / 23);
        changed[at] ^= 1 << (i % 8);
        importer.refuses_car(&format!("bit {} of byte {at} changed", i % 8), &changed);
    }
    let sections = sections(&car);
    for left_out in [1, 2, sections.len() / 2, sections.len() - 1] {
        let rest: Vec<&[u8]> = sections.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, s)| *s).collect();
        importer.refuses_car(&format!("block {left_out} missing"), &rest.concat());
    }
    importer.refuses_car("something at the end", &[&car[..], b"something"].concat());
    importer.refuses_car(
        "an enormous length",
        &[&car[..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat(),
    );
    importer.finish();
}

#[test]
fn damaged_state() {
    let importer = Importer::new();
    for text in ["", "{", "[]", "{}", "null", "\u{0}", "{\"username\": 3}"] {
        importer.refuses(&format!("{text:?} as JSON"), &importer.car, text);
    }
    for key in ["username", "identity", "chain_cbor", "pointers", "login"] {
        importer.refuses_json(&format!("{key} missing"), |json| drop(json.as_object_mut().unwrap().remove(key)));
        importer.refuses_json(&format!("{key} of another type"), |json| json[key] = json!(7));
    }
    let other: Value = serde_json::from_slice(&fs::read(Golden::load("ada").export().json).unwrap()).unwrap();
    // (That the login data is this account's, nobody can tell without the password.)
    for key in ["username", "identity", "chain_cbor", "pointers"] {
        importer.refuses_json(&format!("{key} of somebody else"), |json| json[key] = other[key].clone());
    }
    let writers: Vec<String> = importer.json["pointers"].as_object().unwrap().keys().cloned().collect();
    for writer in &writers {
        importer
            .refuses_json("a pointer missing", |json| drop(json["pointers"].as_object_mut().unwrap().remove(writer)));
        importer.refuses_json("a forged pointer", |json| {
            let pointer = &mut json["pointers"][writer];
            let mut text = pointer.as_str().unwrap().to_owned();
            let swapped = if &text[20..21] == "A" { "B" } else { "A" };
            text.replace_range(20..21, swapped);
            *pointer = json!(text);
        });
    }
    importer.refuses_json("pointers that are no base64", |json| json["pointers"][&writers[0]] = json!("%%%"));
    importer.finish();
}

#[test]
fn missing_files_are_named() {
    let drive = Drive::new();
    let bob = Golden::load("bob").export();
    for export in [
        Export { car: "/nonexistent/bob.car".into(), json: bob.json.clone() },
        Export { car: bob.car.clone(), json: "/nonexistent/bob.json".into() },
    ] {
        expect_failure(&mut drive.import_command(&export), &["/nonexistent/bob"]);
    }
    assert!(Path::new(&bob.car).exists());
}
