//! Who a name belongs to: claims on usernames, signed by identities and chained when an identity changes (spec 01 §4).

mod chain;
mod date;
mod link;
#[cfg(test)]
mod tests;
pub mod username;

pub use chain::ClaimChain;
pub use date::Date;
pub use link::{Claim, ClaimLink, links_from_cbor, links_to_cbor};
