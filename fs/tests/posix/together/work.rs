//! Random work of two clients, of which nothing may get lost.

use std::collections::BTreeSet;

use crate::{
    drive::Drive,
    faulty::{Call, Fault},
    golden,
    model::{Random, seeds},
    together::{Pair, Tree},
};

/// What is written is a word that occurs nowhere else. None may get lost, unless somebody deleted a file that he saw it in.
struct Words {
    next: usize,
    deleted: BTreeSet<String>,
    /// What was done, to be read where something is lost.
    log: Vec<String>,
}

/// The words in a content, which may have been something else before.
fn words(content: &[u8]) -> impl Iterator<Item = String> {
    let is_word = |word: &&[u8]| word[0] == b'<' && word[8] == b'>' && word[1..8].iter().all(u8::is_ascii_digit);
    content.windows(9).filter(is_word).map(|word| String::from_utf8_lossy(word).into_owned())
}

fn word(number: usize) -> String {
    format!("<{number:07}>")
}

impl Drop for Words {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log.join("\n"));
        }
    }
}

impl Words {
    fn next(&mut self) -> String {
        self.next += 1;
        word(self.next)
    }

    fn delete(&mut self, content: &[u8]) {
        self.deleted.extend(words(content));
    }

    /// Whether every word is seen on one of the `sides`.
    fn check(&self, pair: &Pair, sides: &[&Drive], seed: u64) {
        let tree: Tree = sides.iter().flat_map(|side| pair.seen_by(side)).collect();
        let found: BTreeSet<String> =
            tree.iter().filter_map(|(_, content)| content.as_deref()).flat_map(words).collect();
        for word in (1..=self.next).map(word) {
            let is_known = found.contains(&word) || self.deleted.contains(&word);
            let paths = || {
                tree.iter()
                    .map(|(path, content)| {
                        format!("{path} {}", content.as_deref().map(String::from_utf8_lossy).unwrap_or_default())
                    })
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            assert!(is_known, "seed {seed}: {word} is lost of\n{}", paths());
        }
    }

    /// Something that a person could do on `side`, where nobody else works meanwhile, so that it has to succeed.
    fn step(&mut self, pair: &Pair, side: &Drive, who: char, random: &mut Random) {
        let is_settled = pair.roots.len() > 1 && random.next(3) == 0;
        if is_settled {
            self.log.push(format!("{who}: sync, refresh"));
            side.fs().sync().unwrap();
            side.fs().refresh().unwrap();
        }
        // a step that gives new keys commits first, and would meet what others did
        let needs_keys = |from: &str, to: &str| {
            let root = |path: &str| pair.roots.iter().position(|root| path.starts_with(root));
            !is_settled && pair.roots.len() > 1 && (root(from) != root(to) || from.starts_with("revoked"))
        };
        let tree = pair.seen_by(side);
        let of_tree = tree.iter().filter(|(_, content)| content.is_none()).map(|(path, _)| path.as_str());
        let directories: Vec<&str> = of_tree.chain(pair.roots.iter().copied()).collect();
        let directory = directories[random.next(directories.len() as u64) as usize];
        let name = ["a", "b.txt", "c", "d"][random.next(4) as usize];
        let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        let there = tree.iter().find(|(found, _)| *found == path).map(|(_, content)| content.clone());
        let picked = tree.get(random.next(tree.len().max(1) as u64) as usize).cloned();
        match (random.next(8), there, picked) {
            (0, None, _) => {
                self.log.push(format!("{who}: mkdir {path}"));
                side.mkdir(&path).unwrap();
            }
            (1..=3, content @ (None | Some(Some(_))), _) if !needs_keys(&path, &path) => {
                let word = self.next();
                self.log.push(format!("{who}: {word} to {path}"));
                side.write(&path, content.flatten().map_or(0, |content| content.len() as u64), word.as_bytes())
                    .unwrap();
            }
            (4 | 5, there, Some((from, content))) if !needs_keys(&from, &path) => {
                let is_below = path == from || path.starts_with(&format!("{from}/"));
                self.log.push(format!("{who}: rename {from} to {path}"));
                match (content, there) {
                    (Some(_), Some(Some(replaced))) if !is_below => {
                        side.rename(&from, &path).unwrap();
                        self.delete(&replaced);
                    }
                    (_, None) if !is_below => side.rename(&from, &path).unwrap(),
                    _ => {}
                }
            }
            (6, _, Some((path, Some(content)))) => {
                self.log.push(format!("{who}: unlink {path}"));
                side.unlink(&path).unwrap();
                self.delete(&content);
            }
            (7, _, Some((path, None))) if side.names(&path).unwrap().is_empty() => {
                self.log.push(format!("{who}: rmdir {path}"));
                side.rmdir(&path).unwrap();
            }
            _ => {}
        }
    }
}

/// Work of both sides at random, each of which commits and looks now and then. Where the second has a journal, it dies
/// as often, perhaps while the first commits, or while it makes again what it lost.
fn random_work(pair: &mut Pair, seed: u64, steps: usize) {
    let mut random = Random::new(seed);
    let mut all = Words { next: 0, deleted: BTreeSet::new(), log: Vec::new() };
    let can_die = pair.b.options.journal.is_some();
    for _ in 0..steps {
        let (side, who) = if random.next(2) == 0 { (&pair.a, 'a') } else { (&pair.b, 'b') };
        match random.next(8) {
            0 if can_die && who == 'b' => die(pair, &mut random, &mut all.log),
            0 => {
                all.log.push(format!("{who}: sync"));
                side.fs().sync().unwrap();
            }
            1 => {
                all.log.push(format!("{who}: refresh"));
                side.fs().refresh().unwrap();
            }
            _ => {
                all.step(pair, side, who, &mut random);
                continue;
            }
        }
        all.check(pair, &[&pair.a, &pair.b], seed);
    }
    for (side, who) in [(&pair.a, 'a'), (&pair.b, 'b'), (&pair.a, 'a')] {
        all.log.push(format!("{who}: sync at the end"));
        side.fs().sync().unwrap();
        all.check(pair, &[&pair.a, &pair.b], seed);
    }
    pair.tree();
    all.check(pair, &[&pair.a], seed);
}

/// The second dies and is mounted again.
fn die(pair: &mut Pair, random: &mut Random, log: &mut Vec<String>) {
    let Pair { a, b, .. } = pair;
    let (answer_is_lost, again, commits) = (random.next(4) == 0, random.next(3) == 0, random.next(2) == 0);
    log.push(format!("b: crash, with a lost answer: {answer_is_lost}, twice: {again}, and a: sync: {commits}"));
    if answer_is_lost {
        b.faults.fail(Call::SetPointers, 0, 1, Fault::LostReply);
        b.faults.fail(Call::GetPointer, 0, u32::MAX, Fault::Io);
        let _ = b.fs().sync();
    }
    if again {
        b.crash_beside(a, || {});
    }
    b.crash_beside(a, || {
        if commits {
            a.fs().sync().unwrap();
        }
    });
    // it is committed in the background, and would change what is looked at
    b.fs().sync().unwrap();
}

#[test]
fn nothing_gets_lost() {
    for seed in seeds((0..8).chain([136, 297, 1001])) {
        let mut pair = Pair::with(&["a", "c/d", "c/b.txt"]);
        let initial = ["a", "c/d", "c/b.txt"].map(|path| pair.a.unlink(path));
        initial.into_iter().for_each(|unlinked| unlinked.unwrap());
        pair.meet();
        random_work(&mut pair, seed, 150);
    }
}

#[test]
fn nothing_gets_lost_where_one_dies() {
    for seed in seeds((0..12).chain([5028])) {
        let mut pair = Pair::with(&["c/d"]);
        // what a kernel remembers is not dropped, nor loaded anew
        pair.a.remembers_directories = seed == 5028;
        pair.b = pair.a.second_with_journal();
        random_work(&mut pair, seed, 150);
    }
}

#[test]
fn nothing_gets_lost_between_writing_spaces() {
    for seed in seeds(0..3) {
        let mut pair = Pair::ada(&["box", "revoked", "team"]);
        random_work(&mut pair, seed, 60);
        golden::check(&pair.a);
    }
}
