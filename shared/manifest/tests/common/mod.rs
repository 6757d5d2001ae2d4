//! The project's own fleet, and the standard's documents.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

use std::path::Path;

use manifest::{Fleet, Profile};

pub(crate) use ossa::testing::{document, files, manifests, test_data};

/// The project's own fleet.
pub(crate) fn fleet() -> Fleet {
    manifest::load_dir(&manifests()).unwrap()
}

/// A conformance profile of the standard.
pub(crate) fn profile(data: &Path, id: &str) -> Profile {
    let path = data.join(format!("conformance/profiles/{id}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
