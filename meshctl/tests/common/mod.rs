//! The program as a user runs it, and what it rendered into `deploy/`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "not every test file uses everything"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use manifest::Fleet;
use serde_json::Value;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

pub fn fleet() -> Fleet {
    manifest::load_dir(&root().join("manifests")).unwrap()
}

pub fn meshctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap()
}

pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of one rendered YAML file.
pub fn documents(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(&root().join("deploy").join(file))).unwrap()
}

pub fn of_kind<'a>(documents: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter(move |document| document["kind"] == kind)
}

pub fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
