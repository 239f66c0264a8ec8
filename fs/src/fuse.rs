//! The FUSE adapter: fuser's types on one side, [`FileSystem`] on the other, and nothing but conversions between.

mod convert;
mod guard;
mod session;

use std::{
    ffi::OsStr,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use crate::{
    Result,
    posix::{Attr, FileSystem, NONE_REMEMBERED},
};

pub use session::{MountOptions, Session};

/// The largest write that the kernel sends at once, in bytes. Each thread keeps as much memory for the next one.
const MAX_WRITE: u32 = 512 << 10;
/// How far the kernel may read ahead, in bytes. It takes what it can.
const MAX_READAHEAD: u32 = 1 << 20;
/// How many requests the kernel has under way before it makes those that nobody waits for queue up.
const MAX_BACKGROUND: u16 = 64;
/// How long the kernel may rely on what it was told: it is told when that is not so any more.
const TTL: Duration = Duration::from_secs(60);
/// Inode numbers are never used again.
const GENERATION: Generation = Generation(0);
/// The longest name in bytes that `statfs` reports; the protocol counts UTF-16 units.
const NAME_MAX: u32 = 255;
/// Peergos counts bytes, not files; programs that look get a number that is large enough.
const FREE_FILES: u64 = 1 << 32;

struct Adapter(Arc<FileSystem>);

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Adapter")
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // The page cache need not be dropped when a time or size changes: the kernel is told when content does. Without
        // FUSE_ATOMIC_O_TRUNC, O_TRUNC comes as a request of its own, after the kernel has looked whether the file is being
        // executed: with it, a program that runs would lose its pages.
        let wanted = [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            // setuid and setgid are dropped here, so that the kernel need not ask for capabilities before each write
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ];
        for flag in wanted {
            // Kernels that lack one work without it.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_readahead(MAX_READAHEAD).or_else(|most| config.set_max_readahead(most));
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.lookup(parent.0, name) {
            // that there is no such name is worth remembering as well, as an entry without an inode
            Err(error) if error.errno() == libc::ENOENT => reply.entry(&NONE_REMEMBERED, &convert::NO_ATTR, GENERATION),
            result => entry(result, reply),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.0.forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.0.getattr(ino.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = convert::set_attr(mode, uid, gid, size, atime, mtime);
        attr(self.0.setattr(ino.0, &set), reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.readlink(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        entry(self.0.mknod(parent.0, name, mode, rdev, convert::caller(request, umask)), reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(self.0.mkdir(parent.0, name, mode, convert::caller(request, umask)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.0.unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.0.rmdir(parent.0, name), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        entry(self.0.symlink(parent.0, name, target, convert::caller(request, 0)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(self.0.rename(parent.0, name, new_parent.0, new_name, flags.bits()), reply);
    }

    /// An entry has exactly one parent link.
    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.0.open_file(ino.0, flags.0) {
            Ok(handle) if FileSystem::is_virtual(ino.0) => {
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO)
            }
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut reply = Some(reply);
        let result = self.0.read(handle.0, offset, size, |data| {
            if let Some(reply) = reply.take() {
                reply.data(data);
            }
        });
        if let (Err(error), Some(reply)) = (result, reply) {
            reply.error(convert::errno(&error));
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID)
            && let Err(error) = self.0.drop_privileges(ino.0)
        {
            return reply.error(convert::errno(&error));
        }
        match self.0.write(handle.0, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    /// Closing does not wait for anything, so the kernel need not ask again.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.release(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.0.fsync(ino.0), reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.open_dir(ino.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, cookie: u64, mut reply: ReplyDirectory) {
        let result = self.0.read_dir(handle.0, cookie, &mut |entry| {
            reply.add(INodeNo(entry.ino), entry.cookie, convert::file_type(entry.kind), entry.name)
        });
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn readdirplus(&self, _: &Request, _: INodeNo, handle: FileHandle, cookie: u64, mut reply: ReplyDirectoryPlus) {
        let result = self.0.read_dir_plus(handle.0, cookie, &mut |entry, attr| {
            let ino = INodeNo(entry.ino);
            match attr {
                Some(attr) => reply.add(ino, entry.cookie, entry.name, &TTL, &convert::attr(attr), GENERATION),
                // not to be relied on for any time, so that the kernel asks, and gets the error
                None => {
                    let attr = convert::unreadable(entry.ino, entry.kind);
                    reply.add(ino, entry.cookie, entry.name, &Duration::ZERO, &attr, GENERATION)
                }
            }
        });
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.release_dir(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.0.fsync(ino.0), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.0.statfs() {
            Ok(s) => {
                let size = s.block_size;
                reply.statfs(s.blocks, s.free, s.free, FREE_FILES, FREE_FILES, size, NAME_MAX, size);
            }
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn setxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, _: u32, reply: ReplyEmpty) {
        empty(self.0.setxattr(ino.0, name, value, flags), reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        xattr(self.0.getxattr(ino.0, name), size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        xattr(self.0.listxattr(ino.0), size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.0.removexattr(ino.0, name), reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(self.0.fallocate(handle.0, offset, len, mode), reply);
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        // what is not positive is beyond the end, like what is too large
        match self.0.seek(handle.0, u64::try_from(offset).unwrap_or(u64::MAX), whence) {
            Ok(at) => reply.offset(at as i64),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        from_offset: u64,
        _: INodeNo,
        to: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        match self.0.copy_range((from.0, from_offset), (to.0, to_offset), len) {
            Ok(copied) => reply.written(copied),
            Err(error) => reply.error(convert::errno(&error)),
        }
    }

    /// The kernel checks permissions itself.
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.0.create(parent.0, name, mode, flags, convert::caller(request, umask)) {
            Ok((attr, handle)) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&TTL, &convert::attr(&attr), GENERATION, FileHandle(handle), flags);
            }
            Err(error) => reply.error(convert::errno(&error)),
        }
    }
}

fn empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

/// How long the kernel may rely on attributes: on those of what cannot be read not at all, since it may be readable again.
const fn ttl(attr: &Attr) -> Duration {
    if attr.damaged { Duration::ZERO } else { TTL }
}

fn attr(result: Result<Attr>, reply: ReplyAttr) {
    match result {
        Ok(attr) => reply.attr(&ttl(&attr), &convert::attr(&attr)),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

fn xattr(result: Result<Vec<u8>>, room: u32, reply: ReplyXattr) {
    match result {
        Ok(value) if room == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

fn entry(result: Result<Attr>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&ttl(&attr), &convert::attr(&attr), GENERATION),
        Err(error) => reply.error(convert::errno(&error)),
    }
}
