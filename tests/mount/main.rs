//! Whole-program tests: the real binary, mounted by the kernel, used as a person or a program would use it, and what it
//! stored judged by an independent checker. `tests/README.md` says what they need and how they are run.
#![cfg(test)]

mod harness;

mod accounts;
mod attributes;
mod check;
mod crash;
mod crowded;
mod damage;
mod documents;
mod exercise;
mod faults;
mod full_disk;
mod golden;
mod golden_writes;
mod import;
mod journal;
mod large;
mod life_cycle;
mod locks;
mod logins;
mod model;
mod mount_options;
mod node;
mod offline;
mod own_account;
mod pjdfstest;
mod posix;
mod posix_metadata;
mod posix_rename;
mod programs;
mod ranges;
mod round_trips;
mod situations;
mod sqlite;
mod together;
mod unmounting;
mod ways;
