//! Known trees, and random ones against a plain map.

mod hostile;
mod properties;
mod vectors;

use std::{collections::HashMap, sync::Arc};

use peergos_crypto::{cbor::Value, cid::Cid};

use super::{Applied, Node, NodeSource};
use crate::{Error, Result};

/// Blocks in memory.
#[derive(Default)]
struct Store(HashMap<Cid, Arc<Node>>);

impl Store {
    fn add(&mut self, applied: Applied) -> Cid {
        for block in applied.blocks {
            self.0.insert(block.cid().clone(), Arc::new(Node::decode(block.data()).unwrap()));
        }
        applied.root
    }
}

impl NodeSource for Store {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>> {
        self.0.get(cid).cloned().ok_or_else(|| Error::MissingBlock(cid.clone()))
    }
}

fn link(text: &str) -> Value {
    Value::Link(text.parse().unwrap())
}
