//! How many files the process may have open.

use std::os::fd::AsFd as _;

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::close,
};

/// What is asked for, where the system allows so many: files of blocks stay open, and a server has many connections.
const MOST: u64 = 4096;

/// Allows for many open files, and makes the table of them large enough at once. To make it grow later, the system waits for all
/// processors, while all that open a file wait: up to 30 ms.
pub fn make_room() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let most = soft.max(MOST.min(hard));
    let _ = setrlimit(Resource::RLIMIT_NOFILE, most, hard);
    let last = most.min(MOST) as i32 - 1;
    if let Ok(highest) = fcntl(std::io::stderr().as_fd(), FcntlArg::F_DUPFD_CLOEXEC(last)) {
        let _ = close(highest);
    }
}
