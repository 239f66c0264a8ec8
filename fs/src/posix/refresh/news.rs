//! What other clients committed since we looked: new states of writing spaces, and the labels that they change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use peergos_crypto::signing::KeyHash;
use peergos_net::champ::{self, KeyHasher};

use crate::{
    Error, Result,
    capability::{Capability, MapKey},
    posix::FileSystem,
    space::Space,
};

/// What others committed.
pub(in crate::posix) struct News {
    /// The spaces that have another state; none for those that are gone.
    pub spaces: HashMap<KeyHash, Option<Arc<Space>>>,
    /// The labels in each whose nodes differ; none where that cannot be told, since the node does not have the state that
    /// was known any more.
    labels: HashMap<KeyHash, Option<HashSet<MapKey>>>,
}

impl News {
    /// Whether the node at `cap` differs.
    pub fn touches(&self, cap: &Capability) -> bool {
        self.touches_key(&cap.writer, &cap.map_key)
    }

    /// Whether the node of `writer` at `key` differs.
    pub fn touches_key(&self, writer: &KeyHash, key: &MapKey) -> bool {
        self.labels.get(writer).is_some_and(|labels| labels.as_ref().is_none_or(|labels| labels.contains(key)))
    }
}

impl FileSystem {
    /// How the states of all spaces in use differ from those that `state` tells, which is given what is known.
    pub(in crate::posix) fn news(
        &self,
        state: impl Fn(&KeyHash, &Arc<Space>) -> Result<Option<Arc<Space>>>,
    ) -> Result<News> {
        let mut news = News { spaces: HashMap::new(), labels: HashMap::new() };
        let source = self.drive.node.of(&self.drive.owner);
        for (writer, known) in self.drive.spaces.known() {
            let current = state(&writer, &known)?;
            let target = |space: &Space| space.pointer.updated.clone();
            if current.as_deref().and_then(target) == target(&known) {
                continue;
            }
            let new_tree = current.as_ref().and_then(|space| space.data.tree.clone());
            let mut labels = HashSet::new();
            let compared = champ::diff(
                &source,
                known.data.tree.as_ref(),
                new_tree.as_ref(),
                KeyHasher::Identity,
                &mut |key, _, _| {
                    labels.extend(key.try_into().map(MapKey));
                    Ok(())
                },
            );
            let labels = match compared.map_err(Error::from) {
                Ok(()) => Some(labels),
                Err(error) if error.is_of_one_entry() => None,
                Err(error) => return Err(error),
            };
            news.labels.insert(writer.clone(), labels);
            news.spaces.insert(writer, current);
        }
        Ok(news)
    }
}
