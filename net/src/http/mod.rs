//! The HTTP protocol between clients and nodes (spec 02 §2): what both sides need to agree on.

pub mod bodies;
pub mod trailer;
