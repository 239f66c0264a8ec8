//! Two entries that take each other's places (`RENAME_EXCHANGE`).

use std::{sync::Arc, time::SystemTime};

use crate::{
    Error, Result,
    error::errno,
    journal::{Place, Record},
    posix::{
        FileSystem, attr,
        inode::{Inode, State},
        namespace::{is_ancestor, lock_two},
        noted,
    },
};

impl FileSystem {
    /// Exchanges two entries, each given by its directory and name.
    ///
    /// # Errors
    /// `ENOENT`; `EINVAL` where a directory would get into itself; `EXDEV` between writing spaces; `EROFS`, `EPERM`,
    /// `EACCES`; `EIO` for what cannot be read.
    pub(super) fn exchange(&self, one: (&Arc<Inode>, &str), other: (&Arc<Inode>, &str)) -> Result<()> {
        let ((from, name), (to, new_name)) = (one, other);
        let (one, other) = (self.visible_child(from, name)?, self.visible_child(to, new_name)?);
        for inode in [from, to, &one, &other] {
            self.check_writable(inode)?;
        }
        self.check_name(from, name)?;
        self.check_name(to, new_name)?;
        if one.ino == other.ino {
            return Ok(());
        }
        if is_ancestor(&one, to) || is_ancestor(&other, from) {
            return errno(libc::EINVAL);
        }
        if !self.same_space(from, to) {
            return errno(libc::EXDEV);
        }
        let mime = self.mime_after_rename(&one, name, new_name);
        let other_mime = self.mime_after_rename(&other, new_name, name);
        loop {
            let _loaded = (self.load_dir(from)?, self.load_dir(to)?);
            let _gate = self.gate.change();
            [&one, &other, from, to].into_iter().try_for_each(|inode| self.introduce(inode))?;
            let labels = (noted::label_of(&one), noted::label_of(&other));
            let (mut from_state, mut to_state) = lock_two(from, to);
            let loaded = |state: &State| state.dir.is_some();
            if !loaded(&from_state) || !to_state.as_deref().is_none_or(loaded) {
                continue;
            }
            check(&from_state, name, &one)?;
            check(to_state.as_deref().unwrap_or(&from_state), new_name, &other)?;
            let now = SystemTime::now();
            let one_place = noted::place(&from_state.keys, name);
            let other_place = noted::place(&to_state.as_deref().unwrap_or(&from_state).keys, new_name);
            let record = |label, from: &Place, to: &Place, mime: &Option<String>| Record::Moved {
                label,
                from: from.clone(),
                to: to.clone(),
                replaced: None,
                mime: mime.clone(),
                at: attr::protocol_time(now),
            };
            self.note_all(&[
                record(labels.0, &one_place, &other_place, &mime),
                record(labels.1, &other_place, &one_place, &other_mime),
            ])?;
            let places = [(name, &other), (new_name, &one)];
            if let Some(dir) = &mut from_state.dir {
                dir.remove(name);
            }
            if let Some(dir) = &mut to_state.as_deref_mut().unwrap_or(&mut from_state).dir {
                dir.remove(new_name);
            }
            for (i, (name, child)) in places.into_iter().enumerate() {
                let state = if i == 0 { None } else { to_state.as_deref_mut() };
                if let Some(dir) = &mut state.unwrap_or(&mut from_state).dir {
                    dir.insert(name.into(), child)?;
                }
            }
            self.changed_dir(from, &mut from_state, now);
            if let Some(to_state) = &mut to_state {
                self.changed_dir(to, to_state, now);
            }
            self.moved(&one, &mut one.state.lock(), to, new_name, mime);
            self.moved(&other, &mut other.state.lock(), from, name, other_mime);
            return Ok(());
        }
    }

    /// Notes that an entry is in the directory `to` now, as `name`, with another mime type if that tells one.
    pub(super) fn moved(
        &self,
        inode: &Arc<Inode>,
        state: &mut State,
        to: &Arc<Inode>,
        name: &str,
        mime: Option<String>,
    ) {
        name.clone_into(&mut state.properties.name);
        state.properties.mime = mime.unwrap_or_else(|| std::mem::take(&mut state.properties.mime));
        state.changed = true;
        state.link_changed = true;
        state.ctime = SystemTime::now();
        inode.set_parent(state, Some(to.clone()));
        self.mark(inode, state);
    }
}

/// Checks that `child` is still in a directory, and that the directory takes others.
fn check(directory: &State, name: &str, child: &Inode) -> Result<()> {
    let dir = directory.dir.as_ref().ok_or(Error::Errno(libc::EAGAIN))?;
    dir.check_complete()?;
    if dir.get(name).is_some_and(|found| found.ino == child.ino) { Ok(()) } else { errno(libc::ENOENT) }
}
