//! A line that is slow.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_recv_buffer_size;

/// How many bytes pass at a time.
const PIECE: usize = 4 << 10;

/// The near end of a line to `to`, over which all connections together move `rate` bytes a second, in turn. As far from
/// its end as on a real line, little is stored on it.
pub fn slow_line(to: SocketAddr, rate: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    set_socket_recv_buffer_size(&listener, PIECE).expect("a socket");
    let address = listener.local_addr().expect("a listener has an address");
    thread::spawn(move || {
        let free_at = Arc::new(Mutex::new(Instant::now()));
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(to) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                let free_at = Arc::clone(&free_at);
                // whoever breaks off is of no interest to the line
                thread::spawn(move || drop(carry(&from, &to, &free_at, rate)));
            }
        }
    });
    address
}

/// Carries what comes `from` one end `to` the other, each piece when the line is free.
fn carry(mut from: &TcpStream, mut to: &TcpStream, free_at: &Mutex<Instant>, rate: u32) -> io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        let len = from.read(&mut piece)?;
        if len == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let turn = {
            let mut free_at = free_at.lock();
            let turn = Instant::now().max(*free_at);
            *free_at = turn + Duration::from_secs_f64(len as f64 / f64::from(rate));
            turn
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
        to.write_all(&piece[..len])?;
    }
}
