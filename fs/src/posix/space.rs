//! How much more can be written: foretold from what the node says and from what is not committed yet, so that writers are
//! told when they write, and not when it is too late.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Condvar, Mutex};
use peergos_net::Room;

use crate::{
    Result,
    account::Account,
    error::errno,
    posix::{FileSystem, StatFs, inode::Inode, no_thread},
    tree::Drive,
    turns,
    writeback::Workers,
};

/// How long an answer of the node is good for while somebody writes and there is room.
const FRESH: Duration = Duration::from_secs(10);
/// The same where somebody asks how much there is.
const ASKED: Duration = Duration::from_secs(1);
/// How long an answer is waited for where there is an older one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a refusal stands if nothing is deleted, cut or committed meanwhile.
const REFUSAL: Duration = Duration::from_millis(500);
/// What an entry takes besides its content, in bytes: its node, its link, and its part of the directory and of the CHAMP.
const ENTRY: u64 = 6 << 10;
/// What is left for nodes, and for what is stored twice until the old goes: this part of the quota, and at most so much.
const MARGIN_PART: u64 = 64;
const MARGIN: u64 = 1 << 20;

/// What the node says of the account's space.
pub(super) struct Space {
    drive: Arc<Drive>,
    account: Arc<Account>,
    state: Mutex<State>,
    answered: Condvar,
    /// Asks the node, which may take its time.
    asker: Workers,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// Since when an answer is awaited.
    asked: Option<Instant>,
    /// How often the node has answered, or failed to.
    answers: u64,
    /// When a write was refused, unless something that may make room has been done since.
    refused: Option<Instant>,
}

/// An answer of the node, in bytes.
#[derive(Debug, Clone, Copy)]
struct Known {
    at: Instant,
    used: u64,
    quota: u64,
    /// What else limits uploads, if the node is in this process.
    room: Option<Room>,
    /// What had been uploaded in all before it was asked.
    uploaded: u64,
    /// Whether something was committed since.
    is_outdated: bool,
}

impl Known {
    /// What is left of quota and disk when `more` bytes are stored.
    fn left(&self, more: u64) -> (u64, u64) {
        let disk = self.room.map_or(u64::MAX, |room| room.disk);
        (self.quota.saturating_sub(self.used).saturating_sub(more), disk.saturating_sub(more))
    }

    /// The errno for a write of `more` bytes.
    fn check(&self, more: u64) -> Option<i32> {
        let margin = MARGIN.min(self.quota / MARGIN_PART);
        let uploads = self.room.and_then(|room| room.uploads).unwrap_or(u64::MAX).saturating_sub(more);
        match self.left(more) {
            (quota, _) if quota.min(uploads) <= margin => Some(libc::EDQUOT),
            (_, 0) => Some(libc::ENOSPC),
            _ => None,
        }
    }
}

impl Space {
    /// Knows nothing yet, and asks.
    pub fn of(drive: Arc<Drive>, account: Arc<Account>) -> Result<Arc<Self>> {
        let asker = Workers::start("space", 1).map_err(no_thread)?;
        let space = Self { drive, account, state: Mutex::default(), answered: Condvar::new(), asker };
        let space = Arc::new(space);
        let _ = space.ask(&mut space.state.lock());
        Ok(space)
    }

    /// Something was deleted or cut, and makes room when it is committed.
    pub fn makes_room(&self) {
        self.state.lock().refused = None;
    }

    /// What was known is not so any more: something was committed, here or by others.
    pub fn changed(&self) {
        let mut state = self.state.lock();
        state.refused = None;
        if let Some(known) = &mut state.known {
            known.is_outdated = true;
        }
    }

    /// Asks the node, unless that is going on; returns since when.
    fn ask(self: &Arc<Self>, state: &mut State) -> Instant {
        if let Some(asked) = state.asked {
            return asked;
        }
        let asked = *state.asked.insert(Instant::now());
        let this = self.clone();
        self.asker.spawn(move || {
            let answer = crate::error::survive(|| this.answer());
            let mut state = this.state.lock();
            match answer {
                Ok(known) => state.known = Some(known),
                Err(error) => tracing::debug!(%error, "the node does not say how much space there is"),
            }
            state.asked = None;
            state.answers += 1;
            this.answered.notify_all();
        });
        asked
    }

    fn answer(&self) -> Result<Known> {
        let (at, uploaded) = (Instant::now(), self.drive.uploaded());
        let node = self.drive.node.node();
        let (used, quota) = self.account.space(&**node, SystemTime::now())?;
        Ok(Known { at, used, quota, room: node.room(&self.drive.owner)?, uploaded, is_outdated: false })
    }

    /// What is known, asked for anew if it is older than `age` or outdated. An answer that does not come is not waited for
    /// much longer where an older one is known.
    fn known(self: &Arc<Self>, age: Duration) -> Option<Known> {
        let mut state = self.state.lock();
        if state.known.is_some_and(|known| !known.is_outdated && known.at.elapsed() < age) {
            return state.known;
        }
        let deadline = self.ask(&mut state) + PATIENCE;
        let answers = state.answers;
        while state.answers == answers {
            if state.known.is_none() {
                turns::pass();
                self.answered.wait(&mut state);
            } else if self.answered.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.known
    }

    /// What was known last, without waiting; asks for the next time if that was long ago.
    fn at_hand(self: &Arc<Self>) -> Option<Known> {
        let mut state = self.state.lock();
        if state.known.is_none_or(|known| known.at.elapsed() > FRESH) {
            self.ask(&mut state);
        }
        state.known
    }

    /// Whether there was no room a moment ago, and nothing has made any since.
    fn is_refusing(&self) -> bool {
        self.state.lock().refused.is_some_and(|at| at.elapsed() < REFUSAL)
    }
}

impl FileSystem {
    /// How much space there is: quota and usage, and what the disk has where the node is in this process; what is not
    /// committed yet counted as used.
    ///
    /// # Errors
    /// `EIO` if the node has never said, unless it is out of reach: then there is none at all.
    pub fn statfs(&self) -> Result<StatFs> {
        const BLOCK: u64 = 4096;
        let Some(known) = self.space.known(ASKED) else {
            let nothing = StatFs { block_size: BLOCK as u32, blocks: 0, free: 0 };
            return if self.drive.node.node().reach().is_offline() { Ok(nothing) } else { errno(libc::EIO) };
        };
        let (quota, disk) = known.left(self.more_than(&known));
        Ok(StatFs { block_size: BLOCK as u32, blocks: known.quota / BLOCK, free: quota.min(disk) / BLOCK })
    }

    /// The bytes that the account uses, and the bytes that it may use, as the node said last.
    pub(super) fn used_and_quota(&self) -> Option<(u64, u64)> {
        self.space.known(ASKED).map(|known| (known.used, known.quota))
    }

    /// What is stored, or will be, beyond what the node had counted.
    fn more_than(&self, known: &Known) -> u64 {
        let entries = self.queue.lock().len() as u64 * ENTRY;
        let uploaded = self.drive.uploaded().saturating_sub(known.uploaded);
        uploaded + entries + self.budget.content() as u64 + self.swap.as_ref().map_or(0, |swap| swap.bytes())
    }

    /// Room for one more entry.
    ///
    /// # Errors
    /// As [`FileSystem::check_room`].
    pub(super) fn check_room_for_entry(&self) -> Result<()> {
        self.check_room(ENTRY)
    }

    /// Room for `more` bytes of content, here and with the node. Where there seems to be none, what waits is committed, which shows how much there
    /// is, and may make some.
    ///
    /// # Errors
    /// `EDQUOT`, `ENOSPC`.
    pub(super) fn check_room(&self, more: u64) -> Result<()> {
        self.check_offline_room()?;
        let refusal = |known: Option<Known>| known.and_then(|known| known.check(self.more_than(&known) + more));
        let Some(number) = refusal(self.space.at_hand()) else { return Ok(()) };
        if self.space.is_refusing() {
            return errno(number);
        }
        if refusal(self.space.known(Duration::ZERO)).is_none() {
            return Ok(());
        }
        // why it fails, if it does, is what fsync says
        let _ = self.wait_for(self.schedule.open_group());
        let Some(number) = refusal(self.space.known(Duration::ZERO)) else { return Ok(()) };
        self.space.state.lock().refused = Some(Instant::now());
        errno(number)
    }

    /// Room for the zeros between the end of a file and `size`: they are stored like any other bytes.
    ///
    /// # Errors
    /// As [`FileSystem::check_room`].
    pub(super) fn check_growth(&self, inode: &Inode, size: u64) -> Result<()> {
        let gap = size.saturating_sub(super::io::content_of(inode)?.lock().size());
        if gap == 0 { Ok(()) } else { self.check_room(gap) }
    }
}
