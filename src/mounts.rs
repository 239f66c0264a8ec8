//! The kernel's list of mounts.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::failure::{self, Classify as _, Status, fail};

/// The file system type of our mounts.
pub const TYPE: &str = "fuse.peergos-mount";

/// A mount, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its device number, major and minor: for FUSE, the minor number names the connection.
    pub device: (u32, u32),
    /// The folder, absolute and without symbolic links.
    pub mountpoint: PathBuf,
    /// The file system type with its subtype.
    pub kind: String,
    /// Who serves it; the user id is there for FUSE only.
    pub user: Option<u32>,
}

/// The topmost mount at `mountpoint`, which must be absolute and without symbolic links.
pub fn find(mountpoint: &Path) -> Result<Option<Mount>> {
    Ok(all()?.into_iter().rfind(|mount| mount.mountpoint == mountpoint))
}

/// All mounts, later ones over earlier ones.
pub fn all() -> Result<Vec<Mount>> {
    let table = fs::read("/proc/self/mountinfo").context("could not read the list of mounts")?;
    Ok(table.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The drive that is mounted at `path`.
pub fn find_ours(path: &Path) -> failure::Result<Mount> {
    let mountpoint = resolve(path).doing(Status::Mount, || path.display().to_string())?;
    match find(&mountpoint).status(Status::Mount)?.filter(Mount::is_ours) {
        Some(mount) => Ok(mount),
        None => fail(Status::Mount, format!("no drive is mounted at {}", path.display())),
    }
}

/// `path` absolute and without symbolic links, without asking the file system at `path` itself, which may hang or be
/// gone.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) if !absolute.is_symlink() => Ok(parent.canonicalize()?.join(name)),
        _ => absolute.canonicalize(),
    }
}

/// A line of proc_pid_mountinfo(5): `36 35 98:0 /root /mountpoint options tag… - type source super-options`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let mountpoint = unescape(fields.nth(1)?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8(rest.next()?.to_vec()).ok()?;
    let user = std::str::from_utf8(rest.nth(1)?).ok()?.split(',').find_map(|option| option.strip_prefix("user_id="));
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        mountpoint: mountpoint.into(),
        kind,
        user: user.and_then(|id| id.parse().ok()),
    })
}

/// Blanks, tabs, newlines and backslashes are in octal: `\040`.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        let len = octal.map_or(1, |_| 4);
        out.push(octal.unwrap_or(*first));
        rest = &rest[len..];
    }
    OsString::from_vec(out)
}

impl Mount {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.kind == TYPE
    }

    /// Whether it is still the topmost mount at its mountpoint.
    pub fn is_there(&self) -> bool {
        find(&self.mountpoint).is_ok_and(|found| found.as_ref() == Some(self))
    }

    /// Whether the process that served it is gone.
    pub fn is_dead(&self) -> bool {
        let not_connected = |error: io::Error| error.raw_os_error() == Some(nix::errno::Errno::ENOTCONN as i32);
        fs::metadata(&self.mountpoint).err().is_some_and(not_connected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuse_line() {
        let line =
            b"95 28 0:53 / /home/a\\040b\\134c rw,nosuid - fuse.peergos-mount peergos rw,user_id=1000,group_id=7";
        let mount = parse(line).unwrap();
        assert_eq!(mount.device, (0, 53));
        assert_eq!(mount.mountpoint, Path::new("/home/a b\\c"));
        assert_eq!(mount.user, Some(1000));
        assert!(mount.is_ours());
    }

    #[test]
    fn other_lines() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        assert_eq!(parse(line).unwrap().kind, "ext3");
        for line in [&b""[..], b"36", b"36 35 98 / /m rw - ext4 a b", b"36 35 98:0 / /m rw ext4 a b", b"\xff \xff \xff"]
        {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn root_is_mounted() {
        assert!(find(Path::new("/")).unwrap().is_some());
        assert_eq!(find(Path::new("/no/such/mount")).unwrap(), None);
    }

    #[test]
    fn resolves_without_the_last_step() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link/x")).unwrap(), real.join("x"));
        assert_eq!(resolve(&real.join("link")).unwrap(), real);
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
    }
}
