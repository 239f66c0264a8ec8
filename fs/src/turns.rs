//! Which of the threads that answer requests take the next one.
//!
//! The kernel gives a request to the thread that has waited longest. Where many wait, each finds its memory gone from the
//! processor's caches: with four instead of 64, listing and reading small files takes two thirds of the time. But many are
//! needed, since some requests wait for a commit or for others. So few threads have a turn, the others rest, and who is about
//! to wait passes his turn on.

use std::{cell::RefCell, sync::Arc};

use parking_lot::{Condvar, Mutex};

/// A bounded number of turns.
#[derive(Debug)]
pub struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A thread's right to take requests.
struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

thread_local! {
    /// Dropped when the thread ends, so that those who rest learn that there are no more requests.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

impl Turns {
    /// So many turns.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(count), freed: Condvar::new() })
    }

    /// Rests until there is a turn for this thread, unless it has one.
    pub fn take(self: &Arc<Self>) {
        TURN.with_borrow_mut(|turn| {
            if turn.is_none() {
                let mut free = self.free.lock();
                while *free == 0 {
                    self.freed.wait(&mut free);
                }
                *free -= 1;
                *turn = Some(Turn(self.clone()));
            }
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

    #[test]
    fn who_waits_or_ends_lets_another_thread_go_on() {
        let turns = Turns::new(1);
        turns.take();
        turns.take();
        let (told, tells) = mpsc::channel();
        let other = thread::spawn({
            let turns = turns.clone();
            move || {
                turns.take();
                told.send(()).unwrap();
            }
        });
        assert!(tells.recv_timeout(Duration::from_millis(50)).is_err(), "there is one turn");
        pass();
        pass();
        tells.recv().unwrap();
        other.join().unwrap();
        // the other thread has ended
        turns.take();
    }
}
