//! The embedded node, seen from outside.

mod golden;
