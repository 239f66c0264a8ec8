//! What `SEMANTICS.md` says about tests.

use std::fs;
use std::path::Path;

/// Where tests are that it names.
const PLACES: [&str; 3] = ["tests/mount", "fs/tests/posix", "fs/tests/cryptree"];

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
fn each_guarantee_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("SEMANTICS.md")).unwrap();
    let named: Vec<(&str, &str)> = document.split('`').filter_map(|quoted| quoted.split_once("::")).collect();
    assert!(named.len() > 100, "{named:?}");
    for (file, name) in named {
        assert!(PLACES.iter().any(|place| has(&root.join(place), file, name)), "no test {file}::{name}");
    }
    // the last column of a table says what its rows are checked by, unless they promise nothing
    let (mut is_checked, mut checked) = (false, 0);
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        if lines.peek().is_some_and(|next| next.starts_with("|---")) {
            is_checked = line.contains("checked by");
            checked += usize::from(is_checked);
            lines.next();
        } else if is_checked && line.starts_with('|') {
            let by = line.trim_end_matches(['|', ' ']).rsplit_once('|').map(|(_, by)| by);
            assert!(by.is_some_and(|by| by.contains("::")), "nothing checks: {line}");
        }
    }
    assert!(checked >= 11, "{checked} tables");
}
