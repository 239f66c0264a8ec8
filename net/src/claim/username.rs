//! What a username may be (spec 01 §4.1).

/// The longest new name, in characters.
const MAX_LEN: usize = 32;

/// The longest name in a claim, in characters.
const MAX_CLAIMED_LEN: usize = 64;

/// Names that were given out under older rules, one a line.
const LEGACY: &str = include_str!("legacy-usernames.txt");

const BANNED: &[&str] = &[
    "ipfs",
    "ipns",
    "root",
    "http",
    "https",
    "dns",
    "admin",
    "administrator",
    "support",
    "email",
    "mail",
    "www",
    "web",
    "onion",
    "tls",
    "i2p",
    "ftp",
    "sftp",
    "file",
    "mailto",
    "wss",
    "xmpp",
    "ssh",
    "smtp",
    "imap",
    "irc",
    "matrix",
    "twitter",
    "facebook",
    "instagram",
    "linkedin",
    "wechat",
    "tiktok",
    "reddit",
    "snapchat",
    "qq",
    "whatsapp",
    "signal",
    "telegram",
    "briar",
    "ssb",
    "mastodon",
    "apple",
    "google",
    "pinterest",
    "constructor",
    "mls",
    "btc",
    "eth",
    "mnr",
    "zec",
    "friends",
    "followers",
    "username",
    "groups",
];

/// Whether `name` can be claimed: lower-case letters, digits and single inner hyphens, at most 32 characters, and not
/// one of the names that mean something else; or one of the names given out under older rules.
pub fn is_valid(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let regular = name.len() <= MAX_LEN && name.split('-').all(plain) && !BANNED.contains(&name);
    regular || LEGACY.lines().any(|legacy| legacy == name)
}

/// Whether claims on `name` may exist at all, which older names with other characters satisfy as well.
pub(super) fn is_claimable(name: &str) -> bool {
    name.chars().count() <= MAX_CLAIMED_LEN && !name.contains([' ', '\t', '\n'])
}
