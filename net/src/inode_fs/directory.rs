//! Inodes, and directories in both forms.

use peergos_crypto::{
    cbor::{Map, Value},
    cbor_map,
};

use super::HASHER;
use crate::{
    Block, Error, Result,
    champ::{self, Node, NodeSource},
};

/// The most children of a directory in list form.
pub const MAX_LIST: usize = 32;

/// The identity of a file or directory: `{"i": number, "n": name}`. Only directories have numbers of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    pub number: u64,
    pub name: String,
}

impl Inode {
    pub const fn root() -> Self {
        Self { number: 0, name: String::new() }
    }

    /// The key of a directory in the outer CHAMP.
    pub fn key(&self) -> Vec<u8> {
        self.to_cbor().encode()
    }

    fn to_cbor(&self) -> Value {
        cbor_map! { "i" => self.number as i64, "n" => self.name.as_str() }
    }

    fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("inode")?;
        Ok(Self {
            number: map.require("i", "inode number")?.as_uint("inode number")?,
            name: map.require("n", "inode name")?.as_text("inode name")?.to_owned(),
        })
    }
}

/// A child of a directory: `{?"c": capability, "i": inode}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub inode: Inode,
    /// Present if the child is published itself, and not only something below it.
    pub capability: Option<Value>,
}

impl Child {
    fn to_cbor(&self) -> Value {
        let mut map: Map = [("i", self.inode.to_cbor())].into_iter().collect();
        map.insert_some("c", self.capability.clone());
        Value::Map(map)
    }

    fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("public file")?;
        let inode = Inode::from_cbor(map.require("i", "public file")?)?;
        Ok(Self { inode, capability: map.get("c").cloned() })
    }
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// `{"c": [* child]}`.
    List(Vec<Child>),
    /// The root node of a CHAMP from names to children; once in this form, a directory stays in it.
    Tree(Box<Node>),
}

impl Directory {
    pub fn to_cbor(&self) -> Result<Value> {
        match self {
            Self::List(children) => Ok(cbor_map! { "c" => children.iter().map(Child::to_cbor).collect::<Vec<_>>() }),
            Self::Tree(root) => Ok(Value::decode(&root.encode())?),
        }
    }

    pub fn from_cbor(value: Value) -> Result<Self> {
        match value {
            Value::Map(map) => {
                let children = map.require("c", "public directory")?.as_array("public directory")?;
                children.iter().map(Child::from_cbor).collect::<Result<_>>().map(Self::List)
            }
            Value::Array(_) => Ok(Self::Tree(Box::new(Node::from_cbor(value)?))),
            _ => Err(Error::Invalid("public directory")),
        }
    }

    pub fn get(&self, source: &dyn NodeSource, name: &str) -> Result<Option<Child>> {
        match self {
            Self::List(children) => Ok(children.iter().find(|child| child.inode.name == name).cloned()),
            Self::Tree(root) => {
                let found = champ::get_below(source, root, name.as_bytes(), HASHER)?;
                found.as_ref().map(Child::from_cbor).transpose()
            }
        }
    }

    /// Adds or replaces a child, and returns new blocks.
    pub fn put(&mut self, source: &dyn NodeSource, child: Child) -> Result<Vec<Block>> {
        match self {
            Self::List(children) if children.len() < MAX_LIST => {
                children.retain(|other| other.inode != child.inode);
                children.push(child);
                Ok(Vec::new())
            }
            Self::List(children) => {
                let all = std::mem::take(children).into_iter().chain([child]);
                *self = Self::Tree(Box::default());
                self.change(source, all.map(|child| (child.inode.name.clone(), Some(child.to_cbor()))))
            }
            Self::Tree(_) => self.change(source, [(child.inode.name.clone(), Some(child.to_cbor()))]),
        }
    }

    /// Takes a child out, and returns new blocks.
    pub fn remove(&mut self, source: &dyn NodeSource, name: &str) -> Result<Vec<Block>> {
        match self {
            Self::List(children) => {
                children.retain(|child| child.inode.name != name);
                Ok(Vec::new())
            }
            Self::Tree(_) => self.change(source, [(name.to_owned(), None)]),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(children) => children.is_empty(),
            Self::Tree(root) => **root == Node::default(),
        }
    }

    /// Changes the tree form.
    fn change(
        &mut self,
        source: &dyn NodeSource,
        changes: impl IntoIterator<Item = (String, Option<Value>)>,
    ) -> Result<Vec<Block>> {
        let Self::Tree(root) = self else { return Ok(Vec::new()) };
        let changes = changes.into_iter().map(|(name, child)| (name.into_bytes(), child));
        let (changed, blocks) = champ::apply_below(source, root, changes, HASHER)?;
        if let Some(changed) = changed {
            **root = changed;
        }
        Ok(blocks)
    }
}
