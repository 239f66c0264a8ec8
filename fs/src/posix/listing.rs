//! Listing directories.

use std::{ffi::OsStr, sync::Arc};

use crate::{
    Result,
    capability::ChildLink,
    error::errno,
    posix::{
        Attr, FileSystem, Kind,
        dir::{Dir, Link},
        inode::{Inode, ROOT},
        lookup::unreadable,
        names,
    },
    tree,
};

/// How many children are loaded together for a listing.
const WINDOW: usize = 512;

/// An entry of a listing.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Where the listing goes on after this entry.
    pub cookie: u64,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a OsStr,
}

/// The cookies of `.` and `..`; those of children are shifted by them.
const DOTS: u64 = 2;

/// A child as a listing needs it.
struct Listed {
    name: Arc<str>,
    ino: u64,
    cookie: u64,
    link: Link,
}

impl FileSystem {
    /// Opens a directory.
    ///
    /// # Errors
    /// `ENOTDIR`; `EIO` if it cannot be read.
    pub fn open_dir(&self, ino: u64) -> Result<u64> {
        if let Some(handle) = self.open_virtual(ino) {
            return Ok(handle);
        }
        let inode = self.inode(ino)?;
        if inode.kind != Kind::Directory {
            return errno(libc::ENOTDIR);
        }
        // the handle keeps the directory loaded, and with it the cookies
        let handle = self.handles.open(&inode, libc::O_RDONLY);
        drop(self.load_dir(&inode).inspect_err(|_| self.release(handle))?);
        Ok(handle)
    }

    /// Closes a directory.
    pub fn release_dir(&self, handle: u64) {
        self.release(handle);
    }

    /// Lists a directory from `cookie` on, zero being the start, until `add` returns true: then its buffer is full, and
    /// the entry was not taken.
    ///
    /// # Errors
    /// `EBADF`; `EIO` if the directory cannot be read.
    pub fn read_dir(&self, handle: u64, cookie: u64, add: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        match self.list_virtual(handle, cookie, &mut |entry, _| add(entry)) {
            Some(listed) => listed,
            None => self.list(handle, cookie, &mut |entry, _| add(entry)),
        }
    }

    /// As [`FileSystem::read_dir`], with attributes, counting a reference of the kernel's for each entry that is taken,
    /// except `.` and `..`. An entry that cannot be read comes without attributes: looking it up says why.
    ///
    /// # Errors
    /// As [`FileSystem::read_dir`].
    pub fn read_dir_plus(
        &self,
        handle: u64,
        cookie: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<&Attr>) -> bool,
    ) -> Result<()> {
        if let Some(listed) = self.list_virtual(handle, cookie, add) {
            return listed;
        }
        self.bound_crowd();
        self.bound_lists();
        self.list(handle, cookie, &mut |entry, inode| {
            let Some(inode) = inode else { return add(entry, None) };
            if entry.cookie <= DOTS {
                return add(entry, Some(&self.attr(inode)));
            }
            // what was dropped meanwhile is looked up when it is needed
            let Some(inode) = self.inodes.reference(inode.ino) else { return add(entry, None) };
            let full = add(entry, Some(&self.attr(&inode)));
            if full {
                self.inodes.forget(inode.ino, 1);
            }
            full
        })
    }

    fn list(
        &self,
        handle: u64,
        cookie: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<&Arc<Inode>>) -> bool,
    ) -> Result<()> {
        let dir = self.handles.get(handle)?.inode.clone();
        if cookie < 1 && add(dots(&dir, 1, "."), Some(&dir)) {
            return Ok(());
        }
        if cookie < DOTS {
            let parent = dir.state.lock().parent.clone().unwrap_or_else(|| dir.clone());
            if add(dots(&parent, DOTS, ".."), Some(&parent)) {
                return Ok(());
            }
        }
        if cookie == 0 {
            self.accessed(&dir);
        }
        let mut after = cookie.saturating_sub(DOTS);
        let mut is_first = cookie >= DOTS;
        let mut begins = cookie == 0;
        loop {
            let window = self.window(&dir, after)?;
            let Some(last) = window.last() else {
                // what could be listed comes first, in answers of its own
                return if is_first { self.check_complete(&dir) } else { Ok(()) };
            };
            is_first = false;
            // what the protocol hides is known by name where it cannot be read
            let is_offline = !self.options.show_hidden && self.drive.node.node().reach().is_offline();
            after = last.cookie;
            let inodes = self.load_window(&dir, &window);
            let mut full = false;
            for (listed, inode) in window.iter().zip(&inodes) {
                let hidden = match inode {
                    Some(inode) => self.is_hidden(inode),
                    None => is_offline && dir.ino == ROOT && names::is_reserved(&listed.name),
                };
                if hidden || !names::is_presentable(&listed.name) {
                    continue;
                }
                let kind = inode.as_ref().map_or_else(|| listed.link.kind(), |inode| inode.kind);
                let name = OsStr::new(&*listed.name);
                let entry = DirEntry { ino: listed.ino, cookie: listed.cookie + DOTS, kind, name };
                full = add(entry, inode.as_ref());
                if full {
                    break;
                }
            }
            if std::mem::take(&mut begins) {
                self.load_ahead(&dir);
            }
            // the kernel refers to few of them, and is likely to ask for more
            self.keep_for_a_while(inodes.into_iter().flatten());
            if full {
                return Ok(());
            }
        }
    }

    fn check_complete(&self, dir: &Inode) -> Result<()> {
        dir.state.lock().dir.as_deref().map_or(Ok(()), Dir::check_complete)
    }

    /// The next children after a cookie.
    fn window(&self, dir: &Arc<Inode>, after: u64) -> Result<Vec<Listed>> {
        let _loaded = self.load_dir(dir)?;
        let state = dir.state.lock();
        let Some(children) = &state.dir else { return Ok(Vec::new()) };
        let listed = children.after(after).take(WINDOW).map(|(name, child)| Listed {
            name: name.clone(),
            ino: child.ino,
            cookie: child.cookie,
            link: child.link.clone(),
        });
        Ok(listed.collect())
    }

    /// The inodes of the first children of a directory, as far as they can be loaded.
    pub(super) fn first_entries(&self, dir: &Arc<Inode>) -> Result<Vec<Arc<Inode>>> {
        let window = self.window(dir, 0)?;
        Ok(self.load_window(dir, &window).into_iter().flatten().collect())
    }

    /// The inodes of listed children, those that are not in use loaded together; none where that fails.
    fn load_window(&self, dir: &Arc<Inode>, window: &[Listed]) -> Vec<Option<Arc<Inode>>> {
        let mut inodes: Vec<_> = window.iter().map(|listed| self.inodes.get(listed.ino)).collect();
        let missing: Vec<usize> = (0..window.len()).filter(|i| inodes[*i].is_none()).collect();
        let mut wanted: Vec<(usize, &ChildLink)> = Vec::new();
        for i in missing {
            match &window[i].link {
                Link::Made(link) => wanted.push((i, link)),
                Link::Pending(inode) => inodes[i] = Some(inode.clone()),
            }
        }
        if wanted.is_empty() {
            return inodes;
        }
        let _loading = self.inodes.loading();
        // who loads ahead may come too late: what is in a directory that was dropped would hold a list of its children that
        // no refresh finds, and a commit would write it over what others made of it
        if !self.inodes.has(dir) {
            return inodes;
        }
        // another client may have moved some before loading was allowed
        wanted.retain(|(i, _)| {
            let state = dir.state.lock();
            let child = state.dir.as_ref().and_then(|children| children.get(&window[*i].name));
            child.is_some_and(|child| child.ino == window[*i].ino)
        });
        let links: Vec<&ChildLink> = wanted.iter().map(|(_, link)| *link).collect();
        let entries = tree::load_children(&self.drive, &dir.keys(), &links);
        for ((i, _), entry) in wanted.into_iter().zip(entries) {
            let listed = &window[i];
            match entry {
                Ok(entry) => inodes[i] = Some(self.adopt(listed.ino, &listed.name, entry, dir)),
                Err(error) => unreadable(listed.ino, &error),
            }
        }
        inodes
    }
}

fn dots(inode: &Inode, cookie: u64, name: &'static str) -> DirEntry<'static> {
    DirEntry { ino: inode.ino, cookie, kind: Kind::Directory, name: OsStr::new(name) }
}
