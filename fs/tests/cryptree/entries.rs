//! Entries made, changed and read again.

use bytes::Bytes;
use peergos_crypto::{
    Error,
    bat::Bat,
    cbor::{Map, Value},
    cid::Cid,
    signing::SecretSigningKey,
    symmetric::SymmetricKey,
};
use peergos_fs::{
    capability::{Capability, ChildLink, RelativeCapability},
    cryptree::{
        Children, DirectoryKeys, FileKeys, FromBase, FromParent, Node, Properties, Time,
        bulk::{self, Payload},
        children::{MAX_CHILDREN, encode},
        open_signer, seal_signer,
    },
};
use peergos_net::Block;

use crate::support::{chunk_after, file_properties, mirror, pattern};

const NOW: Time = Time { secs: 1_800_000_000, nanos: 123_456_789 };

struct World {
    signer: SecretSigningKey,
    mirror: Cid,
}

impl World {
    fn new() -> Self {
        Self { signer: SecretSigningKey::from_seed(&[1; 32]), mirror: Bat::from_bytes([2; 32]).mirror_id() }
    }

    fn directory(&self) -> DirectoryKeys {
        DirectoryKeys::generate(self.signer.hash(), self.signer.hash()).unwrap()
    }

    fn directory_node(&self, keys: &DirectoryKeys, children: &[ChildLink]) -> (Node, Vec<Block>) {
        let from_parent = FromParent { parent: None, properties: Properties::directory("dir", NOW) };
        keys.first_node(&from_parent, children, None, Some(&self.mirror)).unwrap()
    }

    fn file(&self) -> FileKeys {
        FileKeys::generate(self.signer.hash(), self.signer.hash()).unwrap()
    }

    fn file_node(&self, keys: &FileKeys, parent: &DirectoryKeys, content: &[u8]) -> (Node, Vec<Block>) {
        let (data, blocks) = bulk::seal(&keys.data_key, Payload::Bytes(content), Some(&self.mirror)).unwrap();
        let properties = file_properties("f", "text/plain", content.len() as u64, NOW, keys.stream_secret.clone());
        let from_parent = FromParent { parent: Some(parent.parent_link(&keys.cap.writer)), properties };
        let next = RelativeCapability::relativise(&keys.cap, &chunk_after(&keys.stream_secret, &keys.cap, 1)).unwrap();
        let from_base = FromBase { key: keys.data_key.clone(), next, signer: None };
        let node = Node::seal(&keys.cap, Some(&self.mirror), &from_base, &keys.cap.read, &from_parent, data);
        (node.unwrap(), blocks)
    }

    fn link(&self, directory: &DirectoryKeys, name: &str) -> ChildLink {
        let child = Capability::generate(self.signer.hash(), self.signer.hash()).unwrap();
        ChildLink::new(&directory.cap, &child, &Properties::directory(name, NOW)).unwrap()
    }
}

fn reread(node: &Node) -> Node {
    let read = Node::decode(node.to_block().data()).unwrap();
    assert_eq!(read, *node);
    read
}

fn data(blocks: &[Block]) -> Vec<Bytes> {
    blocks.iter().map(|block| block.data().clone()).collect()
}

fn children(node: &Node, read: &SymmetricKey, blocks: &[Block]) -> Vec<ChildLink> {
    match node.children(read, &data(blocks)).unwrap() {
        Children::Named(children) => children,
        Children::Nameless(_) => panic!("we write names"),
    }
}

#[test]
fn a_new_file_in_a_new_directory() {
    let world = World::new();
    let directory = world.directory();
    let file = world.file();
    let (file_node, fragments) = world.file_node(&file, &directory, b"content");
    assert!(fragments.is_empty());
    let properties = file_node.open(&file.cap.read).unwrap().properties;
    let link = ChildLink::new(&directory.cap, &file.cap, &properties).unwrap();
    let (directory_node, _) = world.directory_node(&directory, &[link]);

    let node = reread(&directory_node);
    let opened = node.open(&directory.cap.read).unwrap();
    assert!(opened.is_dir);
    assert_eq!((&opened.parent_key, &opened.data_key), (&directory.parent_key, &directory.cap.read));
    assert_ne!(opened.parent_key, opened.data_key);
    let [child] = &children(&node, &directory.cap.read, &[])[..] else { panic!("one child") };
    let cap = child.cap.absolutise(&directory.cap).unwrap();
    assert_eq!(cap, file.cap);

    let node = reread(&file_node);
    assert_eq!(node.bats, [cap.bat.as_ref().unwrap().inline_id(), world.mirror.clone()]);
    let opened = node.open(&cap.read).unwrap();
    assert!(!opened.is_dir);
    assert_eq!((&opened.parent_key, &opened.data_key), (&cap.read, &file.data_key));
    assert_eq!(cap.at(opened.next.map_key, opened.next.bat.clone()), chunk_after(&file.stream_secret, &file.cap, 1));
    assert_eq!(node.data.open_whole(&opened.data_key, &[]).unwrap()[..], *b"content");

    // the way up
    let parent = opened.parent.as_ref().unwrap().absolutise(&cap).unwrap();
    assert_eq!((parent.map_key, &parent.bat), (directory.cap.map_key, &directory.cap.bat));
    assert_eq!(directory_node.open_from_parent(&parent.read).unwrap().properties.name, "dir");
    assert_eq!(parent.write, None);
}

#[test]
fn entries_in_a_writing_space_of_their_own() {
    let world = World::new();
    let directory = world.directory();
    let signer = SecretSigningKey::generate().unwrap();
    let inner = DirectoryKeys::generate(world.signer.hash(), signer.hash()).unwrap();
    let write = inner.cap.write.clone().unwrap();
    let parent = directory.parent_link(signer.hash());
    assert_eq!(parent.writer.as_ref(), Some(world.signer.hash()));
    let from_parent = FromParent { parent: Some(parent), properties: Properties::directory("inner", NOW) };
    let sealed = seal_signer(&signer, &write).unwrap();
    let (node, _) = inner.first_node(&from_parent, &[], Some(sealed), None).unwrap();

    let opened = reread(&node).open(&inner.cap.read).unwrap();
    assert_eq!(open_signer(opened.signer.as_ref().unwrap(), &write, signer.hash()).unwrap().hash(), signer.hash());
    assert_eq!(mirror(&node), None);
    let link = ChildLink::new(&directory.cap, &inner.cap, &opened.properties).unwrap();
    assert_eq!(link.cap.absolutise(&directory.cap).unwrap(), inner.cap);
}

#[test]
fn changing_properties_leaves_the_rest() {
    let world = World::new();
    let (directory, file) = (world.directory(), world.file());
    let (node, _) = world.file_node(&file, &directory, &pattern(5000));
    let opened = node.open(&file.cap.read).unwrap();
    let renamed = Properties { name: "other".into(), ..opened.properties.clone() };
    let with = |properties| FromParent { parent: opened.parent.clone(), properties };
    let changed = node.clone().with_from_parent(&opened.parent_key, &with(renamed.clone())).unwrap();
    let changed = reread(&changed);
    assert_eq!((&changed.bats, &changed.from_base, &changed.data), (&node.bats, &node.from_base, &node.data));
    assert_ne!(changed.from_parent.nonce, node.from_parent.nonce);
    let reopened = changed.open(&file.cap.read).unwrap();
    assert_eq!((reopened.properties, reopened.parent), (renamed, opened.parent.clone()));

    // writing the same again takes a fresh nonce too
    let same = node.clone().with_from_parent(&opened.parent_key, &with(opened.properties.clone())).unwrap();
    assert_ne!(same.from_parent, node.from_parent);
    assert_eq!(same.open(&file.cap.read).unwrap(), opened);
}

#[test]
fn a_dirty_data_key_opens_but_encrypts_nothing() {
    let mut file = World::new().file();
    let seal = |key: &SymmetricKey| bulk::seal(key, Payload::Bytes(b"content"), None);
    let (data, _) = seal(&file.data_key).unwrap();
    file.data_key = file.data_key.with_dirty(true);
    assert_eq!(data.open_whole(&file.data_key, &[]).unwrap()[..], *b"content");
    assert!(matches!(seal(&file.data_key), Err(Error::Key(_))));
}

#[test]
fn changing_children_keeps_the_others_word_for_word() {
    let world = World::new();
    let directory = world.directory();
    let mut strange = world.link(&directory, "strange");
    strange.unknown = Map::from_iter([("future", Value::from("kept"))]);
    strange.created = None;
    let (node, _) = world.directory_node(&directory, std::slice::from_ref(&strange));
    let mut list = children(&node, &directory.cap.read, &[]);
    list.push(world.link(&directory, "new"));
    let (changed, fragments) = world.directory_node(&directory, &list);
    let reread = children(&reread(&changed), &directory.cap.read, &fragments);
    assert_eq!(reread[0], strange);
    assert_eq!(reread, list);
}

#[test]
fn a_chunk_of_a_directory_takes_500_children() {
    let world = World::new();
    let directory = world.directory();
    let mut links: Vec<ChildLink> = (0..MAX_CHILDREN).map(|i| world.link(&directory, &i.to_string())).collect();
    let (node, fragments) = world.directory_node(&directory, &links);
    assert_eq!(fragments.len(), 1);
    assert_eq!(children(&node, &directory.cap.read, &fragments), links);
    links.push(world.link(&directory, "one too many"));
    assert!(encode(&links).is_err());
}

#[test]
fn legacy_entries_stay_without_tokens() {
    let world = World::new();
    let mut file = world.file();
    file.cap.bat = None;
    let (node, _) = world.file_node(&file, &world.directory(), b"content");
    assert!(node.bats.is_empty());
    assert_eq!(node.open(&file.cap.read).unwrap().next.bat, None);
    assert_eq!(mirror(&reread(&node)), None);
}
