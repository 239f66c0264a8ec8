//! Many threads at once, as a kernel has them: with references that come and go, listings, and commits meanwhile.

use std::time::Duration;

use peergos_net::CacheSizes;

use crate::{
    drive::{Drive, Stop, Watchdog},
    model::{Model, Random},
};

const THREADS: u64 = 8;
const STEPS: u64 = 120;

/// Looks at everything, again and again: kernels do so with no regard to who changes it.
fn look_around(drive: &Drive, stop: &Stop, seed: u64) {
    let mut random = Random::new(seed);
    while !stop.is_set() {
        let dir = match random.next(THREADS + 2) {
            0 => String::new(),
            1 => "common".to_owned(),
            thread => format!("t{}", thread - 2),
        };
        let mut taken = Vec::new();
        drive.list_plus(&dir, &mut |ino| taken.push(ino)).unwrap();
        for ino in taken {
            // the kernel asks before it forgets; what was deleted meanwhile still has attributes
            drive.fs().getattr(ino).unwrap();
            drive.fs().forget(ino, 1);
        }
        for name in drive.names(&dir).unwrap() {
            // it may be gone
            let _ = drive.stat(&format!("{dir}/{name}"));
        }
    }
}

fn run(drive: &Drive, models: &mut [Model]) {
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let stop = &stop;
        let _stops = stop.when_dropped();
        scope.spawn(move || {
            while !stop.is_set() {
                drive.fs().sync().unwrap();
            }
        });
        (0..2).for_each(|seed| drop(scope.spawn(move || look_around(drive, stop, seed))));
        let workers: Vec<_> =
            models.iter_mut().map(|model| scope.spawn(|| (0..STEPS).for_each(|_| model.step(drive)))).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

fn many_threads(drive: &mut Drive, seed: u64) {
    drive.mkdir("common").unwrap();
    let mut models = Vec::new();
    for thread in 0..THREADS {
        drive.mkdir(&format!("t{thread}")).unwrap();
        let prefixes = [format!("t{thread}/"), format!("common/{thread}-")];
        models.push(Model::below(&prefixes, seed + thread));
    }
    run(drive, &mut models);
    models.iter().for_each(|model| model.compare(drive));
    drive.remount();
    models.iter().for_each(|model| model.compare(drive));
    assert_eq!(drive.fs().dirty_bytes(), 0);
}

#[test]
fn threads_do_not_disturb_each_other() {
    let _alive = Watchdog::new("threads");
    many_threads(&mut Drive::new(), 100);
}

#[test]
fn threads_do_not_disturb_each_other_on_a_slow_node() {
    let _alive = Watchdog::new("threads on a slow node");
    let mut drive = Drive::new();
    // everything is fetched, and takes its time
    drive.caches = CacheSizes { blocks: 64 << 10, champ: 64 << 10, fragments: 0 };
    drive.options.cache_bytes = 0;
    drive.remount();
    drive.faults.delay_reads(Duration::from_micros(300));
    many_threads(&mut drive, 200);
}
