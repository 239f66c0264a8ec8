//! The POSIX view over a real embedded node, without a kernel.
#![cfg(test)]

mod drive;
mod model;
mod scenarios;
