//! Asking again: how often, after what wait, and when not (spec 02 §21.2).

use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::random;

use super::transport::{Kind, Request, Transport};
use crate::{Error, Result};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 7;
/// How often a signed one is: servers break off where a signature is bad, which is no reason to insist.
const SIGNED_ATTEMPTS: u32 = 3;
/// How long nobody asks a server that is down, in waits before a first repetition.
const PAUSE: u32 = 3;

/// What may happen to a request of which nobody knows whether it was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It reads, and is not signed.
    Freely,
    /// It has the same effect when it is sent twice.
    Signed,
    /// It must not be sent twice.
    Never,
}

/// Whether the server answers.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
enum State {
    /// It never has yet.
    #[default]
    Unknown,
    Up,
    Down {
        until: Instant,
        reason: String,
    },
}

impl Health {
    fn answered(&self, server: &str) {
        let mut state = self.0.lock();
        if matches!(*state, State::Down { .. }) {
            tracing::warn!("the server {server} answers again");
        }
        *state = State::Up;
    }

    fn failed(&self, error: &Error, pause: Duration) {
        let Error::Unreachable { reason, .. } = error else { return };
        let mut state = self.0.lock();
        if matches!(*state, State::Up) {
            tracing::warn!("{error}; what is on this machine can still be read");
        }
        *state = State::Down { until: Instant::now() + pause, reason: reason.clone() };
    }

    /// Why there is no point in asking now.
    fn pausing(&self) -> Option<String> {
        match &*self.0.lock() {
            State::Down { until, reason } if Instant::now() < *until => Some(reason.clone()),
            _ => None,
        }
    }

    /// How often to ask in all, after a failure of this kind.
    fn attempts(&self, kind: Kind, repeat: Repeat) -> u32 {
        match (kind, repeat, &*self.0.lock()) {
            (Kind::Refused, ..) | (Kind::Lost, Repeat::Never, _) | (.., State::Down { .. }) => 1,
            // more likely a wrong address than a bad moment
            (Kind::Unsent, _, State::Unknown) => 1,
            (Kind::Lost, Repeat::Signed, _) => SIGNED_ATTEMPTS,
            (Kind::Unsent | Kind::Later, ..) | (Kind::Lost, Repeat::Freely, _) => ATTEMPTS,
        }
    }
}

impl Transport {
    /// Sends a request until it is answered, or there is no point any more.
    pub async fn call(&self, request: &Request, repeat: Repeat) -> Result<Bytes> {
        if let Some(reason) = self.health.pausing() {
            return Err(self.unreachable(reason));
        }
        let turns = if request.is_upload() { &self.writes } else { &self.reads };
        for attempt in 1.. {
            let result = {
                let _turn = turns.acquire().await.expect("nobody closes the semaphore");
                self.exchange(request).await
            };
            let failure = match result {
                Ok(answer) => {
                    self.health.answered(self.address());
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if failure.kind == Kind::Refused {
                self.health.answered(self.address());
                return Err(failure.error);
            }
            if attempt >= self.health.attempts(failure.kind, repeat) {
                if failure.kind == Kind::Lost && repeat != Repeat::Freely {
                    return Err(Error::NoAnswer(self.address().to_owned()));
                }
                self.health.failed(&failure.error, PAUSE * self.backoff);
                return Err(failure.error);
            }
            tracing::debug!(attempt, "asking again: {}", failure.error);
            self.wait(attempt).await;
        }
        unreachable!("the loop ends with the last attempt")
    }

    /// The wait after a failed attempt: twice as long after each, and a random part more, so that clients do not all
    /// come back at once.
    pub(super) async fn wait(&self, attempt: u32) {
        let step = self.backoff * 2_u32.pow((attempt - 1).min(ATTEMPTS));
        let share = random::bytes::<1>().map_or(0, |[byte]| u32::from(byte));
        tokio::time::sleep(step + step / 2 * share / 255).await;
    }
}
