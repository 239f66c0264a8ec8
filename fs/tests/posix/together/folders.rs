//! Folders that both sides make, and large ones that both change.

use crate::{
    model::Random,
    together::{Pair, commits_first, file},
};

#[test]
fn both_make_the_same_folders() {
    let pair = Pair::with(&["old/x"]);
    commits_first(&pair.a, &pair.b, || {
        for (side, who) in [(&pair.a, "a"), (&pair.b, "b")] {
            for path in ["photos", "photos/2026", "photos/2026/11", &format!("photos/{who}")] {
                side.mkdir(path).unwrap();
            }
            side.write(&format!("photos/2026/11/{who}"), 0, who.as_bytes()).unwrap();
            side.write("photos/2026/same.txt", 0, who.as_bytes()).unwrap();
        }
        // into one, from a folder that is there
        pair.b.rename("old/x", "photos/2026/11/moved").unwrap();
    });
    let kept = pair.b.lookup("photos/2026").unwrap().ino;
    let tree = pair.tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "old",
            "photos",
            "photos/2026",
            "photos/2026/11",
            "photos/2026/11/a",
            "photos/2026/11/b",
            "photos/2026/11/moved",
            "photos/2026/same.txt",
            "photos/2026/same[conflict-0].txt",
            "photos/a",
            "photos/b",
        ]
    );
    assert_eq!(file(&tree, "photos/2026/same.txt"), b"a");
    assert_eq!(file(&tree, "photos/2026/11/moved"), b"old/x");
    assert_eq!(pair.b.stat("photos/2026").unwrap().ino, kept, "who is in it stays there");
    pair.b.write("photos/2026/later", 0, b"later").unwrap();
    assert_eq!(file(&pair.tree(), "photos/2026/later"), b"later");
}

#[test]
fn a_folder_and_a_file_of_one_name_stay_two() {
    let pair = Pair::with(&["x"]);
    pair.a.mkdir("name").unwrap();
    pair.b.write("name", 0, b"file").unwrap();
    pair.a.write("other", 0, b"file").unwrap();
    pair.b.mkdir("other").unwrap();
    assert_eq!(pair.paths(), ["name", "name[conflict-0]", "other", "other[conflict-0]", "x"]);
}

#[test]
fn a_folder_that_takes_the_place_of_another_is_not_mistaken_for_it() {
    let pair = Pair::with(&["d/photos/old", "d/x"]);
    pair.a.rename("d/photos", "d/before").unwrap();
    pair.a.mkdir("d/photos").unwrap();
    pair.a.write("d/photos/new", 0, b"new").unwrap();
    pair.b.write("d/photos/b", 0, b"b").unwrap();
    pair.b.write("d/y", 0, b"y").unwrap();
    pair.b.fs().sync().unwrap();
    assert_eq!(pair.paths(), ["d", "d/before", "d/before/b", "d/before/old", "d/photos", "d/photos/new", "d/x", "d/y"]);
}

/// Names of a folder of several chunks, changed by both at random.
#[test]
fn both_change_a_folder_of_several_chunks() {
    for seed in 0..3 {
        let pair = Pair::with(&["d/0000", "e/x"]);
        for i in 1..600 {
            pair.a.fs().release(pair.a.create(&format!("d/{i:04}")).unwrap());
        }
        pair.meet();
        let mut random = Random::new(seed);
        let mut expected: Vec<String> = Vec::new();
        for i in 0..600 {
            let (name, side) = (format!("d/{i:04}"), if random.next(2) == 0 { &pair.a } else { &pair.b });
            match random.next(12) {
                0 => side.unlink(&name).unwrap(),
                1 => {
                    side.rename(&name, &format!("d/{i:04} renamed")).unwrap();
                    expected.push(format!("d/{i:04} renamed"));
                }
                2 => {
                    side.rename(&name, &format!("e/{i:04}")).unwrap();
                    expected.push(format!("e/{i:04}"));
                }
                3 => {
                    side.write(&name, 0, name.as_bytes()).unwrap();
                    side.write(&format!("d/{i:04} new"), 0, b"new").unwrap();
                    expected.extend([name, format!("d/{i:04} new")]);
                }
                _ => expected.push(name),
            }
            if random.next(100) == 0 {
                side.fs().sync().unwrap();
            }
        }
        expected.extend(["d", "e", "e/x"].map(str::to_owned));
        expected.sort();
        let tree = pair.tree();
        let mut paths: Vec<_> = tree.iter().map(|(path, _)| path.clone()).collect();
        paths.sort();
        assert_eq!(paths, expected, "seed {seed}");
        for (path, content) in tree.iter().filter(|(path, _)| path.len() == 6 && path.starts_with('d')) {
            let content = content.as_deref().unwrap();
            assert!(content.is_empty() || content == path.as_bytes(), "seed {seed}: {path}");
        }
    }
}
