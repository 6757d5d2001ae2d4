//! Migration files in folders below one root.

use std::path::{Component, Path, PathBuf};

use crate::domain::{
    hooks::is_hook_file,
    source::{MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, SourceFile, is_sql},
};

/// The root that paths of requests are below.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path is absolute or leaves the workspace, also by a symbolic link.
    #[error("the path leaves the workspace")]
    Outside,
    /// There is no such folder.
    #[error("there is no such folder in the workspace")]
    Missing,
    /// Too many or too large files.
    #[error("the folder holds more than {MAX_FILES} files or {MAX_TOTAL_BYTES} bytes")]
    TooLarge,
    /// A file is no UTF-8 text.
    #[error("{0} is no UTF-8 text")]
    NotText(String),
    /// The folder cannot be read.
    #[error("cannot read the folder")]
    Unreadable(#[from] std::io::Error),
}

impl Workspace {
    /// A workspace at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Reads the `.sql` files of a folder and of its direct subfolders.
    ///
    /// # Errors
    /// Every variant of [`WorkspaceError`].
    pub fn read(&self, path: &str) -> Result<Vec<SourceFile>, WorkspaceError> {
        let relative = Path::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(WorkspaceError::Outside);
        }
        let root = self.root.canonicalize()?;
        let folder = root
            .join(relative)
            .canonicalize()
            .map_err(|_| WorkspaceError::Missing)?;
        if !folder.starts_with(&root) {
            return Err(WorkspaceError::Outside);
        }
        let mut found = Vec::new();
        collect(&root, &folder, "", 1, &mut found)?;
        Ok(found)
    }
}

fn collect(
    root: &Path,
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<SourceFile>,
) -> Result<(), WorkspaceError> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path().canonicalize()?;
        if !path.starts_with(root) {
            return Err(WorkspaceError::Outside);
        }
        let metadata = path.metadata()?;
        if metadata.is_dir() && depth > 0 {
            collect(root, &path, &format!("{name}/"), depth - 1, found)?;
        } else if metadata.is_file() && (is_sql(&name) || is_hook_file(&name)) {
            let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
            let total: usize = found.iter().map(|file| file.content.len()).sum();
            if found.len() >= MAX_FILES
                || size > MAX_FILE_BYTES
                || total.saturating_add(size) > MAX_TOTAL_BYTES
            {
                return Err(WorkspaceError::TooLarge);
            }
            let content = String::from_utf8(std::fs::read(&path)?)
                .map_err(|_| WorkspaceError::NotText(name.clone()))?;
            found.push(SourceFile { name, content });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_layouts_and_nothing_outside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("m/2_b")).unwrap();
        std::fs::write(root.join("m/1_a.up.sql"), "select 1").unwrap();
        std::fs::write(root.join("m/notes.txt"), "x").unwrap();
        std::fs::write(root.join("m/2_b/up.sql"), "select 2").unwrap();
        std::fs::write(folder.path().join("secret.sql"), "select 3").unwrap();
        let workspace = Workspace::new(&root);
        let names = workspace
            .read("m")
            .unwrap()
            .into_iter()
            .map(|file| file.name)
            .collect::<Vec<_>>();
        assert_eq!(names, ["1_a.up.sql", "2_b/up.sql"]);
        for bad in ["..", "m/../..", "/etc"] {
            assert!(
                matches!(workspace.read(bad), Err(WorkspaceError::Outside)),
                "{bad}"
            );
        }
        assert!(matches!(
            workspace.read("none"),
            Err(WorkspaceError::Missing)
        ));
        std::os::unix::fs::symlink(folder.path().join("secret.sql"), root.join("m/3_c.sql"))
            .unwrap();
        assert!(matches!(workspace.read("m"), Err(WorkspaceError::Outside)));
        std::fs::remove_file(root.join("m/3_c.sql")).unwrap();
        std::os::unix::fs::symlink(&root, root.join("m/loop")).unwrap();
        assert!(
            workspace.read("m").is_ok(),
            "a loop of links ends at the second level"
        );
    }
}
