//! Accounts on a served node, mounted over HTTP by one or two clients at once.

use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use rustix::io::Errno;

use crate::harness::{
    Account, Aspects, Drive, Golden, Ledger, Rng, Server, Tree, Worker, filled, poll, shell, write_synced,
};

#[test]
fn an_account_is_made_filled_and_seen_again() {
    let server = Server::start();
    let mut drive = server.drive(&Account::carol());
    drive.mount();
    shell(
        &drive.root(),
        "mkdir -p a/b/c; for i in $(seq 600); do echo $i > a/$i; done; ln -s b a/link; chmod 600 a/7; rm a/8; mv a/b d",
    );
    fs::write(drive.path("large"), filled(1, (11 << 20) + 3)).unwrap();
    let written = drive.tree();
    drive.remount();
    drive.tree().assert_equals(&written, Aspects::All, "after the remount");
    // a client with nothing but the password
    let mut other = server.drive(&Account::carol());
    other.mount();
    other.tree().assert_equals(&written, Aspects::Times, "elsewhere");
    other.unmount();
    drive.unmount();
    server.check(&Account::carol()).assert_shows("carol", false, &written);
    server.stop();
}

#[test]
fn a_golden_account_is_used_over_http() {
    let (ada, bob) = (Golden::load("ada"), Golden::load("bob"));
    let server = Server::golden(&[&ada, &bob]);
    let mut drive = server.drive(&ada.account);
    drive.mount();
    shell(
        &drive.root(),
        "cp -a sizes copied; echo more >> hello.txt; mv edit/renamed.txt team/into.txt; mv deep/level0/level1 deep/lifted
         rm many/f000*; for i in $(seq 700); do echo $i > many/new$i; done; truncate -s 3M revoked/big.bin",
    );
    let written = drive.tree();
    drive.remount();
    drive.tree().assert_equals(&written, Aspects::Times, "after the remount");
    drive.unmount();
    server.check_leniently(&ada.account).assert_shows("ada", false, &written);
    server.stop();
}

/// Two mounts of one account.
fn two(server: &Server) -> (Drive, Drive) {
    let (mut one, mut other) = (server.drive(&Account::carol()), server.drive(&Account::carol()));
    one.mount();
    other.mount();
    (one, other)
}

#[test]
fn each_sees_what_the_other_does() {
    let server = Server::start();
    let (mut one, mut other) = two(&server);
    let (a, b) = (one.root(), other.root());
    let seen = |what: &str, is_so: &dyn Fn() -> bool| assert!(poll(is_so), "never seen: {what}");

    assert!(!b.join("new").exists(), "(so that the kernel remembers that it is missing)");
    write_synced(&a.join("new"), "one");
    seen("a new file", &|| fs::read(b.join("new")).is_ok_and(|content| content == b"one"));
    write_synced(&a.join("new"), "two");
    seen("content of the same size", &|| fs::read(b.join("new")).unwrap() == b"two");
    let open = File::open(b.join("new")).unwrap();
    write_synced(&a.join("new"), filled(1, 6 << 20));
    seen("growth, of an open file", &|| open.metadata().unwrap().len() == 6 << 20);
    assert_eq!(fs::read(b.join("new")).unwrap(), filled(1, 6 << 20));
    drop(open);
    shell(&a, "chmod 600 new; mkdir dir; mv new dir/moved; sync new dir 2>/dev/null || sync dir");
    seen("a move", &|| b.join("dir/moved").exists());
    assert!(!b.join("new").exists());
    shell(&b, "rm dir/moved; rmdir dir; touch left; sync left .");
    seen("removal", &|| !a.join("dir").exists() && a.join("left").exists());
    let names = |dir: &Path| fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&a), ["left"]);
    assert_eq!(names(&b), ["left"]);
    let tree = Tree::read(&a);
    one.unmount();
    other.unmount();
    server.check(&Account::carol()).assert_shows("carol", false, &tree);
    server.stop();
}

/// How long the two work: `PEERGOS_TEST_SECONDS`, or 25.
fn span() -> Duration {
    let seconds = std::env::var("PEERGOS_TEST_SECONDS").map(|s| s.parse().expect("PEERGOS_TEST_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(25))
}

#[test]
fn two_work_in_one_folder() {
    let mut rng = Rng::overridable(1);
    let server = Server::start();
    let (mut one, mut other) = two(&server);
    let (a, b) = (one.path("work"), other.path("work"));
    shell(&one.root(), "mkdir -p work/0 work/1 work/2; sync work");
    assert!(poll(|| b.join("2").exists()), "the folder of the one is never seen by the other");

    let (ledger, end) = (Ledger::default(), Instant::now() + span());
    std::thread::scope(|scope| {
        for (name, root) in [("one", &a), ("other", &b)] {
            let mut worker = Worker::new(name, root.clone(), &ledger, rng.next());
            scope.spawn(move || worker.work_while(|| Instant::now() < end));
        }
    });
    // what is in flight was committed and seen by the other
    shell(&a, "sync .");
    shell(&b, "sync .");
    let mut differences = Vec::new();
    let settled = poll(|| {
        let trees = Tree::try_read(&a).and_then(|a| Ok((a, Tree::try_read(&b)?)));
        differences = trees.map_or_else(|e| vec![e], |(a, b)| a.differences(&b, Aspects::Times));
        differences.is_empty()
    });
    assert!(settled, "the two see different trees:\n{}", differences.join("\n"));
    ledger.verify(&a);
    let seen = one.tree();
    one.unmount();
    other.unmount();
    one.mount();
    one.tree().assert_equals(&seen, Aspects::Times, "after the remount");
    ledger.verify(&a);
    one.unmount();
    server.check(&Account::carol()).assert_shows("carol", false, &seen);
    server.stop();
}

#[test]
fn who_watches_an_entry_is_told_when_others_remove_it() {
    let server = Server::start();
    let (mut one, mut other) = two(&server);
    shell(&one.root(), "mkdir folder; touch folder/gone folder/left; sync folder");
    assert!(poll(|| other.path("folder/left").exists()));
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let watched = ["gone", "left"]
        .map(|name| inotify::add_watch(&watch, other.path("folder").join(name), inotify::WatchFlags::DELETE_SELF));
    let [Ok(gone), Ok(_)] = watched else { panic!("{watched:?}") };
    shell(&one.root(), "rm folder/gone; sync folder");
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let told = poll(|| match events.next() {
        Ok(event) => {
            assert_eq!(event.wd(), gone);
            event.events().contains(inotify::ReadFlags::DELETE_SELF)
        }
        Err(Errno::AGAIN) => false,
        Err(error) => panic!("{error}"),
    });
    assert!(told, "nobody is told");
    assert!(!other.path("folder/gone").exists() && other.path("folder/left").exists());
    drop(watch);
    one.unmount();
    other.unmount();
    server.stop();
}
