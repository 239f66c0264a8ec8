//! Running commands that must succeed, or must fail with something a person can use.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_peergos-mount");

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A command without terminal or standard input, and with nothing of the developer's own set-up in its environment.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program).stdin(Stdio::null());
    let own =
        ["USERNAME", "PASSWORD", "NEW_PASSWORD", "MFA_CODE", "SERVER", "PROXY"].map(|name| format!("PEERGOS_{name}"));
    // the developer's keyring is no test's business
    for name in own.iter().map(String::as_str).chain(["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"]) {
        command.env_remove(name);
    }
    command
}

/// The program under test, without terminal.
pub fn program() -> Command {
    command(PROGRAM)
}

/// Runs to the end.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs to the end, successfully; returns standard output.
pub fn run_ok(command: &mut Command) -> String {
    let ran = run(command);
    assert!(ran.code == Some(0), "{command:?}: exit code {:?}\n{}{}", ran.code, ran.out, ran.err);
    ran.out
}

/// A line of bash in `dir`, with `-eu -o pipefail`; returns standard output.
pub fn shell(dir: &Path, script: &str) -> String {
    run_ok(command("bash").args(["-eu", "-o", "pipefail", "-c", script]).current_dir(dir).env("LC_ALL", "C.UTF-8"))
}

/// A program that cargo installs for the tests, in the folder `PEERGOS_TEST_TOOLS`, set by the test command, or in the
/// path.
pub fn tool(name: &str) -> PathBuf {
    let folders = std::env::var_os("PEERGOS_TEST_TOOLS").into_iter().chain(std::env::var_os("PATH"));
    let found = folders.flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).map(|path| path.join(name));
    found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| panic!("{name} is not installed: run ./test"))
}

/// The interpreter with what the checker imports: `PEERGOS_TEST_PYTHON`, set by the test command, or `python3`.
pub fn python() -> Command {
    command(std::env::var_os("PEERGOS_TEST_PYTHON").unwrap_or_else(|| "python3".into()))
}

/// The program at a terminal, where prompts are answered in order; each of `answers` is `PROMPT=ANSWER`.
pub fn terminal(answers: &[&str]) -> Command {
    let mut command = python();
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/type_at_terminal.py"));
    command.args(answers).arg("--").arg(PROGRAM);
    command
}

/// The command fails with an exit code of its own (no signal, no panic) and names one of `words` on standard error.
pub fn expect_failure(command: &mut Command, words: &[&str]) -> Ran {
    let ran = run(command);
    let code = ran.code.unwrap_or_else(|| panic!("{command:?} was ended by a signal: {}", ran.err));
    assert!(code != 0, "{command:?} succeeded instead of naming one of {words:?}\n{}{}", ran.out, ran.err);
    assert!(code < 100, "{command:?}: exit code {code}: {}", ran.err);
    assert!(!ran.err.contains("panicked"), "{command:?}: {}", ran.err);
    let said = ran.err.to_lowercase();
    assert!(words.iter().any(|w| said.contains(w)), "{command:?} does not name one of {words:?}: {}", ran.err);
    ran
}
