//! Where things are, and how test data is found.

use std::path::{Path, PathBuf};

/// Root of the workspace.
///
/// # Panics
/// When this crate does not lie in a workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_path_buf()
}

/// The agents of `mesh.yaml`, sorted.
///
/// # Panics
/// When the manifests do not load.
pub fn agents() -> Vec<String> {
    agents_of(&root())
}

/// The agents of the workspace in this folder, sorted.
///
/// # Panics
/// When its manifests do not load.
pub fn agents_of(root: &Path) -> Vec<String> {
    let fleet = manifest::load_dir(&root.join("manifests")).expect("the manifests load");
    fleet.mesh.agents.into_keys().collect()
}

/// All files below a folder whose name ends with `suffix`, without build output.
pub fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, suffix));
        } else if path.is_file() && name.ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A program of the system, or of the tools folder that the test script fills.
///
/// # Panics
/// When it is missing: tests are not skipped silently.
pub fn program(name: &str) -> PathBuf {
    let tools = std::env::var_os("MESH_TEST_TOOLS").map(PathBuf::from);
    let folders = tools.into_iter().chain(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .collect::<Vec<_>>(),
    );
    let found = folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; ./test installs it"))
}
