//! The payload of a directory's chunk: links to its children (spec 03 §3.8).

use peergos_crypto::{Error, Result, cbor::Value};
use zeroize::Zeroizing;

use crate::capability::{ChildLink, RelativeCapability};

/// The most entries that are written into one chunk of a directory; more may be read.
pub const MAX_CHILDREN: usize = 500;

/// The decoded list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Children {
    /// The current form.
    Named(Vec<ChildLink>),
    /// The legacy form: names are only in the children's own properties.
    Nameless(Vec<RelativeCapability>),
}

/// The list as CBOR.
///
/// # Errors
/// [`Error::Structure`] over [`MAX_CHILDREN`]: other clients cannot extend such a chunk.
pub fn encode<'a>(children: impl IntoIterator<Item = &'a ChildLink>) -> Result<Zeroizing<Value>> {
    let list = Zeroizing::new(Value::Array(children.into_iter().map(ChildLink::to_cbor).collect()));
    if list.as_array("children")?.len() > MAX_CHILDREN {
        return Err(Error::Structure("too many children in one chunk"));
    }
    Ok(list)
}

/// Reads a list of either form.
///
/// # Errors
/// [`Error::Structure`] or [`Error::Key`] if an entry is malformed.
pub fn decode(list: &Value) -> Result<Children> {
    let entries = list.as_array("children")?;
    let nameless = match entries.first() {
        Some(first) => first.as_map("child link")?.get("n").is_none(),
        None => false,
    };
    if nameless {
        entries.iter().map(RelativeCapability::from_cbor).collect::<Result<_>>().map(Children::Nameless)
    } else {
        entries.iter().map(ChildLink::from_cbor).collect::<Result<_>>().map(Children::Named)
    }
}
