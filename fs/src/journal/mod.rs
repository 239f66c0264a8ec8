//! What was acknowledged and is not committed, on the local disk: an encrypted file for each group, to which every change
//! is appended before its reply. When the group is committed, its file goes. What is found at the next mount is made again.
//!
//! [`record`] says what is noted of a change, [`segment`] how that stands in a file, [`store`] which files there are, and
//! [`intent`] which of them a commit makes superfluous. What a record means is up to [`crate::posix`].

mod intent;
mod record;
mod segment;
mod store;

pub use intent::Intended;
pub use record::{Made, Place, Record};
pub use store::{Base, Journal, directory_of};
