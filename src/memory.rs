//! How the allocator deals with memory that is free.
#![allow(unsafe_code)]

/// Has glibc give memory back. Of its own accord it keeps an arena for each of many threads, in which what one thread
/// allocates and another frees stays for ever, and also blocks of many megabytes, once it has seen one of that size: here
/// those of whole chunks go back at once. Arenas grow in larger steps than they would: each is a call of the system's.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, mallopt};
        let parameters =
            [(M_ARENA_MAX, 2), (M_MMAP_THRESHOLD, 4 << 20), (M_TRIM_THRESHOLD, 8 << 20), (M_TOP_PAD, 2 << 20)];
        for (parameter, value) in parameters {
            // SAFETY: takes two numbers; no other thread runs yet. What it refuses stays as it was.
            unsafe { mallopt(parameter, value) };
        }
    }
}
