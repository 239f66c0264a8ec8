//! Setting pointers so that the outcome is known (spec 02 §8, §21.2): an answer that does not arrive, or is only
//! `false`, is made up for by looking.

use bytes::Bytes;
use peergos_crypto::signing::KeyHash;

use super::{
    retry::Repeat,
    transport::{Request, Transport},
};
use crate::{Error, PointerUpdate, PointerWrite, Result, http::bodies};

/// How often pointers are sent at most.
const ATTEMPTS: u32 = 3;
/// The most bytes of a signed pointer that are worth reading.
const MAX_POINTER: usize = 1024;

impl Transport {
    /// The signed pointer of a writer.
    pub async fn pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<Vec<u8>>> {
        let (owner, writer) = (owner.to_string(), writer.to_string());
        let parameters = [("owner", owner.as_str()), ("writer", &writer)];
        let request = Request::new("/peergos/v0/mutable/getPointer", &parameters, MAX_POINTER);
        let signed = self.call(&request, Repeat::Freely).await?;
        Ok((!signed.is_empty()).then(|| signed.to_vec()))
    }

    /// Sends `request`, which sets `pointers`, until it is known whether they are set.
    pub async fn set(&self, owner: &KeyHash, pointers: &[PointerWrite], request: &Request) -> Result<()> {
        for attempt in 1.. {
            let result = self.call(request, Repeat::Never).await.and_then(|reply: Bytes| bodies::read_yes(&reply));
            let error = match result {
                Ok(true) => return Ok(()),
                // the reference answers so when it loses a race
                Ok(false) => return self.refused(owner, pointers).await,
                // of an attempt before this one, perhaps
                Err(error @ Error::PointerCas { .. }) if attempt > 1 => {
                    return if self.are_set(owner, pointers).await? { Ok(()) } else { Err(error) };
                }
                Err(error @ Error::NoAnswer(_)) => error,
                Err(error) => return Err(error),
            };
            match self.are_set(owner, pointers).await {
                Ok(true) => return Ok(()),
                Ok(false) if attempt < ATTEMPTS => self.wait(attempt).await,
                Ok(false) => return Err(error),
                Err(unknown) => return Err(unknown),
            }
        }
        unreachable!("the loop ends with the last attempt")
    }

    async fn are_set(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<bool> {
        for pointer in pointers {
            if self.pointer(owner, &pointer.writer).await?.as_ref() != Some(&pointer.signed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds out why pointers were not set.
    async fn refused(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        let mut set = true;
        for PointerWrite { writer, signed } in pointers {
            let stored = self.pointer(owner, writer).await?;
            if stored.as_ref() == Some(signed) {
                continue;
            }
            set = false;
            let key = writer.signing_key()?;
            let wanted = PointerUpdate::open(signed, &key)?;
            let current = stored.map(|stored| PointerUpdate::open(&stored, &key)).transpose()?;
            let (existing, sequence) = current.map_or((None, None), |current| (current.updated, current.sequence));
            if existing != wanted.original {
                return Err(Error::PointerCas { existing, sequence, claimed: wanted.original });
            }
        }
        if set { Ok(()) } else { Err(Error::Refused("the server does not accept the pointer".into())) }
    }
}
