//! Asking again: how often, after what wait, and when not (spec 02 §21.2).

use std::time::Instant;

use bytes::Bytes;
use peergos_crypto::random;

use super::transport::{Kind, Request, Transport};
use crate::{Error, Result};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 7;
/// How often a signed one is: servers break off where a signature is bad, which is no reason to insist.
const SIGNED_ATTEMPTS: u32 = 3;

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

/// How often to ask in all, after a failure of this kind.
const fn attempts(kind: Kind, repeat: Repeat, is_unknown: bool) -> u32 {
    match (kind, repeat) {
        (Kind::Refused, _) | (Kind::Lost, Repeat::Never) => 1,
        // more likely a wrong address than a bad moment
        (Kind::Unsent, _) if is_unknown => 1,
        (Kind::Lost, Repeat::Signed) => SIGNED_ATTEMPTS,
        (Kind::Unsent | Kind::Later, _) | (Kind::Lost, Repeat::Freely) => ATTEMPTS,
    }
}

impl Transport {
    /// Sends a request until it is answered, or there is no point any more.
    pub async fn call(&self, request: &Request, repeat: Repeat) -> Result<Bytes> {
        let (turns, began) = (if request.is_upload() { &self.writes } else { &self.reads }, Instant::now());
        // whether an attempt may have been acted on
        let mut is_lost = false;
        let no_answer = || Error::NoAnswer(self.address().to_owned());
        for attempt in 1.. {
            let result = {
                let _turn = turns.acquire().await.expect("nobody closes the semaphore");
                // others may have found out while this one waited
                match self.health.down() {
                    Some(_) if is_lost && repeat != Repeat::Freely => return Err(no_answer()),
                    Some(reason) => return Err(self.unreachable(reason)),
                    None => self.exchange(request).await,
                }
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
            // a second attempt at least, over another connection
            let is_unreachable = matches!(failure.error, Error::Unreachable { .. });
            let is_too_long = attempt > 1 && is_unreachable && began.elapsed() > self.patience;
            if is_too_long || attempt >= attempts(failure.kind, repeat, self.health.is_unknown()) {
                if failure.kind == Kind::Lost && repeat != Repeat::Freely {
                    return Err(no_answer());
                }
                self.health.failed(&failure.error);
                return Err(failure.error);
            }
            tracing::debug!(attempt, "asking again: {}", failure.error);
            is_lost |= failure.kind == Kind::Lost;
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
