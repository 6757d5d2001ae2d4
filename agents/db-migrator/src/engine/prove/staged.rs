//! Proves a destructive migration once more with what it takes away retained.

use std::collections::BTreeMap;

use super::{
    Prover, Shadowed,
    migration::{Proven, writes},
    stage::{Form, stage},
};
use crate::{
    clients::{Session, TargetError},
    domain::{
        Dialect, Migration, PlannedMigration, Statement,
        expand::rewritten,
        proof::{Inverse, Observed, Verdict, judge},
        source::Script,
        staging::{
            Kept, Staged,
            compose::{composed, reversed},
            pieces::pieces,
            taken,
        },
    },
    engine::{
        EngineError,
        invert::{Goal, search},
        shadow::{again, in_one_transaction, run, snapshot},
    },
};

impl Prover<'_> {
    /// The plan of a migration whose plain form is not proven, in a form that loses nothing within the retention window.
    /// The plain plan when there is no such form; the shadow is left after up in both cases.
    pub(super) async fn prove_staged(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        plain: Proven,
    ) -> Result<Proven, EngineError> {
        let Some(migration) = self.works.get(at).map(|work| work.migration.clone()) else {
            return Ok(plain);
        };
        let dialect = shadow.session.dialect();
        let takes = |statement: &Statement| {
            taken(statement, dialect).is_some() || pieces(&statement.text, dialect).is_some()
        };
        let positions = |statement: &Statement| drops_sequence(statement, dialect);
        let loses = migration.up.statements.iter().any(positions);
        let plain = if loses {
            without_position(plain)
        } else {
            plain
        };
        let nothing = plain.planned.proof.verdict.is_proven()
            || self.retention.seconds().is_none()
            || !migration.up.statements.iter().any(takes);
        if nothing {
            return Ok(plain);
        }
        let mut reasons = Vec::new();
        let form = self
            .staged_form(shadow, at, (&migration, &plain), &mut reasons)
            .await;
        match form {
            Ok(Some(planned)) => Ok(Proven {
                planned,
                inverse: self
                    .works
                    .get(at)
                    .and_then(|work| work.migration.down.clone()),
                spoiled: false,
            }),
            Ok(None) | Err(EngineError::Target(TargetError::Sql { .. })) => {
                if let Some(work) = self.works.get_mut(at) {
                    work.migration = migration;
                }
                self.renew(shadow, at + 1).await?;
                Ok(not_retained(plain, &reasons))
            }
            Err(error) => Err(error),
        }
    }

    async fn staged_form(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        (migration, plain): (&Migration, &Proven),
        reasons: &mut Vec<String>,
    ) -> Result<Option<PlannedMigration>, EngineError> {
        self.renew(shadow, at).await?;
        let session = shadow.session.as_mut();
        let (blueprint, before) = (session.blueprint().await?, snapshot(session).await?);
        let form = stage(session, migration, reasons).await?;
        if form.staged.is_empty() {
            return Ok(None);
        }
        let goal = Goal {
            blueprint: &blueprint,
            before: &before,
            renames: &[],
        };
        let rest = mirrored(session, &form, &goal).await?;
        let (up, staged) = (form.up, form.staged);
        let by_name = form.whole
            && staged.iter().all(|one| one.retained.kind != Kept::Rows)
            && shadow.session.dialect() == Dialect::Postgres;
        let ways = [
            (Inverse::Author, migration.down.as_ref()),
            (
                Inverse::Synthesised,
                plain
                    .inverse
                    .as_ref()
                    .filter(|_| plain.planned.inverse == Inverse::Synthesised),
            ),
        ];
        let dialect = shadow.session.dialect();
        let mirror = rest.map(|texts| (Inverse::Synthesised, written(texts, dialect)));
        for (inverse, down) in downs(&ways, &staged, dialect).into_iter().chain(mirror) {
            self.renew(shadow, at).await?;
            let whole = rewritten(migration, up.clone(), Some(down));
            let tried = (whole, &plain.planned, by_name, inverse);
            if let Some(planned) = self.prove_form(shadow, at, tried).await? {
                if let Some(work) = self.works.get_mut(at) {
                    work.back = form.back;
                    work.parts
                        .retained
                        .extend(staged.into_iter().map(|one| one.retained));
                    return Ok(Some(PlannedMigration {
                        parts: work.parts.clone(),
                        ..planned
                    }));
                }
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Up, down, up of one form. `None` when it is not proven or its up differs from the plain one.
    async fn prove_form(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        (form, plain, by_name, inverse): (Migration, &PlannedMigration, bool, Inverse),
    ) -> Result<Option<PlannedMigration>, EngineError> {
        // Renaming and moving do not touch rows, so it does not matter that the shadow may hold none.
        let unseen_rows = if by_name {
            BTreeMap::new()
        } else {
            shadow.unseen_rows.clone()
        };
        let Some(work) = self.works.get_mut(at) else {
            return Ok(None);
        };
        work.migration = form;
        let session = shadow.session.as_mut();
        let before = snapshot(session).await?;
        let up = work.up(session).await?;
        let after = snapshot(session).await?;
        if after.catalog.fingerprint() != plain.fingerprint_after {
            return Ok(None);
        }
        let Some(script) = &work.migration.down else {
            return Ok(None);
        };
        let down = match run(session, script).await {
            Ok(down) => down,
            Err(TargetError::Sql { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let restored = snapshot(session).await?;
        let second_up = again(session, &work.migration.up).await?;
        work.fill(session).await?;
        let fingerprint_reverted = Some(restored.catalog.fingerprint());
        let observed = Observed {
            before,
            after,
            down: Some(Ok(restored)),
            second_up: Some(second_up),
            unseen_rows,
            renames: Vec::new(),
            inverse,
            // What is written is retained: only rows that the shadow does not hold are not seen to come back.
            writes: if by_name {
                Vec::new()
            } else {
                writes(&work.migration)
            },
        };
        let mut proof = judge(&observed);
        proof.adds.clone_from(&plain.proof.adds);
        proof.touches.clone_from(&plain.proof.touches);
        proof.evidence.push(String::from(
            "what it takes away is retained, and the rollback brings it back",
        ));
        Ok(proof.verdict.is_proven().then(|| PlannedMigration {
            up,
            down: Some(down),
            proof,
            fingerprint_before: observed.before.catalog.fingerprint(),
            fingerprint_after: observed.after.catalog.fingerprint(),
            fingerprint_reverted,
            inverse,
            ..plain.clone()
        }))
    }
}

/// Ways back, best first: the author's with what is retained in it, one from the catalogs likewise.
fn downs(
    ways: &[(Inverse, Option<&Script>)],
    staged: &[Staged],
    dialect: Dialect,
) -> Vec<(Inverse, Script)> {
    let composed = ways.iter().filter_map(|(inverse, down)| {
        let texts = composed((*down)?, staged, dialect);
        Some((*inverse, written(texts, dialect)))
    });
    composed.collect()
}

fn written(texts: Vec<String>, dialect: Dialect) -> Script {
    let statements = texts.into_iter().map(|text| statement(text, dialect));
    Script::of(statements.collect())
}

/// The mirror of a script: what is retained comes back, newest first, and after it what the catalogs still lack. `None`
/// when that does not lead back. The shadow is spoiled.
async fn mirrored(
    session: &mut dyn Session,
    form: &Form,
    goal: &Goal<'_>,
) -> Result<Option<Vec<String>>, TargetError> {
    let mut texts = reversed(&form.staged);
    if form.whole {
        return Ok(Some(texts));
    }
    let back = texts.iter().map(String::as_str).collect::<Vec<_>>();
    match in_one_transaction(session, &back, form.up.foreign_keys_off()).await {
        Ok(()) => {}
        Err(TargetError::Sql { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    let found = search(session, goal).await?;
    Ok(found.ok().map(|rest| {
        let rest = rest.statements.into_iter();
        texts.extend(rest.map(|statement| statement.text));
        texts
    }))
}

/// A statement of a way back: the author's as it was, or ours.
fn statement(text: String, dialect: Dialect) -> Statement {
    crate::domain::expand::classified(&text, dialect).unwrap_or_else(|| Statement {
        commits_alone: false,
        ..crate::domain::expand::own_statement(text)
    })
}

/// Whether a statement drops sequences of which no column is the owner.
fn drops_sequence(statement: &Statement, dialect: Dialect) -> bool {
    dialect == Dialect::Postgres && statement.kind == "DROP SEQUENCE"
}

/// A sequence that is made anew begins anew: catalog and rows do not show it.
fn without_position(mut plain: Proven) -> Proven {
    let proof = &mut plain.planned.proof;
    if proof.verdict.is_proven() {
        proof.verdict = Verdict::Lossy;
        let lost = String::from("a sequence that is made anew gives its first numbers again");
        proof.evidence.insert(0, lost.clone());
        proof.destroys.push(lost);
    }
    plain
}

/// The plain plan, and why what it takes away is not kept.
fn not_retained(mut plain: Proven, reasons: &[String]) -> Proven {
    let why = if reasons.is_empty() {
        String::from("no form of it that keeps everything leads to the same catalog and back")
    } else {
        reasons.join("; ")
    };
    let evidence = &mut plain.planned.proof.evidence;
    evidence.push(format!("what it takes away cannot be retained: {why}"));
    plain.spoiled = false;
    plain
}
