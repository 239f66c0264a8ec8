//! Who may sign up: on a node of one's own anybody who can call it, on a server whom it lets in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use peergos_crypto::{multibase, pow::ProofOfWork, random};
use sha2::{Digest, Sha256};

use super::{
    core::Core,
    store::{Batch, Table},
};
use crate::{Error, Result};

/// Sign-ups are counted over this time.
const WINDOW: Duration = Duration::from_secs(3600);
/// How many of them cost nothing.
const FREE: usize = 20;
/// The difficulty of the next one, in bits: a tenth of a second. It grows by one bit whenever they double.
const FIRST: u32 = 16;
/// What no client has to wait longer for than some minutes.
const HARDEST: u32 = 28;

/// What a server asks of those who sign up.
#[derive(Debug, Clone, Default)]
pub struct SignUps {
    /// Whether names can be claimed without a token; then it takes work, if there are many who want one.
    pub open: bool,
    /// How many bytes a new account may store; none for the space that there is.
    pub quota: Option<u64>,
}

/// The rules, and who has been let in of late.
#[derive(Default)]
pub(super) struct Door {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None on a node of one's own.
    rules: Option<SignUps>,
    recent: VecDeque<Instant>,
}

/// What a sign-up has to do.
pub(super) enum Entry {
    /// Nothing.
    Free,
    /// Use up a token.
    Token,
    /// Work, at this difficulty.
    Work(u32),
}

impl Door {
    pub fn set(&self, rules: SignUps) {
        self.state.lock().rules = Some(rules);
    }

    /// Whether no token is needed.
    pub fn is_open(&self) -> bool {
        self.state.lock().rules.as_ref().is_none_or(|rules| rules.open)
    }

    /// What a new account may store.
    pub fn quota(&self) -> Option<u64> {
        self.state.lock().rules.as_ref().and_then(|rules| rules.quota)
    }

    /// What the next sign-up has to do.
    fn entry(&self, now: Instant) -> Entry {
        let mut state = self.state.lock();
        while state.recent.front().is_some_and(|then| now.duration_since(*then) >= WINDOW) {
            state.recent.pop_front();
        }
        match &state.rules {
            None => Entry::Free,
            Some(rules) if !rules.open => Entry::Token,
            Some(_) => Entry::Work(difficulty(state.recent.len())),
        }
    }

    /// Counts one who was let in.
    pub fn entered(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.rules.is_some() {
            state.recent.push_back(now);
        }
    }
}

/// How hard the next sign-up is after `recent` others.
fn difficulty(recent: usize) -> u32 {
    match recent.saturating_sub(FREE) {
        0 => 0,
        more => (FIRST + more.ilog2()).min(HARDEST),
    }
}

impl Core {
    /// Lets a sign-up in, whose proof of work is over `links`: uses up its token in `batch` if it needs one. Returns the
    /// difficulty if it has to work, or work harder.
    ///
    /// # Errors
    /// [`Error::Refused`] in the reference's words.
    pub fn admit_sign_up(
        &self,
        token: &str,
        proof: &ProofOfWork,
        links: &[u8],
        batch: &mut Batch,
    ) -> Result<Option<u32>> {
        match self.door.entry(Instant::now()) {
            Entry::Free => {}
            Entry::Work(bits) if bits == 0 || proof.satisfies(links, bits) => {}
            Entry::Work(bits) => return Ok(Some(bits)),
            Entry::Token if token.is_empty() => {
                let text = "This server is not currently accepting new sign ups. Please try again later";
                return Err(Error::Refused(text.into()));
            }
            Entry::Token => {
                let row = row_of(token);
                if self.kv.get(Table::Tokens, &row)?.is_none() {
                    return Err(Error::Refused("Invalid signup token.".into()));
                }
                batch.delete(Table::Tokens, row);
            }
        }
        Ok(None)
    }

    /// See [`super::EmbeddedNode::sign_up_token`].
    pub fn sign_up_token(&self) -> Result<String> {
        let token = multibase::hex(&random::bytes::<32>()?);
        let mut batch = Batch::default();
        batch.put(Table::Tokens, row_of(&token), Vec::new());
        self.commit(batch, &self.commits.lock())?;
        Ok(token)
    }
}

/// What is kept of a token: whoever reads the store cannot use it.
fn row_of(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_grows_with_the_crowd() {
        assert_eq!([0, FREE, FREE + 1, FREE + 2, FREE + 16].map(difficulty), [0, 0, FIRST, FIRST + 1, FIRST + 4]);
        assert_eq!(difficulty(usize::MAX), HARDEST);
    }

    #[test]
    fn crowds_disperse() {
        let (door, now) = (Door::default(), Instant::now());
        assert!(matches!(door.entry(now), Entry::Free));
        door.set(SignUps { open: true, quota: None });
        (0..=FREE).for_each(|_| door.entered(now));
        assert!(matches!(door.entry(now), Entry::Work(FIRST)));
        assert!(matches!(door.entry(now + WINDOW), Entry::Work(0)));
        door.set(SignUps::default());
        assert!(matches!(door.entry(now), Entry::Token));
    }
}
