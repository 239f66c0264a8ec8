//! What is in requests and replies, in both directions: pure functions that client and service share.

mod account;
mod core;
mod storage;
#[cfg(test)]
mod tests;

pub use self::{account::*, core::*, storage::*};
