//! Proves one migration, and all of them as a chain.

use shared::SkillError;

use super::{Prover, Shadowed};
use crate::{
    clients::{Session, TargetError},
    domain::{
        Migration, PlannedMigration, Verdict,
        catalog::Difference,
        inverse::Blueprint,
        proof::{Inverse, Observed, Snapshot, judge},
        source::Script,
        statement::Statement,
    },
    engine::{
        EngineError,
        invert::{Goal, search},
        online::Work,
        shadow::{again, refusal, run, snapshot, unproven},
    },
};

/// At most this many differences in a sentence of evidence.
const MAX_DIFFERENCES: usize = 6;

/// A migration with its proof.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) planned: PlannedMigration,
    /// What reverts it.
    pub(super) inverse: Option<Script>,
    /// Whether the shadow is not as after the migration.
    pub(super) spoiled: bool,
}

/// What undoes a migration, before it is proven.
enum Candidate {
    Author(Script),
    Synthesised(Script),
    Nothing,
    /// What every way back would leave different.
    Impossible(Vec<Difference>),
}

impl Prover<'_> {
    /// Proves a migration with its author's down; where there is none, or it is wrong, with an inverse from the catalogs.
    /// `broken` says why the author's cannot be taken.
    pub(super) async fn prove_one(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        broken: Option<&str>,
    ) -> Result<Proven, EngineError> {
        if let Some(work) = self.works.get_mut(at) {
            work.prepare(shadow.session.as_mut()).await?;
        }
        let author = self.work(at)?.migration.down.clone();
        let Some(author) = author else {
            let proven = self.synthesise(shadow, at).await?;
            return Ok(proven.without_author());
        };
        let Some(reason) = broken.map(str::to_owned) else {
            let authored = self.run_halves(shadow, at, None).await?;
            if authored.planned.proof.verdict != Verdict::Wrong {
                return Ok(authored);
            }
            self.renew(shadow, at).await?;
            let reason = authored.planned.proof.evidence.join("; ");
            let proven = self.synthesise(shadow, at).await?;
            return Ok(proven.instead_of(authored, &reason));
        };
        let mut proven = self.synthesise(shadow, at).await?;
        if proven.inverse.is_none() {
            proven.planned.down = Some(unproven(&author));
            proven.planned.inverse = Inverse::Author;
            proven.planned.proof.verdict = Verdict::Wrong;
            proven.planned.proof.evidence.insert(0, reason);
        } else {
            proven.explain(&reason);
        }
        Ok(proven)
    }

    async fn synthesise(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
    ) -> Result<Proven, EngineError> {
        let blueprint = shadow.session.blueprint().await?;
        self.run_halves(shadow, at, Some(&blueprint)).await
    }

    fn work(&self, at: usize) -> Result<&Work, EngineError> {
        self.works
            .get(at)
            .ok_or_else(|| SkillError::failed("the plan has no such migration").into())
    }

    /// Up, what undoes it, and up again: the author's down, or with a blueprint an inverse that leads back to it.
    async fn run_halves(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        blueprint: Option<&Blueprint>,
    ) -> Result<Proven, EngineError> {
        let before = snapshot(shadow.session.as_mut()).await?;
        let up = self.up(shadow, at).await?;
        let after = snapshot(shadow.session.as_mut()).await?;
        let work = self.work(at)?;
        let migration = &work.migration;
        let renames = work.renames();
        let goal = blueprint.map(|blueprint| Goal {
            blueprint,
            before: &before,
            renames: &renames,
        });
        let candidate = candidate(shadow, migration, goal.as_ref(), &after).await?;
        let (inverse, script) = candidate.parts();
        let mut tried = Tried::default();
        if let Some(script) = &script {
            tried = go_back(shadow.session.as_mut(), script, work).await?;
        }
        let observed = Observed {
            before,
            after,
            down: tried.restored,
            second_up: tried.second_up,
            unseen_rows: work.unseen(&shadow.unseen_rows),
            renames,
            inverse,
            writes: writes(migration),
        };
        let mut proof = judge(&observed);
        proof
            .adds
            .retain(|added| !work.derives(&added.place.table, added.place.column.as_ref()));
        if let Candidate::Impossible(differences) = &candidate {
            proof.evidence.push(impossible(differences));
        }
        let spoiled = script.is_some() && !proof.verdict.is_proven();
        Ok(Proven {
            planned: PlannedMigration {
                version: migration.version.clone(),
                name: migration.name.clone(),
                checksum: migration.checksum.clone(),
                up,
                down: tried.down,
                inverse,
                proof,
                fingerprint_before: observed.before.catalog.fingerprint(),
                fingerprint_after: observed.after.catalog.fingerprint(),
                fingerprint_reverted: tried.fingerprint,
                parts: work.parts.clone(),
            },
            inverse: script,
            spoiled,
        })
    }

    /// A down that works alone can fail in a chain: all proven downs in reverse, to the first that is not. Answers with
    /// the author's down that has to be replaced.
    pub(super) async fn prove_chain(
        &mut self,
        shadow: &mut Shadowed,
        proven: &mut [Proven],
    ) -> Result<Option<(usize, String)>, SkillError> {
        for (at, one) in proven.iter_mut().enumerate().rev() {
            if !one.planned.proof.verdict.is_proven() {
                return Ok(None);
            }
            let reverted = match &one.inverse {
                Some(script) => run(shadow.session.as_mut(), script).await.map(drop),
                None => Ok(()),
            };
            let broken = match reverted {
                Ok(()) => {
                    let fingerprint = shadow
                        .session
                        .catalog()
                        .await
                        .map_err(|error| self.job.skill(error))?
                        .fingerprint();
                    (fingerprint != one.planned.fingerprint_before)
                        .then(|| "it leaves another catalog".to_owned())
                }
                Err(error) => Some(refusal(error).map_err(|error| self.job.skill(error))?),
            };
            if let Some(reason) = broken {
                let script = one.planned.inverse.script();
                let reason = format!(
                    "{script} works alone but not after the newer ones were reverted: {reason}"
                );
                if one.planned.inverse == Inverse::Author {
                    return Ok(Some((at, reason)));
                }
                one.planned.proof.verdict = Verdict::Wrong;
                one.planned.proof.evidence = vec![reason];
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// Runs what undoes a migration, and its up again.
async fn go_back(
    session: &mut dyn Session,
    script: &Script,
    work: &Work,
) -> Result<Tried, TargetError> {
    match run(session, script).await {
        Ok(planned) => {
            let restored = snapshot(session).await?;
            let second_up = again(session, &work.migration.up).await?;
            work.fill(session).await?;
            Ok(Tried {
                down: Some(planned),
                fingerprint: Some(restored.catalog.fingerprint()),
                restored: Some(Ok(restored)),
                second_up: Some(second_up),
            })
        }
        Err(error) => Ok(Tried {
            down: Some(unproven(script)),
            restored: Some(Err(refusal(error)?)),
            ..Tried::default()
        }),
    }
}

/// What may undo a migration: the author's down, or with a goal what the search finds.
async fn candidate(
    shadow: &mut Shadowed,
    migration: &Migration,
    goal: Option<&Goal<'_>>,
    after: &Snapshot,
) -> Result<Candidate, TargetError> {
    let Some(goal) = goal else {
        let down = migration.down.clone();
        return Ok(down.map_or(Candidate::Nothing, Candidate::Author));
    };
    if goal.before == after {
        return Ok(Candidate::Nothing);
    }
    let found = search(shadow.session.as_mut(), goal).await?;
    Ok(found.map_or_else(Candidate::Impossible, Candidate::Synthesised))
}

/// What came of going back.
#[derive(Debug, Default)]
struct Tried {
    down: Option<crate::domain::plan::PlannedScript>,
    restored: Option<Result<Snapshot, String>>,
    second_up: Option<Result<crate::domain::Catalog, String>>,
    fingerprint: Option<String>,
}

impl Candidate {
    fn parts(&self) -> (Inverse, Option<Script>) {
        match self {
            Self::Author(script) => (Inverse::Author, Some(script.clone())),
            Self::Synthesised(script) => (Inverse::Synthesised, Some(script.clone())),
            Self::Nothing | Self::Impossible(_) => (Inverse::None, None),
        }
    }
}

impl Proven {
    /// The proof of a migration whose author wrote no down.
    fn without_author(mut self) -> Self {
        if self.inverse.is_none() {
            return self;
        }
        if self.planned.proof.verdict == Verdict::Wrong {
            let proof = &mut self.planned.proof;
            proof.verdict = Verdict::Irreversible;
            proof.evidence.insert(
                0,
                "it has no down script, and none can be synthesised".into(),
            );
            self.planned.down = None;
            self.planned.inverse = Inverse::None;
            self.planned.fingerprint_reverted = None;
            self.inverse = None;
        } else {
            self.explain("it has no down script");
        }
        self
    }

    /// This proof in the place of an author's, unless it is no better.
    fn instead_of(mut self, mut authored: Self, reason: &str) -> Self {
        let holds = self.inverse.is_some() && self.planned.proof.verdict != Verdict::Wrong;
        if holds {
            self.explain(reason);
            return self;
        }
        if self.planned.inverse == Inverse::None && self.planned.proof.verdict.is_proven() {
            self.planned.proof.evidence.insert(0, reason.to_owned());
            return self;
        }
        let why = self.planned.proof.evidence.pop();
        authored.planned.proof.evidence.extend(why);
        authored.spoiled = self.spoiled;
        authored
    }

    /// Says why the inverse is not the author's.
    fn explain(&mut self, reason: &str) {
        self.planned.proof.evidence.insert(
            0,
            format!("the inverse is synthesised from the catalogs, because {reason}"),
        );
    }
}

fn impossible(differences: &[Difference]) -> String {
    let shown = differences
        .iter()
        .take(MAX_DIFFERENCES)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    format!("no inverse can be synthesised: every way back leaves {shown}")
}

/// Statements that may write rows, by their keywords.
pub(super) fn writes(migration: &Migration) -> Vec<String> {
    const WRITING: [&str; 9] = [
        "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "WITH", "DO", "CALL", "SELECT",
    ];
    let writing = |statement: &&Statement| {
        let first = statement.kind.split(' ').next().unwrap_or_default();
        WRITING.contains(&first)
    };
    let statements = migration.up.statements.iter().filter(writing);
    statements
        .map(|statement| format!("{} {}", statement.kind, statement.object))
        .map(|what| what.trim_end().to_owned())
        .collect()
}
