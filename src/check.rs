//! `peergos-mount check`.

use std::{
    fs, io,
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::{atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use peergos_fs::check::{self, Finding, Orphans, Report};

use crate::{
    account::{AccountArgs, Door},
    failure::{Explain as _, Result, Status},
    login,
    progress::{Progress, tell},
    units::show_bytes,
};

/// How long between two updates of the display.
const DISPLAY_STEP: Duration = Duration::from_millis(200);

/// Checks an account, and says what it found.
pub fn command(args: AccountArgs, repair: bool, json: bool) -> Result<ExitCode> {
    let door = Door::find(args)?;
    let account = login::open(&door.at, &door.username, &door.given(), &door.state)?.account;
    let notes = door.state.orphans(&door.at.name, &door.username);
    let mut orphans = Orphans::from_text(&fs::read_to_string(&notes).unwrap_or_default());
    let progress = check::Progress::default();
    let report = watched(&progress, || check::check(&door.at.verified, &account, repair, &mut orphans, &progress))
        .or_explain(|| format!("the account `{}` could not be checked", door.username))?;
    if let Err(error) = note(&notes, &orphans) {
        tracing::warn!("orphans that were met are not noted, so that their age stays unknown: {error:#}");
    }
    show(&report.findings, json).context("the findings could not be written")?;
    let left = report.findings.iter().filter(|finding| !finding.repaired).count();
    tell(summary(&report, left, progress.bytes.load(Ordering::Relaxed)));
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(Status::Findings as u8) })
}

/// Shows a person who waits how far it is.
fn watched<T: Send>(progress: &check::Progress, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || {
            let mut line = Progress::new();
            while is_done.recv_timeout(DISPLAY_STEP) == Err(mpsc::RecvTimeoutError::Timeout) {
                let entries = progress.entries.load(Ordering::Relaxed);
                line.show(&format!("{entries} entries, {} …", show_bytes(progress.bytes.load(Ordering::Relaxed))));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Keeps the notes for the next check.
fn note(path: &Path, orphans: &Orphans) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().context("a file without a folder")?)?;
    let new = path.with_extension("new");
    fs::write(&new, orphans.to_text())?;
    Ok(fs::rename(new, path)?)
}

fn show(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for Finding { kind, path, text, repaired } in findings {
        if json {
            let (path, text) = (quoted(path), quoted(text));
            writeln!(out, r#"{{"kind":"{kind}","path":{path},"text":{text},"repaired":{repaired}}}"#)?;
        } else {
            let repaired = if *repaired { " (mended)" } else { "" };
            writeln!(out, "{kind:<12} {}: {text}{repaired}", one_line(path))?;
        }
    }
    out.flush()
}

/// A path whose control characters stay out of the terminal.
fn one_line(path: &str) -> String {
    path.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Text as JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\0'..=' ' if c != ' ' => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn summary(report: &Report, left: usize, bytes: u64) -> String {
    let whole = format!("{} entries with {}", report.entries, show_bytes(bytes));
    let unsettled = if report.is_unsettled {
        " Other devices were changing the account meanwhile: some of it may have been on its way, and nothing was mended. \
         Check again when they are done."
    } else {
        ""
    };
    match (report.findings.len(), left) {
        (0, _) => format!("{whole}: all is well."),
        (all, 0) => format!("{whole}: {all} findings, all mended."),
        (all, left) => format!("{whole}: {all} findings, {left} of them not mended.{unsettled}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_json() {
        for text in ["", "plain", "a\"b\\c", "line\nbreak\t\u{1}", "é 日本"] {
            assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }
}
