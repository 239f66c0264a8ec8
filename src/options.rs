//! The options of mount(8) and fstab(5).

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use anyhow::{Context as _, Result, bail};

use clap::ValueEnum as _;

use crate::{
    cli::{Fsync, MountArgs},
    units,
};

/// Options that only mount(8) has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// No program can be started from the drive.
    pub noexec: bool,
    /// Every write waits until it is saved.
    pub sync: bool,
}

/// What mount(8), systemd or another file system's habit may pass, and what needs nothing done here. The mount is
/// `nodev` and `nosuid` always; mount.fuse(8) passes `dev` and `suid` of its own accord.
const IGNORED: &[&str] = &[
    "",
    "rw",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "lazytime",
    "default_permissions",
    "big_writes",
    "nonempty",
];

/// Applies one comma-separated list; what it says wins over the command line.
pub fn apply(list: &OsStr, args: &mut MountArgs, flags: &mut Flags) -> Result<()> {
    for option in list.as_bytes().split(|b| *b == b',') {
        let (name, value) = match option.iter().position(|b| *b == b'=') {
            Some(at) => (&option[..at], Some(OsStr::from_bytes(&option[at + 1..]))),
            None => (option, None),
        };
        let name = std::str::from_utf8(name).context("mount options are not UTF-8")?;
        let text = || value.and_then(OsStr::to_str).with_context(|| format!("option `{name}` needs a value"));
        match (name, value) {
            ("ro", None) => args.read_only = true,
            ("allow_other", None) => args.allow_other = true,
            ("show_hidden", None) => args.show_hidden = true,
            ("noexec", None) => flags.noexec = true,
            ("sync", None) => flags.sync = true,
            ("state", Some(value)) => args.account.state.state = Some(value.into()),
            ("password_file", Some(value)) => args.account.password_file = Some(value.into()),
            ("username", _) => args.account.username = Some(text()?.to_owned()),
            ("cache_size", _) => args.cache_size = parse(name, units::bytes(text()?))?,
            ("commit_interval", _) => args.commit_interval = parse(name, units::duration(text()?))?,
            ("fsync", _) => args.fsync = parse(name, Fsync::from_str(text()?, false))?,
            ("offline_quota", _) => args.offline_quota = parse(name, units::bytes(text()?))?,
            ("poll_interval", _) => args.poll_interval = parse(name, units::duration(text()?))?,
            ("server", _) => args.account.server.server = parse(name, text()?.parse())?,
            ("ca_file", Some(value)) => args.account.server.ca_file = Some(value.into()),
            ("proxy", _) => args.account.server.proxy = Some(text()?.to_owned()),
            ("disk_cache", _) => args.account.server.disk_cache = parse(name, units::bytes(text()?))?,
            ("insecure_http", None) => args.account.server.insecure_http = true,
            ("parallelism", _) => {
                args.account.server.parallelism =
                    parse(name, text()?.parse().map_err(|_| "not a number from 1 on".into()))?
            }
            ("comment", _) => {}
            (name, None) if IGNORED.contains(&name) => {}
            (name, _) if name.starts_with("x-") => {}
            _ => bail!("unknown mount option `{name}`; see peergos-mount --help"),
        }
    }
    Ok(())
}

fn parse<T>(name: &str, value: Result<T, String>) -> Result<T> {
    value.map_err(|reason| anyhow::anyhow!("option `{name}`: {reason}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn applied(list: &str) -> Result<(MountArgs, Flags)> {
        let mut args = Cli::try_parse_from(["peergos-mount", "/m"])?.mount;
        let mut flags = Flags::default();
        apply(OsStr::new(list), &mut args, &mut flags)?;
        Ok((args, flags))
    }

    #[test]
    fn what_mount_fuse_passes_is_accepted() {
        let (args, flags) =
            applied("rw,nofail,_netdev,noauto,user,dev,suid,x-systemd.requires=a,comment=b,defaults").unwrap();
        assert!(!args.read_only && flags == Flags::default());
    }

    #[test]
    fn values_are_taken() {
        let (args, _) =
            applied("cache_size=1G,commit_interval=250ms,poll_interval=1m,password_file=/p=q,server=embedded").unwrap();
        assert_eq!(args.cache_size, 1 << 30);
        assert_eq!(args.commit_interval.as_millis(), 250);
        assert_eq!(args.poll_interval.as_secs(), 60);
        assert_eq!(args.account.password_file, Some("/p=q".into()));
        let (args, _) = applied("server=https://h,proxy=socks5://p,parallelism=3,insecure_http").unwrap();
        assert_eq!(args.account.server.server, crate::server::Server::Url("https://h".into()));
        assert!(args.account.server.insecure_http && args.account.server.parallelism.get() == 3);
    }

    #[test]
    fn mistakes_are_named() {
        for (list, named) in [
            ("allow_others", "allow_others"),
            ("cache_size=x", "cache_size"),
            ("username", "username"),
            ("ro=1", "ro"),
            ("server=h", "server"),
        ] {
            let error = applied(list).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(applied("password=secret").is_err(), "a password in a command line is readable by everyone");
    }
}
