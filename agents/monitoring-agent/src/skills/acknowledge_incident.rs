//! `acknowledge_incident`: somebody has taken it on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};

use super::find;
use crate::{
    domain::{At, Status, incident::Acknowledgement},
    ledger::Ledger,
    watch::now,
};

/// Longest note, in characters.
const MAX_NOTE: usize = 500;
/// Longest acknowledgement: 30 days.
const LONGEST_MS: i64 = 30 * 86_400_000;

/// Takes an incident on.
#[derive(Debug, Clone)]
pub struct AcknowledgeIncident(pub Ledger);

/// Which incident, until when and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its id, for example `inc-3f9a0c51d2e8-1`.
    id: String,
    /// Until when it is taken on, at most 30 days from now; until it is over when absent.
    #[serde(default)]
    until: Option<At>,
    /// What others should know, at most 500 characters.
    #[serde(default)]
    note: Option<String>,
    /// Return what would be kept only (the default).
    #[serde(default = "yes")]
    dry_run: bool,
    /// Names this acknowledgement; required when `dry_run` is false.
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "the runtime reads it; it stands here for the schema"
    )]
    idempotency_key: Option<String>,
}

fn yes() -> bool {
    true
}

/// The acknowledgement.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Whether it is kept.
    pub acknowledged: bool,
    /// The incident.
    pub id: String,
    /// Where the incident stands.
    pub status: Status,
    /// Who, when, until when and why.
    pub acknowledgement: Acknowledgement,
    /// The acknowledgement that it replaces.
    pub replaces: Option<Acknowledgement>,
}

impl Skill for AcknowledgeIncident {
    const ID: &'static str = "acknowledge_incident";
    const NAME: &'static str = "Acknowledge an incident";
    const DESCRIPTION: &'static str = "Notes that the caller has taken an open incident on, until when, and a remark for others; without dry_run: false it shows what would be noted.";
    const TAGS: &'static [&'static str] = &["incident", "monitoring", "on-call"];
    const EFFECT: Effect = Effect::Mutate;

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let now = now();
        let note = input.note.map(|note| note.trim().to_owned());
        check_note(note.as_deref())?;
        check_until(input.until, now)?;
        let incident = find(context, &self.0, &input.id).await?;
        if !incident.is_open() {
            let expected = "the id of an open incident";
            return Err(SkillError::rejected("id", expected, "one that is over"));
        }
        let acknowledgement = Acknowledgement {
            by: context.caller().name.clone(),
            at: now,
            until: input.until,
            note: note.filter(|note| !note.is_empty()),
        };
        if !input.dry_run {
            self.0.acknowledge(&incident.id, &acknowledgement).await?;
        }
        Ok(Output {
            acknowledged: !input.dry_run,
            id: incident.id,
            status: incident.status,
            acknowledgement,
            replaces: incident.acknowledged,
        })
    }
}

fn check_note(note: Option<&str>) -> Result<(), SkillError> {
    let note = note.unwrap_or_default();
    if note.chars().count() > MAX_NOTE || note.chars().any(|c| c.is_control() && c != '\n') {
        let expected = "a text of at most 500 characters without control characters";
        return Err(SkillError::rejected("note", expected, "another text"));
    }
    Ok(())
}

fn check_until(until: Option<At>, now: At) -> Result<(), SkillError> {
    let fits = |until: At| (1..=LONGEST_MS).contains(&until.since(now));
    if until.is_none_or(fits) {
        return Ok(());
    }
    let expected = "a time within the next 30 days";
    Err(SkillError::rejected("until", expected, "another time"))
}
