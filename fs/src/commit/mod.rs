//! Group commit: the changes of any number of operations become blocks and one signed pointer update for each writing
//! space, all or nothing (spec 03 §7.0). [`schedule`] says when, [`write`] does it.

mod keep;
mod schedule;
mod write;

pub use keep::Keep;
pub use schedule::{Committed, Limits, Schedule};
pub use write::{Priority, Targets, Unanswered, Upload, Written, put, write};
