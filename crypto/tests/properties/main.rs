//! What holds for any input, and that no input makes the parsers do anything but refuse it.
#![cfg(test)]

mod cbor;
mod cid;
mod datastream;
mod structures;
