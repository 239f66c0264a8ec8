//! The embedded node, tried out by a client of its own.

mod accounts;
mod blocks;
mod claims;
mod damage;
mod garbage;
mod golden;
mod killed;
mod login;
mod pointers;
mod sign_up;
mod space;
pub(crate) mod support;
