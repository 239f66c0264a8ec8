//! What POSIX demands of a file system, by the test programs of the field: `tests/pjdfstest.toml` says what is left out, and
//! why.

use crate::harness::{Drive, command, run, tool};

#[test]
fn pjdfstest_finds_nothing() {
    let mut drive = Drive::new().with_args(&["--allow-other"]);
    drive.mount();
    // at a place that the users of the test may reach; the folder of this test they may not
    let script =
        r#"mount --bind "$1" /mnt; chmod 755 /mnt; "$2" --configuration-file "$3" --path /mnt --secondary-fs "$4""#;
    let ran = run(command("unshare")
        .args(["--mount", "bash", "-euc", script, "bash"])
        .args([drive.root(), tool("pjdfstest"), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pjdfstest.toml").into()])
        .arg(drive.beside("")));
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let summary = ran.out.lines().rev().find(|line| line.contains("Summary")).expect("a summary");
    assert!(summary.contains(" 0 failed") && summary.contains("398 total"), "{summary}");
    drive.remount();
    drive.check();
}
