//! Where the programs are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The folder of the programs that `tests/cluster/build` compiled.
///
/// # Errors
/// When it has not run in this state of the tree: tests are not skipped silently.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let script = root().join("tests/cluster/build");
    let output = Command::new(&script)
        .arg("--where")
        .output()
        .context("cannot run tests/cluster/build")?;
    ensure!(
        output.status.success(),
        "tests/cluster/build --where failed"
    );
    let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    ensure!(
        folder.join("kube-apiserver").is_file(),
        "the control plane is not built: tests/cluster/build does it"
    );
    Ok(folder)
}
