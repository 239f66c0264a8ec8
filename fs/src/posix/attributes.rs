//! Attributes: those of the protocol, and those of POSIX that are kept beside them (spec 03 §11.3).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use peergos_crypto::cbor::{Map, Value};

use crate::{
    Result,
    cryptree::{Properties, Time},
    error::errno,
    posix::{
        Attr, FileSystem, Kind, SetAttr, attr,
        inode::{Inode, State},
        xattr::drop_capability,
    },
};

/// The `posix` map.
pub(super) fn map(properties: &Properties) -> Option<&Map> {
    properties.posix.as_ref()?.as_map("posix").ok()
}

/// What another client made of a value in the `posix` map, or of the map, with what we changed of it since it was `base` on
/// top: attribute by attribute, ours first.
pub(super) fn merged(base: Option<&Value>, ours: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
    if ours == base {
        return theirs.cloned();
    }
    let as_map = |value: Option<&Value>| match value {
        Some(Value::Map(map)) => Some(map.clone()),
        Some(_) => None,
        None => Some(Map::new()),
    };
    let (Some(base), Some(ours), Some(mut result)) = (as_map(base), as_map(ours), as_map(theirs)) else {
        return ours.cloned();
    };
    for (key, _) in base.iter().chain(ours.iter()) {
        let theirs = result.remove(key);
        if let Some(value) = merged(base.get(key), ours.get(key), theirs.as_ref()) {
            result.insert(key, value);
        }
    }
    (!result.is_empty()).then_some(Value::Map(result))
}

/// A number in the `posix` map.
fn stored(properties: &Properties, key: &str) -> Option<u32> {
    u32::try_from(map(properties)?.get(key)?.as_int("posix").ok()?).ok()
}

/// Sets or removes a value in the `posix` map.
pub(super) fn store(properties: &mut Properties, key: &str, value: Option<Value>) {
    let mut map = match properties.posix.take() {
        Some(Value::Map(map)) => map,
        _ => Map::new(),
    };
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(key)),
    }
    properties.posix = (!map.is_empty()).then_some(Value::Map(map));
}

/// Sets a number in the `posix` map, which holds only what differs from the defaults.
fn store_number(properties: &mut Properties, key: &str, value: u32, default: u32) {
    store(properties, key, (value != default).then(|| value.into()));
}

/// Takes setuid, setgid and capabilities from a file whose content or owner changes; says whether it had any. A setgid
/// bit without the right to execute means something else, and stays.
fn drop_privileges(kind: Kind, properties: &mut Properties) -> bool {
    let mode = stored(properties, "m").unwrap_or(kind.default_mode());
    let setgid = if mode & libc::S_IXGRP != 0 { libc::S_ISGID } else { 0 };
    let without = mode & !(libc::S_ISUID | setgid);
    store_number(properties, "m", without, kind.default_mode());
    drop_capability(properties) || without != mode
}

/// Gives the properties of a device its number.
pub(super) fn set_device(properties: &mut Properties, rdev: u32) {
    store_number(properties, "d", rdev, 0);
}

/// How many links an inode has.
fn links(kind: Kind, state: &State) -> u32 {
    match (kind, &state.dir) {
        _ if state.unlinked => 0,
        (Kind::Directory, Some(dir)) => u32::try_from(dir.subdirectories()).map_or(u32::MAX, |n| n.saturating_add(2)),
        _ => 1,
    }
}

impl FileSystem {
    /// The attributes of an inode.
    ///
    /// # Errors
    /// `ESTALE` if the number is unknown.
    pub fn getattr(&self, ino: u64) -> Result<Attr> {
        match self.damaged.get(ino).or_else(|| self.virtual_attr(ino)) {
            Some(attr) => Ok(attr),
            None => Ok(self.attr(&*self.inode(ino)?)),
        }
    }

    pub(super) fn attr(&self, inode: &Inode) -> Attr {
        let state = inode.state.lock();
        let properties = &state.properties;
        let (size, mtime) = match &inode.content {
            Some(content) => {
                let content = content.lock();
                (content.size(), content.modified)
            }
            None => (0, attr::system_time(properties.modified)),
        };
        Attr {
            ino: inode.ino,
            size,
            atime: state.atime,
            mtime,
            ctime: state.ctime.max(mtime),
            crtime: attr::system_time(properties.created),
            kind: inode.kind,
            perm: (stored(properties, "m").unwrap_or(inode.kind.default_mode()) & 0o7777) as u16,
            nlink: links(inode.kind, &state),
            uid: stored(properties, "u").unwrap_or(self.options.uid),
            gid: stored(properties, "g").unwrap_or(self.options.gid),
            rdev: stored(properties, "d").filter(|_| inode.kind.is_device()).unwrap_or(0),
            damaged: false,
        }
    }

    /// Gives new properties the owner and the permission bits of a new entry.
    pub(super) fn set_owner(&self, properties: &mut Properties, kind: Kind, mode: u32, uid: u32, gid: u32) {
        store_number(properties, "m", mode & 0o7777, kind.default_mode());
        store_number(properties, "u", uid, self.options.uid);
        store_number(properties, "g", gid, self.options.gid);
    }

    /// Changes attributes, and the size of files.
    ///
    /// # Errors
    /// `EROFS`, `EPERM`, `EACCES`; `EISDIR` or `EINVAL` for the size of what has none.
    pub fn setattr(&self, ino: u64, set: &SetAttr) -> Result<Attr> {
        // who opens a virtual file to write to it may empty it first
        if let (Some(attr), SetAttr { mode: None, uid: None, gid: None, size: Some(0), .. }) =
            (self.virtual_attr(ino), set)
        {
            return Ok(attr);
        }
        let inode = self.inode(ino)?;
        self.check_writable(&inode)?;
        self.making_room(|| self.set(&inode, set))?;
        Ok(self.attr(&inode))
    }

    fn set(&self, inode: &Arc<Inode>, set: &SetAttr) -> Result<()> {
        if let Some(size) = set.size {
            match inode.kind {
                Kind::File => {
                    self.set_size(inode, size)?;
                    self.strip_privileges(inode);
                }
                Kind::Directory => return errno(libc::EISDIR),
                _ => return errno(libc::EINVAL),
            }
        }
        let kept = SetAttr { size: None, atime: None, ..*set };
        let changes_kept = kept.mode.is_some() || kept.uid.is_some() || kept.gid.is_some() || kept.mtime.is_some();
        let _gate = changes_kept.then(|| self.gate.change());
        if changes_kept {
            self.introduce(inode)?;
        }
        let mut state = inode.state.lock();
        if changes_kept {
            let mut properties = state.properties.clone();
            self.set_kept(&mut properties, inode.kind, &kept);
            let modified = kept.mtime.map(attr::protocol_time);
            self.note_attributes(&state, &properties, modified)?;
            state.properties = properties;
            set_modified(inode, &mut state.properties, modified);
        }
        if let Some(atime) = set.atime {
            state.atime = atime;
        }
        if changes_kept {
            state.ctime = SystemTime::now();
            state.changed = true;
            self.mark(inode, &mut state);
        }
        Ok(())
    }

    /// Takes setuid, setgid and capabilities from a file that somebody writes to who may not have set them.
    ///
    /// # Errors
    /// `ESTALE` if the number is unknown.
    pub fn drop_privileges(&self, ino: u64) -> Result<()> {
        self.strip_privileges(&self.inode(ino)?);
        Ok(())
    }

    /// As [`FileSystem::drop_privileges`].
    pub(super) fn strip_privileges(&self, inode: &Arc<Inode>) {
        let _gate = self.gate.change();
        let introduced = self.introduce(inode);
        let mut state = inode.state.lock();
        let mut properties = state.properties.clone();
        if drop_privileges(inode.kind, &mut properties) {
            // what is taken away is taken away, also where nobody can note it
            let noted = introduced.and_then(|()| self.note_attributes(&state, &properties, None));
            if let Err(error) = noted {
                tracing::warn!(%error, "the journal does not know that a file has lost privileges");
            }
            state.properties = properties;
            state.ctime = SystemTime::now();
            state.changed = true;
            self.mark(inode, &mut state);
        }
    }

    /// Notes that something was read, as with the mount option `relatime`: if it was not since its last change, nor within
    /// a day.
    pub(super) fn accessed(&self, inode: &Inode) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let (now, attr) = (SystemTime::now(), self.attr(inode));
        let is_old = now.duration_since(attr.atime).is_ok_and(|age| age > DAY);
        if !self.options.read_only && (is_old || attr.atime <= attr.mtime.max(attr.ctime)) {
            inode.state.lock().atime = now;
        }
    }

    fn set_kept(&self, properties: &mut Properties, kind: Kind, set: &SetAttr) {
        if kind != Kind::Directory && (set.uid.is_some() || set.gid.is_some()) {
            drop_privileges(kind, properties);
        }
        if let Some(mode) = set.mode {
            store_number(properties, "m", mode & 0o7777, kind.default_mode());
        }
        if let Some(uid) = set.uid {
            store_number(properties, "u", uid, self.options.uid);
        }
        if let Some(gid) = set.gid {
            store_number(properties, "g", gid, self.options.gid);
        }
    }
}

/// Sets the time of modification, if there is one to set.
pub(super) fn set_modified(inode: &Inode, properties: &mut Properties, modified: Option<Time>) {
    match (&inode.content, modified) {
        (_, None) => {}
        (Some(content), Some(modified)) => content.lock().modified = attr::system_time(modified),
        (None, Some(modified)) => properties.modified = modified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<V: Into<Value>>(entries: impl IntoIterator<Item = (&'static str, V)>) -> Value {
        let mut map = Map::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        Value::Map(map)
    }

    #[test]
    fn attributes_are_merged_one_by_one() {
        let base = map([("m", 0o600u32), ("u", 7)]);
        let ours = map([("m", 0o640u32), ("u", 7), ("g", 1)]);
        let theirs = map([("m", 0o666u32), ("u", 8)]);
        let expected = map([("m", 0o640u32), ("u", 8), ("g", 1)]);
        assert_eq!(merged(Some(&base), Some(&ours), Some(&theirs)), Some(expected));
        // extended ones are a map in the map
        let x = |entries: &[(&'static str, u32)]| map([("x", map(entries.iter().copied()))]);
        let (base, ours, theirs) =
            (x(&[("a", 1), ("b", 1)]), x(&[("b", 1), ("c", 1)]), x(&[("a", 1), ("b", 2), ("d", 2)]));
        let expected = x(&[("b", 2), ("c", 1), ("d", 2)]);
        assert_eq!(merged(Some(&base), Some(&ours), Some(&theirs)), Some(expected));
        assert_eq!(merged(Some(&base), Some(&ours), None), Some(x(&[("c", 1)])));
        assert_eq!(merged(Some(&base), None, Some(&theirs)), Some(x(&[("d", 2)])));
        assert_eq!(merged(Some(&base), None, Some(&base)), None);
        assert_eq!(merged(None, None, Some(&theirs)), Some(theirs));
    }
}
