//! The life of a mount, from the password to the last byte saved.

use std::{
    fs, io,
    io::IsTerminal as _,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use nix::unistd::{getegid, geteuid};
use peergos_fs::{
    account::{self, Account, Upkeep},
    fuse::{MountOptions, Session},
    journal,
    posix::{FileSystem, JournalOptions, Options},
};
use peergos_net::Verified;

use crate::{
    caretaker::Caretaker,
    cli::{Fsync, Plan},
    control::Control,
    daemon,
    ending::{End, Ending},
    failure::{Classify as _, Explain as _, Result, Status},
    harden, logging,
    login::{self, Login},
    mountpoint::Mountpoint,
    mounts::{self, Mount},
    progress::{Progress, tell},
    server::Connection,
    signals::Signals,
    state::{LOCK_PATIENCE, State},
    units, unmount,
};

/// How far ahead of a reading program the kernel reads, in KiB.
const READ_AHEAD: &str = "1024";
/// How long nothing must have changed for a commit ahead of the interval.
const COMMIT_IDLE: Duration = Duration::from_secs(1);
/// How much written data may wait in memory, in bytes, and how much at the least where the cache is small.
const DIRTY_BYTES: usize = 80 << 20;
const LEAST_DIRTY_BYTES: usize = 32 << 20;
/// How many bytes of written data the journal may have, before writers wait for a commit.
const JOURNAL_BYTES: u64 = 1 << 30;
/// How long programs may go on using a mount that is taken from them.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long between two updates of the display.
const DISPLAY_STEP: Duration = Duration::from_millis(200);

/// Mounts, serves, and returns when it is unmounted and everything is saved.
pub fn run(plan: &Plan) -> Result<()> {
    harden::process();
    let ending = Ending::watch(Signals::take()?)?;
    logging::start(plan.args.report_ready);
    let state = State::open(plan.args.account.state.state.clone()).status(Status::State)?;
    let mountpoint = Mountpoint::prepare(&plan.mountpoint, &state).status(Status::Mount)?;
    match Mounted::start(plan, &state, &mountpoint) {
        Ok(mounted) => mounted.serve(plan, &state, &ending),
        Err(failure) => {
            mountpoint.abandon();
            Err(failure)
        }
    }
}

struct Mounted {
    username: String,
    server: String,
    upkeep: Upkeep,
    fs: Arc<FileSystem>,
    session: Session,
    mount: Mount,
}

impl Mounted {
    fn start(plan: &Plan, state: &State, mountpoint: &Mountpoint) -> Result<Self> {
        tracing::debug!("opening the node");
        let connection = Connection::open(&plan.args.account.server, state)?;
        tracing::debug!("logging in");
        let Login { mut account, remembered, is_untried } = login::account(&connection, &plan.args, state)?;
        tracing::debug!("opening the drive");
        let home = connection.home().status(Status::State)?;
        let Connection { node, verified, name: server, .. } = connection;
        let now = SystemTime::now();
        if !is_untried && let Err(error) = account::keep_claim(&*node, &mut account, home.as_ref(), now) {
            // The account works with an old claim as well.
            tracing::warn!("the claim on the user name could not be renewed: {error}");
        }
        let username = account.username.clone();
        let poll_interval = home.is_none().then_some(plan.args.poll_interval);
        let factor = remembered.map(|remembered| remembered.factor);
        let upkeep = Upkeep::new(Arc::clone(&verified), account.clone(), home, factor, is_untried, now);
        let cache_bytes = usize::try_from(plan.args.cache_size).unwrap_or(usize::MAX);
        let options = Options {
            cache_bytes,
            dirty_bytes: (cache_bytes / 4).saturating_mul(5).clamp(LEAST_DIRTY_BYTES, DIRTY_BYTES),
            commit_interval: plan.args.commit_interval,
            commit_idle: COMMIT_IDLE.min(plan.args.commit_interval),
            journal: Some(JournalOptions {
                dir: journal::directory_of(&state.journals(), &account.owner),
                bytes: JOURNAL_BYTES,
                offline_bytes: plan.args.offline_quota,
                fsync: plan.args.fsync == Fsync::Journal,
            }),
            poll_interval,
            pins: poll_interval.map(|_| state.pins(&server, &username)),
            read_only: plan.args.read_only,
            show_hidden: plan.args.show_hidden,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        };
        let fs = open(&verified, &account, &options).or_explain(|| "could not open the drive")?;
        let options = MountOptions {
            source: plan.source.clone(),
            read_only: plan.args.read_only,
            allow_other: plan.args.allow_other,
            noexec: plan.flags.noexec,
            sync: plan.flags.sync,
        };
        tracing::debug!("mounting");
        let path = mountpoint.path();
        let session = Session::mount(Arc::clone(&fs), path, &options)
            .doing(Status::Mount, || format!("could not mount at {}{}", path.display(), hint()))?;
        tracing::debug!("mounted");
        let mount = mounts::find(path).status(Status::Mount)?.context("it is not in the list of mounts");
        Ok(Self { username, server, upkeep, fs, session, mount: mount.status(Status::Mount)? })
    }

    fn serve(self, plan: &Plan, state: &State, ending: &Ending) -> Result<()> {
        let Self { username, server, upkeep, fs, session, mount } = self;
        let (end, ended) = mpsc::channel();
        ending.arm(mount.clone(), end.clone());
        let control = Control::open(mount.device);
        if let Err(error) = &control {
            tracing::warn!("`peergos-mount umount` will not be able to wait: {error}");
        }
        read_ahead(&mount);
        let detached = if plan.args.report_ready { daemon::detach(&state.log()) } else { Ok(()) };
        if detached.is_err() {
            // Whoever asked for the mount takes it for failed.
            unmount::force(&mount).status(Status::Mount)?;
        } else if !plan.args.report_ready {
            let hint = if io::stdin().is_terminal() { " Press Ctrl-C to unmount it." } else { "" };
            tell(format_args!("The drive of `{username}` is mounted at {}.{hint}", mount.mountpoint.display()));
        }
        thread::Builder::new()
            .name("session".to_owned())
            // whoever listens has gone on if this is late
            .spawn({
                let end = end.clone();
                move || drop(end.send(End::Unmounted(session.run())))
            })
            .context("could not start a thread")?;
        let caretaker = Caretaker::start(upkeep, (server, username), end).context("could not start a thread")?;
        let ended = wait(&ended, &mount);
        if mount.is_there()
            && let Err(error) = unmount::force(&mount)
        {
            // As after `umount -f` of what is in use; the next mount clears it away.
            tracing::warn!("what is left of the mount could not be taken away: {error}");
        }
        if let Ok(control) = &control {
            control.close();
        }
        let saved = save(&fs);
        // Closes the node, so that whoever waits can mount again.
        drop((fs, caretaker));
        let trouble = saved.as_ref().err().map(|failure| format!("{:#}", failure.error));
        if let Ok(control) = &control {
            control.announce(trouble.as_deref());
        }
        saved?;
        detached?;
        ended
    }
}

/// Opens the drive. Waits a little for a process that has just unmounted and still saves.
fn open(node: &Arc<Verified>, account: &Account, options: &Options) -> peergos_fs::Result<Arc<FileSystem>> {
    let started = Instant::now();
    loop {
        match FileSystem::open(Arc::clone(node), account.clone(), options.clone()) {
            Err(peergos_fs::Error::JournalLocked) if started.elapsed() < LOCK_PATIENCE => thread::sleep(DISPLAY_STEP),
            result => return result,
        }
    }
}

/// What is most often missing where mounting fails.
fn hint() -> &'static str {
    if !Path::new("/dev/fuse").exists() {
        " (there is no /dev/fuse: load the kernel module `fuse`, or let this container use the device)"
    } else if !geteuid().is_root() && !["/bin", "/usr/bin", "/usr/local/bin"].iter().any(has_fusermount) {
        " (users other than root need fusermount3, of the package fuse3)"
    } else {
        ""
    }
}

fn has_fusermount(dir: &&str) -> bool {
    Path::new(dir).join("fusermount3").exists()
}

/// Waits for the end of the mount, or brings it about if the account is not to be used any more.
fn wait(ended: &Receiver<End>, mount: &Mount) -> Result<()> {
    let unmounted = |end| match end {
        Some(End::Unmounted(result)) => result.doing(Status::Mount, || "the connection to the kernel broke"),
        // The end of this process ends it for them.
        _ => Ok(()),
    };
    match ended.recv() {
        Ok(End::Forced) => unmounted(ended.recv_timeout(PATIENCE).ok()),
        Ok(End::Revoked(error)) => {
            if unmount::unmount(mount).or_else(|_| unmount::force(mount)).is_ok() {
                unmounted(ended.recv_timeout(PATIENCE).ok())?;
            }
            Err(error).doing(Status::Login, || "unmounted, since the login does not hold any more")
        }
        end => unmounted(end.ok()),
    }
}

/// Saves what is not saved yet, and shows a person who waits how much that is.
fn save(fs: &FileSystem) -> Result<()> {
    let saved = thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || {
            let mut progress = Progress::new();
            while is_done.recv_timeout(DISPLAY_STEP) == Err(RecvTimeoutError::Timeout) {
                progress.show(&format!("Saving … {} left", units::show_bytes(fs.dirty_bytes())));
            }
        });
        let saved = fs.shutdown();
        drop(done);
        saved
    });
    saved.doing(Status::Unsaved, || "unmounted, but some changes could not be saved yet; they are kept in the journal, and saved at the next mount")
}

/// Lets the kernel read far ahead. Only root may; others keep the system's default.
fn read_ahead(mount: &Mount) {
    let (major, minor) = mount.device;
    if let Err(error) = fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD) {
        tracing::debug!("the kernel's read-ahead stays as it is: {error}");
    }
}
