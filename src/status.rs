//! `peergos-mount status`: how mounted drives are, as their processes say in `.peergos/status`.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::{
    failure::{Classify as _, Result, Status, fail},
    mounts::{self, Mount},
    units,
};

/// Where a mount says how it is.
const FILE: &str = ".peergos/status";

/// Prints how the drive at `mountpoint` is, or else every drive of this user: for a person, or as a JSON object a line.
pub fn command(mountpoint: Option<&Path>, json: bool) -> Result<()> {
    let mounts = match mountpoint {
        Some(path) => vec![mounts::find_ours(path)?],
        None => {
            mounts::all().status(Status::Mount)?.into_iter().filter(|mount| mount.is_ours() && is_mine(mount)).collect()
        }
    };
    if mounts.is_empty() {
        return fail(Status::Mount, "no drive is mounted");
    }
    let mut failed = Ok(());
    for mount in &mounts {
        let path = mount.mountpoint.display();
        match read(mount) {
            Ok(mut status) if json => {
                status["mountpoint"] = path.to_string().into();
                println!("{status}");
            }
            Ok(status) => println!("{path}\n{}", describe(&status, SystemTime::now())),
            // the others are worth seeing all the same
            Err(error) => failed = Err(error).doing(Status::Mount, move || format!("{}", mount.mountpoint.display())),
        }
    }
    failed
}

fn is_mine(mount: &Mount) -> bool {
    geteuid().is_root() || mount.user == Some(geteuid().as_raw())
}

fn read(mount: &Mount) -> anyhow::Result<Value> {
    if mount.is_dead() {
        bail!("the process that served it is gone: `peergos-mount umount` clears it away");
    }
    let text = fs::read(mount.mountpoint.join(FILE)).context("it does not say how it is")?;
    serde_json::from_slice(&text).context("it says something that cannot be understood")
}

/// A few lines for a person.
fn describe(status: &Value, now: SystemTime) -> String {
    let number = |name: &str| status[name].as_u64();
    let bytes = |name: &str| number(name).map(units::show_bytes);
    let ago = |name: &str| {
        let then = UNIX_EPOCH + Duration::from_secs(number(name)?);
        Some(units::show_duration(now.duration_since(then).unwrap_or_default()))
    };
    let mut lines = vec![format!("account:    {}", status["username"].as_str().unwrap_or("?"))];
    let since = ago("since").unwrap_or_default();
    lines.push(match (status["node"].as_str(), status["reason"].as_str()) {
        (Some("embedded"), _) => "node:       in this program".to_owned(),
        (Some("online"), _) => format!("node:       connected for {since}"),
        (_, reason) => format!("node:       OFFLINE for {since}: {}", reason.unwrap_or("unknown reason")),
    });
    lines.push(match (number("queue"), bytes("dirty_bytes")) {
        (Some(0), _) => "unsaved:    nothing".to_owned(),
        (queue, dirty) => {
            let (queue, dirty) = (queue.unwrap_or(0), dirty.unwrap_or_default());
            let journal = bytes("journal_bytes").unwrap_or_default();
            format!("unsaved:    {queue} changed entries, {dirty} in memory, {journal} on this disk")
        }
    });
    lines.extend(ago("last_commit").map(|ago| format!("last saved: {ago} ago")));
    lines.extend(status["error"].as_str().map(|error| format!("not saved:  {error}")));
    if let (Some(used), Some(quota)) = (bytes("used_bytes"), bytes("quota_bytes")) {
        lines.push(format!("space:      {used} of {quota} used"));
    }
    if let (Some(used), Some(limit)) = (bytes("disk_cache_bytes"), bytes("disk_cache_limit")) {
        lines.push(format!("disk cache: {used} of {limit}"));
    }
    lines.iter().map(|line| format!("  {line}\n")).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_are_told_what_matters() {
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        let status = json!({
            "username": "ada", "node": "offline", "since": 9_880, "reason": "no route to host", "queue": 3,
            "dirty_bytes": 2048, "journal_bytes": 3072, "last_commit": 9_990, "error": "cannot be reached", "disk_cache_bytes": null,
            "disk_cache_limit": null, "used_bytes": 1, "quota_bytes": 1 << 30,
        });
        let text = describe(&status, now);
        for part in [
            "ada",
            "OFFLINE for 2 min: no route",
            "3 changed entries, 2.0 KiB in memory, 3.0 KiB",
            "10 s ago",
            "1 B of 1.00 GiB",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("disk cache"), "{text}");
        let text = describe(&json!({ "node": "embedded", "queue": 0 }), now);
        assert!(text.contains("in this program") && text.contains("nothing") && !text.contains("ago"), "{text}");
    }
}
