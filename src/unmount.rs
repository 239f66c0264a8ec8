//! Unmounting, and `peergos-mount umount`.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::anyhow;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};

use crate::{
    control::Waiting,
    failure::{Classify as _, Failure, Result, Status},
    mounts::{self, Mount},
    progress::Progress,
};

/// Why something stays mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program has a file or folder of it open, or works in it.
    #[error("it is in use: close what works in it, and try again")]
    Busy,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// `peergos-mount umount`: unmounts, and waits until the process that served the mount has saved everything.
pub fn command(path: &Path) -> Result<()> {
    let name = path.display();
    let mount = mounts::find_ours(path)?;
    // First, since its process may be gone a moment after the mount is.
    let waiting = Waiting::meet(mount.device, mount.user);
    let unmounted = match unmount(&mount) {
        Err(Error::Busy) if mount.is_dead() => clear(&mount),
        other => other,
    };
    unmounted.doing(Status::Mount, || format!("could not unmount {name}"))?;
    let Some(waiting) = waiting else { return Ok(()) };
    let mut progress = Progress::new();
    progress.show("Saving …");
    match waiting.until_over() {
        None => Ok(()),
        Some(trouble) => Err(Failure { status: Status::Unsaved, error: anyhow!(trouble) }),
    }
}

/// Unmounts what nobody uses: with the system call where allowed, or with fusermount.
pub fn unmount(mount: &Mount) -> std::result::Result<(), Error> {
    detach(mount, MntFlags::UMOUNT_NOFOLLOW)
}

/// Takes a mount away whose process is gone, though programs may still have files open there.
pub fn clear(mount: &Mount) -> std::result::Result<(), Error> {
    detach(mount, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

/// Unmounts what is in use: programs that still have files open there get errors from now on.
pub fn force(mount: &Mount) -> std::result::Result<(), Error> {
    // Ends the connection, so that nothing more is accepted of those programs that could then be lost. Root's system
    // call does so too; a user has only this file.
    let abort = format!("/sys/fs/fuse/connections/{}/abort", mount.device.1);
    if let Err(error) = fs::write(&abort, "1") {
        tracing::debug!("{abort}: {error}");
    }
    detach(mount, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

fn detach(mount: &Mount, flags: MntFlags) -> std::result::Result<(), Error> {
    match umount2(&mount.mountpoint, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(Error::Busy),
        Err(Errno::EPERM) => fusermount(&mount.mountpoint, flags.contains(MntFlags::MNT_DETACH)),
        Err(error) => Err(Error::Other(error.to_string())),
    }
}

/// What unmounts for a user who is not root.
fn fusermount(mountpoint: &Path, lazy: bool) -> std::result::Result<(), Error> {
    for program in ["fusermount3", "fusermount"] {
        let mut command = Command::new(program);
        command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(mountpoint).env("LC_ALL", "C").stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(if reason.contains("busy") { Error::Busy } else { Error::Other(reason) });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Other(format!("{program}: {error}"))),
        }
    }
    Err(Error::Other("only root may, or fusermount3 of the package fuse3, which is not installed".to_owned()))
}
