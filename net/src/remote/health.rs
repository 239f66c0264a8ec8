//! Whether the server answers. While it does not, requests fail at once, and one small request asks from time to time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::transport::Transport;
use crate::{Error, Reach};

/// What is known from the last requests.
#[derive(Debug)]
pub(super) struct Health(watch::Sender<State>);

#[derive(Debug)]
enum State {
    /// Nothing has been asked yet.
    Unknown { since: SystemTime },
    /// It answers.
    Up { since: SystemTime },
    /// It does not.
    Down { since: SystemTime, reason: String },
}

impl Default for Health {
    fn default() -> Self {
        Self(watch::Sender::new(State::Unknown { since: SystemTime::now() }))
    }
}

impl Health {
    /// Something came back, be it a refusal. If the server counts as out of reach, that does not make it answer again: on
    /// the way there may be others who answer for it.
    pub fn answered(&self) {
        self.0.send_if_modified(|state| {
            let is_first = matches!(state, State::Unknown { .. });
            if is_first {
                *state = State::Up { since: SystemTime::now() };
            }
            is_first
        });
    }

    /// The server itself has answered.
    fn is_back(&self, server: &str) {
        tracing::warn!("the server {server} answers again");
        self.0.send_replace(State::Up { since: SystemTime::now() });
    }

    /// A request failed as often as it is worth trying.
    pub fn failed(&self, error: &Error) {
        let Error::Unreachable { reason, .. } = error else { return };
        self.0.send_if_modified(|state| {
            match state {
                State::Down { .. } => return false,
                State::Up { .. } => tracing::warn!("{error}; what is on this machine can still be used"),
                // whoever asks first says so
                State::Unknown { .. } => {}
            }
            *state = State::Down { since: SystemTime::now(), reason: reason.clone() };
            true
        });
    }

    /// Why there is no point in asking now.
    pub fn down(&self) -> Option<String> {
        match &*self.0.borrow() {
            State::Down { reason, .. } => Some(reason.clone()),
            State::Unknown { .. } | State::Up { .. } => None,
        }
    }

    /// Whether nothing is known yet.
    pub fn is_unknown(&self) -> bool {
        matches!(*self.0.borrow(), State::Unknown { .. })
    }

    /// The same for those above.
    pub fn reach(&self) -> Reach {
        match &*self.0.borrow() {
            // there is a point in asking
            State::Unknown { since } | State::Up { since } => Reach::Online { since: *since },
            State::Down { since, reason } => Reach::Offline { since: *since, reason: reason.clone() },
        }
    }
}

/// Asks a server that does not answer every `pause`, until it does; for as long as there is anyone to ask it.
pub(super) async fn watch(transport: Arc<Transport>, pause: Duration) {
    let mut changes = transport.health.0.subscribe();
    while changes.wait_for(|state| matches!(state, State::Down { .. })).await.is_ok() {
        tokio::time::sleep(pause).await;
        if transport.is_there().await {
            transport.health.is_back(transport.address());
        }
    }
}
