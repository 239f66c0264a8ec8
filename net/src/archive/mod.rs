//! A whole account outside of any node: its blocks in a CARv1 file, whose root is the identity's WriterData, and its
//! mutable state in a JSON file. Nothing secret of the owner's is in them, beyond what a server holds anyway (mirror
//! BATs, second factors): keep them as one keeps a server's disk.

mod car;
mod state;
#[cfg(test)]
mod tests;

pub use car::{CarReader, CarWriter};
pub use state::{AccountState, SecondFactor};
