//! What kinds of entries there are. Those that the protocol does not have are small files with the mime types of
//! freedesktop.org (spec 03 §11.3).

use crate::cryptree::Properties;

/// What kind of entry an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link: a file whose content is the target.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
    /// A device that holds blocks.
    BlockDevice,
    /// A device that takes and gives characters.
    CharDevice,
}

/// The kinds that are files with a mime type of their own.
const SPECIAL: [(Kind, &str); 5] = [
    (Kind::Symlink, "inode/symlink"),
    (Kind::Fifo, "inode/fifo"),
    (Kind::Socket, "inode/socket"),
    (Kind::BlockDevice, "inode/blockdevice"),
    (Kind::CharDevice, "inode/chardevice"),
];

impl Kind {
    /// What mknod(2) makes; none for what it does not.
    pub(super) const fn of_mode(mode: u32) -> Option<Self> {
        match mode & libc::S_IFMT {
            0 | libc::S_IFREG => Some(Self::File),
            libc::S_IFIFO => Some(Self::Fifo),
            libc::S_IFSOCK => Some(Self::Socket),
            libc::S_IFBLK => Some(Self::BlockDevice),
            libc::S_IFCHR => Some(Self::CharDevice),
            _ => None,
        }
    }

    /// The kind of something that is no directory, by its mime type.
    pub(super) fn of_mime(mime: &str) -> Self {
        SPECIAL.iter().find(|(_, theirs)| *theirs == mime).map_or(Self::File, |(kind, _)| *kind)
    }

    /// The kind of an entry.
    pub(super) fn of(properties: &Properties) -> Self {
        if properties.is_dir { Self::Directory } else { Self::of_mime(&properties.mime) }
    }

    /// The mime type by which the kind is told, if it is.
    pub(super) fn mime(self) -> Option<&'static str> {
        SPECIAL.iter().find(|(kind, _)| *kind == self).map(|(_, mime)| *mime)
    }

    /// The permission bits of what has none stored.
    pub(super) const fn default_mode(self) -> u32 {
        match self {
            Self::Directory => 0o755,
            Self::Symlink => 0o777,
            _ => 0o644,
        }
    }

    /// Whether it has a device number.
    pub(super) const fn is_device(self) -> bool {
        matches!(self, Self::BlockDevice | Self::CharDevice)
    }
}
