//! A database: thousands of small transactions, each of which must be on the node when it returns.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Drive, python, run_ok};

/// `DATABASE JOURNAL-MODE TRANSACTIONS`: prints the number of each transaction once it is committed.
const WRITE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
assert db.execute('PRAGMA journal_mode=' + sys.argv[2]).fetchone()[0] == sys.argv[2]
# FULL does not promise that a commit survives a power cut where it is the removal of a journal; EXTRA does.
db.execute('PRAGMA synchronous=EXTRA')
db.execute('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, half INTEGER, text TEXT)')
db.execute('CREATE INDEX IF NOT EXISTS i ON t (half)')
start = db.execute('SELECT coalesce(max(n), 0) FROM t').fetchone()[0]
for n in range(start + 1, start + 1 + int(sys.argv[3])):
    db.execute('BEGIN')
    db.execute('INSERT INTO t VALUES (?, ?, ?)', (n, n // 2, 'x' * (n % 500)))
    if n % 3 == 0:
        db.execute('UPDATE t SET text = ? WHERE n = ?', ('updated', n - 1))
    if n % 7 == 0:
        db.execute('DELETE FROM t WHERE n = ?', (n - 5,))
    db.execute('COMMIT')
    print(n, flush=True)
";

/// Prints the verdict of the integrity check and the largest row.
const CHECK: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
print(db.execute('PRAGMA integrity_check').fetchone()[0], db.execute('SELECT coalesce(max(n), 0) FROM t').fetchone()[0])
";

fn write(database: &Path, mode: &str, transactions: u32) -> Command {
    let mut command = python();
    command.args(["-c", WRITE]).arg(database).args([mode, &transactions.to_string()]);
    command
}

fn check(database: &Path) -> (String, u32) {
    let said = run_ok(python().args(["-c", CHECK]).arg(database));
    let (verdict, largest) = said.trim().rsplit_once(' ').expect("two words");
    (verdict.into(), largest.parse().expect("a number"))
}

fn thousands_of_transactions(mode: &str) {
    let mut drive = Drive::mounted();
    let database = drive.path("db");
    run_ok(&mut write(&database, mode, 1500));
    assert_eq!(check(&database), ("ok".into(), 1500));
    drive.remount();
    assert_eq!(check(&database), ("ok".into(), 1500));
    run_ok(&mut write(&database, mode, 500));
    drive.remount();
    assert_eq!(check(&database), ("ok".into(), 2000));
    drive.check();
}

#[test]
fn rollback_journal() {
    thousands_of_transactions("delete");
}

#[test]
fn write_ahead_log() {
    thousands_of_transactions("wal");
}

#[test]
fn committed_transactions_survive_kill_9() {
    let mut drive = Drive::mounted();
    let database = drive.path("db");
    let mut committed = 0;
    for (round, mode) in ["delete", "persist", "wal", "truncate"].into_iter().enumerate() {
        let mut writer =
            write(&database, mode, 1_000_000).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            committed = line.parse().unwrap();
            if committed as usize % 100 == 10 * round {
                drive.daemon().kill_leaving_the_mount();
            }
        }
        assert!(!writer.wait().unwrap().success(), "the writer outlived its file system");
        drive.kill();
        drive.mount();
        let (verdict, largest) = check(&database);
        assert_eq!(verdict, "ok", "{mode}");
        assert!(largest >= committed, "{mode}: {committed} was committed, {largest} is there");
    }
    drive.check();
}
