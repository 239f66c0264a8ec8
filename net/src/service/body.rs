//! Bodies: they take room as they arrive, and must arrive at a pace.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::pace::PORTION;
use crate::{Error, Result};

/// The memory for all bodies together, in units of [`STEP`].
const STEPS: usize = 1 << 12;
/// What a body takes at a time, in bytes: a client that only announces one has nothing.
const STEP: usize = 16 << 10;

/// The room for all bodies.
pub(super) struct Bodies {
    steps: Arc<Semaphore>,
    /// For one body that finds no room.
    overdraft: Arc<Semaphore>,
}

/// The room that a body takes until this is dropped: a permit for each step.
pub(super) type Room = Vec<Option<OwnedSemaphorePermit>>;

impl Bodies {
    pub fn new() -> Self {
        Self { steps: Arc::new(Semaphore::new(STEPS)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    /// Receives a body of at most `limit` bytes, of which each [`PORTION`] may take `pace`.
    ///
    /// # Errors
    /// [`Error::Busy`] if the client is too slow, [`Error::Refused`] if the body is too long or ends early.
    pub async fn receive(
        &self,
        mut body: impl Body<Data = Bytes> + Unpin,
        limit: usize,
        pace: Duration,
    ) -> Result<(Bytes, Room)> {
        let too_long = || Error::Refused(format!("Input exceeds maximum size of {limit} bytes"));
        if body.size_hint().lower() > limit as u64 {
            return Err(too_long());
        }
        let (mut bytes, mut room, mut is_overdrawn) = (Vec::new(), Room::new(), false);
        let (mut deadline, mut portion) = (Instant::now() + pace, PORTION);
        while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| Error::Busy)? {
            let frame = frame.map_err(|_| Error::Refused("The body is incomplete".into()))?;
            // trailers say nothing here
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - bytes.len() {
                return Err(too_long());
            }
            bytes.extend_from_slice(&data);
            let full = Instant::now();
            while bytes.len() > room.len() * STEP && !is_overdrawn {
                // bodies that are under way could fill all room and wait for each other: one goes on without
                let permit = tokio::select! {
                    biased;
                    step = Arc::clone(&self.steps).acquire_owned() => step,
                    overdraft = Arc::clone(&self.overdraft).acquire_owned() => {
                        is_overdrawn = true;
                        overdraft
                    }
                };
                room.push(permit.ok());
            }
            deadline += full.elapsed();
            if bytes.len() >= portion {
                (deadline, portion) = (Instant::now() + pace, bytes.len() + PORTION);
            }
        }
        Ok((bytes.into(), room))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, future::try_join_all, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::{sync::watch, task::unconstrained, time::timeout};

    use super::*;

    #[tokio::test]
    async fn bodies_that_fill_all_room_do_not_wait_for_each_other() {
        const COUNT: usize = 33;
        const PARTS: [usize; 2] = [2_100_000, 200_000];
        const { assert!(COUNT * PARTS[0] > STEPS * STEP) };
        let (bodies, soon) = (Bodies::new(), Duration::from_secs(30));
        let (begun, all_have_begun) = watch::channel(0);
        let part = |len| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; len])));
        let receive = |_| {
            let mut all_have_begun = all_have_begun.clone();
            let first = async {
                begun.send_modify(|count| *count += 1);
                part(PARTS[0])
            };
            let second = async move {
                all_have_begun.wait_for(|count| *count == COUNT).await.unwrap();
                part(PARTS[1])
            };
            let body = Box::pin(StreamBody::new(stream::once(first).chain(stream::once(second))));
            let receive = bodies.receive(body, 1 << 22, soon);
            async { receive.await.map(|(bytes, _room)| bytes.len()) }
        };
        // without tokio's fairness, by which one would be done before the next begins
        let all = unconstrained(try_join_all((0..COUNT).map(receive)));
        let received = timeout(soon, all).await.expect("they wait for each other");
        assert_eq!(received.unwrap(), [PARTS[0] + PARTS[1]; COUNT]);
        assert_eq!(bodies.steps.available_permits(), STEPS);
    }
}
