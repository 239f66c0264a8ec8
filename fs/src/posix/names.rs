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

/// Whether the kernel can be shown `name`.
pub fn is_presentable(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}
