//! What tests put where a server is expected: one whose answers are a closure's, and a way to a real one that loses, cuts
//! and forges. It panics where a test made a mistake, and where the other side breaks off it lets it go.

mod line;
mod server;
mod way;

pub use line::slow_line;
pub use server::{Answer, Asked, Server, parse};
pub use way::{TROUBLES, forward, troubled, way};
