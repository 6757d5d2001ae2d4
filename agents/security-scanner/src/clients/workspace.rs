//! Files and folders under one allowed root.

use std::{
    fmt::Debug,
    fs::{self, File, FileType},
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

/// Most files of one request.
const MAX_FILES: usize = 20_000;
/// Most nested folders.
const MAX_DEPTH: usize = 64;
/// Largest file that is read, in bytes; larger ones are skipped and counted.
const MAX_FILE_BYTES: u64 = 5 * 1024 * 1024;
/// How much of a file is looked at to tell text from binary; Git uses the same figure.
const SNIFF_BYTES: usize = 8_000;
/// `ELOOP` on Linux.
const TOO_MANY_LINKS: i32 = 40;

/// Where a skill finds files. The calls block.
pub trait SourceTree: Debug + Send + Sync + 'static {
    /// The files at and under `paths`, in order.
    ///
    /// # Errors
    /// The first path that cannot be used.
    fn list(&self, paths: &[String]) -> Result<Listing, PathError>;

    /// Reads one of them.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(&self, file: &SourceFile) -> io::Result<Content>;
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path from the root, with `/`.
    pub name: String,
    path: PathBuf,
}

/// What is at and under the paths of a request.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files in order.
    pub files: Vec<SourceFile>,
    /// Symbolic links that lead to other places of the root, where they are read under their own name.
    pub links: usize,
}

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// Text; bytes that are no UTF-8 are replaced.
    Text(String),
    /// Not text.
    Binary,
    /// More than the limit.
    TooLarge,
}

/// A path of the request cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("path {index}: expected {expected}, got {got}")]
pub struct PathError {
    /// Which path of the request, from 0.
    pub index: usize,
    /// What would have been accepted.
    pub expected: &'static str,
    /// What is there instead.
    pub got: String,
}

/// A root folder; without one every path is refused.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    root: Option<PathBuf>,
}

impl Workspace {
    /// Allows the files under `root`.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if root.is_dir() {
            Ok(Self { root: Some(root) })
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }
}

/// What is wrong with a path, before it is known which of the request it is.
type Fault = (&'static str, String);

const INSIDE: &str = "a path inside the workspace";

impl SourceTree for Workspace {
    fn list(&self, paths: &[String]) -> Result<Listing, PathError> {
        let mut listing = Listing::default();
        for (index, path) in paths.iter().enumerate() {
            let walked = match &self.root {
                Some(root) => Walk {
                    root,
                    listing: &mut listing,
                }
                .start(path),
                None => Err((
                    "no paths, since this agent was started without --workspace",
                    String::from("a path"),
                )),
            };
            walked.map_err(|(expected, got)| PathError {
                index,
                expected,
                got,
            })?;
        }
        listing.files.sort_by(|a, b| a.name.cmp(&b.name));
        listing.files.dedup();
        Ok(listing)
    }

    fn read(&self, file: &SourceFile) -> io::Result<Content> {
        let mut bytes = Vec::new();
        File::open(&file.path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        Ok(
            if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
                Content::TooLarge
            } else {
                decode(bytes)
            },
        )
    }
}

struct Walk<'w> {
    root: &'w Path,
    listing: &'w mut Listing,
}

impl Walk<'_> {
    fn start(&mut self, path: &str) -> Result<(), Fault> {
        let relative = Path::new(path);
        if path.is_empty() || path.contains('\0') {
            return Err((
                "a path",
                String::from("an empty path or one with a zero byte"),
            ));
        }
        for component in relative.components() {
            match component {
                Component::Normal(_) | Component::CurDir => {}
                Component::ParentDir => return Err((INSIDE, String::from("a path with `..`"))),
                Component::RootDir | Component::Prefix(_) => {
                    return Err((INSIDE, String::from("an absolute path")));
                }
            }
        }
        let real = self
            .resolve(&self.root.join(relative))?
            .ok_or_else(|| ("an existing file or folder", String::from("nothing there")))?;
        let kind = fs::metadata(&real).map_err(|e| unreadable(&e))?.file_type();
        self.add(real, kind, 0)
    }

    /// The real path behind links; none when nothing is there.
    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>, Fault> {
        match fs::canonicalize(path) {
            Ok(real) if real.starts_with(self.root) => Ok(Some(real)),
            Ok(_) => Err((
                INSIDE,
                String::from("a symbolic link that leads out of the workspace"),
            )),
            Err(error) if error.raw_os_error() == Some(TOO_MANY_LINKS) => Err((
                "a path without a loop",
                String::from("a loop of symbolic links"),
            )),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn add(&mut self, path: PathBuf, kind: FileType, depth: usize) -> Result<(), Fault> {
        if kind.is_dir() {
            return self.add_folder(&path, depth + 1);
        }
        if kind.is_file() {
            if self.listing.files.len() >= MAX_FILES {
                return Err(("at most 20000 files", String::from("more")));
            }
            let relative = path.strip_prefix(self.root).unwrap_or(&path);
            let name = relative
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect::<Vec<_>>()
                .join("/");
            self.listing.files.push(SourceFile { name, path });
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(("at most 64 nested folders", String::from("more")));
        }
        // Packed by Git: no text in there.
        if folder.ends_with(".git/objects") {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(|e| unreadable(&e))? {
            let entry = entry.map_err(|e| unreadable(&e))?;
            let kind = entry.file_type().map_err(|e| unreadable(&e))?;
            if kind.is_symlink() {
                self.check_link(&entry.path(), folder)?;
            } else {
                self.add(entry.path(), kind, depth)?;
            }
        }
        Ok(())
    }

    fn check_link(&mut self, link: &Path, folder: &Path) -> Result<(), Fault> {
        if let Some(target) = self.resolve(link)?
            && folder.starts_with(&target)
        {
            return Err((
                "a folder without a loop",
                String::from("a symbolic link to a folder that it is in"),
            ));
        }
        self.listing.links += 1;
        Ok(())
    }
}

fn unreadable(error: &io::Error) -> Fault {
    ("a readable path", error.kind().to_string())
}

/// Text in UTF-8, or in UTF-16 with a byte order mark.
fn decode(bytes: Vec<u8>) -> Content {
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes
            .get(2..)
            .unwrap_or_default()
            .as_chunks()
            .0
            .iter()
            .copied()
            .map(from)
            .collect();
        Content::Text(String::from_utf16_lossy(&units))
    };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        _ if bytes.iter().take(SNIFF_BYTES).any(|&byte| byte == 0) => Content::Binary,
        _ => Content::Text(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        ),
    }
}

#[cfg(test)]
mod tests;
