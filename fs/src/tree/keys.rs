//! What addresses and opens one entry.

use std::sync::Arc;

use peergos_crypto::{signing::KeyHash, symmetric::SymmetricKey};

use crate::{
    Error, Result,
    capability::{Capability, RelativeCapability},
    space::Signer,
};

/// The keys of an entry: fixed until it is re-keyed.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The entry itself.
    pub cap: Capability,
    /// What parent links to this entry carry: of a directory its parent key, of a file its read key.
    pub parent_key: SymmetricKey,
    /// What opens the entry's data: of a directory its read key, of a file its data key.
    pub data_key: SymmetricKey,
    /// The key that signs for the entry's space; none where access is read-only.
    pub signer: Option<Signer>,
    /// Whether the entry is the root of its own writing space, and so carries the signer.
    pub own_space: bool,
    /// The link node that stands for the entry in its parent's space.
    pub link: Option<Arc<LinkKeys>>,
}

/// The keys of a link node (spec 03 §3.11).
#[derive(Debug, Clone)]
pub struct LinkKeys {
    /// The link node.
    pub cap: Capability,
    /// What the target's parent link carries.
    pub parent_key: SymmetricKey,
    /// The key that signs for the space of the link node.
    pub signer: Option<Signer>,
}

impl Keys {
    /// What the parent directory's child link addresses: the link node if there is one.
    pub fn top(&self) -> &Capability {
        self.link.as_ref().map_or(&self.cap, |link| &link.cap)
    }

    /// The signer.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if there is none.
    pub fn signer(&self) -> Result<&Signer> {
        self.signer.as_ref().ok_or(Error::ReadOnly)
    }

    /// The parent link of a child whose node is in the space of `child` (spec 03 §2.4).
    pub fn parent_link(&self, child: &KeyHash) -> RelativeCapability {
        parent_link(&self.cap, &self.parent_key, child)
    }
}

impl LinkKeys {
    /// The parent link of the target, which is in the space of `target`.
    pub fn parent_link(&self, target: &KeyHash) -> RelativeCapability {
        parent_link(&self.cap, &self.parent_key, target)
    }
}

fn parent_link(parent: &Capability, parent_key: &SymmetricKey, child: &KeyHash) -> RelativeCapability {
    RelativeCapability {
        writer: (parent.writer != *child).then(|| parent.writer.clone()),
        map_key: parent.map_key,
        bat: parent.bat.clone(),
        read: parent_key.clone(),
        write: None,
    }
}
