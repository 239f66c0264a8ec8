//! The operations, how they are chosen, and what they answer.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, CWD, Timespec, Timestamps, fadvise, utimensat};

use super::world::{SLOTS, World};
use crate::harness::{Rng, filled};

/// Offsets and sizes cluster around these: inlining, page, fragment and chunk borders.
const BORDERS: [u64; 8] = [0, 4096, 65_536, 1 << 20, 2 << 20, 5 << 20, 6 << 20, 10 << 20];
const LARGEST: u64 = 12 << 20;

/// One step.
#[derive(Debug)]
pub enum Operation {
    /// Opens into a slot, with the flags of `open(2)` by name.
    Open {
        path: PathBuf,
        slot: usize,
        flags: Flags,
    },
    /// Closes a slot.
    Close {
        slot: usize,
    },
    /// Writes at an offset, through a slot.
    WriteSlot {
        slot: usize,
        offset: u64,
        len: usize,
        seed: u64,
    },
    /// Reads at an offset, through a slot.
    ReadSlot {
        slot: usize,
        offset: u64,
        len: usize,
    },
    /// fsync, fstat of a slot.
    Sync {
        slot: usize,
    },
    /// ftruncate of a slot.
    ResizeSlot {
        slot: usize,
        len: u64,
    },
    /// Replaces a file's content, making it if need be.
    Write {
        path: PathBuf,
        len: usize,
        seed: u64,
    },
    /// Writes somewhere into an existing file.
    Patch {
        path: PathBuf,
        offset: u64,
        len: usize,
        seed: u64,
    },
    /// Opens, appends, closes.
    Append {
        path: PathBuf,
        len: usize,
        seed: u64,
    },
    /// truncate.
    Resize {
        path: PathBuf,
        len: u64,
    },
    /// Reads a range, past the kernel's page cache.
    Read {
        path: PathBuf,
        offset: u64,
        len: usize,
    },
    MakeDir {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Symlink {
        path: PathBuf,
        target: PathBuf,
    },
    ReadLink {
        path: PathBuf,
    },
    Chmod {
        path: PathBuf,
        mode: u32,
    },
    SetTimes {
        path: PathBuf,
        seconds: i64,
        nanoseconds: i64,
    },
    List {
        path: PathBuf,
    },
    Stat {
        path: PathBuf,
    },
}

/// Flags of an open.
#[derive(Debug)]
pub struct Flags {
    create: bool,
    exclusive: bool,
    truncate: bool,
    append: bool,
}

/// What an operation answered, as far as every file system must answer alike.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The error number.
    Failed(Option<i32>),
    Done,
    /// Too long to print.
    Bytes(Bytes),
    Names(BTreeSet<OsString>),
    Target(PathBuf),
    /// Kind and permissions, size unless it is a folder's, number of links unless it is a folder's.
    Attributes {
        mode: u32,
        size: u64,
        links: u64,
        owner: (u32, u32),
    },
    /// Modification time as set.
    Time(i64, i64),
}

/// Content, shown by its length and hash-like start only.
#[derive(PartialEq, Eq)]
pub struct Bytes(Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zeros = self.0.iter().filter(|b| **b == 0).count();
        write!(f, "{} bytes, {zeros} zeros, {:02x?}…", self.0.len(), &self.0[..self.0.len().min(16)])
    }
}

impl Operation {
    /// The next step.
    pub fn random(rng: &mut Rng) -> Self {
        let path = path(rng);
        let slot = rng.below(SLOTS as u64) as usize;
        let seed = rng.next();
        match rng.below(34) {
            0..3 => {
                let create = !rng.one_in(3);
                let exclusive = create && rng.one_in(4);
                Self::Open {
                    path,
                    slot,
                    flags: Flags { create, exclusive, truncate: rng.one_in(5), append: rng.one_in(4) },
                }
            }
            3 => Self::Close { slot },
            4..7 => Self::WriteSlot { slot, offset: position(rng), len: length(rng), seed },
            7..9 => Self::ReadSlot { slot, offset: position(rng), len: length(rng) },
            9 => Self::Sync { slot },
            10 => Self::ResizeSlot { slot, len: position(rng) },
            11..14 => Self::Write { path, len: length(rng), seed },
            14..16 => Self::Patch { path, offset: position(rng), len: length(rng), seed },
            16 => Self::Append { path, len: length(rng), seed },
            17 => Self::Resize { path, len: position(rng) },
            18..20 => Self::Read { path, offset: position(rng), len: length(rng) },
            20..23 => Self::MakeDir { path },
            23 => Self::RemoveDir { path },
            24..27 => Self::Rename { from: path, to: self::path(rng) },
            27 => Self::Unlink { path },
            28 => Self::Symlink { path, target: if rng.one_in(2) { self::path(rng) } else { name(rng).into() } },
            29 => Self::ReadLink { path },
            30 => Self::Chmod { path, mode: rng.below(0o1000) as u32 },
            31 => Self::SetTimes {
                path,
                seconds: rng.below(1 << 33) as i64,
                nanoseconds: rng.below(1_000_000_000) as i64,
            },
            32 => Self::List { path },
            _ => Self::Stat { path },
        }
    }

    /// Does it.
    pub fn apply(&self, world: &mut World) -> Answer {
        self.attempt(world).unwrap_or_else(|e| Answer::Failed(e.raw_os_error()))
    }

    fn attempt(&self, world: &mut World) -> io::Result<Answer> {
        match self {
            Self::Open { path, slot, flags } => {
                let mut options = OpenOptions::new();
                options.read(true).write(!flags.append).append(flags.append).truncate(flags.truncate && !flags.append);
                options.create(flags.create).create_new(flags.exclusive).mode(0o640);
                let file = options.open(world.path(path))?;
                let answer = attributes(&file.metadata()?);
                world.open[*slot] = Some(file);
                Ok(answer)
            }
            Self::Close { slot } => {
                world.open[*slot] = None;
                Ok(Answer::Done)
            }
            Self::WriteSlot { slot, offset, len, seed } => {
                with(world, *slot, |file| file.write_all_at(&filled(*seed, *len), *offset).map(|()| Answer::Done))
            }
            Self::ReadSlot { slot, offset, len } => with(world, *slot, |file| read(file, *offset, *len)),
            Self::Sync { slot } => with(world, *slot, |file| {
                file.sync_all()?;
                Ok(attributes(&file.metadata()?))
            }),
            Self::ResizeSlot { slot, len } => with(world, *slot, |file| {
                file.set_len(*len)?;
                Ok(attributes(&file.metadata()?))
            }),
            Self::Write { path, len, seed } => fs::write(world.path(path), filled(*seed, *len)).map(|()| Answer::Done),
            Self::Patch { path, offset, len, seed } => {
                let file = File::options().write(true).open(world.path(path))?;
                file.write_all_at(&filled(*seed, *len), *offset)?;
                Ok(attributes(&file.metadata()?))
            }
            Self::Append { path, len, seed } => {
                let mut file = File::options().append(true).open(world.path(path))?;
                io::Write::write_all(&mut file, &filled(*seed, *len))?;
                Ok(attributes(&file.metadata()?))
            }
            Self::Resize { path, len } => {
                File::options().write(true).open(world.path(path))?.set_len(*len)?;
                Ok(attributes(&fs::metadata(world.path(path))?))
            }
            Self::Read { path, offset, len } => {
                let file = File::open(world.path(path))?;
                // Only a hint: without it, the kernel would answer much from its own cache.
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
                read(&file, *offset, *len)
            }
            Self::MakeDir { path } => fs::create_dir(world.path(path)).map(|()| Answer::Done),
            Self::RemoveDir { path } => fs::remove_dir(world.path(path)).map(|()| Answer::Done),
            Self::Rename { from, to } => fs::rename(world.path(from), world.path(to)).map(|()| Answer::Done),
            Self::Unlink { path } => fs::remove_file(world.path(path)).map(|()| Answer::Done),
            Self::Symlink { path, target } => symlink(target, world.path(path)).map(|()| Answer::Done),
            Self::ReadLink { path } => fs::read_link(world.path(path)).map(Answer::Target),
            Self::Chmod { path, mode } => {
                fs::set_permissions(world.path(path), Permissions::from_mode(*mode)).map(|()| Answer::Done)
            }
            Self::SetTimes { path, seconds, nanoseconds } => {
                let time = Timespec { tv_sec: *seconds, tv_nsec: *nanoseconds };
                let times = Timestamps { last_access: time, last_modification: time };
                let path = world.path(path);
                utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
                let meta = fs::symlink_metadata(&path)?;
                Ok(Answer::Time(meta.mtime(), meta.mtime_nsec()))
            }
            Self::List { path } => {
                let names =
                    fs::read_dir(world.path(path))?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<_>>()?;
                Ok(Answer::Names(names))
            }
            Self::Stat { path } => Ok(attributes(&fs::symlink_metadata(world.path(path))?)),
        }
    }
}

fn with(world: &World, slot: usize, f: impl FnOnce(&File) -> io::Result<Answer>) -> io::Result<Answer> {
    world.open[slot].as_ref().map_or(Ok(Answer::Done), f)
}

fn read(file: &File, offset: u64, len: usize) -> io::Result<Answer> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(Answer::Bytes(Bytes(bytes)))
}

fn attributes(meta: &Metadata) -> Answer {
    let (size, links) = if meta.is_dir() { (0, 0) } else { (meta.len(), meta.nlink()) };
    Answer::Attributes { mode: meta.mode(), size, links, owner: (meta.uid(), meta.gid()) }
}

/// One of few names, so that steps meet: two of them are as long as can be, and some differ only in case or script.
fn name(rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => "n".repeat(255),
        1 => "é".repeat(127),
        2 => "Πύργος.txt".into(),
        3 => "A".into(),
        n => ["a", "b", "c", "d", "e f", "日本語", ".hidden", "x.tmp"][n as usize - 4].into(),
    }
}

/// A path of one to four names; short ones are likelier.
fn path(rng: &mut Rng) -> PathBuf {
    let depth = *rng.pick(&[1, 1, 2, 2, 2, 3, 3, 4]);
    let mut path = PathBuf::new();
    for _ in 1..depth {
        path.push(Path::new(*rng.pick(&["a", "b", "日本語"])));
    }
    path.push(name(rng));
    path
}

/// Somewhere near a border, or small.
fn position(rng: &mut Rng) -> u64 {
    if rng.one_in(2) {
        return rng.below(10_000);
    }
    let near = *rng.pick(&BORDERS) + rng.below(200);
    near.saturating_sub(100).min(LARGEST)
}

/// Mostly small, sometimes up to beyond a chunk.
fn length(rng: &mut Rng) -> usize {
    let len = match rng.below(20) {
        0 => rng.below(7 << 20),
        1..4 => rng.below(300_000),
        4 => 4096,
        _ => rng.below(5000),
    };
    len as usize
}
