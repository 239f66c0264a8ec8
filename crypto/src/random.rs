//! Randomness from the operating system (spec 01 §2.1).

use crate::{Error, Result};

/// `N` random bytes from the operating system's generator.
///
/// # Errors
/// [`Error::Randomness`] where the system has none (early boot, a broken sandbox).
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|_| Error::Randomness)?;
    Ok(out)
}
