//! Where migration files come from: a folder or an archive of the workspace, or an artifact of a registry.

pub mod archive;
pub mod folder;
pub mod oci;

use crate::domain::{
    hooks::is_hook_file,
    source::{MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, SourceFile, is_relevant},
};

pub use archive::ArchiveError;
pub use folder::{Workspace, WorkspaceError};
pub use oci::{OciError, OciRegistries};

/// Most entries of an archive, wanted or not.
const MAX_ENTRIES: usize = 20_000;
/// Most bytes that an archive may unpack to, wanted or not: a `git archive` of a large repository.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;
/// Deflate packs SQL 5 to 20 times; a bomb is packed a thousand times.
const MAX_RATIO: u64 = 200;

/// Files that were read so far, within the limits of a source.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    files: Vec<SourceFile>,
    bytes: usize,
}

/// Why another file does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatherError {
    /// Too many or too large files.
    #[error(
        "it holds more than {MAX_FILES} files, {MAX_FILE_BYTES} bytes a file or {MAX_TOTAL_BYTES} bytes in all"
    )]
    TooLarge,
    /// A file is no UTF-8 text.
    #[error("{0} is no UTF-8 text")]
    NotText(String),
}

/// Whether a file may belong to a source: migrations, their settings, hooks.
pub(crate) fn is_wanted(name: &str) -> bool {
    is_relevant(name) || is_hook_file(name)
}

impl Gathered {
    /// Takes a file when a source can use it.
    pub(crate) fn take(&mut self, name: String, content: Vec<u8>) -> Result<(), GatherError> {
        if !is_wanted(&name) {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(content.len());
        if self.files.len() >= MAX_FILES
            || content.len() > MAX_FILE_BYTES
            || self.bytes > MAX_TOTAL_BYTES
        {
            return Err(GatherError::TooLarge);
        }
        match String::from_utf8(content) {
            Ok(content) => self.files.push(SourceFile { name, content }),
            Err(_) => return Err(GatherError::NotText(name)),
        }
        Ok(())
    }

    /// The files in the order of their names.
    pub(crate) fn finish(mut self) -> Vec<SourceFile> {
        self.files.sort_by(|left, right| left.name.cmp(&right.name));
        self.files
    }
}
