//! `/api/v0/`: blocks, transactions, CHAMP lookups, links (spec 02 §3).

use bytes::Bytes;
use peergos_crypto::{
    cid::{Cid, Codec},
    multibase,
};

use super::{
    call::{Call, Route},
    query,
    reply::Reply,
};
use crate::{
    Block, ChampCap, Error, MAX_BLOCK, Result, SignedBlock, TransactionId,
    http::bodies::{self, StoreProperties},
    quota::LinkCount,
};

/// A group of blocks with their signatures: the blocks of one request are a block's size together, or one of them is
/// twice too big and has to be told so.
const MAX_PUT: usize = 2 * MAX_BLOCK + (256 << 10);

pub(super) fn route(method: &str) -> Option<Route> {
    Some(match method {
        "id" => Route::get("id", |call| Ok(bodies::id(&call.node.id()?).into())),
        "ids" => Route::get("ids", |call| Ok(bodies::ids(&call.node.ids()?).into())),
        "link-host" => Route::get("link-host", link_host),
        "blockstore/props" => {
            Route::get("blockstore/props", |_| Ok(StoreProperties::default().to_cbor().encode().into()))
        }
        "blockstore/auth" => Route::post("blockstore/auth", MAX_PUT, |_| Err(Error::Unimplemented)),
        "blockstore/auth-reads" => Route::post("blockstore/auth-reads", MAX_PUT, |_| Err(Error::Unimplemented)),
        "transaction/start" => Route::get("transaction/start", start),
        "transaction/close" => Route::get("transaction/close", close),
        "block/put/bulk" => Route::post("block/put/bulk", MAX_PUT, put),
        "block/put" => Route::post("block/put", MAX_PUT, put_form),
        "block/get" => Route::get("block/get", get),
        "block/stat" => Route::get("block/stat", stat),
        "champ/get" => Route::get("champ/get", champ_get),
        "champ/get/bulk" => Route::get("champ/get/bulk", champ_get),
        "link/get" => Route::get("link/get", link),
        "link/counts" => Route::get("link/counts", link_counts),
        "ipns/get" => Route::get("ipns/get", |_| Err(Error::Refused("Unimplemented!".into()))),
        _ => return None,
    })
}

fn link_host(call: &Call<'_>) -> Result<Reply> {
    call.query.owner()?;
    Ok(call.host.to_owned().into())
}

fn start(call: &Call<'_>) -> Result<Reply> {
    Ok(call.node.start_transaction(&call.query.owner()?)?.0.into())
}

fn close(call: &Call<'_>) -> Result<Reply> {
    let transaction = TransactionId(call.query.first("arg")?.to_owned());
    call.node.close_transaction(&call.query.owner()?, &transaction)?;
    Ok("1".into())
}

fn codec(call: &Call<'_>) -> Result<Codec> {
    Ok(if call.query.text("format")? == "raw" { Codec::Raw } else { Codec::DagCbor })
}

fn put(call: &Call<'_>) -> Result<Reply> {
    let codec = codec(call)?;
    store(call, codec, bodies::read_block_group(codec, &call.body)?)
}

fn put_form(call: &Call<'_>) -> Result<Reply> {
    let codec = codec(call)?;
    let blocks = bodies::read_multipart(call.content_type, &call.body)?;
    let signatures: Vec<&str> = call.query.text("signatures")?.split(',').collect();
    if blocks.len() != signatures.len() {
        let (blocks, signatures) = (blocks.len(), signatures.len());
        let text = format!("Different number of of blocks and signatures! {blocks} != {signatures}");
        return Err(Error::Refused(text));
    }
    let pairs = blocks.into_iter().zip(signatures);
    let signed = |(block, signature): (Bytes, &str)| {
        SignedBlock::from_attached(Block::new(codec, block), &multibase::hex_decode(signature)?)
    };
    store(call, codec, pairs.map(signed).collect::<Result<_>>()?)
}

fn store(call: &Call<'_>, codec: Codec, blocks: Vec<SignedBlock>) -> Result<Reply> {
    let (owner, writer) = (call.query.owner()?, query::key_hash(call.query.text("writer")?)?);
    let transaction = TransactionId(call.query.text("transaction")?.to_owned());
    let cids: Vec<Cid> = blocks.iter().map(|signed| signed.block.cid().clone()).collect();
    call.node.put_blocks(&owner, &writer, &transaction, codec, blocks)?;
    Ok(bodies::hashes(&cids).into())
}

fn get(call: &Call<'_>) -> Result<Reply> {
    let cid = query::cid(call.query.first("arg")?)?;
    let block = call.node.get_block(&call.query.owner()?, &cid, call.query.bat()?.as_ref())?;
    // what is absent now may be there later
    Ok(block.map_or_else(Reply::default, |block| Reply::about(cid, block)))
}

fn stat(call: &Call<'_>) -> Result<Reply> {
    let cid = query::cid(call.query.first("arg")?)?;
    let size = call.node.block_size(&call.query.owner()?, &cid)?;
    Ok(size.map_or_else(|| bodies::size(0).into(), |size| Reply::about(cid, bodies::size(size))))
}

fn champ_get(call: &Call<'_>) -> Result<Reply> {
    let root = query::cid(call.query.first("arg")?)?;
    let caps = match call.query.get("caps") {
        Some(caps) => bodies::read_champ_caps(caps)?,
        None => {
            let key = multibase::hex_decode(call.query.nth("arg", 1)?)?;
            let map_key = key.try_into().map_err(|_| Error::Invalid("map key"))?;
            vec![ChampCap { map_key, bat: call.query.bat()? }]
        }
    };
    let blocks = call.node.champ_get(&call.query.owner()?, &root, &caps)?;
    Ok(Reply::about(root, bodies::block_list(&blocks)))
}

fn link(call: &Call<'_>) -> Result<Reply> {
    Ok(call.node.get_link(&call.query.owner()?, call.query.number("label")?)?.into())
}

fn link_counts(call: &Call<'_>) -> Result<Reply> {
    let bat = call.query.bat()?.ok_or_else(|| Error::Refused("Unauthorized!".into()))?;
    let counts = call.node.link_counts(call.query.text("owner")?, call.query.number("after")?, &bat)?;
    Ok(LinkCount::list_to_cbor(&counts).encode().into())
}
