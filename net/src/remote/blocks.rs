//! Blocks and lookups (spec 02 §3).

use bytes::Bytes;
use peergos_crypto::{bat::BatWithId, cid::Cid};

use super::{
    retry::Repeat,
    transport::{Request, Transport},
};
use crate::{ChampCap, Error, MAX_BLOCK, Result, SignedBlock, http::bodies};

/// The most blocks in one put.
const MAX_PUT: usize = 1000;
/// The most bytes of an answer to lookups.
const MAX_LOOKUP: usize = 32 << 20;
/// The most bytes of an answer to a put, for each block.
const MAX_HASH: usize = 128;

impl Transport {
    /// A block, or none.
    pub async fn block(&self, owner: &str, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>> {
        let (cid, bat) = (cid.to_string(), bat.map(BatWithId::to_text));
        let mut parameters = vec![("arg", cid.as_str()), ("owner", owner)];
        parameters.extend(bat.as_deref().map(|bat| ("bat", bat)));
        let block = self.call(&Request::new("/api/v0/block/get", &parameters, MAX_BLOCK), Repeat::Freely).await?;
        Ok((!block.is_empty()).then_some(block))
    }

    /// The blocks that lookups touch.
    pub async fn lookup(&self, owner: &str, root: &str, caps: &[ChampCap]) -> Result<Vec<Bytes>> {
        let caps = bodies::champ_caps(caps);
        let parameters = [("arg", root), ("owner", owner), ("caps", &caps)];
        let request = Request::new("/api/v0/champ/get/bulk", &parameters, MAX_LOOKUP);
        bodies::read_block_list(&self.call(&request, Repeat::Freely).await?)
    }

    /// Stores blocks that fit into one request.
    pub async fn put(&self, parameters: &[(&str, &str)], blocks: &[SignedBlock]) -> Result<()> {
        let request = Request::new("/api/v0/block/put/bulk", parameters, blocks.len() * MAX_HASH);
        let request = request.with(bodies::block_group(blocks));
        let stored = bodies::read_hashes(&self.call(&request, Repeat::Signed).await?)?;
        let same = stored.iter().eq(blocks.iter().map(|signed| signed.block.cid()));
        if same { Ok(()) } else { Err(Error::Invalid("answer to a put: the server stores something else")) }
    }
}

/// Cuts blocks into groups that one request may carry.
pub(super) fn groups(blocks: &[SignedBlock]) -> impl Iterator<Item = &[SignedBlock]> {
    let mut rest = blocks;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |signed: &&SignedBlock| {
            bytes += signed.block.data().len();
            bytes <= MAX_BLOCK
        };
        // a block that is too large goes alone, and is refused
        let count = rest.iter().take(MAX_PUT).take_while(fits).count().max(1).min(rest.len());
        let (group, tail) = rest.split_at(count);
        rest = tail;
        (!group.is_empty()).then_some(group)
    })
}
