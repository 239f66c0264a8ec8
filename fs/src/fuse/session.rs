//! From the mount to its end.

use std::{
    ffi::OsStr,
    io,
    os::fd::AsFd as _,
    path::Path,
    sync::{Arc, mpsc::Receiver},
    thread,
};

use fuser::{INodeNo, MountOption, Notifier, SessionACL};

use crate::{
    fuse::{Adapter, guard::Guard},
    posix::{FileSystem, Stale},
    turns::Turns,
};

/// How many requests are answered at once: those that wait, for a commit or for a node, and one that does not.
const THREADS: usize = 64;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What the list of mounts shows as the source.
    pub source: String,
    /// No changes.
    pub read_only: bool,
    /// Users other than the one who mounts may enter, as far as permissions let them.
    pub allow_other: bool,
    /// Programs cannot be started from the drive.
    pub noexec: bool,
    /// Every write waits until it is saved.
    pub sync: bool,
}

/// A mounted file system.
#[derive(Debug)]
pub struct Session {
    session: fuser::Session<Guard<Adapter>>,
    stale: Receiver<Stale>,
}

impl Session {
    /// Mounts `fs` at `mountpoint`: with the system call where that is allowed, else with the help of fusermount3.
    ///
    /// # Errors
    /// What the system says.
    pub fn mount(fs: Arc<FileSystem>, mountpoint: &Path, options: &MountOptions) -> io::Result<Self> {
        let mut config = fuser::Config::default();
        config.mount_options = vec![
            MountOption::FSName(options.source.clone()),
            // fuser's own option for it is lost where the system call mounts
            MountOption::CUSTOM("subtype=peergos-mount".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoDev,
            MountOption::NoSuid,
            if options.read_only { MountOption::RO } else { MountOption::RW },
        ];
        config.mount_options.extend(options.noexec.then_some(MountOption::NoExec));
        config.mount_options.extend(options.sync.then_some(MountOption::Sync));
        config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let stale = fs.stale();
        let turns = Turns::new(THREADS);
        let session = fuser::Session::new(Guard { inner: Adapter(fs), turns: turns.clone() }, mountpoint, &config)?;
        turns.watch(session.as_fd().try_clone_to_owned()?)?;
        Ok(Self { session, stale })
    }

    /// Answers the kernel until the file system is unmounted, or the connection to it ended. In the latter case the mount
    /// may still be in the list of mounts.
    ///
    /// # Errors
    /// If the connection to the kernel breaks.
    pub fn run(self) -> io::Result<()> {
        let Self { session, stale } = self;
        let notifier = session.notifier();
        // apart from all others: the kernel may wait for an answer of ours before it takes this in
        thread::Builder::new().name("notify".into()).spawn(move || forget(&notifier, &stale))?;
        let mut session = session.spawn()?;
        let serving = std::mem::replace(&mut session.guard, thread::spawn(|| Ok(())));
        // At its end fuser would unmount whatever is at the mountpoint, which may be another drive by then.
        std::mem::forget(session);
        match serving.join() {
            // So ends a request that a thread has just taken when the mount goes away, as of a file that was closed
            // a moment before.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            Ok(ended) => ended,
            Err(_) => Err(io::Error::other("a thread that answers requests panicked")),
        }
    }
}

/// Has the kernel forget what it is to forget, until the file system is closed.
fn forget(notifier: &Notifier, stale: &Receiver<Stale>) {
    for stale in stale {
        let result = match &stale {
            Stale::Inode(ino) => notifier.inval_inode(INodeNo(*ino), 0, 0),
            Stale::Name { directory, name, gone } => {
                let (directory, name) = (INodeNo(*directory), OsStr::new(&**name));
                // watchers are told of a deletion, which the kernel refuses where the name is in use
                let told = gone.map(|ino| notifier.delete(directory, INodeNo(ino), name));
                if matches!(told, Some(Ok(()))) { Ok(()) } else { notifier.inval_entry(directory, name) }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the kernel goes on remembering what it was to forget");
        }
    }
}
