//! A folder tree as values, so that two of them can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Folder.
    Dir,
    /// Regular file.
    File,
    /// Symbolic link.
    Link,
    /// Fifo, socket or device.
    Special,
}

/// One entry: everything that must survive a remount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// In bytes.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Inode number.
    pub inode: u64,
    /// sha256 of a file, target of a link.
    pub content: Vec<u8>,
}

/// Paths below a folder, which itself is the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<PathBuf, Node>);

/// What a comparison looks at beyond kind, size, mode and content.
#[derive(Clone, Copy)]
pub enum Aspects {
    /// Nothing else.
    Content,
    /// Owners and modification times.
    Times,
    /// Owners, modification times and inode numbers.
    All,
}

impl Node {
    /// Reads one entry.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        let kind = kind(&meta);
        let content = match kind {
            Kind::File => digest(File::open(path)?)?,
            Kind::Link => fs::read_link(path)?.as_os_str().as_bytes().to_vec(),
            // one that cannot be listed has not been read
            Kind::Dir => fs::read_dir(path).map(|_| Vec::new())?,
            Kind::Special => Vec::new(),
        };
        Ok(Self {
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            size: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            inode: meta.ino(),
            content,
        })
    }

    /// The modification time as manifests write it.
    pub fn modified(&self) -> String {
        format!("{}.{:09}", utc(self.mtime.0), self.mtime.1)
    }

    /// What other clients' hash of the content is: a link's content is its target. `folder` for folders.
    pub fn content_sha256(&self) -> String {
        match self.kind {
            Kind::Dir => "folder".into(),
            Kind::Link | Kind::Special => hex::encode(Sha256::digest(&self.content)),
            Kind::File => hex::encode(&self.content),
        }
    }

    fn shown(&self, aspects: Aspects) -> String {
        // The size of a folder means nothing, and what its file system likes.
        let size = if self.kind == Kind::Dir { 0 } else { self.size };
        let content =
            if self.kind == Kind::Link { self.content.escape_ascii().to_string() } else { hex::encode(&self.content) };
        let mut text = format!("{:?} {size} {:o} {content}", self.kind, self.mode);
        if matches!(aspects, Aspects::Times | Aspects::All) {
            let _ = write!(text, " {}:{} {}", self.uid, self.gid, self.modified());
        }
        if matches!(aspects, Aspects::All) {
            let _ = write!(text, " #{}", self.inode);
        }
        text
    }
}

impl Tree {
    /// Reads everything below `root`, and `root`.
    pub fn read(root: &Path) -> Self {
        Self::try_read(root).unwrap_or_else(|e| panic!("{e}"))
    }

    /// As [`read`](Self::read), where somebody may be at work.
    pub fn try_read(root: &Path) -> Result<Self, String> {
        let mut tree = Self(BTreeMap::new());
        tree.add(root, PathBuf::new())?;
        Ok(tree)
    }

    fn add(&mut self, root: &Path, relative: PathBuf) -> Result<(), String> {
        let path = if relative.as_os_str().is_empty() { root.to_owned() } else { root.join(&relative) };
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let node = Node::read(&path).map_err(failed)?;
        let is_dir = node.kind == Kind::Dir;
        self.0.insert(relative.clone(), node);
        if is_dir {
            for entry in fs::read_dir(&path).map_err(failed)? {
                self.add(root, relative.join(entry.map_err(failed)?.file_name()))?;
            }
        }
        Ok(())
    }

    /// The entry at `path`.
    pub fn node(&self, path: &str) -> &Node {
        self.0.get(Path::new(path)).unwrap_or_else(|| panic!("{path} is missing"))
    }

    /// Differences from `other`, a line each; at most twenty.
    pub fn differences(&self, other: &Self, aspects: Aspects) -> Vec<String> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let shown = |tree: &Self, path: &PathBuf| tree.0.get(path).map_or("missing".to_owned(), |n| n.shown(aspects));
        paths
            .into_iter()
            .filter_map(|path| {
                let (here, there) = (shown(self, path), shown(other, path));
                (here != there).then(|| format!("{}: {here} instead of {there}", path.display()))
            })
            .take(20)
            .collect()
    }

    /// Panics with the differences if there are any.
    pub fn assert_equals(&self, expected: &Self, aspects: Aspects, when: &str) {
        let differences = self.differences(expected, aspects);
        assert!(differences.is_empty(), "{when}:\n{}", differences.join("\n"));
    }
}

fn kind(meta: &Metadata) -> Kind {
    let kind = meta.file_type();
    if kind.is_dir() {
        Kind::Dir
    } else if kind.is_file() {
        Kind::File
    } else if kind.is_symlink() {
        Kind::Link
    } else {
        Kind::Special
    }
}

/// sha256 of what is left to read.
fn digest(mut reader: impl Read) -> std::io::Result<Vec<u8>> {
    let (mut hash, mut buf) = (Sha256::new(), vec![0; 1 << 17]);
    loop {
        match reader.read(&mut buf)? {
            0 => return Ok(hash.finalize().to_vec()),
            n => hash.update(&buf[..n]),
        }
    }
}

/// `YYYY-MM-DDThh:mm:ss` of a number of seconds since 1970 (proleptic Gregorian).
fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days.
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[test]
fn times_are_written_as_in_manifests() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00"),
        (-1, "1969-12-31T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (981_173_106, "2001-02-03T04:05:06"),
        (4_102_444_799, "2099-12-31T23:59:59"),
    ] {
        assert_eq!(utc(seconds), text);
    }
}
