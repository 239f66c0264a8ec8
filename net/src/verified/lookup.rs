//! Looking many keys up at once: what is cached is walked here, the rest is asked for in few calls (spec 02 §3.7).

use bytes::Bytes;
use peergos_crypto::{
    cid::{Cid, Codec},
    signing::KeyHash,
};

use super::Verified;
use crate::{
    Block, ChampCap, Error, MAX_BLOCK, Result,
    champ::{self, KeyHasher, KeyPath, Step},
};

/// How far the search for one key has come.
struct Search<'a> {
    cap: &'a ChampCap,
    path: KeyPath,
    /// The node to look into next.
    at: Cid,
    depth: usize,
    outcome: Outcome,
}

enum Outcome {
    Open,
    Found(Cid),
    Absent,
}

impl Verified {
    /// The values of keys in the tree under `root`, a CHAMP of links, in the order asked for; none for absent keys. The
    /// blocks that values name are remembered if the node gave them along.
    ///
    /// # Errors
    /// As [`Verified::champ_node`], and [`Error::Invalid`] for values that are no links.
    pub fn lookup(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Option<Cid>>> {
        let mut searches: Vec<Search<'_>> = caps.iter().map(|cap| Search::new(cap, root)).collect();
        for search in &mut searches {
            self.advance(search)?;
        }
        let open = searches.iter().filter(|search| self.is_worth_asking(search));
        let open: Vec<ChampCap> = open.map(|search| search.cap.clone()).collect();
        if !open.is_empty() {
            self.ask(owner, root, &open)?;
        }
        let finish = |mut search: Search<'_>| loop {
            self.advance(&mut search)?;
            match search.outcome {
                Outcome::Found(cid) => return Ok(Some(cid)),
                Outcome::Absent => return Ok(None),
                // the node left something out, or the cache is too small
                Outcome::Open => {
                    let node = self.champ_node(owner, &search.at)?;
                    search.step(&node)?;
                }
            }
        };
        searches.into_iter().map(finish).collect()
    }

    /// Fetches in few calls what is not cached of the paths to keys, most of them new, that [`champ::apply`] is about to
    /// walk one node after the other. A node in this process is as fast without.
    ///
    /// # Errors
    /// As [`Verified::lookup`].
    pub fn fetch_paths(&self, owner: &KeyHash, root: &Cid, keys: impl Iterator<Item = [u8; 32]>) -> Result<()> {
        if self.node.parallelism() == 1 {
            return Ok(());
        }
        let mut open = Vec::new();
        for cap in keys.map(|map_key| ChampCap { map_key, bat: None }) {
            let mut search = Search::new(&cap, root);
            self.advance(&mut search)?;
            if let Outcome::Open = search.outcome {
                open.push(cap);
            }
        }
        if open.is_empty() { Ok(()) } else { self.ask(owner, root, &open) }
    }

    /// Remembers what the node gives along for these keys, if it does.
    fn ask(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<()> {
        match self.node.champ_get_all(owner, root, caps) {
            Ok(blocks) => blocks.into_iter().try_for_each(|block| self.remember_unasked(block)),
            // one wrong token fails them all; the tree is public
            Err(Error::Unauthorised) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a call brings something. From a server, the blocks that values name should come along: one by one they
    /// would take much longer.
    fn is_worth_asking(&self, search: &Search<'_>) -> bool {
        match &search.outcome {
            Outcome::Open => true,
            Outcome::Found(cid) => self.disk.is_some() && self.known(cid).is_none(),
            Outcome::Absent => false,
        }
    }

    /// Goes on as far as nodes are cached.
    fn advance(&self, search: &mut Search<'_>) -> Result<()> {
        while let Outcome::Open = search.outcome {
            let node = match self.nodes.get(&search.at) {
                Some(node) => node,
                None => match self.blocks.get(&search.at).or_else(|| self.on_disk(&search.at)) {
                    Some(block) => self.decode(&block)?,
                    None => return Ok(()),
                },
            };
            search.step(&node)?;
        }
        Ok(())
    }

    /// Remembers a block of which only its hash says what it is.
    fn remember_unasked(&self, data: Bytes) -> Result<()> {
        if data.len() > MAX_BLOCK {
            return Err(Error::BlockTooBig);
        }
        self.remember(&Block::new(Codec::DagCbor, data));
        Ok(())
    }
}

impl<'a> Search<'a> {
    fn new(cap: &'a ChampCap, root: &Cid) -> Self {
        let path = KeyHasher::Identity.path(&cap.map_key);
        Self { cap, path, at: root.clone(), depth: 0, outcome: Outcome::Open }
    }

    fn step(&mut self, node: &champ::Node) -> Result<()> {
        match node.step(&self.cap.map_key, &self.path, self.depth) {
            Step::Absent => self.outcome = Outcome::Absent,
            Step::Value(value) => self.outcome = Outcome::Found(value.as_link("CHAMP value")?.clone()),
            Step::Child(child) => {
                self.at = child.clone();
                self.depth += 1;
            }
        }
        Ok(())
    }
}
