//! What is checked of blocks before anything else is done with them (spec 02 §3.4, §19.4).

use std::thread;

use peergos_crypto::{
    bat,
    cbor::Value,
    cid::Codec,
    signing::{PublicSigningKey, SIGNATURE_LEN},
};

use crate::{Block, Error, MAX_BLOCK, Result, SignedBlock};

/// The longest BAT prefix of a raw block in bytes.
const MAX_PREFIX: usize = 100;
/// Fewer blocks than this per thread are not worth a thread.
const PER_THREAD: usize = 64;

/// Checks that all blocks of a group may be stored: each well-formed, and signed by `writer`.
///
/// # Errors
/// [`Error::BlockSignature`], [`Error::BlockTooBig`], or [`Error::Crypto`] for a malformed block.
pub(super) fn blocks(writer: &PublicSigningKey, codec: Codec, group: &[SignedBlock]) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(group.len().div_ceil(PER_THREAD));
    if threads < 2 {
        return check(writer, codec, group);
    }
    thread::scope(|scope| {
        let parts = group.chunks(group.len().div_ceil(threads));
        let workers: Vec<_> = parts.map(|part| scope.spawn(move || check(writer, codec, part))).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn check(writer: &PublicSigningKey, codec: Codec, group: &[SignedBlock]) -> Result<()> {
    let mut signed: Vec<(&[u8; SIGNATURE_LEN], &[u8])> = Vec::with_capacity(group.len());
    for SignedBlock { block, signature } in group {
        let digest = block.cid().sha256_digest().ok_or(Error::Invalid("block CID"))?;
        signed.push((signature, digest));
    }
    // first, because reading a block may take many times its size
    writer.verify_all(&signed).map_err(|_| Error::BlockSignature)?;
    group.iter().try_for_each(|signed| block(codec, &signed.block))
}

/// Checks that a block may be stored, whoever signed it.
///
/// # Errors
/// As [`blocks`].
pub(super) fn block(codec: Codec, block: &Block) -> Result<()> {
    let data = block.data();
    if data.len() > MAX_BLOCK {
        return Err(Error::BlockTooBig);
    }
    if block.cid().codec() != codec || block.cid().sha256_digest().is_none() {
        return Err(Error::Invalid("block CID"));
    }
    match codec {
        // servers serve dag-cbor re-encoded, so that a block in another form could never be fetched again
        Codec::DagCbor => Value::decode_canonical(data).map(drop)?,
        Codec::Raw => {
            let (_, ciphertext) = bat::split_raw(data)?;
            if data.len() - ciphertext.len() > MAX_PREFIX {
                return Err(Error::Invalid("BAT prefix, which is too long"));
            }
        }
        _ => return Err(Error::Invalid("block codec")),
    }
    // what cannot be told apart later must not get in: the list of BATs decides who may read it
    bat::ids_of_block(codec, data)?;
    Ok(())
}
