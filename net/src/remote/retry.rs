//! Asking again: how often, after what wait, and when not (spec 02 §21.2).

use std::time::Instant;

use bytes::Bytes;
use peergos_crypto::random;

use super::transport::{Kind, Request, Transport};
use crate::{Error, Result};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 7;
/// How often a signed one is at which the server breaks off: it does where a signature is bad, which is no reason to
/// insist.
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

impl Transport {
    /// Sends a request until it is answered, or there is no point any more.
    pub async fn call(&self, request: &Request, repeat: Repeat) -> Result<Bytes> {
        self.insist(request, repeat, Instant::now()).await
    }

    /// The same where the server has not answered since `began`.
    async fn insist(&self, request: &Request, repeat: Repeat, mut began: Instant) -> Result<Bytes> {
        let turns = if request.is_upload() { &self.writes } else { &self.reads };
        let no_answer = || Error::NoAnswer(self.address().to_owned());
        let mut broken_off = 0;
        for attempt in 1.. {
            let result = {
                let _turn = turns.acquire().await.expect("nobody closes the semaphore");
                // others may have found out while this one waited
                match self.health.down() {
                    Some(reason) => return Err(self.unreachable(reason)),
                    None => self.exchange(request).await,
                }
            };
            let failure = match result {
                Ok(answer) => {
                    self.health.answered();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            match (failure.kind, repeat) {
                (Kind::Refused, _) => {
                    self.health.answered();
                    return Err(failure.error);
                }
                (Kind::Stranger, _) => return Err(self.met_stranger(failure.error).await),
                (Kind::Lost, Repeat::Never) => return Err(no_answer()),
                (Kind::Lost, Repeat::Signed) => {
                    // who breaks off here and answers other requests means this one
                    Box::pin(self.insist(&Request::id(), Repeat::Freely, began)).await?;
                    began = Instant::now();
                    broken_off += 1;
                    if broken_off == SIGNED_ATTEMPTS {
                        return Err(no_answer());
                    }
                }
                (kind, _) if attempt == ATTEMPTS || self.is_hopeless(kind, attempt, began) => {
                    self.health.failed(&failure.error);
                    return Err(failure.error);
                }
                _ => {}
            }
            tracing::debug!(attempt, "asking again: {}", failure.error);
            self.wait(attempt).await;
        }
        unreachable!("the loop ends with the last attempt")
    }

    /// Whether a server that cannot be reached has been asked for long enough.
    fn is_hopeless(&self, kind: Kind, attempt: u32, began: Instant) -> bool {
        match kind {
            // more likely a wrong address than a bad moment
            Kind::Unsent if self.health.is_unknown() => true,
            Kind::Unsent => began.elapsed() > self.patience,
            // over a second connection at least
            Kind::Lost => attempt > 1 && began.elapsed() > self.patience,
            Kind::Later | Kind::Refused | Kind::Stranger => false,
        }
    }

    /// Finds out whether what answered with `error` is the server at all. If it is not, such as where a network wants one
    /// to log in first, the server is out of reach; who asks for the first time is told why.
    async fn met_stranger(&self, error: Error) -> Error {
        if self.is_there().await {
            return error;
        }
        let (is_first, gone) = (self.health.is_unknown(), self.unreachable(error.to_string()));
        self.health.failed(&gone);
        if is_first { error } else { gone }
    }

    /// The wait after a failed attempt: twice as long after each, and a random part more, so that clients do not all
    /// come back at once.
    pub(super) async fn wait(&self, attempt: u32) {
        let step = self.backoff * 2_u32.pow((attempt - 1).min(ATTEMPTS));
        let share = random::bytes::<1>().map_or(0, |[byte]| u32::from(byte));
        tokio::time::sleep(step + step / 2 * share / 255).await;
    }
}
