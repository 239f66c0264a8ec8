//! SIGINT, SIGTERM and SIGHUP, taken by a thread instead of interrupting others.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::os::fd::AsFd as _;

/// The signals that end the program.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals for this thread and those it starts, so that they arrive here only: to be called before
    /// there are other threads.
    pub fn take() -> Result<Self> {
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        set.thread_block().context("could not block signals")?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("could not wait for signals")?))
    }

    /// Waits for the next signal, at most `patience`; its number.
    pub fn next(&self, patience: Option<Duration>) -> Option<i32> {
        let timeout = patience.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(1) => i32::try_from(self.0.read_signal().ok()??.ssi_signo).ok(),
            _ => None,
        }
    }
}
