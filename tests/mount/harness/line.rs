//! A line to a server that can be cut, as when a cable is pulled: nothing arrives any more, and nobody is told.
//!
//! The line ends in a network namespace of its own, from where everything is handed on to the server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// One network for each line, all in 10.231.0.0/16.
static NEXT: AtomicU32 = AtomicU32::new(0);
const PORT: u16 = 8000;

/// A line. It is gone when it is dropped.
pub struct Line {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    /// Takes whether the line is whole, and where to say that it is so.
    switch: Sender<(bool, Sender<()>)>,
}

impl Line {
    /// A line that leads nowhere yet.
    pub fn new() -> Self {
        let number = (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % (1 << 14);
        let network = format!("10.231.{}.", number >> 6);
        let (near, far) = ((number << 2 & 0xff) + 1, (number << 2 & 0xff) + 2);
        let address: SocketAddr = format!("{network}{far}:{PORT}").parse().expect("an address");
        let name = format!("pgm{number}");
        let (made, is_made) = mpsc::channel();
        let (switch, switched) = mpsc::channel::<(bool, Sender<()>)>();
        // the namespace lasts as long as this thread and what is open in it
        let ends = name.clone();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            let test = std::process::id().to_string();
            ip(&["link", "add", "far", "type", "veth", "peer", "name", &ends, "netns", &test]);
            ip(&["address", "add", &format!("{network}{far}/30"), "dev", "far"]);
            ip(&["link", "set", "far", "up"]);
            made.send(TcpListener::bind(address).expect("the far end of the line")).expect("the test waits");
            for (whole, done) in switched {
                ip(&["link", "set", "far", if whole { "up" } else { "down" }]);
                let _ = done.send(());
            }
        });
        let listener = Arc::new(is_made.recv().expect("the far end of the line"));
        ip(&["address", "add", &format!("10.231.{}.{near}/30", number >> 6), "dev", &name]);
        ip(&["link", "set", &name, "up"]);
        Self { address, listener, switch }
    }

    /// Where the server is found over this line, as in a `Host` header.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Leads to `server` from now on.
    pub fn lead_to(&self, server: SocketAddr) {
        let listener = Arc::clone(&self.listener);
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(server)) else { return };
                hand_on(&near, &far);
                hand_on(&far, &near);
            }
        });
    }

    /// Cuts the line.
    pub fn cut(&self) {
        self.set(false);
    }

    /// Mends the line.
    pub fn mend(&self) {
        self.set(true);
    }

    fn set(&self, whole: bool) {
        let (done, is_done) = mpsc::channel();
        self.switch.send((whole, done)).expect("the far end is there");
        is_done.recv().expect("the far end answers");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

/// Copies what arrives at one end to the other, in the background.
fn hand_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("ip, of the package iproute2");
    assert!(done.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
