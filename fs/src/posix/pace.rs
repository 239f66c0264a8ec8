//! Leaving room between commits while other clients commit too.
//!
//! Who was refused has to read what others changed before the next attempt, and so takes longer than who was not: a client
//! that commits without a pause would shut all others out. So while there are others, the next commit waits for a random
//! time, of up to a few times what the last one took.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Result;

/// How long others are taken to be at work after their last change.
const PRESENT: Duration = Duration::from_secs(60);
/// The longest pause, in durations of the last commit.
const GAP: u32 = 5;
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);
/// How often a commit is tried while others are faster.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause after a refusal, at most.
const BACKOFF: Duration = Duration::from_millis(30);

/// When this client and others committed.
#[derive(Default)]
pub(super) struct Pace {
    others: Mutex<Option<Instant>>,
    /// When the last commit ended, and how long it took.
    last: Mutex<Option<(Instant, Duration)>>,
}

/// One commit, of any number of attempts.
pub(super) struct Turn {
    began: Instant,
}

impl Pace {
    /// Others have changed something.
    pub fn met_others(&self) {
        *self.others.lock() = Some(Instant::now());
    }

    /// Waits until it is this client's turn.
    pub fn turn(&self) -> Result<Turn> {
        let is_alone = self.others.lock().is_none_or(|seen| seen.elapsed() > PRESENT);
        let last = *self.last.lock();
        if let Some((ended, took)) = last.filter(|_| !is_alone) {
            let pause = (took * GAP).min(LONGEST).mul_f64(chance()?);
            std::thread::sleep(pause.saturating_sub(ended.elapsed()));
        }
        Ok(Turn { began: Instant::now() })
    }

    /// An attempt that began at `began` was successful.
    pub fn committed(&self, began: Instant) {
        *self.last.lock() = Some((Instant::now(), began.elapsed()));
    }
}

impl Turn {
    /// Waits before another attempt, unless there were enough: others who were refused should not come back all at once.
    pub fn again(&self) -> Result<bool> {
        let is_patient = self.began.elapsed() < PATIENCE;
        if is_patient {
            std::thread::sleep(BACKOFF.mul_f64(chance()?));
        }
        Ok(is_patient)
    }
}

/// A random number from 0 to 1.
fn chance() -> Result<f64> {
    Ok(f64::from(u16::from_le_bytes(peergos_crypto::random::bytes()?)) / f64::from(u16::MAX))
}
