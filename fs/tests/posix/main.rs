//! The POSIX view over a real embedded node, without a kernel.
#![cfg(test)]

mod check;
mod commits;
mod crowded;
mod damaged;
mod drive;
mod elsewhere;
mod extremes;
mod faulty;
mod golden;
mod journal;
mod journal_disk;
mod legacy;
mod memory;
mod model;
mod no_room;
mod parts;
mod room;
mod scenarios;
mod sealing;
mod survives;
mod threads;
mod together;
mod unlinked;
mod written;
