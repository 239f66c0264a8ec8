//! `kill -9` at any time leaves exactly the last committed state.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use super::support::*;
use crate::{Block, EmbeddedNode};

const DIR: &str = "PEERGOS_TEST_KILLED_DIR";
const PER_COMMIT: u64 = 15;

/// What the commit `number` puts: small blocks, and some with a file of their own.
fn commit(client: &Client, node: &Arc<EmbeddedNode>, number: u64) {
    let seeds = number * PER_COMMIT..(number + 1) * PER_COMMIT;
    let fragments: Vec<Block> = seeds.clone().step_by(3).map(|seed| fragment(seed, FRAGMENT, &[])).collect();
    let entries: Vec<_> = seeds
        .map(|seed| {
            let links: Vec<&Block> = fragments.iter().filter(|_| seed % 3 == 0).collect();
            (map_key(seed), Some(entry(seed, 2000, &links)))
        })
        .collect();
    client.commit(node, &entries, &fragments).unwrap();
}

/// The child: commits, and says so, until it is killed.
#[test]
#[ignore = "runs in a process of its own, for `what_was_committed_survives_being_killed`"]
fn commits_until_it_is_killed() {
    let dir = env::var_os(DIR).expect("the parent says where");
    let node = Arc::new(EmbeddedNode::open(Path::new(&dir)).unwrap());
    let client = Client::new("alice");
    let mut number = client.data(&node, &client.writer).1.sequence.unwrap() - 1;
    let mut out = std::io::stdout();
    loop {
        commit(&client, &node, number);
        number += 1;
        // the test harness captures println
        writeln!(out, "\ncommitted {number}").unwrap();
        out.flush().unwrap();
        if number.is_multiple_of(5) {
            node.collect_garbage().unwrap();
        }
    }
}

#[test]
fn what_was_committed_survives_being_killed() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new("alice");
    client.sign_up(&EmbeddedNode::open(dir.path()).unwrap()).unwrap();
    let mut committed = 0;
    for round in 0..20 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "embedded::tests::killed::commits_until_it_is_killed"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = || -> Option<u64> {
            lines.by_ref().find_map(|line| line.unwrap().strip_prefix("committed ")?.parse().ok())
        };
        for _ in 0..=round % 3 {
            committed = acknowledged().expect("the child works");
        }
        // somewhere in the next commit
        std::thread::sleep(Duration::from_millis(noise(round, 1)[0] as u64 / 4));
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(number) = acknowledged() {
            committed = number;
        }

        let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
        let sequence = client.data(&node, &client.writer).1.sequence.unwrap() - 1;
        assert!(sequence == committed || sequence == committed + 1, "{committed} acknowledged, {sequence} there");
        let entries = client.read_all(&node, (0..sequence * PER_COMMIT).map(map_key));
        assert!(entries.iter().all(Option::is_some), "not all of {sequence} commits is there");
        assert_eq!(client.read(&node, map_key(sequence * PER_COMMIT)), None);
        assert_eq!(std::fs::read_dir(dir.path().join("blocks/new")).unwrap().count(), 0, "leftovers");
    }
    assert!(committed > 20);
}
