//! What `SEMANTICS.md` says about tests.

use std::fs;
use std::path::Path;

/// Whether a file called `file`, below `dir`, has a test called `name`.
fn has(dir: &Path, file: &str, name: &str) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => has(&path, file, name),
        false => {
            path.file_stem().is_some_and(|stem| stem == file)
                && fs::read_to_string(&path).unwrap().contains(&format!("#[test]\nfn {name}() {{"))
        }
    })
}

#[test]
fn the_tests_that_guarantees_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("SEMANTICS.md")).unwrap();
    // what follows names tests of others
    let (guarantees, _) = document.split_once("\n## POSIX").unwrap();
    let named: Vec<(&str, &str)> = guarantees.split('`').filter_map(|quoted| quoted.split_once("::")).collect();
    assert!(named.len() > 30, "{named:?}");
    for (file, name) in named {
        let is_there = ["tests/mount", "fs/tests/posix"].iter().any(|dir| has(&root.join(dir), file, name));
        assert!(is_there, "no test {file}::{name}");
    }
}
