//! Sources in the file parts of an A2A message.

use std::{collections::BTreeSet, io::Cursor};

use shared::{InputFile, SkillError};

use super::{bounded, escapes};
use crate::{
    clients::source::{Gathered, archive::Packing, archive::unpack, is_wanted},
    domain::SourceFile,
};

/// Whether the files are one archive.
pub(super) fn is_archive(parts: &[InputFile]) -> bool {
    matches!(parts, [only] if packing(only).is_some())
}

/// How a file is packed: by its name, or by its media type when it has none.
fn packing(file: &InputFile) -> Option<Packing> {
    if let Some(name) = &file.name {
        return Packing::of(name);
    }
    match file.media_type.as_deref()? {
        "application/x-tar" => Some(Packing::Tar),
        "application/gzip" => Some(Packing::TarGzip),
        "application/zip" => Some(Packing::Zip),
        _ => None,
    }
}

/// The files of a message: one archive, or the migrations by name.
pub(super) async fn read(
    parts: Vec<InputFile>,
    subfolder: String,
) -> Result<Vec<SourceFile>, SkillError> {
    let read = move || match parts.as_slice() {
        [only] if let Some(packing) = packing(only) => unpacked(only, packing, &subfolder),
        _ => by_name(parts),
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| SkillError::failed_with("cannot read the source", error))?
}

fn unpacked(
    file: &InputFile,
    packing: Packing,
    subfolder: &str,
) -> Result<Vec<SourceFile>, SkillError> {
    let size = file.content.len() as u64;
    let read = unpack(Cursor::new(&file.content), size, packing, subfolder);
    read.map_err(|error| {
        let expected = "an archive of SQL migrations";
        SkillError::rejected("message.parts", expected, error.to_string())
    })
}

fn by_name(parts: Vec<InputFile>) -> Result<Vec<SourceFile>, SkillError> {
    let mut gathered = Gathered::default();
    let mut names = BTreeSet::new();
    for InputFile { name, content, .. } in parts {
        let name = name.unwrap_or_default();
        if escapes(&name) || !is_wanted(&name) || !names.insert(name.clone()) {
            return Err(SkillError::rejected(
                "message.parts",
                "one archive, or migrations whose filename is relative, without .. and given once",
                bounded(&name).escape_debug().to_string(),
            ));
        }
        gathered.take(name, content).map_err(|error| {
            let expected = "SQL migrations within the limits of a source";
            SkillError::rejected("message.parts", expected, error.to_string())
        })?;
    }
    Ok(gathered.finish())
}
