//! Which names entries may have (spec 03 §4.8).

use std::ffi::OsStr;

use crate::{Error, Result, cryptree::MAX_NAME, error::errno};

/// What the protocol keeps in a home directory (spec 03 §10): other clients expect these to be theirs.
const RESERVED: [&str; 16] = [
    ".transactions",
    "shared",
    ".capabilitycache",
    ".keystore",
    ".from-friends.cborstream",
    ".groups-from-friends.cborstream",
    ".social-state.cbor",
    ".annotations",
    ".blocked-usernames.txt",
    ".profile",
    ".posts",
    ".feed",
    ".messaging",
    ".apps",
    ".peergos",
    ".subsequent-dir-chunk",
];

/// A name from the kernel as the tree's.
///
/// # Errors
/// `EILSEQ` if it is not UTF-8, `ENAMETOOLONG` over 255 UTF-16 code units.
pub fn from_os(name: &OsStr) -> Result<&str> {
    let name = name.to_str().ok_or(Error::Errno(libc::EILSEQ))?;
    if name.encode_utf16().count() > MAX_NAME {
        return errno(libc::ENAMETOOLONG);
    }
    Ok(name)
}

/// Whether `name` belongs to the protocol in a home directory.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Another name for what is called `name` like something else: `stem[conflict-N].ext`, as the sync client of the reference
/// has it (spec 04 §7.4), with the least N that is not taken.
pub fn conflicting(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    const LONGEST_EXTENSION: usize = 32;
    let (mut stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= LONGEST_EXTENSION => name.split_at(dot),
        _ => (name, ""),
    };
    let mut number = 0;
    loop {
        let other = format!("{stem}[conflict-{number}]{extension}");
        if other.encode_utf16().count() > MAX_NAME {
            stem = stem.char_indices().next_back().map_or("", |(last, _)| &stem[..last]);
        } else if is_taken(&other) {
            number += 1;
        } else {
            return other;
        }
    }
}

/// Whether the kernel can be shown `name`.
pub fn is_presentable(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicting_names_are_free_and_not_too_long() {
        let taken = ["a[conflict-0].txt", "b[conflict-0]"];
        let other = |name: &str| conflicting(name, |name| taken.contains(&name));
        assert_eq!(other("a.txt"), "a[conflict-1].txt");
        assert_eq!(other("b"), "b[conflict-1]");
        assert_eq!(other(".hidden"), ".hidden[conflict-0]");
        for long in ["ü".repeat(MAX_NAME), "𝄞".repeat(127), format!("x.{}", "y".repeat(253)), "z".repeat(251) + ".txt"]
        {
            let name = other(&long);
            assert!(name.encode_utf16().count() <= MAX_NAME && name.contains("[conflict-0]"), "{name}");
        }
    }
}
