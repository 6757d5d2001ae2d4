//! Where the migrations of a request are.

mod message;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, SkillError, ToolCall};

use super::parts::{MAX_NAME, Workbench, bounded};
use crate::{
    clients::{
        Workspace,
        source::{OciError, WorkspaceError},
    },
    domain::{
        SourceFile, Tool,
        source::{MAX_PLACEHOLDERS, Placeholders},
    },
};

/// Most inline files of a request.
const MAX_INLINE_FILES: usize = 200;
/// Most bytes of all inline files of a request.
const MAX_INLINE_BYTES: usize = 1 << 20;

/// Media types of the files that a message may bring as a source.
pub(super) const INPUT_FILES: &[&str] = &[
    "application/sql",
    "application/toml",
    "text/plain",
    "application/octet-stream",
    "application/x-tar",
    "application/gzip",
    "application/zip",
];

/// Where migrations are: exactly one of `path`, `archive`, `oci` and `files`, or none of them beside the file parts of an
/// A2A message.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationSource {
    /// Folder below the agent's workspace, for example `examples/shop/releases/1.0.0/migrations`.
    pub path: Option<String>,
    /// A `.tar`, `.tar.gz`, `.tgz` or `.zip` below the agent's workspace, as `git archive` makes it.
    pub archive: Option<String>,
    /// An artifact of a registry that the agent allows: `REGISTRY/REPOSITORY@sha256:DIGEST` or `REGISTRY/REPOSITORY:TAG`.
    pub oci: Option<String>,
    /// Folder inside of the archive or artifact that holds the migrations.
    pub subfolder: Option<String>,
    /// The files themselves, at most 200 and 1 MiB together.
    pub files: Option<Vec<InlineFile>>,
    /// The layout, when the files fit more than one.
    pub layout: Option<Tool>,
    /// Values of Flyway's placeholders by name, at most 100 of 1 KiB; they win over those of the agent.
    #[serde(default)]
    pub placeholders: BTreeMap<String, String>,
}

/// One file in a request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineFile {
    /// Name, for example `0001_create_orders.up.sql`; no `..`, not absolute.
    pub name: String,
    /// SQL.
    pub content: String,
}

impl MigrationSource {
    /// An optional source: files of the message are one, too.
    pub(super) fn given(source: Option<Self>, context: &Context) -> Option<Self> {
        source.or_else(|| (!context.files().is_empty()).then(Self::default))
    }

    /// The values of placeholders: the agent's, and those of the request.
    pub(super) fn placeholders(&self, bench: &Workbench) -> Result<Placeholders, SkillError> {
        let own = &self.placeholders;
        let wrong = own
            .iter()
            .find(|(name, value)| !Placeholders::fits(name, value));
        if let Some((name, _)) = wrong {
            return Err(SkillError::rejected(
                "source.placeholders",
                "names of letters, digits, _, ., : and -, with values of at most 1024 bytes",
                bounded(name).escape_debug().to_string(),
            ));
        }
        if own.len() > MAX_PLACEHOLDERS {
            let got = format!("{} of them", own.len());
            return Err(SkillError::rejected(
                "source.placeholders",
                "at most 100",
                got,
            ));
        }
        Ok(bench.databases.placeholders().clone().with(own))
    }

    /// The files, from wherever they are.
    pub(super) async fn gather(
        self,
        bench: &Workbench,
        context: &Context,
    ) -> Result<Vec<SourceFile>, SkillError> {
        let workspace = &bench.workspace;
        let parts = context.files();
        let packed = self.archive.is_some() || self.oci.is_some() || message::is_archive(parts);
        let subfolder = self.subfolder.unwrap_or_default();
        if !subfolder.is_empty() && (!packed || escapes(&subfolder)) {
            return Err(SkillError::rejected(
                "source.subfolder",
                "a relative folder without .. of an archive or artifact",
                bounded(&subfolder),
            ));
        }
        match (self.path, self.archive, self.oci, self.files) {
            (None, None, None, None) if !parts.is_empty() => {
                message::read(parts.to_vec(), subfolder).await
            }
            _ if !parts.is_empty() => Err(SkillError::rejected(
                "source",
                "none of path, archive, oci and files beside the files of the message",
                "both",
            )),
            (Some(path), None, None, None) => {
                on_disk(workspace, move |workspace| {
                    workspace
                        .read(&path)
                        .map_err(|error| rejected_path("source.path", &path, &error))
                })
                .await
            }
            (None, Some(path), None, None) => {
                on_disk(workspace, move |workspace| {
                    workspace
                        .unpack(&path, &subfolder)
                        .map_err(|error| rejected_path("source.archive", &path, &error))
                })
                .await
            }
            (None, None, Some(reference), None) => {
                pull(bench, context, &reference, &subfolder).await
            }
            (None, None, None, Some(files)) => inline(files),
            _ => Err(SkillError::rejected(
                "source",
                "exactly one of path, archive, oci and files, or files in the message",
                "several or none",
            )),
        }
    }
}

/// Pulls an artifact as an audited tool call.
async fn pull(
    bench: &Workbench,
    context: &Context,
    reference: &str,
    subfolder: &str,
) -> Result<Vec<SourceFile>, SkillError> {
    let rejected = |error| rejected_artifact(reference, error);
    let artifact = bench.registries.locate(reference).map_err(rejected)?;
    let call = ToolCall::read("registry.pull", [artifact.to_string()]);
    let pulled = async {
        let pulled = bench.registries.pull(&artifact, subfolder).await;
        pulled.map_err(rejected)
    };
    context.tool(call, pulled).await
}

async fn on_disk(
    workspace: &Workspace,
    read: impl FnOnce(&Workspace) -> Result<Vec<SourceFile>, SkillError> + Send + 'static,
) -> Result<Vec<SourceFile>, SkillError> {
    let workspace = workspace.clone();
    tokio::task::spawn_blocking(move || read(&workspace))
        .await
        .map_err(|error| SkillError::failed_with("cannot read the source", error))?
}

fn rejected_path(field: &str, path: &str, error: &WorkspaceError) -> SkillError {
    match error {
        WorkspaceError::Unreadable(_) => SkillError::failed(error.to_string()),
        _ => SkillError::rejected(
            field,
            "SQL migrations below the workspace",
            format!("{}: {error}", bounded(path)),
        ),
    }
}

fn rejected_artifact(reference: &str, error: OciError) -> SkillError {
    match error {
        OciError::Unreachable(source) => SkillError::Unavailable {
            dependency: "registry",
            source,
        },
        OciError::Unauthorized | OciError::Digest => SkillError::failed(error.to_string()),
        _ => SkillError::rejected(
            "source.oci",
            "an artifact of SQL migrations in an allowed registry",
            format!("{}: {error}", bounded(reference)),
        ),
    }
}

/// Whether a name leads out of its folder.
fn escapes(name: &str) -> bool {
    name.is_empty()
        || name.len() > MAX_NAME
        || name.starts_with('/')
        || name.contains(['\\', '\0'])
        || name.split('/').any(|part| part == "..")
}

fn inline(files: Vec<InlineFile>) -> Result<Vec<SourceFile>, SkillError> {
    let total: usize = files.iter().map(|file| file.content.len()).sum();
    if files.len() > MAX_INLINE_FILES || total > MAX_INLINE_BYTES {
        return Err(SkillError::rejected(
            "source.files",
            "at most 200 files and 1 MiB",
            format!("{} files and {total} bytes", files.len()),
        ));
    }
    if let Some((at, file)) = files
        .iter()
        .enumerate()
        .find(|(_, file)| escapes(&file.name))
    {
        return Err(SkillError::rejected(
            format!("source.files[{at}].name"),
            "a relative name without ..",
            bounded(&file.name),
        ));
    }
    Ok(files
        .into_iter()
        .map(|file| SourceFile {
            name: file.name,
            content: file.content,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline_names(names: &[&str]) -> Result<Vec<SourceFile>, SkillError> {
        inline(
            names
                .iter()
                .map(|name| InlineFile {
                    name: (*name).into(),
                    content: String::new(),
                })
                .collect(),
        )
    }

    #[test]
    fn refuses_inline_files_that_escape_or_are_too_many() {
        for bad in ["../a.sql", "/a.sql", "a/../../b.sql", "", "a\\b.sql"] {
            assert!(
                matches!(inline_names(&[bad]), Err(SkillError::Rejected { field, .. }) if field == "source.files[0].name"),
                "{bad}"
            );
        }
        assert!(inline_names(&["0001_a/up.sql"]).is_ok());
        assert!(
            matches!(inline_names(&["a.sql"; 201]), Err(SkillError::Rejected { field, .. }) if field == "source.files")
        );
    }
}
