//! Which of the threads that answer requests takes the next one.
//!
//! To wake a thread takes longer than to answer most requests. So one thread has the turn: it answers a request, and then looks
//! for the next one for a while before it sleeps. The others rest meanwhile, since the kernel wakes one that waits for
//! requests with each of them. Whoever is about to wait, or to work for long, passes his turn on ([`pass`]); from whom that
//! was not expected, it is taken after a millisecond or two.

use std::{
    cell::RefCell,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Thread, ThreadId},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};

/// How long the next request is looked for: a program that makes one after the other takes 5 to 40 µs from one to the next.
const LOOK: Duration = Duration::from_micros(50);
/// Who took longer than this to answer does not look for the next: it wins little by that, and others need the processor.
const SHORT: Duration = Duration::from_micros(100);
/// How often it is looked whether the thread that has the turn still answers the same request.
const TICK: Duration = Duration::from_millis(1);
/// After how many ticks without a request there are no more.
const TICKS: u32 = 16;

/// No patience.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The turn of a set of threads.
#[derive(Debug)]
pub struct Turns {
    /// Where requests come from, and who watches over the turn.
    watched: OnceLock<(Arc<OwnedFd>, Thread)>,
    /// Whether there is another processor for who makes the next request.
    may_look: bool,
    /// Which turn counts. Whoever has one with another number has lost it.
    number: AtomicU64,
    /// Grows with each request; odd while the thread that has the turn answers one.
    pulse: AtomicU64,
    /// Whether the watchdog sleeps until the next request.
    is_idle: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many threads have not taken a request yet. All of them wait for one.
    newcomers: usize,
    /// Whether no thread has the turn, or waits as a newcomer.
    is_free: bool,
    /// Those who wait for the turn. The one that came last, whose memory the processor still has at hand, gets it first.
    resting: Vec<Thread>,
    /// Who has got it, and does not know yet.
    given: Vec<(ThreadId, u64)>,
    /// Whether there will be no more requests, so that nobody waits for a turn.
    is_over: bool,
}

/// The right to take requests.
struct Turn {
    turns: Arc<Turns>,
    number: u64,
    /// When the last request was taken.
    begun: Option<Instant>,
}

impl Turn {
    fn counts(&self) -> bool {
        self.turns.number.load(Ordering::Relaxed) == self.number
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        if self.counts() {
            self.turns.give(&mut state);
        }
    }
}

/// What a thread has to do with turns.
enum Seat {
    /// It has not taken a request yet.
    New,
    /// It may have the turn.
    Known(Option<Turn>),
}

thread_local! {
    /// Dropped when the thread ends, so that those who rest learn that there are no more requests.
    static SEAT: RefCell<Seat> = const { RefCell::new(Seat::New) };
}

impl Turns {
    /// For so many threads.
    pub fn new(threads: usize) -> Arc<Self> {
        let state =
            State { newcomers: threads, is_free: false, resting: Vec::new(), given: Vec::new(), is_over: false };
        Arc::new(Self {
            watched: OnceLock::new(),
            may_look: thread::available_parallelism().is_ok_and(|processors| processors > NonZeroUsize::MIN),
            number: AtomicU64::new(0),
            pulse: AtomicU64::new(0),
            is_idle: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    /// Says where requests come from, so that the next one can be looked for, and starts the watchdog.
    ///
    /// # Errors
    /// If there can be no such thread.
    pub fn watch(self: &Arc<Self>, device: OwnedFd) -> std::io::Result<()> {
        let device = Arc::new(device);
        let (turns, requests) = (Arc::downgrade(self), device.clone());
        let watchdog = thread::Builder::new().name("turns".into()).spawn(move || watch(&turns, &requests))?;
        let _ = self.watched.set((device, watchdog.thread().clone()));
        Ok(())
    }

    /// Says that this thread answers a request from now on.
    pub fn begin(&self) {
        SEAT.with_borrow_mut(|seat| match seat {
            Seat::New => {
                *seat = Seat::Known(None);
                let mut state = self.state.lock();
                state.newcomers = state.newcomers.saturating_sub(1);
                if state.newcomers == 0 {
                    self.give(&mut state);
                }
            }
            Seat::Known(Some(turn)) if turn.counts() => {
                turn.begun = Some(Instant::now());
                let pulse = self.pulse.load(Ordering::Relaxed);
                // in this order, and the watchdog in the other, so that one of the two sees the other's
                self.pulse.store(pulse.wrapping_add(2) | 1, Ordering::SeqCst);
                if self.is_idle.load(Ordering::SeqCst) {
                    self.wake();
                }
            }
            Seat::Known(_) => {}
        });
    }

    /// Says that this thread has answered its request. Returns when it may take the next one, which may be there already.
    pub fn take(self: &Arc<Self>) {
        SEAT.with_borrow_mut(|seat| {
            match seat {
                Seat::Known(Some(turn)) if turn.counts() => {
                    self.pulse.store(self.pulse.load(Ordering::Relaxed) & !1, Ordering::Relaxed);
                    return self.look(turn.begun);
                }
                _ => *seat = Seat::Known(None),
            }
            *seat = Seat::Known(Some(Turn { turns: self.clone(), number: self.rest(), begun: None }));
        });
    }

    /// Waits for the turn.
    fn rest(&self) -> u64 {
        let me = thread::current();
        let mut state = self.state.lock();
        if std::mem::take(&mut state.is_free) {
            return self.number.load(Ordering::Relaxed);
        }
        state.resting.push(me.clone());
        loop {
            if state.is_over {
                return self.number.load(Ordering::Relaxed);
            }
            drop(state);
            thread::park();
            state = self.state.lock();
            if let Some(at) = state.given.iter().position(|(id, _)| *id == me.id()) {
                return state.given.swap_remove(at).1;
            }
        }
    }

    /// Gives a new turn to a thread that rests, or to the next one that would.
    fn give(&self, state: &mut State) {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        self.pulse.store(self.pulse.load(Ordering::Relaxed) & !1, Ordering::Relaxed);
        match state.resting.pop() {
            Some(thread) => {
                state.given.push((thread.id(), number));
                thread.unpark();
            }
            None => state.is_free = true,
        }
    }

    /// Has the watchdog look again.
    #[cold]
    fn wake(&self) {
        self.is_idle.store(false, Ordering::Relaxed);
        if let Some((_, watchdog)) = self.watched.get() {
            watchdog.unpark();
        }
    }

    /// Looks for the next request for a while, after an answer that took little time.
    fn look(&self, begun: Option<Instant>) {
        let (Some((device, _)), Some(begun), true) = (self.watched.get(), begun, self.may_look) else { return };
        let start = Instant::now();
        if start - begun > SHORT {
            return;
        }
        let mut device = [PollFd::new(&**device, PollFlags::IN)];
        while poll(&mut device, Some(&AT_ONCE)) == Ok(0) && start.elapsed() < LOOK {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Takes the turn from who answers one request for longer than a tick.
fn watch(turns: &Weak<Turns>, device: &OwnedFd) {
    welcome(turns, device);
    let (mut before, mut ticks) = (0, 0);
    while let Some(turns) = turns.upgrade() {
        let pulse = turns.pulse.load(Ordering::SeqCst);
        if pulse != before {
            (before, ticks) = (pulse, 0);
        } else if pulse % 2 == 1 {
            let mut state = turns.state.lock();
            if turns.pulse.load(Ordering::Relaxed) == pulse {
                turns.give(&mut state);
            }
        } else if ticks < TICKS {
            ticks += 1;
        } else if !turns.is_idle.swap(true, Ordering::SeqCst) {
            // once more, since the next request may have come before it was said that somebody sleeps
            continue;
        } else {
            drop(turns);
            thread::park();
            ticks = 0;
            continue;
        }
        drop(turns);
        thread::sleep(TICK);
    }
}

/// Returns when each thread has taken a request. If there will be no more before, it says so to those who rest: threads that had
/// none do not pass on what they never had.
fn welcome(turns: &Weak<Turns>, device: &OwnedFd) {
    let mut request = [PollFd::new(device, PollFlags::IN)];
    while turns.upgrade().is_some_and(|turns| turns.state.lock().newcomers > 0) {
        let found = poll(&mut request, None);
        if found.is_ok() && request[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            let Some(turns) = turns.upgrade() else { return };
            let mut state = turns.state.lock();
            state.is_over = true;
            state.resting.drain(..).for_each(|thread| thread.unpark());
            return;
        }
        thread::sleep(TICK);
    }
}

/// Passes this thread's turn on, if it has it: it is about to wait, or to work for long.
pub fn pass() {
    let turn = SEAT.with_borrow_mut(|seat| match seat {
        Seat::New => None,
        Seat::Known(turn) => turn.take(),
    });
    drop(turn);
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream, sync::mpsc};

    use super::*;

    /// A thread that takes the turn, says so, and ends when it is told.
    fn other(turns: &Arc<Turns>) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((told, tells), (end, ends)) = (mpsc::channel(), mpsc::channel());
        let turns = turns.clone();
        thread::spawn(move || {
            turns.take();
            told.send(()).unwrap();
            ends.recv().unwrap_err();
        });
        (tells, end)
    }

    const AWHILE: Duration = Duration::from_millis(50);

    /// Of two threads, this one is the second to take its first request, and gets the turn for the next. Requests are what is
    /// written to the other end of the device, and there are no more when that is closed.
    fn turns() -> (Arc<Turns>, UnixStream) {
        let turns = Turns::new(2);
        let (device, requests) = UnixStream::pair().unwrap();
        turns.watch(device.into()).unwrap();
        let first = turns.clone();
        thread::spawn(move || first.begin()).join().unwrap();
        turns.begin();
        turns.take();
        (turns, requests)
    }

    #[test]
    fn who_waits_or_ends_lets_another_thread_go_on() {
        let (turns, _requests) = turns();
        let (first, end_first) = other(&turns);
        assert!(first.recv_timeout(AWHILE).is_err(), "there is one turn");
        pass();
        first.recv().unwrap();
        let (second, end_second) = other(&turns);
        assert!(second.recv_timeout(AWHILE).is_err(), "there is one turn");
        drop(end_first);
        second.recv().unwrap();
        drop(end_second);
        turns.take();
    }

    #[test]
    fn who_answers_one_request_for_long_loses_the_turn() {
        let (turns, mut requests) = turns();
        // from the second on, the watchdog has slept meanwhile
        for _ in 0..3 {
            requests.write_all(b"request").unwrap();
            turns.begin();
            let (other, end) = other(&turns);
            other.recv().unwrap();
            // it is not to be passed on any more
            pass();
            drop(end);
            turns.take();
            thread::sleep(2 * TICKS * TICK);
        }
    }

    #[test]
    fn who_waits_for_requests_keeps_the_turn() {
        let (turns, mut requests) = turns();
        let (other, end) = other(&turns);
        for _ in 0..20 {
            requests.write_all(b"request").unwrap();
            turns.begin();
            turns.take();
            thread::sleep(TICK);
        }
        assert!(other.try_recv().is_err(), "it took the turn from who answered at once");
        pass();
        other.recv().unwrap();
        drop(end);
    }

    /// A thread that waits for requests from the beginning, takes one, and ends after the next.
    fn newcomer(turns: &Arc<Turns>) -> mpsc::Receiver<()> {
        let turns = turns.clone();
        let (told, tells) = mpsc::channel();
        thread::spawn(move || {
            turns.begin();
            turns.take();
            told.send(()).unwrap();
        });
        tells
    }

    #[test]
    fn newcomers_wait_for_requests_until_each_has_had_one() {
        let turns = Turns::new(3);
        let (first, second) = (newcomer(&turns), newcomer(&turns));
        assert!(first.recv_timeout(AWHILE).is_err() && second.try_recv().is_err(), "the third waits for requests");
        let third = newcomer(&turns);
        // each has the turn in its turn, since who ends passes it on
        for tells in [first, second, third] {
            tells.recv().unwrap();
        }
    }

    #[test]
    fn nobody_rests_when_there_are_no_more_requests() {
        let turns = Turns::new(3);
        let (device, requests) = UnixStream::pair().unwrap();
        turns.watch(device.into()).unwrap();
        let (first, second) = (newcomer(&turns), newcomer(&turns));
        assert!(first.recv_timeout(AWHILE).is_err() && second.try_recv().is_err());
        drop(requests);
        first.recv().unwrap();
        second.recv().unwrap();
        // nor later
        turns.begin();
        turns.take();
    }
}
