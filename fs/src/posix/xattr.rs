//! Extended attributes: names and values in the map `x` of the `posix` properties (spec 03 §11.3).

use std::{ffi::OsStr, sync::Arc, time::SystemTime};

use peergos_crypto::cbor::{Map, Value};

use crate::{
    Error, Result,
    cryptree::Properties,
    error::errno,
    posix::{FileSystem, attributes, inode::Inode},
};

/// The most bytes of names and values of one entry together: they are read with every listing, and other clients fetch
/// them too.
const MAX_BYTES: usize = 32 << 10;
/// What a program may do besides its user's rights. Without effect here, since the mount is `nosuid`.
const CAPABILITY: &str = "security.capability";

/// The attributes of an entry.
fn attributes(properties: &Properties) -> Option<&Map> {
    attributes::map(properties)?.get("x")?.as_map("extended attributes").ok()
}

/// A name that can be kept: those of programs, and the one by which capabilities are copied.
fn supported(name: &OsStr) -> Result<&str> {
    let name = name.to_str().ok_or(Error::Errno(libc::EILSEQ))?;
    let of_a_program = name.strip_prefix("user.").is_some_and(|rest| !rest.is_empty());
    if of_a_program || name == CAPABILITY { Ok(name) } else { errno(libc::EOPNOTSUPP) }
}

/// Sets or removes an attribute.
fn store(properties: &mut Properties, name: &str, value: Option<&[u8]>) {
    let mut map = attributes(properties).cloned().unwrap_or_default();
    match value {
        Some(value) => drop(map.insert(name, value)),
        None => drop(map.remove(name)),
    }
    attributes::store(properties, "x", (!map.is_empty()).then_some(Value::Map(map)));
}

/// Takes the capabilities away that a file has; says whether it had any.
pub(super) fn drop_capability(properties: &mut Properties) -> bool {
    let has = attributes(properties).is_some_and(|map| map.get(CAPABILITY).is_some());
    if has {
        store(properties, CAPABILITY, None);
    }
    has
}

impl FileSystem {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` if there is none, `EOPNOTSUPP` for names that are not kept, `EILSEQ`.
    pub fn getxattr(&self, ino: u64, name: &OsStr) -> Result<Vec<u8>> {
        let name = supported(name)?;
        if Self::is_virtual(ino) {
            return errno(libc::ENODATA);
        }
        let inode = self.inode(ino)?;
        let state = inode.state.lock();
        let value = attributes(&state.properties).and_then(|map| map.get(name)?.as_bytes("attribute").ok());
        value.map(<[u8]>::to_vec).ok_or(Error::Errno(libc::ENODATA))
    }

    /// The names of all extended attributes, each followed by a NUL.
    ///
    /// # Errors
    /// `ESTALE` if the number is unknown.
    pub fn listxattr(&self, ino: u64) -> Result<Vec<u8>> {
        if Self::is_virtual(ino) {
            return Ok(Vec::new());
        }
        let inode = self.inode(ino)?;
        let state = inode.state.lock();
        let names = attributes(&state.properties).into_iter().flat_map(Map::iter).map(|(name, _)| name);
        Ok(names.flat_map(|name| name.bytes().chain([0])).collect())
    }

    /// Sets an extended attribute; `flags` are those of setxattr(2).
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA` as the flags have it; `E2BIG` for a value, and `ENOSPC` for attributes together, of more than
    /// 32 KiB; `EOPNOTSUPP`, `EILSEQ`; `EROFS`, `EPERM`, `EACCES`.
    pub fn setxattr(&self, ino: u64, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        let name = supported(name)?;
        self.change_xattrs(ino, |properties| {
            let known = attributes(properties);
            let others = known.into_iter().flat_map(Map::iter).filter(|(other, _)| *other != name);
            let size = |value: &Value| value.as_bytes("attribute").map_or(0, <[u8]>::len);
            let taken: usize = others.map(|(other, value)| other.len() + size(value)).sum();
            let exists = known.is_some_and(|map| map.get(name).is_some());
            match exists {
                true if flags & libc::XATTR_CREATE != 0 => return errno(libc::EEXIST),
                false if flags & libc::XATTR_REPLACE != 0 => return errno(libc::ENODATA),
                _ if value.len() > MAX_BYTES => return errno(libc::E2BIG),
                _ if taken + name.len() + value.len() > MAX_BYTES => return errno(libc::ENOSPC),
                _ => store(properties, name, Some(value)),
            }
            Ok(())
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` if there is none; as [`FileSystem::setxattr`].
    pub fn removexattr(&self, ino: u64, name: &OsStr) -> Result<()> {
        let name = supported(name)?;
        self.change_xattrs(ino, |properties| {
            if attributes(properties).is_none_or(|map| map.get(name).is_none()) {
                return errno(libc::ENODATA);
            }
            store(properties, name, None);
            Ok(())
        })
    }

    fn change_xattrs(&self, ino: u64, change: impl Fn(&mut Properties) -> Result<()>) -> Result<()> {
        let inode: Arc<Inode> = self.inode(ino)?;
        self.check_writable(&inode)?;
        self.making_room(|| {
            let _gate = self.gate.change();
            self.introduce(&inode)?;
            let mut state = inode.state.lock();
            let mut properties = state.properties.clone();
            change(&mut properties)?;
            self.note_attributes(&state, &properties, None)?;
            state.properties = properties;
            state.ctime = SystemTime::now();
            state.changed = true;
            self.mark(&inode, &mut state);
            Ok(())
        })
    }
}
