//! Where the tests of this crate and of `manifest` find their documents.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and one that is skipped says so"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Document;

/// The project's own manifests.
pub fn manifests() -> PathBuf {
    root().join("manifests")
}

/// Test data that is not part of the project: `$MESH_TEST_DATA`, else `shared` beside the project.
/// Without it the caller returns, and the test's output says so.
pub fn test_data() -> Option<PathBuf> {
    let beside = root().join("../shared");
    let folder = std::env::var_os("MESH_TEST_DATA")
        .map_or(beside, PathBuf::from)
        .join("ossa");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: there is no OSSA test data in {} (set MESH_TEST_DATA)",
        folder.display()
    );
    None
}

/// All files below a folder whose name ends like this, sorted.
///
/// # Panics
/// When the folder cannot be read.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A parsed file.
///
/// # Panics
/// When it cannot be read or parsed.
pub fn document(path: &Path) -> Document {
    let text = fs::read_to_string(path).unwrap();
    Document::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
