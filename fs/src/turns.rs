//! Which of the threads that answer requests take the next one.
//!
//! The kernel gives a request to the thread that has waited longest. Where many wait, each finds its memory gone from the
//! processor's caches: with four instead of 64, listing and reading small files takes two thirds of the time. But many are
//! needed, since some requests wait for a commit, for the disk or for others. So few threads have a turn, and the others rest;
//! who is about to wait passes his turn on; and there are more where all of these are busy.

use std::{cell::RefCell, sync::Arc};

use parking_lot::{Condvar, Mutex};

/// A number of turns, which grows while every thread that has one is busy: some thread always waits for requests.
#[derive(Debug)]
pub struct Turns {
    usual: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    count: usize,
    /// How many of them no thread has.
    free: usize,
    /// How many of them threads have that answer a request.
    busy: usize,
}

/// A thread's right to take requests.
struct Turn {
    turns: Arc<Turns>,
    is_busy: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        state.busy -= usize::from(self.is_busy);
        if state.is_one_too_many(self.turns.usual) {
            state.count -= 1;
        } else {
            state.free += 1;
            self.turns.freed.notify_one();
        }
    }
}

impl State {
    /// Whether there are more turns than usual, and one that is not busy besides that of who asks.
    const fn is_one_too_many(&self, usual: usize) -> bool {
        self.count > usual && self.busy + 1 < self.count
    }
}

thread_local! {
    /// Dropped when the thread ends, so that those who rest learn that there are no more requests.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

impl Turns {
    /// So many turns, as long as not all of them are used.
    pub fn new(usual: usize) -> Arc<Self> {
        let state = Mutex::new(State { count: usual, free: usual, busy: 0 });
        Arc::new(Self { usual, state, freed: Condvar::new() })
    }

    /// Says that this thread answers a request from now on.
    pub fn begin(&self) {
        TURN.with_borrow_mut(|turn| {
            if let Some(turn) = turn {
                let mut state = self.state.lock();
                turn.is_busy = true;
                state.busy += 1;
                if state.busy == state.count {
                    state.count += 1;
                    state.free += 1;
                    self.freed.notify_one();
                }
            }
        });
    }

    /// Says that this thread has answered its request, and rests until there is a turn for it.
    pub fn take(self: &Arc<Self>) {
        TURN.with_borrow_mut(|turn| {
            if let Some(kept) = turn {
                let mut state = self.state.lock();
                state.busy -= usize::from(std::mem::take(&mut kept.is_busy));
                if !state.is_one_too_many(self.usual) {
                    return;
                }
            }
            *turn = None;
            let mut state = self.state.lock();
            while state.free == 0 {
                self.freed.wait(&mut state);
            }
            state.free -= 1;
            *turn = Some(Turn { turns: self.clone(), is_busy: false });
        });
    }
}

/// Passes this thread's turn on, if it has one: it is about to wait.
pub fn pass() {
    drop(TURN.take());
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    /// A thread that takes a turn, says so, and ends when it is told.
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

    #[test]
    fn who_waits_or_ends_lets_another_thread_go_on() {
        let turns = Turns::new(2);
        turns.take();
        turns.take();
        let (first, end_first) = other(&turns);
        first.recv().unwrap();
        let (second, end_second) = other(&turns);
        assert!(second.recv_timeout(Duration::from_millis(50)).is_err(), "there are two turns");
        pass();
        pass();
        second.recv().unwrap();
        drop(end_first);
        turns.take();
        drop(end_second);
    }

    #[test]
    fn there_is_a_turn_more_while_all_are_busy() {
        let turns = Turns::new(1);
        turns.take();
        turns.begin();
        let (more, end) = other(&turns);
        more.recv().unwrap();
        let (third, end_third) = other(&turns);
        assert!(third.recv_timeout(Duration::from_millis(50)).is_err(), "one of two is not busy");
        drop((end, end_third));
        // the turn that was one more goes, and this thread gets that of those who ended
        turns.take();
        let state = turns.state.lock();
        assert_eq!((state.count, state.busy), (1, 0));
    }
}
