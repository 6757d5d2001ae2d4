//! Files below one folder, and never above it.

use std::{
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

/// Deepest folder below the workspace that is looked into.
const MAX_FOLDERS: usize = 20;

/// A file with its path as the caller knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFile {
    /// Relative to the workspace, with `/`.
    pub path: String,
    /// Its text.
    pub content: String,
}

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Files.
    pub files: usize,
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files.
    pub total_bytes: usize,
}

/// Why a path is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadPathError {
    /// Absolute, with `..`, or out of the workspace by a symbolic link.
    #[error("the path leads out of the workspace")]
    Escapes,
    /// A symbolic link to a folder, or in a circle.
    #[error("symbolic link to a folder or in a circle: {0}")]
    Link(String),
    /// Nothing there, or no permission.
    #[error("cannot read {path}")]
    Read {
        /// Path in the workspace.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// More than the bounds allow.
    #[error("{0}")]
    TooMuch(String),
}

/// The folder that paths in requests are relative to.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Opens a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if root.is_dir() {
            Ok(Self { root })
        } else {
            Err(std::io::ErrorKind::NotADirectory.into())
        }
    }

    /// Reads a file, or every file below a folder that has one of the extensions. Names that begin with a
    /// dot are passed over in folders.
    ///
    /// # Errors
    /// The first path that cannot be read: a silent gap would look like a clean result.
    pub fn read(
        &self,
        path: &str,
        extensions: &[&str],
        bounds: Bounds,
    ) -> Result<Vec<ReadFile>, ReadPathError> {
        let relative = Path::new(path);
        if path.contains('\0')
            || !relative
                .components()
                .all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
        {
            return Err(ReadPathError::Escapes);
        }
        let mut reader = Reader {
            root: &self.root,
            extensions,
            bounds,
            files: Vec::new(),
            bytes: 0,
        };
        let target = reader.resolve(&self.root.join(relative))?;
        if target.is_dir() {
            reader.folder(&target, 0)?;
        } else {
            reader.file(&target, path)?;
        }
        reader.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(reader.files)
    }
}

struct Reader<'a> {
    root: &'a Path,
    extensions: &'a [&'a str],
    bounds: Bounds,
    files: Vec<ReadFile>,
    bytes: usize,
}

impl Reader<'_> {
    /// The real place of a path, if it is in the workspace.
    fn resolve(&self, path: &Path) -> Result<PathBuf, ReadPathError> {
        let is_link = || fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
        let real = fs::canonicalize(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                ReadPathError::Read {
                    path: self.name(path),
                    source,
                }
            }
            _ if is_link() => ReadPathError::Link(self.name(path)), // a circle: the system gave up following it
            _ => ReadPathError::Read {
                path: self.name(path),
                source,
            },
        })?;
        if real.starts_with(self.root) {
            Ok(real)
        } else {
            Err(ReadPathError::Escapes)
        }
    }

    /// Path below the workspace, for results.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(self.root).unwrap_or(path);
        let parts: Vec<_> = below
            .components()
            .filter(|c| matches!(c, Component::Normal(_)))
            .map(|c| c.as_os_str().to_string_lossy())
            .collect();
        if parts.is_empty() {
            ".".to_owned()
        } else {
            parts.join("/")
        }
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), ReadPathError> {
        if depth > MAX_FOLDERS {
            return Err(ReadPathError::TooMuch(format!(
                "folders are nested deeper than {MAX_FOLDERS} levels"
            )));
        }
        let failed = |source| ReadPathError::Read {
            path: self.name(folder),
            source,
        };
        let entries: Vec<_> = fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(failed)?;
        for entry in entries {
            let (path, hidden) = (
                entry.path(),
                entry.file_name().to_string_lossy().starts_with('.'),
            );
            if hidden {
                continue;
            }
            let kind = entry.file_type().map_err(|source| ReadPathError::Read {
                path: self.name(&path),
                source,
            })?;
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if kind.is_symlink() && self.resolve(&path)?.is_dir() {
                return Err(ReadPathError::Link(self.name(&path)));
            } else if self.wanted(&path) {
                let (real, name) = (self.resolve(&path)?, self.name(&path));
                self.file(&real, &name)?;
            }
        }
        Ok(())
    }

    fn wanted(&self, path: &Path) -> bool {
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| {
            self.extensions
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(e))
        })
    }

    fn file(&mut self, real: &Path, name: &str) -> Result<(), ReadPathError> {
        let Bounds {
            files,
            file_bytes,
            total_bytes,
        } = self.bounds;
        if self.files.len() >= files {
            return Err(ReadPathError::TooMuch(format!("more than {files} files")));
        }
        let failed = |source| ReadPathError::Read {
            path: name.to_owned(),
            source,
        };
        if !fs::metadata(real).map_err(failed)?.is_file() {
            return Err(failed(std::io::ErrorKind::InvalidInput.into())); // a pipe or device would block
        }
        let mut bytes = Vec::new();
        File::open(real)
            .and_then(|file| file.take(file_bytes as u64 + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        self.bytes += bytes.len();
        if bytes.len() > file_bytes || self.bytes > total_bytes {
            return Err(ReadPathError::TooMuch(format!(
                "{name}: more than {file_bytes} bytes in a file or {total_bytes} in all"
            )));
        }
        let content =
            String::from_utf8(bytes).map_err(|_| ReadPathError::NotText(name.to_owned()))?;
        self.files.push(ReadFile {
            path: name.to_owned(),
            content,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        files: 3,
        file_bytes: 10,
        total_bytes: 20,
    };

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("in/sub")).unwrap();
        fs::write(folder.path().join("secret"), "no").unwrap();
        for (name, text) in [
            ("in/a.yaml", "a"),
            ("in/sub/b.yml", "b"),
            ("in/c.txt", "c"),
            ("in/.hidden.yaml", "h"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let workspace = Workspace::open(&folder.path().join("in")).unwrap();
        (folder, workspace)
    }

    fn read(workspace: &Workspace, path: &str) -> Result<Vec<String>, ReadPathError> {
        let files = workspace.read(path, &["yaml", "yml"], BOUNDS)?;
        Ok(files.into_iter().map(|f| f.path).collect())
    }

    #[test]
    fn reads_a_file_or_a_folder() {
        let (_folder, workspace) = workspace();
        assert_eq!(read(&workspace, ".").unwrap(), ["a.yaml", "sub/b.yml"]);
        assert_eq!(read(&workspace, "c.txt").unwrap(), ["c.txt"]);
        assert_eq!(read(&workspace, "sub").unwrap(), ["sub/b.yml"]);
    }

    #[test]
    fn never_leaves_the_workspace() {
        let (folder, workspace) = workspace();
        symlink(
            folder.path().join("secret"),
            folder.path().join("in/link.yaml"),
        )
        .unwrap();
        for path in [
            "../secret",
            "sub/../../secret",
            "/etc/passwd",
            "link.yaml",
            "a\0b",
        ] {
            assert!(
                matches!(read(&workspace, path), Err(ReadPathError::Escapes)),
                "{path:?}"
            );
        }
        assert!(
            matches!(read(&workspace, "."), Err(ReadPathError::Escapes)),
            "not by a folder either"
        );
    }

    #[test]
    fn circles_of_links_are_named() {
        let (folder, workspace) = workspace();
        symlink("y", folder.path().join("in/x")).unwrap();
        symlink("x", folder.path().join("in/y")).unwrap();
        assert!(matches!(read(&workspace, "x"), Err(ReadPathError::Link(_))));
        fs::remove_file(folder.path().join("in/x")).unwrap();
        fs::remove_file(folder.path().join("in/y")).unwrap();
        symlink("..", folder.path().join("in/sub/up")).unwrap();
        assert!(
            matches!(read(&workspace, "."), Err(ReadPathError::Link(name)) if name == "sub/up")
        );
    }

    #[test]
    fn bounds_hold() {
        let (folder, workspace) = workspace();
        fs::write(folder.path().join("in/big.yaml"), "x".repeat(11)).unwrap();
        assert!(matches!(
            read(&workspace, "big.yaml"),
            Err(ReadPathError::TooMuch(_))
        ));
        fs::remove_file(folder.path().join("in/big.yaml")).unwrap();
        for i in 0..3 {
            fs::write(folder.path().join(format!("in/n{i}.yaml")), "x").unwrap();
        }
        assert!(matches!(
            read(&workspace, "."),
            Err(ReadPathError::TooMuch(_))
        ));
        fs::write(folder.path().join("in/bytes"), [0xff, 0xfe]).unwrap();
        assert!(matches!(
            read(&workspace, "bytes"),
            Err(ReadPathError::NotText(_))
        ));
        assert!(matches!(
            read(&workspace, "nothing"),
            Err(ReadPathError::Read { .. })
        ));
    }
}
