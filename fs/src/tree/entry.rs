//! Loading entries: following child links, through link nodes, to keys and properties (spec 03 §6).

use std::{collections::HashMap, sync::Arc};

use peergos_crypto::{cbor::Map, signing::KeyHash};
use rayon::prelude::*;

use crate::{
    Error, Result,
    capability::{Capability, ChildLink, RelativeCapability},
    cryptree::{Children, Node, Opened, Properties, open_signer},
    space::{Location, Signer, StoredNode},
    tree::{Drive, Keys, LinkKeys, content},
};

/// How many entries are opened by one thread: waking another takes longer than a few of them do.
const TOGETHER: usize = 64;
/// How many link nodes may follow one another.
const MAX_LINKS: usize = 8;

/// An entry as its first chunk and its link nodes describe it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What addresses and opens it.
    pub keys: Keys,
    /// Its properties, under the name that its link node gives it.
    pub properties: Properties,
    /// The link to its directory, from its link node if it has one; none for a home directory.
    pub parent: Option<RelativeCapability>,
    /// Where the next chunk is, or would be.
    pub next: Location,
    /// The link nodes between the first one and the entry: none but in old accounts.
    pub further_links: Vec<Capability>,
}

/// One chunk of a directory's children (spec 03 §3.9).
#[derive(Debug, Clone)]
pub struct DirChunk {
    /// Where it is stored.
    pub location: Location,
    /// Where the next one is, or would be.
    pub next: Location,
}

/// The children of a directory.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The chunks in order; the first is the directory's own.
    pub chunks: Vec<DirChunk>,
    /// The child links with the index of the chunk that each is in.
    pub children: Vec<(usize, ChildLink)>,
    /// Whether there are children missing, because a chunk is damaged.
    pub is_damaged: bool,
}

/// Loads the entry at `cap`, whose directory is signed for by `signer`.
///
/// # Errors
/// [`Error::Dangling`] if nothing is stored there; [`Error::Damaged`], [`Error::Crypto`], [`Error::Net`].
pub fn load(drive: &Drive, cap: Capability, signer: Option<&Signer>) -> Result<Entry> {
    let stored = drive.spaces.node(&cap)?.ok_or(Error::Dangling)?;
    resolve(drive, cap, &stored, signer)
}

/// Loads the entries behind child links of `parent`, each on its own; what is in one space is looked up together.
pub fn load_children(drive: &Drive, parent: &Keys, links: &[&ChildLink]) -> Vec<Result<Entry>> {
    let signer = parent.signer.as_ref();
    let mut entries: Vec<Option<Result<Entry>>> = Vec::new();
    let mut by_writer: HashMap<KeyHash, Vec<(usize, Capability)>> = HashMap::new();
    for (i, link) in links.iter().enumerate() {
        match link.cap.absolutise(&parent.cap) {
            Ok(cap) => {
                by_writer.entry(cap.writer.clone()).or_default().push((i, cap));
                entries.push(None);
            }
            Err(error) => entries.push(Some(Err(error.into()))),
        }
    }
    for (writer, wanted) in by_writer {
        let locations: Vec<_> = wanted.iter().map(|(_, cap)| (cap.map_key, cap.bat.clone())).collect();
        let found = drive.spaces.nodes(&writer, &locations);
        let resolved: Vec<_> = match found {
            Ok(found) => wanted
                .into_par_iter()
                .with_min_len(TOGETHER)
                .zip(found)
                .map(|((i, cap), stored)| {
                    let stored = stored.ok_or(Error::Dangling);
                    (i, stored.and_then(|stored| resolve(drive, cap, &stored, signer)))
                })
                .collect(),
            // one damaged node must not hide its siblings
            Err(_) => wanted.into_iter().map(|(i, cap)| (i, load(drive, cap, signer))).collect(),
        };
        for (i, entry) in resolved {
            entries[i] = Some(entry);
        }
    }
    entries.into_iter().map(|entry| entry.unwrap_or(Err(Error::Dangling))).collect()
}

/// Opens a stored first chunk, and follows it if it is a link node.
///
/// # Errors
/// As [`load`].
pub fn resolve(drive: &Drive, cap: Capability, stored: &StoredNode, signer: Option<&Signer>) -> Result<Entry> {
    let mut opened = stored.node.open(&cap.read)?;
    if !opened.properties.is_link {
        return entry(cap, opened, signer.cloned(), None);
    }
    let (name, parent) = (std::mem::take(&mut opened.properties.name), opened.parent.take());
    let link = Arc::new(LinkKeys { cap, parent_key: opened.parent_key.clone(), signer: signer.cloned() });
    let (mut from, mut node) = (link.cap.clone(), stored.node.clone());
    let mut further_links = Vec::new();
    for _ in 0..MAX_LINKS {
        let target = link_target(drive, &from, &node)?;
        let stored = drive.spaces.node(&target)?.ok_or(Error::Dangling)?;
        let opened = stored.node.open(&target.read)?;
        if !opened.properties.is_link {
            let mut entry = entry(target, opened, signer.cloned(), Some(link))?;
            (entry.properties.name, entry.parent, entry.further_links) = (name, parent, further_links);
            return Ok(entry);
        }
        further_links.push(target.clone());
        (from, node) = (target, stored.node);
    }
    Err(Error::Damaged("a chain of link nodes does not end"))
}

/// The one child of a link node.
fn link_target(drive: &Drive, cap: &Capability, node: &Node) -> Result<Capability> {
    match chunk_children(drive, cap, node)?.as_slice() {
        [child] => Ok(child.cap.absolutise(cap)?),
        _ => Err(Error::Damaged("a link node must have one child")),
    }
}

fn entry(cap: Capability, opened: Opened, inherited: Option<Signer>, link: Option<Arc<LinkKeys>>) -> Result<Entry> {
    let own_space = opened.signer.is_some();
    let signer = match (&opened.signer, &cap.write) {
        (Some(sealed), Some(write)) => Some(Arc::new(open_signer(sealed, write, &cap.writer)?)),
        (None, Some(_)) => inherited.filter(|signer| *signer.hash() == cap.writer),
        (_, None) => None,
    };
    let keys = Keys { cap, parent_key: opened.parent_key, data_key: opened.data_key, signer, own_space, link };
    let next = (opened.next.map_key, opened.next.bat);
    Ok(Entry { keys, properties: opened.properties, parent: opened.parent, next, further_links: Vec::new() })
}

/// The children in one chunk of a directory, which is at `cap`; nameless legacy links get the names of their nodes.
///
/// # Errors
/// [`Error::Crypto`], [`Error::Net`]; as [`load`] for the children of a legacy list.
pub fn chunk_children(drive: &Drive, cap: &Capability, node: &Node) -> Result<Vec<ChildLink>> {
    match node.children(&cap.read, &content::fragments(drive, &node.data)?)? {
        Children::Named(links) => Ok(links),
        Children::Nameless(caps) => caps
            .into_iter()
            .map(|relative| {
                let child = load(drive, relative.absolutise(cap)?, None)?.properties;
                Ok(ChildLink {
                    cap: relative,
                    name: child.name,
                    created: Some(child.created.secs),
                    is_dir: Some(child.is_dir),
                    mime: Some(child.mime),
                    unknown: Map::new(),
                })
            })
            .collect(),
    }
}

/// Reads the whole chain of a directory's chunks (spec 03 §6.3). Of a damaged chunk the children are missing, and the
/// chunks after it are if it does not even tell where they are.
///
/// # Errors
/// As [`load`], for the first chunk's node.
pub fn list(drive: &Drive, keys: &Keys) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut at: Location = (keys.cap.map_key, keys.cap.bat.clone());
    loop {
        let cap = keys.cap.at(at.0, at.1.clone());
        let index = listing.chunks.len();
        let opened = drive.spaces.node(&cap).and_then(|stored| {
            let circle = listing.chunks.iter().any(|chunk| chunk.location.0 == at.0);
            match stored {
                Some(_) if circle => Err(Error::Damaged("the chunks of a directory form a circle")),
                Some(stored) => Ok(Some((stored.node.open(&cap.read)?.next, stored.node))),
                None => Ok(None),
            }
        });
        let (next, node) = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => break,
            Err(error) if index > 0 && error.is_of_one_entry() => {
                listing.is_damaged = true;
                break;
            }
            Err(error) => return Err(error),
        };
        match chunk_children(drive, &cap, &node) {
            Ok(links) => listing.children.extend(links.into_iter().map(|link| (index, link))),
            Err(error) if error.is_of_one_entry() => listing.is_damaged = true,
            Err(error) => return Err(error),
        }
        let next = (next.map_key, next.bat);
        listing.chunks.push(DirChunk { location: at, next: next.clone() });
        at = next;
    }
    if listing.chunks.is_empty() { Err(Error::Dangling) } else { Ok(listing) }
}
