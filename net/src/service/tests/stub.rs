//! A node that does nothing but answer, when it is told to.

use bytes::Bytes;
use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey},
};

use crate::{Admission, ChampCap, Node, PointerWrite, Result, SignUp, SignedBlock, TransactionId};

/// A call of [`Stub`].
pub const GET: &str = "/api/v0/block/get?arg=zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA\
    &owner=z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC";

/// Answers [`GET`] with what a function returns.
pub struct Stub<F>(pub F);

impl<F: Fn() -> Bytes + Send + Sync> Node for Stub<F> {
    fn id(&self) -> Result<Cid> {
        Ok(Cid::identity(Codec::LibP2pKey, b"stub")?)
    }

    fn get_block(&self, _: &KeyHash, _: &Cid, _: Option<&BatWithId>) -> Result<Option<Bytes>> {
        Ok(Some((self.0)()))
    }

    fn start_transaction(&self, _: &KeyHash) -> Result<TransactionId> {
        unreachable!()
    }

    fn close_transaction(&self, _: &KeyHash, _: &TransactionId) -> Result<()> {
        unreachable!()
    }

    fn put_blocks(&self, _: &KeyHash, _: &KeyHash, _: &TransactionId, _: Codec, _: Vec<SignedBlock>) -> Result<()> {
        unreachable!()
    }

    fn champ_get(&self, _: &KeyHash, _: &Cid, _: &[ChampCap]) -> Result<Vec<Bytes>> {
        unreachable!()
    }

    fn get_pointer(&self, _: &KeyHash, _: &KeyHash) -> Result<Option<Vec<u8>>> {
        unreachable!()
    }

    fn set_pointers(&self, _: &KeyHash, _: &[PointerWrite]) -> Result<()> {
        unreachable!()
    }

    fn get_public_key(&self, _: &str) -> Result<Option<KeyHash>> {
        unreachable!()
    }

    fn get_username(&self, _: &KeyHash) -> Result<String> {
        unreachable!()
    }

    fn get_chain(&self, _: &str) -> Result<Vec<u8>> {
        unreachable!()
    }

    fn update_chain(&self, _: &str, _: &[u8], _: &[u8], _: &str) -> Result<Admission> {
        unreachable!()
    }

    fn sign_up(&self, _: &SignUp) -> Result<Admission> {
        unreachable!()
    }

    fn get_login(&self, _: &str, _: &PublicSigningKey, _: &[u8], _: Option<&[u8]>) -> Result<Vec<u8>> {
        unreachable!()
    }

    fn set_login(&self, _: &str, _: &[u8], _: &[u8; 64]) -> Result<()> {
        unreachable!()
    }

    fn get_user_bats(&self, _: &str, _: &[u8]) -> Result<Vec<BatWithId>> {
        unreachable!()
    }

    fn add_bat(&self, _: &str, _: &BatWithId, _: &[u8]) -> Result<()> {
        unreachable!()
    }

    fn usage(&self, _: &KeyHash, _: &[u8]) -> Result<u64> {
        unreachable!()
    }

    fn quota(&self, _: &KeyHash, _: &[u8]) -> Result<u64> {
        unreachable!()
    }
}
