//! Migration files in folders and archives below one root.

use std::path::{Component, Path, PathBuf};

use super::{
    ArchiveError, GatherError, Gathered,
    archive::{Packing, unpack},
    is_wanted,
};
use crate::domain::source::{MAX_FILE_BYTES, SourceFile};

/// The root that paths of requests are below.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

/// Why a folder or an archive of the workspace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path is absolute or leaves the workspace, also by a symbolic link.
    #[error("the path leaves the workspace")]
    Outside,
    /// There is no such folder or file.
    #[error("there is no such folder or file in the workspace")]
    Missing,
    /// The name of an archive does not say how it is packed.
    #[error("an archive is named .tar, .tar.gz, .tgz or .zip")]
    Packing,
    /// The files are too many, too large or no text.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The folder cannot be read.
    #[error("cannot read it")]
    Unreadable(#[from] std::io::Error),
}

impl Workspace {
    /// A workspace at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Reads the migration files of a folder and of its direct subfolders.
    ///
    /// # Errors
    /// Every variant of [`WorkspaceError`] but those of archives.
    pub fn read(&self, path: &str) -> Result<Vec<SourceFile>, WorkspaceError> {
        let (root, folder) = self.resolve(path)?;
        let mut found = Gathered::default();
        collect(&root, &folder, "", 1, &mut found)?;
        Ok(found.finish())
    }

    /// Reads the migration files below a folder of an archive.
    ///
    /// # Errors
    /// Every variant of [`WorkspaceError`].
    pub fn unpack(&self, path: &str, subfolder: &str) -> Result<Vec<SourceFile>, WorkspaceError> {
        let packing = Packing::of(path).ok_or(WorkspaceError::Packing)?;
        let (_, file) = self.resolve(path)?;
        let file = std::fs::File::open(file)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(WorkspaceError::Missing);
        }
        let reader = std::io::BufReader::new(file);
        Ok(unpack(reader, metadata.len(), packing, subfolder)?)
    }

    /// The root and a place below it, links followed.
    fn resolve(&self, path: &str) -> Result<(PathBuf, PathBuf), WorkspaceError> {
        let relative = Path::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(WorkspaceError::Outside);
        }
        let root = self.root.canonicalize()?;
        let place = root
            .join(relative)
            .canonicalize()
            .map_err(|_| WorkspaceError::Missing)?;
        if place.starts_with(&root) {
            Ok((root, place))
        } else {
            Err(WorkspaceError::Outside)
        }
    }
}

fn collect(
    root: &Path,
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Gathered,
) -> Result<(), WorkspaceError> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path().canonicalize()?;
        if !path.starts_with(root) {
            return Err(WorkspaceError::Outside);
        }
        let metadata = path.metadata()?;
        if metadata.is_dir() && depth > 0 {
            collect(root, &path, &format!("{name}/"), depth - 1, found)?;
        } else if metadata.is_file() && is_wanted(&name) {
            if metadata.len() > MAX_FILE_BYTES as u64 {
                return Err(GatherError::TooLarge.into());
            }
            found.take(name, std::fs::read(&path)?)?;
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
