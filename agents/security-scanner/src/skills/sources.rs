//! Texts of a request: given inline, or files of the workspace.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, SkillError, ToolCall};

use crate::clients::workspace::{Content, SourceFile, SourceTree};

/// Most texts given inline.
const MAX_INLINE: usize = 1_000;
/// Most bytes given inline, all together.
const MAX_INLINE_BYTES: usize = 32 * 1024 * 1024;
/// Most paths of a request.
const MAX_PATHS: usize = 1_000;
/// Longest name, in bytes.
const MAX_NAME: usize = 1_024;
/// Files between two looks at whether the task was cancelled.
const BATCH: usize = 64;

/// A text given inline.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineFile {
    /// Its name, for example `deploy/values.yaml`; the ending tells what it is.
    #[schemars(length(min = 1, max = 1024))]
    pub name: String,
    /// The text.
    pub content: String,
}

impl fmt::Debug for InlineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineFile")
            .field("name", &self.name)
            .field("bytes", &self.content.len())
            .finish()
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scanned {
    /// Texts.
    pub files: usize,
    /// Bytes of text.
    pub bytes: usize,
}

/// What was not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Files that are not text.
    pub binary: usize,
    /// Files over 5 MiB.
    pub too_large: usize,
    /// Files that could not be read.
    pub unreadable: usize,
    /// Symbolic links to other files of the workspace.
    pub links: usize,
}

/// The texts of a request, before they are read.
#[derive(Debug)]
pub(super) struct Sources {
    inline: Vec<InlineFile>,
    files: Vec<SourceFile>,
    links: usize,
    tree: Arc<dyn SourceTree>,
}

/// The results of a visit to every text.
#[derive(Debug)]
pub(super) struct Visited<T> {
    pub(super) results: Vec<T>,
    pub(super) scanned: Scanned,
    pub(super) skipped: Skipped,
}

impl Sources {
    /// Checks the request and lists the files.
    pub(super) async fn open(
        context: &Context,
        tree: &Arc<dyn SourceTree>,
        inline: Vec<InlineFile>,
        paths: Vec<String>,
    ) -> Result<Self, SkillError> {
        check_inline(&inline)?;
        if paths.len() > MAX_PATHS {
            return Err(SkillError::rejected(
                "paths",
                format!("at most {MAX_PATHS}"),
                paths.len().to_string(),
            ));
        }
        if paths.is_empty() {
            return Ok(Self {
                inline,
                files: Vec::new(),
                links: 0,
                tree: Arc::clone(tree),
            });
        }
        let files = Arc::clone(tree);
        let call = ToolCall::read(
            "workspace.list",
            paths
                .iter()
                .map(|path| path.chars().take(MAX_NAME).collect::<String>()),
        );
        let listing = context
            .tool(call, async move {
                let listed = tokio::task::spawn_blocking(move || files.list(&paths)).await;
                listed
                    .map_err(|error| SkillError::failed_with("cannot list the workspace", error))?
                    .map_err(|error| {
                        SkillError::rejected(
                            format!("paths[{}]", error.index),
                            error.expected,
                            error.got,
                        )
                    })
            })
            .await?;
        Ok(Self {
            inline,
            files: listing.files,
            links: listing.links,
            tree: Arc::clone(tree),
        })
    }

    /// Shows every text to `visit`, one at a time, off the async threads.
    pub(super) async fn visit<T: Send + 'static>(
        self,
        context: &Context,
        visit: impl Fn(&str, &str) -> T + Send + Sync + 'static,
    ) -> Result<Visited<T>, SkillError> {
        let Self {
            inline,
            files,
            links,
            tree,
        } = self;
        let visit = Arc::new(visit);
        let total = u64::try_from(files.len()).unwrap_or(u64::MAX);
        let mut visited = Visited {
            results: Vec::new(),
            scanned: Scanned::default(),
            skipped: Skipped {
                links,
                ..Skipped::default()
            },
        };
        let visit_inline = Arc::clone(&visit);
        visited = blocking(move || {
            for file in &inline {
                visited.add(&file.name, &file.content, &*visit_inline);
            }
            visited
        })
        .await?;
        for (done, batch) in (0_u64..).step_by(BATCH).zip(files.chunks(BATCH)) {
            context.check_canceled()?;
            context.progress("reading files", done, total);
            let (batch, tree, visit) = (batch.to_vec(), Arc::clone(&tree), Arc::clone(&visit));
            visited = blocking(move || {
                for file in &batch {
                    visited.read(&*tree, file, &*visit);
                }
                visited
            })
            .await?;
        }
        Ok(visited)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SkillError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SkillError::failed_with("a scan stopped unexpectedly", error))
}

impl<T> Visited<T> {
    fn add(&mut self, name: &str, text: &str, visit: impl Fn(&str, &str) -> T) {
        self.scanned.files += 1;
        self.scanned.bytes += text.len();
        self.results.push(visit(name, text));
    }

    fn read(&mut self, tree: &dyn SourceTree, file: &SourceFile, visit: impl Fn(&str, &str) -> T) {
        match tree.read(file) {
            Ok(Content::Text(text)) => self.add(&file.name, &text, visit),
            Ok(Content::Binary) => self.skipped.binary += 1,
            Ok(Content::TooLarge) => self.skipped.too_large += 1,
            Err(_) => self.skipped.unreadable += 1,
        }
    }
}

fn check_inline(inline: &[InlineFile]) -> Result<(), SkillError> {
    if inline.len() > MAX_INLINE {
        return Err(SkillError::rejected(
            "content",
            format!("at most {MAX_INLINE} texts"),
            inline.len().to_string(),
        ));
    }
    for (index, file) in inline.iter().enumerate() {
        if file.name.is_empty()
            || file.name.len() > MAX_NAME
            || file.name.chars().any(char::is_control)
        {
            return Err(SkillError::rejected(
                format!("content[{index}].name"),
                "1 to 1024 bytes without control characters",
                format!("{} bytes", file.name.len()),
            ));
        }
    }
    let bytes: usize = inline.iter().map(|file| file.content.len()).sum();
    if bytes > MAX_INLINE_BYTES {
        return Err(SkillError::rejected(
            "content",
            format!("at most {MAX_INLINE_BYTES} bytes"),
            bytes.to_string(),
        ));
    }
    Ok(())
}

/// Refuses a request that names nothing to look at: an empty answer would look clean.
pub(super) fn require_some(inline: &[InlineFile], paths: &[String]) -> Result<(), SkillError> {
    if inline.is_empty() && paths.is_empty() {
        return Err(SkillError::rejected(
            "content",
            "at least one of content and paths",
            "neither",
        ));
    }
    Ok(())
}
