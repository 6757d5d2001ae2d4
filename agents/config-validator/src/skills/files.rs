//! Files of a request: inline, or by path in the workspace.

use std::{collections::HashSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, SkillError, ToolCall};

use crate::{
    clients::workspace::{Bounds, ReadFile, ReadPathError, Workspace},
    domain::{
        limits::{MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES},
        object::SourceFile,
    },
};

/// Longest name of a file.
const MAX_NAME: usize = 1024;

/// A file in a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Its name in findings; nothing is read from there.
    pub path: String,
    /// Its text.
    pub content: String,
}

/// How a skill names its fields and what it reads below folders.
pub(super) struct Fields {
    pub(super) inline: &'static str,
    pub(super) paths: &'static str,
    pub(super) extensions: &'static [&'static str],
    pub(super) bounds: Bounds,
}

/// Manifests.
pub(super) const MANIFESTS: Fields = Fields {
    inline: "files",
    paths: "paths",
    extensions: &["yaml", "yml", "json"],
    bounds: Bounds {
        files: MAX_FILES,
        file_bytes: MAX_FILE_BYTES,
        total_bytes: MAX_TOTAL_BYTES,
    },
};

/// All files of a request, checked against the bounds.
pub(super) async fn gather(
    context: &Context,
    fields: &'static Fields,
    inline: Vec<InputFile>,
    paths: Vec<String>,
    workspace: Option<&Arc<Workspace>>,
) -> Result<Vec<SourceFile>, SkillError> {
    let mut files = Vec::new();
    for (i, file) in inline.into_iter().enumerate() {
        check_name(&format!("{}[{i}].path", fields.inline), &file.path)?;
        files.push(SourceFile {
            name: file.path,
            content: file.content,
        });
    }
    if paths.len() > fields.bounds.files {
        return Err(SkillError::rejected(
            fields.paths,
            format!("at most {} paths", fields.bounds.files),
            paths.len().to_string(),
        ));
    }
    for (i, path) in paths.iter().enumerate() {
        check_name(&format!("{}[{i}]", fields.paths), path)?;
    }
    if !paths.is_empty() {
        let workspace = workspace.ok_or_else(|| {
            SkillError::rejected(
                fields.paths,
                "inline content: this agent has no folder to read from",
                "paths",
            )
        })?;
        let call = ToolCall::read("files.read", paths.iter());
        let read = context
            .tool(call, read_paths(fields, workspace.clone(), paths.clone()))
            .await?;
        files.extend(read.into_iter().map(|f| SourceFile {
            name: f.path,
            content: f.content,
        }));
    }
    check_bounds(fields, &files)?;
    Ok(files)
}

fn check_name(field: &str, name: &str) -> Result<(), SkillError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(SkillError::rejected(
            field,
            format!("1 to {MAX_NAME} bytes"),
            format!("{} bytes", name.len()),
        ));
    }
    Ok(())
}

async fn read_paths(
    fields: &'static Fields,
    workspace: Arc<Workspace>,
    paths: Vec<String>,
) -> Result<Vec<ReadFile>, SkillError> {
    let read = move || {
        let mut files = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            let found = workspace
                .read(path, fields.extensions, fields.bounds)
                .map_err(|e| refused(&format!("{}[{i}]", fields.paths), &e))?;
            files.extend(found);
            if files.len() > fields.bounds.files {
                return Err(SkillError::rejected(
                    fields.paths,
                    format!("at most {} files", fields.bounds.files),
                    "more",
                ));
            }
        }
        Ok(files)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|e| SkillError::failed_with("cannot read the files", e))?
}

fn refused(field: &str, error: &ReadPathError) -> SkillError {
    let got = match error {
        ReadPathError::Read { path, source } => format!("{path}: {}", source.kind()),
        other => other.to_string(),
    };
    SkillError::rejected(
        field,
        "a text file or folder in the workspace, within the limits",
        got,
    )
}

fn check_bounds(fields: &Fields, files: &[SourceFile]) -> Result<(), SkillError> {
    let Bounds {
        files: most,
        file_bytes,
        total_bytes,
    } = fields.bounds;
    if files.is_empty() {
        return Err(SkillError::rejected(
            fields.inline,
            format!("at least one file in {} or {}", fields.inline, fields.paths),
            "none",
        ));
    }
    let mut names = HashSet::new();
    if let Some((i, file)) = files
        .iter()
        .enumerate()
        .find(|(_, f)| !names.insert(&f.name))
    {
        return Err(SkillError::rejected(
            format!("{}[{i}].path", fields.inline),
            "a name of its own",
            format!("{} a second time", file.name),
        ));
    }
    if files.len() > most {
        return Err(SkillError::rejected(
            fields.inline,
            format!("at most {most} files"),
            files.len().to_string(),
        ));
    }
    if let Some((i, file)) = files
        .iter()
        .enumerate()
        .find(|(_, f)| f.content.len() > file_bytes)
    {
        let field = format!("{}[{i}].content", fields.inline);
        return Err(SkillError::rejected(
            field,
            format!("at most {file_bytes} bytes"),
            format!("{} bytes", file.content.len()),
        ));
    }
    let total: usize = files.iter().map(|f| f.content.len()).sum();
    if total > total_bytes {
        return Err(SkillError::rejected(
            fields.inline,
            format!("at most {total_bytes} bytes together"),
            format!("{total} bytes"),
        ));
    }
    Ok(())
}
