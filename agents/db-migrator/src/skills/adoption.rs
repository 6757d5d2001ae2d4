//! What skills take and answer about histories of other tools, baselines and late migrations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::SkillError;

use super::parts::{Decision, PlanReport, bounded};
use crate::{
    domain::{
        Migration, Risk, Verdict, Version,
        history::{ChecksumVerdict, DirtyDecision, Tool},
    },
    engine::{AdoptRequest, Adoption, Wanted},
};

/// Which history to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdoptChoice {
    /// The one that is there; nothing when there is none.
    Auto,
    /// That of sqlx.
    Sqlx,
    /// That of diesel.
    Diesel,
    /// That of refinery.
    Refinery,
    /// That of golang-migrate.
    GolangMigrate,
    /// That of dbmate.
    Dbmate,
    /// That of goose.
    Goose,
    /// That of Flyway.
    Flyway,
}

impl AdoptChoice {
    const fn wanted(self) -> Wanted {
        match self {
            Self::Auto => Wanted::Any,
            Self::Sqlx => Wanted::Tool(Tool::Sqlx),
            Self::Diesel => Wanted::Tool(Tool::Diesel),
            Self::Refinery => Wanted::Tool(Tool::Refinery),
            Self::GolangMigrate => Wanted::Tool(Tool::GolangMigrate),
            Self::Dbmate => Wanted::Tool(Tool::Dbmate),
            Self::Goose => Wanted::Tool(Tool::Goose),
            Self::Flyway => Wanted::Tool(Tool::Flyway),
        }
    }
}

/// What becomes of a pending migration that is older than the newest one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutOfOrder {
    /// It is refused by name; the default.
    #[default]
    Refuse,
    /// It runs, proven on top of what is in force.
    Run,
}

impl OutOfOrder {
    /// Marks the migrations of a source.
    pub(super) fn mark(self, source: &mut [Migration]) {
        for migration in source.iter_mut().filter(|_| self == Self::Run) {
            migration.may_run_late = true;
        }
    }
}

/// The fields about adoption, as a request holds them.
#[derive(Debug, Default)]
pub(super) struct AdoptFields<'a> {
    pub(super) adopt: Option<AdoptChoice>,
    pub(super) adopt_dirty: BTreeMap<String, DirtyDecision>,
    pub(super) baseline: Option<&'a str>,
    pub(super) plan_digest: Option<&'a str>,
    pub(super) release: Option<&'a str>,
}

impl<'a> AdoptFields<'a> {
    /// The request, when anything is to be taken over.
    pub(super) fn request(
        self,
        source: &'a [Migration],
    ) -> Result<Option<AdoptRequest<'a>>, SkillError> {
        let wanted = match (self.adopt, self.baseline) {
            (None, None) if self.adopt_dirty.is_empty() => return Ok(None),
            (Some(choice), None) => choice.wanted(),
            (None, Some(text)) => Wanted::Baseline(version("baseline", text)?),
            (Some(_), Some(_)) => {
                return Err(SkillError::rejected(
                    "baseline",
                    "either adopt or baseline",
                    "both",
                ));
            }
            (None, None) => {
                return Err(SkillError::rejected(
                    "adopt_dirty",
                    "adopt beside it",
                    "no adopt",
                ));
            }
        };
        let dirty = self
            .adopt_dirty
            .iter()
            .map(|(text, decision)| Ok((version("adopt_dirty", text)?, *decision)))
            .collect::<Result<_, SkillError>>()?;
        Ok(Some(AdoptRequest {
            source,
            wanted,
            dirty,
            plan_digest: self.plan_digest,
            release: self.release,
        }))
    }
}

/// Each member of a fleet has a history of its own, so it is taken over one by one.
pub(super) fn refuse_for_fleet(
    adopt: Option<AdoptChoice>,
    baseline: Option<&str>,
    out_of_order: OutOfOrder,
) -> Result<(), SkillError> {
    let named = [
        ("adopt", adopt.is_some()),
        ("baseline", baseline.is_some()),
        ("out_of_order", out_of_order != OutOfOrder::Refuse),
    ];
    named
        .into_iter()
        .find(|(_, given)| *given)
        .map_or(Ok(()), |(field, _)| {
            Err(SkillError::rejected(field, "one database", "a fleet"))
        })
}

fn version(field: &str, text: &str) -> Result<Version, SkillError> {
    Version::parse(text)
        .ok_or_else(|| SkillError::rejected(field, "a version such as 0003", bounded(text)))
}

/// What is taken over from another tool, or on a person's word, without being run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdoptionReport {
    /// The tool whose history it is; absent for a baseline.
    pub tool: Option<Tool>,
    /// Its table, which stays as it is.
    pub table: Option<String>,
    /// The migrations, oldest first.
    pub migrations: Vec<AdoptedMigration>,
    /// How the catalog differs from where the migrations lead; empty when it does not.
    pub differences: Vec<String>,
    /// Versions of the source that are then pending.
    pub pending: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// One migration that is taken over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdoptedMigration {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Whether its file is the one that the tool ran.
    pub checksum: ChecksumVerdict,
    /// Whether it was declared to be there rather than run.
    pub baseline: bool,
    /// What was proven about its rollback on an empty shadow.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Vec<String>,
}

impl From<&Adoption> for AdoptionReport {
    fn from(adoption: &Adoption) -> Self {
        let migrations = adoption.plan.migrations.iter().zip(&adoption.entries);
        let migrations = migrations.map(|(migration, entry)| AdoptedMigration {
            version: migration.version.to_string(),
            name: migration.name.clone(),
            checksum: entry.checksum,
            baseline: entry.baseline,
            verdict: migration.proof.verdict,
            evidence: migration.proof.evidence.clone(),
        });
        Self {
            tool: adoption.tool,
            table: adoption.table.clone(),
            migrations: migrations.collect(),
            differences: adoption.differences.clone(),
            pending: adoption.pending.clone(),
            notes: adoption.notes.clone(),
        }
    }
}

/// The plan of an adoption: nothing is run, so it lists no migration to apply.
pub(super) fn report(adoption: &Adoption, dev: bool) -> PlanReport {
    let refusals = adoption.refusals();
    let refused = !refusals.is_empty();
    PlanReport {
        database: adoption.plan.database.clone(),
        dialect: adoption.plan.dialect,
        decision: if refused {
            Decision::Refused
        } else {
            Decision::Accepted
        },
        approval_needed: refused || !dev,
        refusals,
        plan_digest: adoption.digest(),
        fingerprint: adoption.plan.fingerprint.clone(),
        risk: Risk::Low,
        migrations: Vec::new(),
        adoption: Some(adoption.into()),
        hooks: Vec::new(),
        fleet: None,
    }
}
