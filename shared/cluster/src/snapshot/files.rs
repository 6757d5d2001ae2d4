use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::SnapshotError;

/// Most files of a snapshot.
const MAX_FILES: usize = 10_000;
/// Largest file: 16 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Largest snapshot: 256 MiB.
const MAX_TOTAL_BYTES: u64 = 256 << 20;
/// Deepest folder below the root.
const MAX_DEPTH: usize = 32;

/// All YAML and JSON files below a folder, in order of their paths.
///
/// Hidden entries are passed over. A symbolic link counts when it leads to a file inside the
/// folder; links to folders are not followed, so there are no loops.
pub(super) fn object_files(root: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let root = root.canonicalize().map_err(|source| SnapshotError::Read {
        path: root.to_owned(),
        source,
    })?;
    let mut walk = Walk {
        root: &root,
        files: Vec::new(),
        bytes: 0,
    };
    walk.folder(&root, 0)?;
    walk.files.sort();
    Ok(walk.files)
}

/// The documents of one file; empty ones are left out.
pub(super) fn documents(path: &Path) -> Result<Vec<Value>, SnapshotError> {
    let text = fs::read(path).map_err(|source| SnapshotError::Read {
        path: path.to_owned(),
        source,
    })?;
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let document = serde_json::from_slice(&text);
        return document
            .map(|document| vec![document])
            .map_err(|error| SnapshotError::Parse {
                path: path.to_owned(),
                line: error.line().try_into().unwrap_or_default(),
            });
    }
    serde_saphyr::from_slice_multiple(&text).map_err(|error| SnapshotError::Parse {
        path: path.to_owned(),
        line: error
            .location()
            .map(|location| location.line())
            .unwrap_or_default(),
    })
}

struct Walk<'a> {
    root: &'a Path,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), SnapshotError> {
        if depth > MAX_DEPTH {
            return Err(too_large(folder, format!("{MAX_DEPTH} nested folders")));
        }
        let read = |source| SnapshotError::Read {
            path: folder.to_owned(),
            source,
        };
        for entry in fs::read_dir(folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let (path, kind) = (entry.path(), entry.file_type().map_err(read)?);
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if kind.is_file() || self.leads_to_a_file_inside(&path) {
                self.file(path)?;
            }
        }
        Ok(())
    }

    fn leads_to_a_file_inside(&self, link: &Path) -> bool {
        link.canonicalize()
            .is_ok_and(|target| target.starts_with(self.root) && target.is_file())
    }

    fn file(&mut self, path: PathBuf) -> Result<(), SnapshotError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("yaml" | "yml" | "json")) {
            return Ok(());
        }
        let size = fs::metadata(&path)
            .map_err(|source| SnapshotError::Read {
                path: path.clone(),
                source,
            })?
            .len();
        self.bytes = self.bytes.saturating_add(size);
        if size > MAX_FILE_BYTES {
            return Err(too_large(&path, format!("{MAX_FILE_BYTES} bytes a file")));
        }
        if self.bytes > MAX_TOTAL_BYTES {
            return Err(too_large(self.root, format!("{MAX_TOTAL_BYTES} bytes")));
        }
        if self.files.len() >= MAX_FILES {
            return Err(too_large(self.root, format!("{MAX_FILES} files")));
        }
        self.files.push(path);
        Ok(())
    }
}

fn too_large(path: &Path, limit: String) -> SnapshotError {
    SnapshotError::TooLarge {
        path: path.to_owned(),
        limit,
    }
}
