//! One running `peergos-mount`: started in the foreground, watched, and ended in every way there is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};

use super::shell::{PROGRAM, program, run};

/// How long anything single (a mount, an unmount) may take before it counts as hung.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Whether tests are to take as long as it takes to trust them.
pub fn is_long() -> bool {
    env::var_os("PEERGOS_TEST_LONG").is_some()
}

/// How long one mount may live. A daemon that stopped answering blocks its callers in the kernel; only its end frees them.
fn lifetime() -> Duration {
    Duration::from_secs(if is_long() { 4 * 3600 } else { 1200 })
}

/// A mounted drive's process. Dropping it kills the process and takes the mount away.
pub struct Daemon {
    child: Child,
    mountpoint: PathBuf,
    log: PathBuf,
    /// Dropped to call the watchdog off.
    _watchdog: mpsc::Sender<()>,
}

impl Daemon {
    /// Starts `command` (arguments complete) and returns once `mountpoint` is mounted. Output goes to the end of `log`.
    pub fn start(command: &mut Command, mountpoint: &Path, log: &Path) -> Result<Self, String> {
        let file = fs::File::options().create(true).append(true).open(log).expect("log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("log file"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut daemon =
            Self { _watchdog: watch(&child), child, mountpoint: mountpoint.to_owned(), log: log.to_owned() };
        let mut ended = None;
        let mounted = poll(|| {
            ended = daemon.child.try_wait().expect("own child");
            ended.is_some() || is_mounted(mountpoint)
        });
        match ended {
            Some(status) => Err(format!("ended with {status} instead of mounting:\n{}", daemon.log())),
            None if !mounted => Err(format!("not mounted within {DEADLINE:?}:\n{}", daemon.log())),
            None => Ok(daemon),
        }
    }

    /// What the program printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The most memory the process ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that the process has resident, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The files, sockets and the like that the process has open.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the daemon lives");
        // what was closed since is none
        all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
    }

    fn status(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).expect("the daemon lives");
        let line = status.lines().find_map(|l| l.strip_prefix(field)).expect("a field of a process's status");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    /// `peergos-mount umount`, then waits for the end of the process.
    pub fn unmount(mut self) -> ExitStatus {
        // A command that another test starts has, for a moment, this test's open files too.
        let unmounted = || run(program().arg("umount").arg(&self.mountpoint));
        let mut ran = unmounted();
        for _ in 0..100 {
            if ran.code == Some(0) || !ran.err.contains("busy") {
                break;
            }
            thread::sleep(Duration::from_millis(20));
            ran = unmounted();
        }
        assert_eq!(ran.code, Some(0), "umount: {}{}", ran.out, ran.err);
        assert!(!is_mounted(&self.mountpoint), "`peergos-mount umount` returned before the unmount");
        self.wait()
    }

    /// Sends a signal that asks for an orderly end, then waits for it.
    pub fn signal(mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).expect("the daemon lives");
        self.wait()
    }

    /// Waits for the end that something else brought about.
    pub fn ended(mut self) -> ExitStatus {
        self.wait()
    }

    /// `kill -9`; the dead mount stays until this value is dropped.
    pub fn kill_leaving_the_mount(&self) {
        kill_process(self.pid(), Signal::KILL).expect("the daemon lives");
    }

    /// `kill -9`, and removal of the dead mount.
    pub fn kill(mut self) {
        self.end();
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = poll(|| {
            status = self.child.try_wait().expect("own child");
            status.is_some()
        });
        assert!(ended, "the daemon did not end within {DEADLINE:?}:\n{}", self.log());
        assert!(!is_mounted(&self.mountpoint), "the daemon ended but left its mount behind:\n{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
        let status = status.expect("the child has ended");
        if !status.success() {
            eprintln!("--- {PROGRAM} on {} ended with {status}:\n{log}---", self.mountpoint.display());
        }
        status
    }

    fn end(&mut self) {
        // Both fail where there is nothing left to end, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if is_mounted(&self.mountpoint) {
            let _ = Command::new("umount").arg("-l").arg(&self.mountpoint).status();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- {PROGRAM} on {} printed:\n{}---", self.mountpoint.display(), self.log());
        }
    }
}

/// Kills the process when its time is up, unless the returned handle is gone by then.
fn watch(child: &Child) -> mpsc::Sender<()> {
    let (handle, watched) = mpsc::channel::<()>();
    let (pid, lifetime) = (Pid::from_child(child), lifetime());
    thread::spawn(move || {
        if watched.recv_timeout(lifetime) == Err(RecvTimeoutError::Timeout) {
            eprintln!("a mount outlived {lifetime:?}: killing process {}", pid.as_raw_nonzero());
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    handle
}

/// Asks until `done` or until [`DEADLINE`] has passed; says whether it was done.
pub fn poll(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > DEADLINE {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Whether something of FUSE is mounted exactly at `path`.
pub fn is_mounted(path: &Path) -> bool {
    let path = path.to_str().expect("test paths are UTF-8");
    fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().any(|line| {
        let (mount, kind) = line.split_once(" - ").expect("mountinfo has a separator");
        mount.split(' ').nth(4) == Some(path) && kind.starts_with("fuse")
    })
}
