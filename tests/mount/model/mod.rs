//! Random sequences of operations, on the mount and on a folder of the kernel's own memory file system: after every step both
//! must have answered alike, errors included, and now and then the whole trees are compared, also across remounts.

mod operation;
mod world;

use std::fs;

use crate::harness::{Aspects, Drive, Rng, Tree};
use operation::Operation;
use world::World;

const STEPS: usize = 1500;
/// Steps between comparisons of the whole trees; every third is followed by a remount.
const COMPARE_EVERY: usize = 100;

fn behaves_like_a_local_folder(seed: u64) {
    let mut rng = Rng::overridable(seed);
    let mut drive = Drive::mounted();
    let reference = drive.beside("reference");
    fs::create_dir(&reference).unwrap();
    let (mut mounted, mut model) = (World::new(drive.root()), World::new(reference.clone()));
    let mut recent: Vec<String> = Vec::new();
    for step in 1..=STEPS {
        let operation = Operation::random(&mut rng);
        recent.push(format!("{step}: {operation:?}"));
        let (got, expected) = (operation.apply(&mut mounted), operation.apply(&mut model));
        assert!(got == expected, "got {got:?}\nexpected {expected:?}\nafter\n{}", last(&recent));
        if step % COMPARE_EVERY == 0 {
            let expected = Tree::read(&reference);
            let before = drive.tree();
            before.assert_equals(&expected, Aspects::Content, &format!("after\n{}", last(&recent)));
            if step % (3 * COMPARE_EVERY) == 0 {
                mounted.close();
                model.close();
                drive.remount();
                drive.tree().assert_equals(&before, Aspects::All, &format!("remounted after\n{}", last(&recent)));
                recent.push("remount".into());
            }
        }
    }
    mounted.close();
    let tree = drive.tree();
    drive.check().assert_shows("carol", false, &tree);
}

/// The end of the history: what is needed to see why.
fn last(recent: &[String]) -> String {
    recent[recent.len().saturating_sub(60)..].join("\n")
}

#[test]
fn seed_1() {
    behaves_like_a_local_folder(1);
}

#[test]
fn seed_2() {
    behaves_like_a_local_folder(2);
}

#[test]
fn seed_3() {
    behaves_like_a_local_folder(3);
}

#[test]
fn seed_4() {
    behaves_like_a_local_folder(4);
}
