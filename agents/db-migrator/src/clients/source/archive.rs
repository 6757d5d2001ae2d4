//! Archives: `.tar`, `.tar.gz`, `.tgz` and `.zip`, as `git archive` makes them.

use std::{
    io::{Read, Seek},
    path::{Component, Path},
};

use flate2::read::GzDecoder;

use super::{GatherError, Gathered, MAX_ENTRIES, MAX_RATIO, MAX_UNPACKED_BYTES, is_wanted};
use crate::domain::source::{MAX_FILE_BYTES, SourceFile};

/// Bytes that any archive may unpack to without a look at how far it was packed.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// A plain tar.
    Tar,
    /// A tar in gzip.
    TarGzip,
    /// A zip.
    Zip,
}

impl Packing {
    /// By the name of a file.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = |end: &str| name.ends_with(end);
        if ends(".tar.gz") || ends(".tgz") {
            Some(Self::TarGzip)
        } else if ends(".tar") {
            Some(Self::Tar)
        } else {
            ends(".zip").then_some(Self::Zip)
        }
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// An entry would land outside of the archive.
    #[error("the entry {0} leaves the archive")]
    Outside(String),
    /// Too many entries, or too many bytes.
    #[error(
        "it unpacks to more than {MAX_ENTRIES} entries or {MAX_UNPACKED_BYTES} bytes, or to {MAX_RATIO} times its size"
    )]
    Bomb,
    /// The files of the source are too many or no text.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// It is no archive of its kind.
    #[error("it is no archive of its kind")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<std::io::Error> for ArchiveError {
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<TooMuch>() {
            Ok(TooMuch) => Self::Bomb,
            Err(error) => Self::Broken(error.into()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("too much")]
struct TooMuch;

/// Counts what comes out of a decoder, against a limit that grows with what went in.
struct Metered<R> {
    inner: R,
    out: u64,
    limit: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.out += read as u64;
        if self.out > self.limit {
            return Err(std::io::Error::other(TooMuch));
        }
        Ok(read)
    }
}

/// Most bytes that `packed` bytes may become.
fn limit(packed: u64) -> u64 {
    packed
        .saturating_mul(MAX_RATIO)
        .clamp(RATIO_FREE_BYTES, MAX_UNPACKED_BYTES)
}

/// The files below `subfolder` that a source can use. Links are left out.
///
/// # Errors
/// Every variant of [`ArchiveError`].
pub fn unpack(
    archive: impl Read + Seek,
    packed: u64,
    packing: Packing,
    subfolder: &str,
) -> Result<Vec<SourceFile>, ArchiveError> {
    let mut gathered = Gathered::default();
    match packing {
        Packing::Zip => zipped(archive, limit(packed), subfolder, &mut gathered)?,
        Packing::Tar => tarred(archive, subfolder, &mut gathered)?,
        Packing::TarGzip => {
            let unpacked = Metered {
                inner: GzDecoder::new(archive),
                out: 0,
                limit: limit(packed),
            };
            tarred(unpacked, subfolder, &mut gathered)?;
        }
    }
    Ok(gathered.finish())
}

/// The path of an entry below the subfolder; `None` when it is elsewhere.
pub(super) fn below(name: &str, subfolder: &str) -> Result<Option<String>, ArchiveError> {
    let path = Path::new(name);
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            _ => return Err(ArchiveError::Outside(name.chars().take(200).collect())),
        }
    }
    let wanted = subfolder
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let wanted = wanted.collect::<Vec<_>>();
    let inside = parts.len() > wanted.len() && parts.iter().zip(&wanted).all(|(l, r)| l == r);
    Ok(inside.then(|| parts.split_off(wanted.len()).join("/")))
}

fn tarred(
    archive: impl Read,
    subfolder: &str,
    gathered: &mut Gathered,
) -> Result<(), ArchiveError> {
    let mut archive = tar::Archive::new(archive);
    for (at, entry) in archive.entries()?.enumerate() {
        if at >= MAX_ENTRIES {
            return Err(ArchiveError::Bomb);
        }
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let place = below(&name, subfolder)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if let Some(place) = place.filter(|place| is_wanted(place)) {
            gathered.take(place, content(&mut entry)?)?;
        }
    }
    Ok(())
}

fn zipped(
    archive: impl Read + Seek,
    limit: u64,
    subfolder: &str,
    gathered: &mut Gathered,
) -> Result<(), ArchiveError> {
    let broken = |error: zip::result::ZipError| ArchiveError::Broken(error.into());
    let mut archive = zip::ZipArchive::new(archive).map_err(broken)?;
    if archive.len() > MAX_ENTRIES {
        return Err(ArchiveError::Bomb);
    }
    let mut left = limit;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(broken)?;
        let name = entry.name().map_err(broken)?.replace('\\', "/");
        let place = below(&name, subfolder)?;
        if !entry.is_file() || entry.is_symlink() {
            continue;
        }
        if let Some(place) = place.filter(|place| is_wanted(place)) {
            let mut metered = Metered {
                inner: &mut entry,
                out: 0,
                limit: left,
            };
            let content = content(&mut metered)?;
            left = left.saturating_sub(content.len() as u64);
            gathered.take(place, content)?;
        }
    }
    Ok(())
}

/// The bytes of an entry: one more than a file may have is enough to know.
fn content(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut content = Vec::new();
    entry
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Cursor, Write},
        process::Command,
    };

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn open(bytes: &[u8], packing: Packing, subfolder: &str) -> Result<Vec<String>, ArchiveError> {
        let files = unpack(Cursor::new(bytes), bytes.len() as u64, packing, subfolder)?;
        Ok(files.into_iter().map(|file| file.name).collect())
    }

    fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Written by hand: the builder itself refuses names with `..`.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_what_git_archive_makes() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let done = Command::new("git")
                .current_dir(folder.path())
                .args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
                .args(arguments)
                .output()
                .unwrap();
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
            done.stdout
        };
        git(&["init", "-q"]);
        std::fs::create_dir_all(folder.path().join("db/migrations/2_b")).unwrap();
        std::fs::write(folder.path().join("db/migrations/1_a.up.sql"), "select 1").unwrap();
        std::fs::write(folder.path().join("db/migrations/2_b/up.sql"), "select 2").unwrap();
        std::fs::write(folder.path().join("db/migrations/2_b/metadata.toml"), "").unwrap();
        std::fs::write(folder.path().join("seed.sql"), "select 3").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("db/migrations/3_c.sql"))
            .unwrap();
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "a"]);
        let expected = ["1_a.up.sql", "2_b/metadata.toml", "2_b/up.sql"];
        for (format, packing) in [
            ("tar", Packing::Tar),
            ("tar.gz", Packing::TarGzip),
            ("zip", Packing::Zip),
        ] {
            let bytes = git(&[
                "archive",
                "--prefix=shop/",
                &format!("--format={format}"),
                "HEAD",
            ]);
            let found = open(&bytes, packing, "shop/db/migrations").unwrap();
            assert_eq!(found, expected, "{format}");
            assert_eq!(open(&bytes, packing, "").unwrap().len(), 4, "{format}");
            assert_eq!(open(&bytes, packing, "other").unwrap().len(), 0, "{format}");
        }
    }

    #[test]
    fn refuses_bombs() {
        let zeros = vec![b' '; 64 << 20];
        let bomb = gzip(&tar_of(&[("readme.txt", &zeros), ("1_a.sql", b"select 1")]));
        assert!(bomb.len() < 100_000);
        let found = open(&bomb, Packing::TarGzip, "");
        assert!(matches!(found, Err(ArchiveError::Bomb)), "{found:?}");

        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for at in 0..10 {
            let options = zip::write::SimpleFileOptions::default();
            writer.start_file(format!("{at}_a.sql"), options).unwrap();
            writer.write_all(&zeros[..1 << 20]).unwrap();
        }
        let bomb = writer.finish().unwrap().into_inner();
        let found = open(&bomb, Packing::Zip, "");
        assert!(matches!(found, Err(ArchiveError::Bomb)), "{found:?}");

        let many = (0..=MAX_ENTRIES)
            .map(|_| ("a", &b""[..]))
            .collect::<Vec<_>>();
        let found = open(&tar_of(&many), Packing::Tar, "");
        assert!(matches!(found, Err(ArchiveError::Bomb)), "{found:?}");
        let large = open(
            &tar_of(&[("1_a.sql", &zeros[..=MAX_FILE_BYTES])]),
            Packing::Tar,
            "",
        );
        assert!(matches!(
            large,
            Err(ArchiveError::Gather(GatherError::TooLarge))
        ));
    }

    #[test]
    fn refuses_entries_that_leave_the_archive_and_texts_that_are_none() {
        for bad in ["../1_a.sql", "a/../../1_a.sql", "/1_a.sql"] {
            let found = open(&tar_of(&[(bad, b"select 1")]), Packing::Tar, "");
            assert!(matches!(found, Err(ArchiveError::Outside(name)) if name == bad));
        }
        let found = open(&tar_of(&[("1_a.sql", &[0xff, 0xfe])]), Packing::Tar, "");
        assert_eq!(found.unwrap_err().to_string(), "1_a.sql is no UTF-8 text");
        for packing in [Packing::Tar, Packing::TarGzip, Packing::Zip] {
            let found = open(&[7; 2000], packing, "");
            assert!(
                matches!(found, Err(ArchiveError::Broken(_))),
                "{packing:?} {found:?}"
            );
        }
    }
}
