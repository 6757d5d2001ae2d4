//! `draft_postmortem`: what is known of an incident, as a document.

use a2a::types::{Artifact, Part};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::find;
use crate::{domain::postmortem::Postmortem, ledger::Ledger};

/// Drafts a post-mortem.
#[derive(Debug, Clone)]
pub struct DraftPostmortem(pub Ledger);

/// Which incident, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its id, for example `inc-3f9a0c51d2e8-1`.
    id: String,
    /// What the document is written in; Markdown when absent.
    #[serde(default)]
    format: Format,
}

/// What a document is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Markdown.
    #[default]
    Markdown,
    /// One HTML page that loads nothing.
    Html,
}

/// The draft.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The incident.
    pub id: String,
    /// Whether the incident is over; a draft before that is of what is known so far.
    pub over: bool,
    /// What the document is written in.
    pub format: Format,
    /// The document, also an artifact of its own.
    pub document: String,
}

impl Skill for DraftPostmortem {
    const ID: &'static str = "draft_postmortem";
    const NAME: &'static str = "Draft a post-mortem";
    const DESCRIPTION: &'static str = "Drafts an incident's post-mortem as Markdown or HTML: signals, change, decision, steps with durations, how to verify the audit records, and the questions for people.";
    const TAGS: &'static [&'static str] = &["incident", "post-mortem", "report"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let incident = find(context, &self.0, &input.id).await?;
        let draft = Postmortem::of(&incident);
        let (document, media_type) = match input.format {
            Format::Markdown => (draft.markdown(), "text/markdown"),
            Format::Html => (draft.html(), "text/html"),
        };
        let artifact = Artifact {
            artifact_id: "postmortem".into(),
            name: Some(format!("Post-mortem draft of {}", incident.id)),
            description: Some("The draft, as a document.".into()),
            parts: vec![Part {
                media_type: Some(media_type.into()),
                ..Part::text(document.clone())
            }],
            metadata: None,
            extensions: Vec::new(),
        };
        context.artifact(artifact, false, true)?;
        Ok(Output {
            over: !incident.is_open(),
            id: incident.id,
            format: input.format,
            document,
        })
    }
}
