//! Where the log goes, and how much of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use tracing_subscriber::EnvFilter;

/// A log larger than this, in bytes, is put aside when a daemon starts.
const MAX_LOG: u64 = 1 << 20;

/// Logs to standard error, as much as `PEERGOS_LOG` says.
pub fn start(daemon: bool) {
    let filter = EnvFilter::try_from_env("PEERGOS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        // it would panic where standard error is gone
        .log_internal_errors(false)
        .with_ansi(!daemon && io::stderr().is_terminal())
        .init();
}

/// Opens a daemon's log for appending; the one before is kept as `log.old`.
pub fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_LOG) {
        fs::rename(path, path.with_extension("old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_logs_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, vec![b'x'; MAX_LOG as usize + 1]).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        assert_eq!(fs::metadata(dir.path().join("log.old")).unwrap().len(), MAX_LOG + 1);
        fs::write(&path, "kept").unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 4);
    }
}
