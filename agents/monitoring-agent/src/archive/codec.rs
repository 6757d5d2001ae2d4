//! How facts are stored: JSON, which says what it means and may grow, in zlib's fastest form, since it repeats itself.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Serialize, de::DeserializeOwned};

/// Most bytes that one entry may hold unpacked; a guard against a broken store.
const MOST: u64 = 1 << 30;

pub(super) fn pack(value: &impl Serialize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // No step can fail: facts have plain keys, and a vector takes everything.
    let text = serde_json::to_vec(value).unwrap_or_default();
    drop(encoder.write_all(&text));
    encoder.finish().unwrap_or_default()
}

pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut text = Vec::new();
    ZlibDecoder::new(bytes)
        .take(MOST)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}
