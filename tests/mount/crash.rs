//! `kill -9` at random moments of a write load: the next mount opens, the independent checker finds nothing wrong, and what
//! was fsynced is there, whole.

mod load;

use std::time::Duration;
use std::{fs, thread};

use crate::harness::{Drive, Rng, poll, program, run_ok};
use load::Load;

/// Ten rounds on one account, so that what was saved in earlier rounds is endangered in later ones.
fn survives(seed: u64) {
    let mut rng = Rng::overridable(seed);
    let mut drive = Drive::mounted();
    let mut load = Load::new();
    for round in 0..10 {
        let moment = Duration::from_millis(20 + rng.below(2500));
        thread::scope(|scope| {
            let daemon = drive.daemon();
            scope.spawn(move || {
                thread::sleep(moment);
                daemon.kill_leaving_the_mount();
            });
            load.run_until_failure(&drive.root(), rng.next());
        });
        drive.kill();
        drive.mount();
        load.verify(&drive.root(), &format!("round {round}, killed after {moment:?}"));
        drive.check();
        drive.mount();
    }
    assert!(load.synced() > 20, "only {} files were synced in ten rounds: the load does nothing", load.synced());
}

#[test]
fn ten_kills_seed_1() {
    survives(1);
}

#[test]
fn ten_kills_seed_2() {
    survives(2);
}

#[test]
fn ten_kills_seed_3() {
    survives(3);
}

#[test]
fn ten_kills_seed_4() {
    survives(4);
}

#[test]
fn ten_kills_seed_5() {
    survives(5);
}

#[test]
fn kills_while_the_account_is_made() {
    let mut rng = Rng::overridable(6);
    for _ in 0..6 {
        let mut drive = Drive::new();
        let mut mount = drive.command().spawn().unwrap();
        thread::sleep(Duration::from_millis(rng.below(1500)));
        mount.kill().unwrap();
        mount.wait().unwrap();
        let _ = std::process::Command::new("umount").args(["-q", "-l"]).arg(drive.root()).status();
        // Whichever half was done, the same name and password lead to a working drive.
        drive.mount();
        fs::write(drive.path("x"), "x").unwrap();
        drive.remount();
        assert_eq!(fs::read(drive.path("x")).unwrap(), b"x");
        drive.check();
    }
}

#[test]
fn kills_while_unmounting_and_importing() {
    let mut rng = Rng::overridable(7);
    let mut drive = Drive::mounted();
    for round in 0..6u64 {
        let saved = drive.path(format!("saved{round}"));
        fs::write(&saved, "saved").unwrap();
        fs::File::open(&saved).unwrap().sync_all().unwrap();
        fs::write(drive.path("unsaved"), crate::harness::filled(round, 30 << 20)).unwrap();
        let mut umount = program().arg("umount").arg(drive.root()).spawn().unwrap();
        thread::sleep(Duration::from_millis(rng.below(400)));
        drive.kill();
        umount.wait().unwrap();
        drive.mount();
        for earlier in 0..=round {
            assert_eq!(fs::read(drive.path(format!("saved{earlier}"))).unwrap(), b"saved");
        }
        let export = drive.export();
        export.check(&drive.account, None);

        let mut restored = Drive::new();
        let mut import = restored.import_command(&export).spawn().unwrap();
        thread::sleep(Duration::from_millis(rng.below(300)));
        import.kill().unwrap();
        let done = import.wait().unwrap().success();
        if !done {
            run_ok(&mut restored.import_command(&export));
        }
        restored.mount();
        assert_eq!(fs::read(restored.path("saved0")).unwrap(), b"saved");
        drive.mount();
        assert!(poll(|| drive.path("saved0").exists()));
    }
}
