//! The independent checker's verdict on an exported account, and its listing of what the account holds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::drive::Account;
use super::scratch::Scratch;
use super::shell::{python, run};
use super::tree::{Kind, Tree};

/// An account as two files: blocks, and mutable state.
#[derive(Clone, Debug)]
pub struct Export {
    /// CARv1 of all live blocks.
    pub car: PathBuf,
    /// Pointers, login data, claims.
    pub json: PathBuf,
}

/// One entry of an account, as the checker decrypted it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Absolute, beginning with the owner's name.
    pub path: String,
    /// File or folder; a symbolic link is a file to other clients.
    pub is_dir: bool,
    /// In bytes; 0 for a folder.
    pub size: u64,
    /// UTC, `2026-11-22T01:46:56.000000000`.
    pub modified: String,
    /// Marked as one of the protocol's own.
    pub hidden: bool,
    /// Hex; of files.
    pub sha256: Option<String>,
}

/// What the checker found in an account, in the order of paths.
pub struct Listing(pub Vec<Entry>);

impl Export {
    /// `NAME.car` and `NAME.json` in `dir`.
    pub fn at(dir: &Path, name: &str) -> Self {
        Self { car: dir.join(format!("{name}.car")), json: dir.join(format!("{name}.json")) }
    }

    /// Demands 0 errors, where what a new writer should not create is one. `also` is the dump of a friend.
    pub fn check(&self, account: &Account, also: Option<&Export>) -> Listing {
        self.check_with(account, also, &["--strict"])
    }

    /// As [`check`](Self::check), but bears with what the reference client itself leaves behind.
    pub fn check_leniently(&self, account: &Account, also: Option<&Export>) -> Listing {
        self.check_with(account, also, &[])
    }

    fn check_with(&self, account: &Account, also: Option<&Export>, options: &[&str]) -> Listing {
        let mut options: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        if let Some(friend) = also {
            options.extend(["--also".as_ref(), friend.car.as_os_str(), friend.json.as_os_str()]);
        }
        judged("car", &[self.car.as_os_str(), self.json.as_os_str()], account, &options)
    }
}

/// The checker's listing of an account that is at `place`, if it finds 0 errors.
pub fn judged(way: &str, place: &[&OsStr], account: &Account, options: &[&OsStr]) -> Listing {
    let scratch = Scratch::new();
    let manifest = scratch.join("manifest");
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/peergos_check.py");
    let mut command = python();
    command.args([checker, way]).args(place).args([&account.username, &account.password]);
    command.args(["-v", "--manifest"]).arg(&manifest).args(options);
    let ran = run(&mut command);
    let verdict = ran.out.lines().last().unwrap_or_default();
    assert!(
        ran.code == Some(0) && verdict.contains(" 0 errors"),
        "the checker found errors (exit code {:?}):\n{}{}",
        ran.code,
        ran.out,
        ran.err
    );
    let text = std::fs::read_to_string(&manifest).expect("the checker wrote a manifest");
    Listing::parse(&serde_json::from_str(&text).expect("a manifest is JSON"))
}

fn entry(v: &Value) -> Entry {
    let text = |key: &str| v[key].as_str().map(str::to_owned);
    Entry {
        path: text("path").expect("path"),
        is_dir: v["kind"] == "dir",
        size: v["size"].as_u64().expect("size"),
        modified: nanoseconds(text("modified").expect("modified")),
        hidden: v["hidden"] == true,
        sha256: text("sha256"),
    }
}

/// Whole seconds may be written without a fraction.
fn nanoseconds(time: String) -> String {
    if time.contains('.') { time } else { time + ".000000000" }
}

impl Listing {
    /// Reads a list of entries of a manifest.
    pub fn parse(list: &Value) -> Self {
        Self(list.as_array().expect("a manifest is a list").iter().map(entry).collect())
    }

    /// The entry at an absolute path.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.path == path)
    }

    /// What lies under `/owner/`, by its path below it; hidden entries and what lies in them only if asked for.
    pub fn below(&self, owner: &str, show_hidden: bool) -> Vec<(&str, &Entry)> {
        let home = format!("/{owner}/");
        let hidden: Vec<&str> = self.0.iter().filter(|e| e.hidden).map(|e| e.path.as_str()).collect();
        let is_hidden = |path: &str| {
            hidden.iter().any(|h| path.strip_prefix(h).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        self.0
            .iter()
            .filter(|e| show_hidden || !is_hidden(&e.path))
            .filter_map(|e| e.path.strip_prefix(&home).map(|relative| (relative, e)))
            .collect()
    }

    /// What other clients see is what the mount shows: the same paths, kinds, sizes, times and content.
    pub fn assert_shows(&self, owner: &str, show_hidden: bool, mounted: &Tree) {
        let listed: BTreeSet<String> = self
            .below(owner, show_hidden)
            .into_iter()
            .map(|(path, e)| {
                let content = if e.is_dir { "folder" } else { e.sha256.as_deref().unwrap_or("unreadable") };
                format!("{path}: {} bytes, {}, {content}", e.size, e.modified)
            })
            .collect();
        let shown: BTreeSet<String> = mounted
            .0
            .iter()
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .map(|(path, node)| {
                let size = if node.kind == Kind::Dir { 0 } else { node.size };
                format!("{}: {size} bytes, {}, {}", path.display(), node.modified(), node.content_sha256())
            })
            .collect();
        let missing: Vec<_> = listed.difference(&shown).take(10).collect();
        let extra: Vec<_> = shown.difference(&listed).take(10).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "stored, not mounted: {missing:#?}\nmounted, not stored: {extra:#?}"
        );
        assert!(!listed.is_empty(), "nothing was compared");
    }
}
