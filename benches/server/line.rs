//! A long line to a server on this machine: a proxy that delays what passes in both directions, and lets no more be on its
//! way than TCP would.
//!
//! Each connection begins with a round trip, as the handshake does. Each direction of it has a window, which begins small,
//! doubles with every round trip in which it is used (slow start), ends at what Linux allows by default, and shrinks again
//! while the connection is idle. The bandwidth is shared by all connections. So one large upload and many small requests
//! meet what they would meet on a real line without losses.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Ten segments (RFC 6928).
const INITIAL_WINDOW: usize = 10 * 1448;
/// Linux' default bound on what one connection has on its way (`net.ipv4.tcp_wmem`).
const LARGEST_WINDOW: usize = 4 << 20;
const PIECE: usize = 64 << 10;

/// What a line is like.
#[derive(Clone, Copy)]
pub struct Line {
    /// What a request and its answer wait for together.
    pub round_trip: Duration,
    /// Bytes per second in each direction, of all connections together.
    pub bandwidth: f64,
}

impl Line {
    /// Opens the line from `near` to `server`, for as long as the process lives.
    pub fn open(self, near: TcpListener, server: SocketAddr) {
        let (up, down) = (Arc::<Wire>::default(), Arc::<Wire>::default());
        thread::spawn(move || {
            for client in near.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let open = || -> io::Result<_> {
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    Ok((client.try_clone()?, server.try_clone()?))
                };
                let Ok((client_again, server_again)) = open() else { continue };
                let (up, down) = (up.clone(), down.clone());
                thread::spawn(move || self.carry(client, server_again, &up, self.round_trip));
                thread::spawn(move || self.carry(server, client_again, &down, Duration::ZERO));
            }
        });
    }

    /// Carries one direction of a connection to its end.
    fn carry(self, mut from: TcpStream, mut to: TcpStream, wire: &Wire, handshake: Duration) {
        let begin = Instant::now() + handshake;
        let window = Arc::new(Window::default());
        let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
        let arrivals = {
            let window = window.clone();
            thread::spawn(move || {
                for (arrival, piece) in pieces {
                    thread::sleep(arrival.saturating_duration_since(Instant::now()));
                    if to.write_all(&piece).is_err() {
                        break;
                    }
                    window.arrived(Instant::now() + self.round_trip / 2, piece.len());
                }
                window.close();
                // fails where the other side was faster
                let _ = to.shutdown(Shutdown::Write);
            })
        };
        loop {
            let room = window.wait(self.round_trip);
            let mut piece = vec![0; room.min(PIECE)];
            let read = from.read(&mut piece).unwrap_or(0);
            if read == 0 || window.is_closed() {
                break;
            }
            piece.truncate(read);
            window.sent(read);
            let leaves = wire.send(begin.max(Instant::now()), Duration::from_secs_f64(read as f64 / self.bandwidth));
            if sender.send((leaves + self.round_trip / 2, piece)).is_err() {
                break;
            }
        }
        drop(sender);
        // a panic there has been printed
        let _ = arrivals.join();
    }
}

/// The wire that all connections share, in one direction.
#[derive(Default)]
struct Wire(Mutex<Option<Instant>>);

impl Wire {
    /// When something that keeps it busy for so long has left.
    fn send(&self, not_before: Instant, busy: Duration) -> Instant {
        let mut free = self.0.lock().unwrap();
        let leaves = free.map_or(not_before, |free| free.max(not_before)) + busy;
        *free = Some(leaves);
        leaves
    }
}

/// How much of a connection may be on its way.
struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    size: usize,
    on_its_way: usize,
    /// What the far end has, and when the near end learns that.
    acknowledged: VecDeque<(Instant, usize)>,
    last_used: Instant,
    closed: bool,
}

impl Default for Window {
    fn default() -> Self {
        let state = State {
            size: INITIAL_WINDOW,
            on_its_way: 0,
            acknowledged: VecDeque::new(),
            last_used: Instant::now(),
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl Window {
    /// Waits until something may be sent, and returns how much.
    fn wait(&self, round_trip: Duration) -> usize {
        let mut state = self.state.lock().unwrap();
        loop {
            let now = Instant::now();
            while let Some(&(at, bytes)) = state.acknowledged.front().filter(|(at, _)| *at <= now) {
                state.acknowledged.pop_front();
                // only a window that is in use grows
                if state.on_its_way * 2 >= state.size {
                    state.size = (state.size + bytes).min(LARGEST_WINDOW);
                }
                state.on_its_way -= bytes;
                state.last_used = at;
            }
            // after a retransmission timeout without traffic, it starts again
            if state.on_its_way == 0 && now - state.last_used > round_trip + Duration::from_millis(200) {
                state.size = INITIAL_WINDOW;
            }
            if state.on_its_way < state.size || state.closed {
                return (state.size - state.on_its_way.min(state.size)).max(1);
            }
            state = match state.acknowledged.front().map(|(at, _)| *at) {
                Some(at) => self.changed.wait_timeout(state, at - now).unwrap().0,
                None => self.changed.wait(state).unwrap(),
            };
        }
    }

    fn sent(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap();
        state.on_its_way += bytes;
        state.last_used = Instant::now();
    }

    fn arrived(&self, known_at: Instant, bytes: usize) {
        self.state.lock().unwrap().acknowledged.push_back((known_at, bytes));
        self.changed.notify_one();
    }

    fn close(&self) {
        self.state.lock().unwrap().closed = true;
        self.changed.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.state.lock().unwrap().closed
    }
}
