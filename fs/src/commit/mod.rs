//! Group commit: the changes of any number of operations become blocks and one signed pointer update for each writing
//! space, all or nothing (spec 03 §7.0). [`schedule`] says when, [`write`] does it.

mod schedule;
mod write;

pub use schedule::{Limits, Schedule};
pub use write::{Unanswered, Upload, Written, put, write};
