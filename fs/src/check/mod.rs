//! Whether an account's encrypted tree is whole, and mending what can be mended without a loss: [`walk`] goes through all
//! of it, [`content`] reads what files hold, [`labels`] knows what is stored and what was reached, [`uploads`] what
//! unfinished uploads have left, [`orphans`] for how long something was reachable by nothing.

mod content;
mod labels;
mod orphans;
mod uploads;
mod walk;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use peergos_net::{Block, Verified};

pub use orphans::{Orphan, Orphans};

use crate::{
    Result,
    account::Account,
    capability::MapKey,
    commit::{self, Priority, Written},
    space::Signer,
    tree::{Changes, Drive},
};

use walk::Walk;

/// How often the tree is gone through again because others changed it meanwhile.
const ATTEMPTS: usize = 3;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A directory names an entry, or a file's size a chunk, and nothing is stored there.
    Dangling,
    /// Something is stored, and cannot be read.
    Damaged,
    /// The hashes by which clients synchronise are not those of the content.
    StaleHash,
    /// There are chunks beyond the size of a file.
    Excess,
    /// A client began to upload a file, and has not finished.
    Unfinished,
    /// A node that nothing leads to.
    Orphan,
    /// A writing space of the account that nothing leads to.
    UnusedSpace,
}

impl Kind {
    /// Its name: one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dangling => "dangling",
            Self::Damaged => "damaged",
            Self::StaleHash => "stale-hash",
            Self::Excess => "excess",
            Self::Unfinished => "unfinished",
            Self::Orphan => "orphan",
            Self::UnusedSpace => "unused-space",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Where: a path from the home directory, which is `/`.
    pub path: String,
    /// What there is to say about it.
    pub text: String,
    /// Whether it was mended.
    pub repaired: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of paths.
    pub findings: Vec<Finding>,
    /// How many entries there are.
    pub entries: u64,
    /// Whether other clients kept changing the account, so that some of this may have been only on its way.
    pub is_unsettled: bool,
}

/// How far a check is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries found so far.
    pub entries: AtomicU64,
    /// Bytes of content read so far.
    pub bytes: AtomicU64,
}

/// What mends a finding: new nodes, or none for those to remove.
struct Repair {
    finding: usize,
    signer: Signer,
    nodes: Vec<(MapKey, Option<Block>)>,
}

/// Reads everything of an account and says what is wrong. Orphans are noted in `orphans`, so that their age is known the
/// next time. With `repair`, stale hashes are written anew, and orphans removed that were there a day ago already; not
/// while something cannot be read, to which they might belong.
///
/// Others may use the account meanwhile. If they change it, findings could be what they were about to do, and all is
/// looked at again.
///
/// # Errors
/// [`crate::Error::Net`] if the node cannot be asked.
pub fn check(
    node: &Arc<Verified>,
    account: &Account,
    repair: bool,
    orphans: &mut Orphans,
    progress: &Progress,
) -> Result<Report> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let drive = Drive::new(node.clone(), account);
        let (mut report, repairs) = Walk::new(&drive, progress, SystemTime::now()).all(account, orphans)?;
        if report.findings.is_empty() {
            return Ok(report);
        }
        report.is_unsettled = has_changed(&drive)?;
        if !report.is_unsettled && repair {
            match mend(&drive, repairs, &mut report.findings) {
                Err(error) if error.is_conflict() => report.is_unsettled = true,
                done => done?,
            }
        }
        if !report.is_unsettled || attempts == 0 {
            report.findings.sort_by(|a, b| (&a.path, a.kind, &a.text).cmp(&(&b.path, b.kind, &b.text)));
            return Ok(report);
        }
    }
}

/// Whether anybody changed a writing space since it was read.
fn has_changed(drive: &Drive) -> Result<bool> {
    for (writer, known) in drive.spaces.known() {
        let now = drive.spaces.current(&writer)?;
        if now.is_none_or(|now| now.pointer.updated != known.pointer.updated) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Commits all repairs at once, unless anybody was faster.
fn mend(drive: &Drive, repairs: Vec<Repair>, findings: &mut [Finding]) -> Result<()> {
    let mut changes = Changes::default();
    let mut mended = Vec::new();
    for Repair { finding, signer, nodes } in repairs {
        for (key, block) in nodes {
            match block {
                Some(block) => changes.put(&signer, key, block),
                None => changes.remove(&signer, key),
            }
        }
        mended.push(finding);
    }
    if mended.is_empty() {
        return Ok(());
    }
    let transaction = drive.node.start_transaction(&drive.owner)?;
    let written = commit::write(drive, &transaction, changes, Priority::Vital, &|_| Ok(()));
    if let Err(error) = drive.node.close_transaction(&drive.owner, &transaction) {
        tracing::warn!(%error, "a transaction could not be closed");
    }
    match written? {
        Written::Committed => mended.into_iter().for_each(|index| findings[index].repaired = true),
        Written::Unanswered(_, error) => return Err(error),
    }
    Ok(())
}
