//! Decides what is taken over, and what each of it is worth.

use shared::SkillError;

use super::{AdoptRequest, Adoption, AdoptionEntry, Wanted, history, replay::Replayed};
use crate::{
    clients::Session,
    domain::{
        Catalog, Inverse, Migration, Plan, PlannedMigration, Verdict, Version,
        catalog::Change,
        history::{AdoptError, Adopted, ChecksumVerdict, History, adopted, left, placed},
        plan::Parts,
        proof::Proof,
    },
    engine::{Job, shadow::unproven},
};

/// Most differences that are listed.
const MAX_DIFFERENCES: usize = 12;
const BASELINE: &str = "it was declared to be there and never run, so nothing reverts it";

/// A history and the catalog that is there.
struct Found {
    history: History,
    live: Catalog,
}

impl Job<'_> {
    pub(super) async fn adoption(
        &self,
        session: &mut dyn Session,
        request: &AdoptRequest<'_>,
    ) -> Result<Option<Adoption>, SkillError> {
        if self.is_ours(session).await? {
            return Ok(None);
        }
        let found = self.reading(history::find(session)).await?;
        let history = match &request.wanted {
            Wanted::Baseline(version) => {
                refuse_history(&found)?;
                return self.baseline(session, request, version).await.map(Some);
            }
            wanted => choose(wanted, found)?,
        };
        let Some(history) = history else {
            return Ok(None);
        };
        let live = self.reading(session.catalog()).await?;
        let found = Found { history, live };
        let taken = match adopted(&found.history, request.source, &request.dirty) {
            Ok(taken) => taken,
            Err(error) => {
                let error = self.explain_adoption(session, request, &found, error);
                return Err(error.await);
            }
        };
        self.weigh(session, request, found, &taken).await.map(Some)
    }

    /// Replays what is taken over; what leads to the catalog that is there is proven like an applied one.
    async fn weigh(
        &self,
        session: &mut dyn Session,
        request: &AdoptRequest<'_>,
        Found { history, live }: Found,
        taken: &[Adopted<'_>],
    ) -> Result<Adoption, SkillError> {
        let migrations = taken.iter().map(|a| a.migration).collect::<Vec<_>>();
        let replayed = self.replay(session, &migrations).await?;
        let mut differences = differences(&replayed, &live);
        let mut planned = Vec::new();
        if differences.is_empty() {
            let empty = replayed.empty.clone();
            match self.prove_from_nothing(session, empty, &migrations).await {
                Ok(proven) => planned = proven,
                Err(SkillError::Failed { message, .. }) => differences.push(message),
                Err(error) => return Err(error),
            }
        }
        if !differences.is_empty() {
            planned = assumed(taken, &replayed, &differences, &live.fingerprint());
        }
        for ((migration, adopted), version) in planned.iter_mut().zip(taken).zip(placed(taken)) {
            annotate(migration, adopted);
            migration.version = version;
        }
        Ok(Adoption {
            tool: Some(history.tool),
            table: Some(history.table),
            plan: self.adopted_plan(session, &live, planned),
            entries: taken.iter().map(entry).collect(),
            differences,
            pending: pending(request.source, &migrations),
            notes: history.notes,
        })
    }

    async fn baseline(
        &self,
        session: &mut dyn Session,
        request: &AdoptRequest<'_>,
        version: &Version,
    ) -> Result<Adoption, SkillError> {
        if !request.source.iter().any(|m| m.version == *version) {
            return Err(SkillError::rejected(
                "baseline",
                "a version of the source",
                version.to_string(),
            ));
        }
        let live = self.reading(session.catalog()).await?;
        let fingerprint = live.fingerprint();
        let ran = |m: &&Migration| m.version.baselined().is_none() && m.version <= *version;
        let below = request.source.iter().filter(ran);
        let below = below.collect::<Vec<_>>();
        let planned = below
            .iter()
            .map(|migration| PlannedMigration {
                down: None,
                ..taken_as_is(migration, Verdict::Irreversible, BASELINE, &fingerprint)
            })
            .collect();
        let entry = AdoptionEntry {
            checksum: ChecksumVerdict::NotRecorded,
            baseline: true,
        };
        Ok(Adoption {
            tool: None,
            table: None,
            plan: self.adopted_plan(session, &live, planned),
            entries: vec![entry; below.len()],
            differences: Vec::new(),
            pending: pending(request.source, &below),
            notes: Vec::new(),
        })
    }

    fn adopted_plan(
        &self,
        session: &dyn Session,
        live: &Catalog,
        migrations: Vec<PlannedMigration>,
    ) -> Plan {
        Plan {
            database: self.database.name.clone(),
            dialect: session.dialect(),
            fingerprint: live.fingerprint(),
            migrations,
            hooks: Vec::new(),
        }
    }

    /// The caller's error; for a dirty version with what the catalog says about it.
    async fn explain_adoption(
        &self,
        session: &mut dyn Session,
        request: &AdoptRequest<'_>,
        Found { history, live }: &Found,
        error: AdoptError,
    ) -> SkillError {
        let AdoptError::Dirty { version, .. } = &error else {
            let field = match error {
                AdoptError::NotDirty(_) => "adopt_dirty",
                _ => "source",
            };
            return SkillError::rejected(field, "what the history says", error.to_string());
        };
        let up_to = request.source.iter().filter(|migration| {
            let before = migration.version < *version
                && (history.cumulative
                    || history
                        .entries
                        .iter()
                        .any(|e| e.version == migration.version));
            before || migration.version == *version
        });
        let up_to = up_to.collect::<Vec<_>>();
        let replayed = match self.replay(session, &up_to).await {
            Ok(replayed) => replayed,
            Err(error) => return error,
        };
        let says = what_the_catalog_says(&replayed, up_to.len(), &live.fingerprint());
        SkillError::rejected(
            "adopt_dirty",
            format!("{{\"{version}\": \"applied\"}} or {{\"{version}\": \"not_applied\"}}"),
            format!("{error}; {says}"),
        )
    }
}

/// Where the catalog stands between before and after the last of `count` migrations.
fn what_the_catalog_says(replayed: &Replayed, count: usize, live: &str) -> String {
    let after = replayed.fingerprints.get(count.wrapping_sub(1));
    let before = match count {
        0 | 1 => Some(replayed.empty.fingerprint()),
        _ => replayed.fingerprints.get(count - 2).cloned(),
    };
    if after.is_some_and(|after| after == live) {
        "the catalog is as it is after it".into()
    } else if before.is_some_and(|before| before == live) {
        "the catalog is as it is before it".into()
    } else {
        "the catalog is neither as before nor as after it, so look at what it left".into()
    }
}

fn refuse_history(found: &[History]) -> Result<(), SkillError> {
    found.first().map_or(Ok(()), |history| {
        Err(SkillError::rejected(
            "baseline",
            "a database without the history of another tool, or `adopt` in its place",
            format!("a history of {} in {}", history.tool.name(), history.table),
        ))
    })
}

fn choose(wanted: &Wanted, mut found: Vec<History>) -> Result<Option<History>, SkillError> {
    let names = found
        .iter()
        .map(|history| format!("{} in {}", history.tool.name(), history.table))
        .collect::<Vec<_>>()
        .join(", ");
    if let Wanted::Tool(tool) = wanted {
        found.retain(|history| history.tool == *tool);
        if found.is_empty() {
            let there = if names.is_empty() { "none" } else { &names };
            return Err(SkillError::rejected(
                "adopt",
                "a tool whose history is in the database",
                format!("{}, but there is {there}", tool.name()),
            ));
        }
    }
    if found.len() > 1 {
        return Err(SkillError::rejected(
            "adopt",
            "the one history to take over",
            names,
        ));
    }
    Ok(found.pop())
}

fn differences(replayed: &Replayed, live: &Catalog) -> Vec<String> {
    if let Some(failure) = &replayed.failure {
        return vec![failure.clone()];
    }
    if replayed.last.fingerprint() == live.fingerprint() {
        return Vec::new();
    }
    let all = replayed.last.differences(live);
    let all = all
        .iter()
        .filter(|difference| difference.change != Change::Moved);
    all.take(MAX_DIFFERENCES).map(ToString::to_string).collect()
}

/// What is taken on the other tool's word.
fn assumed(
    taken: &[Adopted<'_>],
    replayed: &Replayed,
    differences: &[String],
    live: &str,
) -> Vec<PlannedMigration> {
    let mut fingerprints = replayed.fingerprints.iter();
    let evidence = format!(
        "the migrations do not lead to the catalog that is there: {}",
        differences.join("; ")
    );
    let planned = taken.iter().enumerate().map(|(at, adopted)| {
        let reached = fingerprints.next().map_or(live, String::as_str);
        let after = if at + 1 == taken.len() { live } else { reached };
        taken_as_is(adopted.migration, Verdict::Unproven, &evidence, after)
    });
    planned.collect()
}

fn taken_as_is(
    migration: &Migration,
    verdict: Verdict,
    evidence: &str,
    fingerprint_after: &str,
) -> PlannedMigration {
    PlannedMigration {
        version: migration.version.clone(),
        name: migration.name.clone(),
        checksum: migration.checksum.clone(),
        up: unproven(&migration.up),
        down: migration.down.as_ref().map(unproven),
        inverse: if migration.down.is_some() {
            Inverse::Author
        } else {
            Inverse::None
        },
        proof: Proof {
            verdict,
            evidence: vec![evidence.into()],
            destroys: Vec::new(),
            adds: Vec::new(),
            touches: Vec::new(),
        },
        fingerprint_before: String::new(),
        fingerprint_after: fingerprint_after.into(),
        fingerprint_reverted: None,
        parts: Parts::default(),
    }
}

fn annotate(migration: &mut PlannedMigration, adopted: &Adopted<'_>) {
    let evidence = &mut migration.proof.evidence;
    if adopted.baseline {
        migration.proof.verdict = Verdict::Irreversible;
        *evidence = vec![BASELINE.into()];
        migration.down = None;
        migration.inverse = Inverse::None;
        migration.fingerprint_reverted = None;
    } else if migration.proof.verdict != Verdict::Unproven {
        evidence.push("it was proven without rows: what it did to them then is not known".into());
    }
    if adopted.checksum == ChecksumVerdict::Differs {
        evidence.push("its file was edited since it was applied".into());
    }
}

fn entry(adopted: &Adopted<'_>) -> AdoptionEntry {
    AdoptionEntry {
        checksum: adopted.checksum,
        baseline: adopted.baseline,
    }
}

fn pending(source: &[Migration], taken: &[&Migration]) -> Vec<String> {
    let left = left(source, taken).into_iter();
    left.map(|migration| migration.version.to_string())
        .collect()
}
