//! Where the user name and the password come from.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr},
    unistd::read,
};
use zeroize::Zeroizing;

use crate::progress::tell;

/// Longer ones are refused.
const MAX_LEN: usize = 4096;

/// A password; erased when dropped.
pub type Password = Zeroizing<String>;

/// Whether a person can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The first line of a file, or of standard input for `-`.
pub fn from_file(path: &Path) -> Result<Password> {
    let line = if path == Path::new("-") { read_line().context("no password")? } else { first_line(path)? };
    ensure!(!line.is_empty(), "the password is empty");
    Ok(line)
}

fn first_line(path: &Path) -> Result<Password> {
    let doing = || format!("the password file {}", path.display());
    let file = File::open(path).with_context(doing)?;
    let metadata = file.metadata().with_context(doing)?;
    ensure!(
        !metadata.is_file() || metadata.mode() & 0o007 == 0,
        "the password file {} is open to every user of this machine; close it with: chmod 600 {0}",
        path.display()
    );
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN + 1));
    file.take(MAX_LEN as u64 + 1).read_to_string(&mut text).with_context(doing)?;
    ensure!(text.len() <= MAX_LEN, "the password is longer than {MAX_LEN} bytes");
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// Asks for a line on the terminal.
pub fn ask(prompt: &str) -> Result<String> {
    show(prompt);
    let line = read_line()?;
    Ok(line.trim().to_owned())
}

/// Asks for a yes; anything else is a no.
pub fn confirm(question: &str) -> Result<bool> {
    let answer = ask(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a password without showing it.
pub fn ask_password(prompt: &str) -> Result<Password> {
    // First, lest an answer that comes at once is seen.
    set_echo(false);
    show(prompt);
    let line = read_line();
    set_echo(true);
    tell("");
    let line = line?;
    ensure!(!line.is_empty(), "no password given");
    Ok(line)
}

/// Asks for a new password, twice.
pub fn ask_new_password() -> Result<Password> {
    tell("The password cannot be recovered: without it nobody, on any server, can read the drive.");
    for _ in 0..3 {
        let first = ask_password("New password: ")?;
        if first == ask_password("The same again: ")? {
            return Ok(first);
        }
        tell("These were different.");
    }
    bail!("no password chosen")
}

fn show(prompt: &str) {
    let _ = write!(io::stderr(), "{prompt}");
}

/// Whether what is typed is shown. Also called when a signal interrupts a question.
pub fn set_echo(on: bool) {
    let stdin = io::stdin();
    if let Ok(mut settings) = tcgetattr(&stdin) {
        settings.local_flags.set(LocalFlags::ECHO, on);
        // Drained rather than flushed: what was typed ahead must not be lost.
        let _ = tcsetattr(&stdin, SetArg::TCSADRAIN, &settings);
    }
}

/// A line of standard input without its end. Read past the standard library's buffer, where a copy would stay behind.
fn read_line() -> Result<Password> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    loop {
        let mut byte = Zeroizing::new([0]);
        let ended = read(io::stdin(), &mut byte[..]).context("standard input")? == 0;
        match byte[0] {
            _ if ended && line.is_empty() => bail!("standard input ended"),
            _ if ended => break,
            b'\n' => break,
            _ if line.len() == MAX_LEN => bail!("longer than {MAX_LEN} bytes"),
            other => line.push(other),
        }
    }
    let text = std::str::from_utf8(&line).context("what was typed is not UTF-8")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn first_line_of_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (content, expected) in [("pw", Some("pw")), (" p w \r\nx", Some(" p w ")), ("", None), ("\npw", None)] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(from_file(&path).ok().as_deref().map(String::as_str), expected, "{content:?}");
        }
        fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(from_file(&path).is_err());
        fs::write(&path, "pw").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(from_file(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
