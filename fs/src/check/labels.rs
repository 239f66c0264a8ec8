//! What is stored in each writing space, and what of it was reached.

use std::collections::HashMap;

use parking_lot::Mutex;
use peergos_crypto::{cid::Cid, signing::KeyHash};
use peergos_net::champ::{self, KeyHasher};

use crate::{Error, Result, capability::MapKey, tree::Drive};

/// The labels of the account's writing spaces: all that the check keeps in memory of what it has seen.
pub(super) struct Labels<'a> {
    drive: &'a Drive,
    spaces: Mutex<HashMap<KeyHash, Space>>,
}

#[derive(Default)]
struct Space {
    /// Every label, and whether it was reached.
    reached: HashMap<MapKey, bool>,
    /// Whether the CHAMP could be read, so that every label is in `reached`.
    is_known: bool,
    /// The path of the entry that the space begins with.
    root: Option<String>,
}

/// How a label was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// For the first time.
    First,
    /// Something else leads there too.
    Again,
    /// Nothing is stored there.
    Absent,
}

/// What nothing leads to in one writing space.
pub(super) struct Unreached {
    pub writer: KeyHash,
    /// The path of the entry that the space begins with; none if nothing leads to the whole space.
    pub root: Option<String>,
    /// The labels with their nodes.
    pub nodes: Vec<(MapKey, Cid)>,
}

impl<'a> Labels<'a> {
    pub fn new(drive: &'a Drive) -> Self {
        Self { drive, spaces: Mutex::default() }
    }

    /// Reads the labels of a writing space, which from now on is looked at as it is.
    ///
    /// # Errors
    /// [`Error::SpaceGone`]; [`Error::Net`], also if a node of its CHAMP is damaged: what can be read of the space can be
    /// claimed nevertheless.
    pub fn load(&self, writer: &KeyHash) -> Result<()> {
        if self.spaces.lock().contains_key(writer) {
            return Ok(());
        }
        let data = self.drive.spaces.get(writer)?.data.clone();
        let mut reached = HashMap::new();
        let read = data.tree.as_ref().map_or(Ok(()), |root| {
            champ::for_each(&self.drive.node.of(&self.drive.owner), root, KeyHasher::Identity, &mut |key, _| {
                reached.extend(key.try_into().map(|key| (MapKey(key), false)));
                Ok(())
            })
        });
        let space = Space { reached, is_known: read.is_ok(), root: None };
        self.spaces.lock().entry(writer.clone()).or_insert(space);
        read.map_err(Error::from)
    }

    /// Says that something leads to a label.
    pub fn claim(&self, writer: &KeyHash, label: MapKey) -> Claim {
        let mut spaces = self.spaces.lock();
        let Some(space) = spaces.get_mut(writer) else { return Claim::Absent };
        match space.reached.get_mut(&label) {
            Some(reached) => match std::mem::replace(reached, true) {
                true => Claim::Again,
                false => Claim::First,
            },
            None if space.is_known => Claim::Absent,
            None => {
                space.reached.insert(label, true);
                Claim::First
            }
        }
    }

    /// Says where a writing space begins.
    pub fn begins(&self, writer: &KeyHash, path: &str) {
        if let Some(space) = self.spaces.lock().get_mut(writer) {
            space.root = Some(path.to_owned());
        }
    }

    /// What was not reached.
    ///
    /// # Errors
    /// [`Error::Net`].
    pub fn unreached(self) -> Result<Vec<Unreached>> {
        let source = self.drive.node.of(&self.drive.owner);
        let mut all = Vec::new();
        for (writer, space) in self.spaces.into_inner() {
            let tree = self.drive.spaces.get(&writer)?.data.tree.clone();
            let mut nodes = Vec::new();
            for (label, _) in space.reached.into_iter().filter(|(_, reached)| !reached) {
                let Some(root) = &tree else { continue };
                let node = champ::get(&source, root, &label.0, KeyHasher::Identity)?;
                if let Some(cid) = node.as_ref().and_then(|node| node.as_link("node").ok()) {
                    nodes.push((label, cid.clone()));
                }
            }
            all.push(Unreached { writer, root: space.root, nodes });
        }
        Ok(all)
    }
}
