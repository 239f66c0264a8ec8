//! A server that is out of reach although something answers in its place.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peergos_testing::{Answer, Server as Way, way};
use rustix::process::Signal;

use super::writes::{PIECE, assert_piece, beside, check, settle, write_piece};
use super::{SOON, notice, status};
use crate::harness::{Account, Drive, Server, filled, shell, write_synced};

/// A way to a server, in place of which something else answers while that is wanted.
struct Replaced {
    by_other: Arc<AtomicBool>,
    way: Way,
}

impl Replaced {
    fn by(other: fn() -> Answer, server: &Server) -> Self {
        let by_other = Arc::new(AtomicBool::new(false));
        let is_so = Arc::clone(&by_other);
        let way = way(server.address(), move |_, _, truth| match is_so.load(Ordering::SeqCst) {
            true => other(),
            false => Answer::Raw(truth()),
        });
        Self { by_other, way }
    }

    fn set(&self, by_other: bool) {
        self.by_other.store(by_other, Ordering::SeqCst);
    }

    fn drive(&self) -> Drive {
        let options = ["--sign-up", "--insecure-http", "--poll-interval", "500ms", "--offline-quota", "250M"];
        Drive::at(&self.way.url(), &Account::carol()).with_args(&options)
    }
}

#[test]
fn a_gateway_that_does_not_reach_the_server_is_as_good_as_none() {
    let server = Server::start();
    let replaced = Replaced::by(|| Answer::Status(502), &server);
    let mut one = replaced.drive();
    one.mount();
    shell(&one.root(), "echo text > small; echo more > 'never read'");
    fs::write(one.path("large"), filled(1, 3 << 20)).unwrap();
    one.remount();
    let read = |drive: &Drive| {
        assert_eq!(fs::read_to_string(drive.path("small")).unwrap(), "text\n");
        assert_eq!(fs::read(drive.path("large")).unwrap(), filled(1, 3 << 20));
    };
    read(&one);

    replaced.set(true);
    let began = Instant::now();
    notice(&one);
    assert!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    shell(&one.root(), "echo 3 > /proc/sys/vm/drop_caches");
    let began = Instant::now();
    read(&one);
    write_synced(&one.path("synced"), "synced");
    assert!(began.elapsed() < SOON, "what is here took {:?}", began.elapsed());
    // more than memory holds, up to the quota
    let mut lens = Vec::new();
    while lens.last().is_none_or(|len| *len == PIECE) {
        lens.push(write_piece(&one, lens.len() as u64));
    }
    assert!(lens.len() > 4, "{lens:?}");
    assert_eq!(status(&one)["node"], "offline");
    // the next mount comes up as well
    one.kill();
    one.mount();
    assert_eq!(status(&one)["node"], "offline");
    read(&one);

    replaced.set(false);
    let other = beside(&server);
    settle(&one, &other);
    (0..).zip(&lens).for_each(|(seed, len)| assert_piece(&other, seed, *len));
    assert_eq!(fs::read_to_string(other.path("synced")).unwrap(), "synced");
    check(one, other, server);
}

#[test]
fn a_network_that_wants_one_to_log_in_first_is_not_the_server() {
    let portal = || {
        let head = "HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n";
        Answer::Raw(head.into())
    };
    let server = Server::start();
    let replaced = Replaced::by(portal, &server);
    let mut one = replaced.drive();
    one.mount();
    write_synced(&one.path("before"), "before");
    one.remount();
    assert_eq!(fs::read_to_string(one.path("before")).unwrap(), "before");
    replaced.set(true);
    let synced = |drive: &Drive, name: &str| {
        let began = Instant::now();
        write_synced(&drive.path(name), name);
        assert!(began.elapsed() < SOON, "fsync took {:?}", began.elapsed());
        assert_eq!(status(drive)["node"], "offline");
    };
    synced(&one, "first");
    // also if it has been so for a while
    std::thread::sleep(Duration::from_secs(8));
    synced(&one, "second");
    assert_eq!(one.take_daemon().signal(Signal::TERM).code(), Some(6), "not everything is saved");
    one.mount();
    synced(&one, "third");
    assert_eq!(fs::read_to_string(one.path("before")).unwrap(), "before");

    replaced.set(false);
    let other = beside(&server);
    settle(&one, &other);
    shell(&other.root(), "test $(cat before first second third) = beforefirstsecondthird");
    check(one, other, server);
}
