//! The cipher by libsodium.
#![allow(unsafe_code)]

use std::sync::Once;

use libsodium_sys::{
    crypto_onetimeauth_final, crypto_onetimeauth_init, crypto_onetimeauth_state, crypto_onetimeauth_update,
    crypto_secretbox_detached, crypto_secretbox_open_detached, crypto_stream_xsalsa20_xor_ic, sodium_init,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{KEY_LEN, NONCE_LEN, OVERHEAD};

/// Bytes of keystream that the cipher makes at a time.
const BLOCK: usize = 64;

/// Lets libsodium choose the implementations for this processor.
fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        // SAFETY: takes no arguments and may be called from any thread. A failure is of no consequence: the functions
        // used here then run in their slowest implementation.
        unsafe { sodium_init() };
    });
}

/// Encrypts `text` in place and returns its tag.
pub fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], text: &mut [u8]) -> [u8; OVERHEAD] {
    init();
    let mut tag = [0; OVERHEAD];
    let at = text.as_mut_ptr();
    // SAFETY: input and output are the same valid buffer of `text.len()` bytes, which the function allows; `tag`,
    // `nonce` and `key` have the lengths that it reads and writes. It always succeeds.
    unsafe {
        crypto_secretbox_detached(at, tag.as_mut_ptr(), at, text.len() as u64, nonce.as_ptr(), key.as_ptr());
    }
    tag
}

/// Decrypts `text` in place if `tag` authenticates it.
pub fn open(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], tag: &[u8; OVERHEAD], text: &mut [u8]) -> bool {
    init();
    let at = text.as_mut_ptr();
    // SAFETY: as in `seal`; the tag is only read.
    let status = unsafe {
        crypto_secretbox_open_detached(at, at, tag.as_ptr(), text.len() as u64, nonce.as_ptr(), key.as_ptr())
    };
    status == 0
}

/// Adds the keystream from byte `offset` on to `buffer`.
pub fn xor_keystream(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], offset: u64, buffer: &mut [u8]) {
    let (block, skip) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
    if skip == 0 {
        return xor_blocks(key, nonce, block, buffer);
    }
    let (head, rest) = buffer.split_at_mut(buffer.len().min(BLOCK - skip));
    let mut first = Zeroizing::new([0; BLOCK]);
    let window = skip..skip + head.len();
    first[window.clone()].copy_from_slice(head);
    xor_blocks(key, nonce, block, first.as_mut_slice());
    head.copy_from_slice(&first[window]);
    xor_blocks(key, nonce, block + 1, rest);
}

/// Adds the keystream from its 64-byte block `block` on to `buffer`.
fn xor_blocks(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], block: u64, buffer: &mut [u8]) {
    init();
    let at = buffer.as_mut_ptr();
    // SAFETY: input and output are the same valid buffer of `buffer.len()` bytes, which the function allows; `nonce`
    // and `key` have the lengths that it reads. It always succeeds.
    unsafe {
        crypto_stream_xsalsa20_xor_ic(at, at, buffer.len() as u64, nonce.as_ptr(), block, key.as_ptr());
    }
}

/// The authenticator of `parts`, one behind the other, under a key that is used once.
pub fn authenticate(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; OVERHEAD] {
    init();
    let mut state = crypto_onetimeauth_state { opaque: [0; 256] };
    let mut tag = [0; OVERHEAD];
    // SAFETY: `key` and `tag` have the lengths that are read and written, each part is valid for its length, and the state
    // is set up before it is used, in one thread. The functions always succeed.
    unsafe {
        crypto_onetimeauth_init(&raw mut state, key.as_ptr());
        for part in parts {
            crypto_onetimeauth_update(&raw mut state, part.as_ptr(), part.len() as u64);
        }
        crypto_onetimeauth_final(&raw mut state, tag.as_mut_ptr());
    }
    state.opaque.zeroize();
    tag
}
