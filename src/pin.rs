//! `peergos-mount pin`: what of a drive on a server is kept on this machine, by the file `.peergos/pins` in the mount.

use std::{
    fs::File,
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use nix::errno::Errno;

use crate::{
    failure::{Classify as _, Result, Status, fail},
    mounts::{self, Mount},
};

/// Lists what is pinned, and takes `+/PATH` and `-/PATH`, each with the end of a line.
const FILE: &str = ".peergos/pins";

/// What to do.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// A folder or file in a mounted drive
    path: PathBuf,
    /// Keep it no longer
    #[arg(long, conflicts_with = "list")]
    remove: bool,
    /// Show what is kept of the drive that PATH is in
    #[arg(long)]
    list: bool,
}

/// Pins a path, takes that back, or lists what is pinned.
pub fn command(args: &PinArgs) -> Result<()> {
    let path = if args.remove { gone(&args.path) } else { args.path.canonicalize() };
    let path = path.doing(Status::Usage, || args.path.display().to_string())?;
    let mounts = mounts::all().status(Status::Mount)?;
    let holds = |mount: &&Mount| path.starts_with(&mount.mountpoint);
    let Some(mount) = mounts.iter().filter(holds).max_by_key(|mount| mount.mountpoint.as_os_str().len()) else {
        return fail(Status::Mount, "it is nowhere");
    };
    if !mount.is_ours() {
        return fail(Status::Mount, format!("{} is not in a mounted drive", path.display()));
    }
    let file = mount.mountpoint.join(FILE);
    if args.list {
        let list = std::fs::read_to_string(&file).context("what is pinned is not known").status(Status::Mount)?;
        print!("{list}");
        return Ok(());
    }
    let inside = path.strip_prefix(&mount.mountpoint).unwrap_or(Path::new(""));
    let mut order = if args.remove { b"-/".to_vec() } else { b"+/".to_vec() };
    order.extend_from_slice(inside.as_os_str().as_bytes());
    order.push(b'\n');
    let ordered = File::options().write(true).open(&file).and_then(|mut file| file.write_all(&order));
    ordered
        .map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) if args.remove => anyhow!("it is not pinned"),
            Some(Errno::ENOENT) => anyhow!("this drive is on this machine anyway"),
            _ => error.into(),
        })
        .doing(Status::Mount, || args.path.display().to_string())
}

/// A path of which the end may not be there any more.
fn gone(path: &Path) -> std::io::Result<PathBuf> {
    path.canonicalize().or_else(|_| mounts::resolve(path))
}
