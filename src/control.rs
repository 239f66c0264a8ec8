//! How `peergos-mount umount` meets the process that serves a mount: at an abstract socket named after the mount's
//! device number, which is unique while the mount exists; afterwards another may have it. There is nothing on disk to go stale, and when the process
//! ends, however it does, the kernel tells those who wait.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use parking_lot::Mutex;

/// Who waits at most; more are turned away.
const MAX_WAITING: usize = 64;
/// The pause before the name is tried again that the process of an earlier mount is just giving up.
const RETRY: Duration = Duration::from_millis(20);
/// How often it is tried.
const TRIES: usize = 100;

/// The daemon's side.
#[derive(Debug)]
pub struct Control {
    device: (u32, u32),
    is_closed: Arc<AtomicBool>,
    waiting: Arc<Mutex<Vec<UnixStream>>>,
}

impl Control {
    /// Lets others wait for the end of the mount with this device number.
    pub fn open(device: (u32, u32)) -> io::Result<Self> {
        let listener = listen(device)?;
        let waiting = Arc::new(Mutex::new(Vec::new()));
        let is_closed = Arc::new(AtomicBool::new(false));
        let (list, closed) = (Arc::clone(&waiting), Arc::clone(&is_closed));
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(peer) = peer(&stream) else { continue };
                if closed.load(Ordering::Relaxed) && u32::try_from(peer.pid()) == Ok(process::id()) {
                    return;
                }
                let mut list = list.lock();
                if list.len() < MAX_WAITING && (peer.uid() == 0 || peer.uid() == geteuid().as_raw()) {
                    list.push(stream);
                }
            }
        })?;
        Ok(Self { device, is_closed, waiting })
    }

    /// Gives up the name: the mount is gone, and the next may get its number. Those who came before go on waiting.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // this process is the last whom the thread meets
        let _ = address(self.device).and_then(|address| UnixStream::connect_addr(&address));
    }

    /// Tells those who wait what came of it: nothing went wrong, or what did. They see the end of the process itself.
    pub fn announce(&self, trouble: Option<&str>) {
        for stream in self.waiting.lock().iter_mut() {
            // Whoever is gone does not care.
            let _ = stream.write_all(trouble.unwrap_or_default().as_bytes());
        }
    }
}

/// The other side: waits for the end of a mount.
#[derive(Debug)]
pub struct Waiting(UnixStream);

impl Waiting {
    /// Meets the process of user `uid` that serves the mount; none if there is none, or in another network namespace.
    pub fn meet(device: (u32, u32), uid: Option<u32>) -> Option<Self> {
        let stream = UnixStream::connect_addr(&address(device).ok()?).ok()?;
        // Anyone can take an abstract name: believe only the mount's owner and root.
        peer(&stream).filter(|peer| peer.uid() == 0 || Some(peer.uid()) == uid)?;
        Some(Self(stream))
    }

    /// Waits for the process to end, and returns the trouble it reported, if any.
    pub fn until_over(self) -> Option<String> {
        let mut report = Vec::new();
        // A process that is killed resets the connection: it is over just the same.
        let _ = self.0.take(64 << 10).read_to_end(&mut report);
        Some(String::from_utf8_lossy(&report).into_owned()).filter(|report| !report.is_empty())
    }
}

fn address(device: (u32, u32)) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("peergos-mount/{}:{}", device.0, device.1))
}

fn listen(device: (u32, u32)) -> io::Result<UnixListener> {
    let address = address(device)?;
    for _ in 1..TRIES {
        match UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(RETRY),
            bound => return bound,
        }
    }
    UnixListener::bind_addr(&address)
}

fn peer(stream: &UnixStream) -> Option<UnixCredentials> {
    getsockopt(stream, PeerCredentials).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_hears() {
        // No mount has major number 4095: it is anonymous devices' 0.
        let device = (4095, std::process::id());
        let uid = Some(geteuid().as_raw());
        assert!(Waiting::meet(device, uid).is_none());
        let control = Control::open(device).unwrap();
        let waiting = Waiting::meet(device, uid).unwrap();
        while control.waiting.lock().is_empty() {
            thread::yield_now();
        }
        // the next mount has the same number
        control.close();
        let next = Control::open(device).unwrap();
        control.announce(Some("trouble"));
        control.waiting.lock().clear();
        assert_eq!(waiting.until_over().as_deref(), Some("trouble"));
        assert!(next.waiting.lock().is_empty());
    }
}
