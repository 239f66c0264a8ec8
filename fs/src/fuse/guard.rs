//! A request that panics fails with EIO, and the thread that answers requests lives on.

use std::{
    ffi::OsStr,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek,
    ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::turns::Turns;

/// Catches what panics in the file system below. fuser answers EIO where a reply is dropped unsent, as unwinding does.
///
/// What a panic may leave half done: locks are released, and none is poisoned. A change that was being made is in the tree
/// in memory as far as it had come, and is committed like that; of a rename, that may be the name in both directories
/// or in neither. What is committed is not harmed: groups are built from whole inodes, and made current in one step.
///
/// It also lets threads take turns.
#[derive(Debug)]
pub(super) struct Guard<F> {
    pub inner: F,
    pub turns: Arc<Turns>,
}

/// Passes each request on.
macro_rules! guarded {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&self, request: &Request, $($argument: $type),*) {
            self.turns.begin();
            survive(stringify!($name), || self.inner.$name(request, $($argument),*));
            self.turns.take();
        })*
    };
}

impl<F: Filesystem> Filesystem for Guard<F> {
    fn init(&mut self, request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.inner.init(request, config)
    }

    fn destroy(&mut self) {
        self.inner.destroy();
    }

    guarded! {
        lookup(parent: INodeNo, name: &OsStr, reply: ReplyEntry);
        forget(ino: INodeNo, lookups: u64);
        getattr(ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr);
        setattr(
            ino: INodeNo,
            mode: Option<u32>,
            uid: Option<u32>,
            gid: Option<u32>,
            size: Option<u64>,
            atime: Option<TimeOrNow>,
            mtime: Option<TimeOrNow>,
            ctime: Option<SystemTime>,
            handle: Option<FileHandle>,
            crtime: Option<SystemTime>,
            chgtime: Option<SystemTime>,
            bkuptime: Option<SystemTime>,
            flags: Option<BsdFileFlags>,
            reply: ReplyAttr
        );
        readlink(ino: INodeNo, reply: ReplyData);
        mknod(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, device: u32, reply: ReplyEntry);
        mkdir(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry);
        unlink(parent: INodeNo, name: &OsStr, reply: ReplyEmpty);
        rmdir(parent: INodeNo, name: &OsStr, reply: ReplyEmpty);
        symlink(parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry);
        rename(
            parent: INodeNo,
            name: &OsStr,
            new_parent: INodeNo,
            new_name: &OsStr,
            flags: RenameFlags,
            reply: ReplyEmpty
        );
        link(ino: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry);
        open(ino: INodeNo, flags: OpenFlags, reply: ReplyOpen);
        read(
            ino: INodeNo,
            handle: FileHandle,
            offset: u64,
            size: u32,
            flags: OpenFlags,
            owner: Option<LockOwner>,
            reply: ReplyData
        );
        write(
            ino: INodeNo,
            handle: FileHandle,
            offset: u64,
            data: &[u8],
            write_flags: WriteFlags,
            flags: OpenFlags,
            owner: Option<LockOwner>,
            reply: ReplyWrite
        );
        flush(ino: INodeNo, handle: FileHandle, owner: LockOwner, reply: ReplyEmpty);
        release(
            ino: INodeNo,
            handle: FileHandle,
            flags: OpenFlags,
            owner: Option<LockOwner>,
            flush: bool,
            reply: ReplyEmpty
        );
        fsync(ino: INodeNo, handle: FileHandle, datasync: bool, reply: ReplyEmpty);
        opendir(ino: INodeNo, flags: OpenFlags, reply: ReplyOpen);
        readdir(ino: INodeNo, handle: FileHandle, cookie: u64, reply: ReplyDirectory);
        readdirplus(ino: INodeNo, handle: FileHandle, cookie: u64, reply: ReplyDirectoryPlus);
        releasedir(ino: INodeNo, handle: FileHandle, flags: OpenFlags, reply: ReplyEmpty);
        fsyncdir(ino: INodeNo, handle: FileHandle, datasync: bool, reply: ReplyEmpty);
        statfs(ino: INodeNo, reply: ReplyStatfs);
        setxattr(ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, position: u32, reply: ReplyEmpty);
        getxattr(ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr);
        listxattr(ino: INodeNo, size: u32, reply: ReplyXattr);
        removexattr(ino: INodeNo, name: &OsStr, reply: ReplyEmpty);
        access(ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty);
        create(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, flags: i32, reply: ReplyCreate);
        getlk(
            ino: INodeNo,
            handle: FileHandle,
            owner: LockOwner,
            start: u64,
            end: u64,
            kind: i32,
            pid: u32,
            reply: ReplyLock
        );
        setlk(
            ino: INodeNo,
            handle: FileHandle,
            owner: LockOwner,
            start: u64,
            end: u64,
            kind: i32,
            pid: u32,
            sleep: bool,
            reply: ReplyEmpty
        );
        bmap(ino: INodeNo, block_size: u32, index: u64, reply: ReplyBmap);
        ioctl(
            ino: INodeNo,
            handle: FileHandle,
            flags: IoctlFlags,
            command: u32,
            input: &[u8],
            output_size: u32,
            reply: ReplyIoctl
        );
        poll(
            ino: INodeNo,
            handle: FileHandle,
            notifier: PollNotifier,
            events: PollEvents,
            flags: PollFlags,
            reply: ReplyPoll
        );
        fallocate(ino: INodeNo, handle: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty);
        lseek(ino: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek);
        copy_file_range(
            from: INodeNo,
            from_handle: FileHandle,
            from_offset: u64,
            to: INodeNo,
            to_handle: FileHandle,
            to_offset: u64,
            len: u64,
            flags: CopyFileRangeFlags,
            reply: ReplyWrite
        );
    }
}

fn survive(request: &'static str, answer: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(answer)).is_err() {
        tracing::error!(request, "a request met a bug, and fails; the panic is logged before this");
    }
}
