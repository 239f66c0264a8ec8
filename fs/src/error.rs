//! What can go wrong above the node, and the errno that a program gets to see for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use peergos_crypto::signing::KeyHash;

/// A failure of the encrypted file system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node refuses or fails.
    #[error(transparent)]
    Net(#[from] peergos_net::Error),
    /// Something does not decode, open or verify.
    #[error(transparent)]
    Crypto(#[from] peergos_crypto::Error),
    /// An entry is linked from its directory, but its node is gone.
    #[error(
        "an entry is missing from the account's tree: its directory names it, but nothing is stored under its label"
    )]
    Dangling,
    /// A structure of the encrypted tree is not what spec 03 lays down; names the structure.
    #[error("the account's tree is damaged: {0}")]
    Damaged(&'static str),
    /// A writing space without a pointer.
    #[error("the writing space {0} does not exist any more")]
    SpaceGone(KeyHash),
    /// There is no key to write with.
    #[error("this entry is shared with you for reading only")]
    ReadOnly,
    /// No account has this name.
    #[error("there is no account with this user name")]
    UnknownUser,
    /// The name belongs to someone.
    #[error("this user name is taken")]
    UsernameTaken,
    /// The name cannot be given out.
    #[error("not a possible user name: use up to 32 lower-case letters, digits and single hyphens between them")]
    InvalidUsername,
    /// The account was deleted by its owner.
    #[error("this account was deleted")]
    AccountDeleted,
    /// The account asks for a second factor, and there was nobody to answer.
    #[error("this account asks for a second factor: a code of an authenticator app, or a backup code")]
    SecondFactorNeeded,
    /// A code of a second factor is wrong, or the factor was revoked.
    #[error("the code of the second factor is not right, or the factor was revoked")]
    SecondFactorRefused,
    /// The name belongs to another identity than it did.
    #[error("this user name belongs to another identity than when it was remembered; log in with the password")]
    IdentityChanged,
    /// The account is of the old kind, whose identity follows from the password.
    #[error("this is an account of the old kind: change its password first, which makes it one of the current kind")]
    LegacyAccount,
    /// A change of password broke off at its decisive moment.
    #[error("it could not be found out whether the new password holds, or still the old one: try both")]
    PasswordUncertain,
    /// The new password cannot be, because the account has writing spaces whose keys cannot be found.
    #[error("the password of this old account cannot be changed here: it has a writing space of unknown keys, {0}")]
    UnknownSpace(KeyHash),
    /// The node asks for ever more proofs of work.
    #[error("the server is under load, please try again later")]
    Overloaded,
    /// A panic, caught.
    #[error("this met a bug of peergos-mount, which is in its log")]
    Bug,
    /// The journal, or data that it has and that had to leave memory, cannot be written or read.
    #[error("the journal of what is not saved yet: {0}")]
    Journal(#[source] std::io::Error),
    /// The journal belongs to another process.
    #[error("this account is mounted already with the same state directory; unmount it there first")]
    JournalLocked,
    /// The journal is not what the disk once had; holds where a copy of it is.
    #[error(
        "the journal of changes that were not saved when the last mount ended is damaged: the disk has lost some of what it \
         had. A copy is in {}; the next mount makes again what was noted before the damage, and goes on without the rest",
        .0.display()
    )]
    JournalDamaged(std::path::PathBuf),
    /// Another version of this program wrote the journal.
    #[error(
        "another version of peergos-mount ended before it had saved all changes; mount the drive with that version, so \
         that it saves them"
    )]
    JournalVersion,
    /// What POSIX has a number for.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Errno(i32),
}

impl Error {
    /// The errno that stands for this error in an answer to the kernel.
    pub fn errno(&self) -> i32 {
        use peergos_net::Error as Net;
        match self {
            Self::Errno(errno) => *errno,
            Self::ReadOnly => libc::EACCES,
            Self::Journal(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Self::Net(Net::DiskFull) => libc::ENOSPC,
            Self::Net(Net::QuotaReached { .. } | Net::UploadLimit) => libc::EDQUOT,
            Self::Net(Net::Unauthorised) => libc::EACCES,
            Self::Net(Net::PointerCas { .. }) => libc::ESTALE,
            _ => libc::EIO,
        }
    }
}

impl Error {
    /// Whether there is no room, and might be if something is deleted.
    pub(crate) const fn is_no_room(&self) -> bool {
        use peergos_net::Error as Net;
        matches!(self, Self::Net(Net::DiskFull | Net::QuotaReached { .. } | Net::UploadLimit))
    }

    /// Whether the node cannot be reached or is too busy: it has refused nothing, and may answer later. What it breaks off
    /// at while it answers other requests, it refuses.
    pub(crate) const fn is_out_of_reach(&self) -> bool {
        use peergos_net::Error as Net;
        matches!(self, Self::Net(Net::Unreachable { .. } | Net::Busy))
    }

    /// Whether another client has changed a pointer meanwhile (spec 02 §8.3).
    pub(crate) const fn is_conflict(&self) -> bool {
        use peergos_net::Error as Net;
        matches!(self, Self::Net(Net::PointerCas { .. } | Net::Sequence { .. }))
    }

    /// Whether the node no longer has the state that was asked about.
    pub(crate) const fn is_outdated(&self) -> bool {
        matches!(self, Self::Net(peergos_net::Error::ChampRootMissing(_)))
    }

    /// Whether this is about one entry that is damaged or gone, and everything else goes on.
    pub(crate) const fn is_of_one_entry(&self) -> bool {
        use peergos_net::Error as Net;
        matches!(
            self,
            Self::Dangling
                | Self::Damaged(_)
                | Self::Crypto(_)
                | Self::ReadOnly
                | Self::SpaceGone(_)
                | Self::Net(Net::MissingBlock(_) | Net::WrongBlock(_) | Net::Crypto(_) | Net::Invalid(_))
        )
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Does something, a panic in which is an error like any other.
pub(crate) fn survive<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::Bug))
}

/// Shorthand for an error that POSIX has a number for.
pub(crate) fn errno<T>(number: i32) -> Result<T> {
    Err(Error::Errno(number))
}
