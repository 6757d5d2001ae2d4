use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kube::core::ApiResource;
use serde_json::Value;

mod files;

/// Most objects of a snapshot.
const MAX_OBJECTS: usize = 100_000;
/// Deepest nesting of Lists in Lists.
const MAX_LIST_DEPTH: usize = 4;

/// Why a folder cannot be read as objects. No variant quotes a file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The path is not a folder.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is neither YAML nor JSON.
    #[error("cannot parse {} at line {line}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 when it is not known.
        line: u64,
    },
    /// The folder is larger than a snapshot may be.
    #[error("{} exceeds a snapshot's limit of {limit}", path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// The limit, with its unit.
        limit: String,
    },
}

/// The objects of a folder, by `apiVersion` and `kind`.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    objects: HashMap<(String, String), Vec<Value>>,
    count: usize,
}

impl Snapshot {
    /// Reads the folder on a thread that may block.
    pub(crate) async fn load(folder: PathBuf) -> Result<Self, SnapshotError> {
        let place = folder.clone();
        tokio::task::spawn_blocking(move || Self::read(&folder))
            .await
            .map_err(|error| SnapshotError::Read {
                path: place,
                source: std::io::Error::other(error),
            })?
    }

    /// The objects of one kind, of one namespace or of all.
    ///
    /// An object without a namespace counts as being in `default`, where `kubectl` would put it.
    pub(crate) fn find<'a>(
        &'a self,
        kind: &ApiResource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Value> {
        let key = (kind.api_version.clone(), kind.kind.clone());
        let of_kind = self
            .objects
            .get(&key)
            .map(Vec::as_slice)
            .unwrap_or_default();
        of_kind.iter().filter(move |object| {
            let own = object.pointer("/metadata/namespace");
            let own = own.and_then(Value::as_str).unwrap_or("default");
            namespace.is_none_or(|namespace| namespace == own)
        })
    }

    fn read(folder: &Path) -> Result<Self, SnapshotError> {
        let mut snapshot = Self::default();
        for path in files::object_files(folder)? {
            for document in files::documents(&path)? {
                snapshot.add(&path, document, 0)?;
            }
        }
        Ok(snapshot)
    }

    /// Adds an object, or the objects of a List; passes over what is neither.
    fn add(&mut self, path: &Path, object: Value, depth: usize) -> Result<(), SnapshotError> {
        let too_large = |limit: String| SnapshotError::TooLarge {
            path: path.to_owned(),
            limit,
        };
        let field = |name| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (field("apiVersion"), field("kind")) else {
            return Ok(());
        };
        if depth > MAX_LIST_DEPTH {
            return Err(too_large(format!("{MAX_LIST_DEPTH} nested lists")));
        }
        if let Some(item_kind) = kind.strip_suffix("List")
            && object.get("items").is_some_and(Value::is_array)
        {
            return items(object).into_iter().try_for_each(|item| {
                let item = with_type(item, &api_version, item_kind);
                self.add(path, item, depth + 1)
            });
        }
        self.count += 1;
        if self.count > MAX_OBJECTS {
            return Err(too_large(format!("{MAX_OBJECTS} objects")));
        }
        self.objects
            .entry((api_version, kind))
            .or_default()
            .push(object);
        Ok(())
    }
}

fn items(list: Value) -> Vec<Value> {
    match list {
        Value::Object(mut list) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Items of a typed list (`PodList`) leave out what the list says; those of a `List` say it.
fn with_type(mut item: Value, api_version: &str, kind: &str) -> Value {
    if let (Some(object), false) = (item.as_object_mut(), kind.is_empty()) {
        object
            .entry("apiVersion")
            .or_insert_with(|| api_version.into());
        object.entry("kind").or_insert_with(|| kind.into());
    }
    item
}

#[cfg(test)]
mod tests;
