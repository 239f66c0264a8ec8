//! For how long nothing has led to a node. The node itself cannot tell: the key that opens its times is in the link that
//! is missing. And what a client uploads right now looks the same, until it is linked. So every check notes the orphans
//! that it meets, and only what an earlier check has met is known to be old.

use std::{
    collections::HashMap,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peergos_crypto::{cid::Cid, signing::KeyHash};

use crate::capability::MapKey;

/// How long something must have been an orphan to be removed.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// A node that nothing leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Orphan {
    /// The writing space.
    pub writer: KeyHash,
    /// The label.
    pub label: MapKey,
    /// The node: another one at the same label is another orphan.
    pub node: Cid,
}

impl Orphan {
    /// As it is in a line of the notes.
    fn to_text(&self) -> String {
        let label = self.label.0.iter().fold(String::new(), |mut text, byte| {
            // a String takes everything
            let _ = write!(text, "{byte:02x}");
            text
        });
        format!("{} {label} {}", self.writer, self.node)
    }
}

/// When orphans were first met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans(HashMap<String, u64>);

impl Orphans {
    /// Reads what [`Orphans::to_text`] wrote; what is not understood is left out, and the orphan counts as new.
    pub fn from_text(text: &str) -> Self {
        let line = |line: &str| {
            let (orphan, seconds) = line.rsplit_once(' ')?;
            Some((orphan.to_owned(), seconds.parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// One line for each: writing space, label, node, and when it was first met in seconds since 1970. Nothing of that is
    /// secret to the server.
    pub fn to_text(&self) -> String {
        let mut lines: Vec<String> = self.0.iter().map(|(orphan, seconds)| format!("{orphan} {seconds}\n")).collect();
        lines.sort();
        lines.concat()
    }

    /// Keeps the notes of these, and adds those that are new. Returns, for each, how long it has been known.
    pub(super) fn meet(&mut self, orphans: &[Orphan], now: SystemTime) -> Vec<Duration> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let met = |orphan: &Orphan| {
            let text = orphan.to_text();
            let first = self.0.get(&text).copied().unwrap_or(now);
            (text, first)
        };
        let met: Vec<(String, u64)> = orphans.iter().map(met).collect();
        let ages = met.iter().map(|(_, first)| Duration::from_secs(now.saturating_sub(*first))).collect();
        self.0 = met.into_iter().collect();
        ages
    }
}

/// Whether what was first met so long ago may be removed.
pub(super) fn is_old(age: Duration) -> bool {
    age >= OLD
}

/// A time for a person to read.
pub(super) fn show(age: Duration) -> String {
    let (number, unit) = match age.as_secs() {
        seconds @ 0..60 => (seconds, "seconds"),
        seconds @ 60..7200 => (seconds / 60, "minutes"),
        seconds @ 7200..172_800 => (seconds / 3600, "hours"),
        seconds => (seconds / 86400, "days"),
    };
    format!("{number} {unit}")
}
