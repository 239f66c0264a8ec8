//! Secret links: opened as often and for as long as their owner says, and counted for whoever has the mirror BAT.

use peergos_crypto::{
    bat::{Bat, BatWithId},
    cbor::Value,
    cbor_map,
};
use sha2::{Digest as _, Sha256};

use super::{
    world::{World, stranger},
    *,
};
use crate::{
    Block,
    champ::{self, KeyHasher},
    embedded::tests::support::*,
    quota::LinkCount,
};

impl World {
    /// Publishes links by their labels, in place of those that there were.
    fn publish_links(&self, links: &[(u32, Value)]) {
        let (verified, pointer, mut data) = self.client.data(&self.node, &self.client.identity);
        let mut blocks: Vec<Block> = links.iter().map(|(_, target)| cbor_block(target)).collect();
        let changes = links.iter().zip(&blocks).map(|((label, _), block)| {
            (Sha256::digest(u64::from(*label).to_le_bytes()).to_vec(), Some(Value::from(block.cid())))
        });
        let applied = champ::apply(&verified.of(self.owner()), None, changes, KeyHasher::Identity, None).unwrap();
        data.links = Some(applied.root);
        blocks.extend(applied.blocks.into_iter().chain([data.block()]));
        let target = Some(data.block().cid().clone());
        self.client.publish(&*self.node, &self.client.identity, Some(&pointer), blocks, target).unwrap();
    }

    fn open_link(&self, label: u32) -> Answer {
        self.storage("link/get", &format!("label={label}"), b"")
    }

    fn link_counts(&self, bat: Option<&BatWithId>) -> Answer {
        let bat = bat.map(|bat| format!("&bat={}", bat.to_text())).unwrap_or_default();
        self.post(&format!("/api/v0/link/counts?owner=alice&after=0{bat}"), b"")
    }
}

#[test]
fn links_are_limited_and_counted() {
    let world = World::new();
    world.open_link(1).refused("No secret link published!");
    let (now, cap) = (millis() / 1000, || Value::from(vec![7; 40]));
    world.publish_links(&[
        (1, cbor_map! { "cap" => cap() }),
        (2, cbor_map! { "cap" => cap(), "max" => 2i64 }),
        (3, cbor_map! { "cap" => cap(), "expiry" => now - 5 }),
        (4, cbor_map! { "cap" => cap(), "expiry" => now + 500, "max" => 0i64 }),
    ]);
    for _ in 0..3 {
        assert_eq!(world.open_link(1).ok(), cap().encode());
    }
    for _ in 0..2 {
        assert_eq!(world.open_link(2).ok(), cap().encode());
    }
    for label in [2, 4] {
        world.open_link(label).refused("Maximum link retrievals exceed!");
    }
    world.open_link(3).refused("Secret link expired!");
    world.open_link(5).refused("No secret link present!");
    let owner = stranger().hash().clone();
    world.post(&format!("/api/v0/link/get?owner={owner}&label=1"), b"").refused("Unknown identity key:");

    // what is refused is not counted, and who asks must have the newest BAT
    let (mirror, wrong) = (world.client.mirror_bat(), Bat::from_bytes([6; 32]));
    let counts = Value::decode(&world.link_counts(Some(&mirror)).ok()).unwrap();
    let counts = LinkCount::list_from_cbor(&counts).unwrap();
    assert_eq!(counts.iter().map(|link| (link.label, link.count)).collect::<Vec<_>>(), [(1, 3), (2, 2)]);
    let forged = BatWithId { bat: wrong.clone(), id: mirror.id.clone() };
    for bat in [None, Some(&forged), Some(&wrong.with_chunk_id())] {
        world.link_counts(bat).refused("Unauthorized!");
    }
}
