//! Proves a destructive migration once more with what it takes away retained.

use std::collections::BTreeMap;

use super::{
    Prover, Shadowed,
    migration::{Proven, writes},
};
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Catalog, Dialect, Migration, PlannedMigration, Statement,
        expand::rewritten,
        proof::{Inverse, Observed, judge},
        source::Script,
        staging::{
            Kept, Staged, Taken,
            compose::{composed, reversed},
            postgres, sqlite, taken,
        },
    },
    engine::{
        EngineError, facts,
        shadow::{again, run, snapshot},
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
        let takes = |statement: &Statement| taken(statement, dialect).is_some();
        let nothing = plain.planned.proof.verdict.is_proven()
            || self.retention.seconds().is_none()
            || !migration.up.statements.iter().any(takes);
        if nothing {
            return Ok(plain);
        }
        match self.staged_form(shadow, at, (&migration, &plain)).await {
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
                Ok(Proven {
                    spoiled: false,
                    ..plain
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn staged_form(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        (migration, plain): (&Migration, &Proven),
    ) -> Result<Option<PlannedMigration>, EngineError> {
        self.renew(shadow, at).await?;
        let Some((up, staged, places)) = stage(shadow.session.as_mut(), migration).await? else {
            return Ok(None);
        };
        let by_name = staged.len() == migration.up.statements.len()
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
        for (inverse, down) in downs(&ways, (migration, &staged), shadow.session.dialect()) {
            self.renew(shadow, at).await?;
            let form = rewritten(migration, up.clone(), Some(down));
            let tried = (form, &plain.planned, by_name, inverse);
            if let Some(planned) = self.prove_form(shadow, at, tried).await? {
                if let Some(work) = self.works.get_mut(at) {
                    let back = staged.iter().map(|one| one.down.join(";\n"));
                    work.back = places.into_iter().zip(back).collect();
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

/// Ways back, best first: the author's with what is retained in it, one from the catalogs likewise, then the mirror of a
/// script that only takes away.
fn downs(
    ways: &[(Inverse, Option<&Script>)],
    (migration, staged): (&Migration, &[Staged]),
    dialect: Dialect,
) -> Vec<(Inverse, Script)> {
    let script = |texts: Vec<String>| {
        Script::of(
            texts
                .into_iter()
                .map(|text| statement(text, dialect))
                .collect(),
        )
    };
    let composed = ways.iter().filter_map(|(inverse, down)| {
        Some((*inverse, script(composed((*down)?, staged, dialect))))
    });
    let mirrored = (staged.len() == migration.up.statements.len())
        .then(|| (Inverse::Synthesised, script(reversed(staged))));
    composed.chain(mirrored).collect()
}

/// A statement of a way back: the author's as it was, or ours.
fn statement(text: String, dialect: Dialect) -> Statement {
    crate::domain::expand::classified(&text, dialect).unwrap_or_else(|| Statement {
        commits_alone: false,
        ..crate::domain::expand::own_statement(text)
    })
}

/// Runs a script statement by statement on a shadow to learn what hangs on what it takes away at that moment.
async fn stage(
    session: &mut dyn Session,
    migration: &Migration,
) -> Result<Option<(Script, Vec<Staged>, Vec<usize>)>, EngineError> {
    let up = &migration.up;
    let before = session.catalog().await?;
    let foreign_keys_off = up.foreign_keys_off();
    let (mut statements, mut staged, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (ordinal, statement) in (1..).zip(&up.statements) {
        let own = form(
            session,
            (statement, &before),
            (migration.version.as_str(), ordinal),
        )
        .await?;
        let text = own
            .as_ref()
            .map_or_else(|| statement.text.clone(), |own| own.up.join(";\n"));
        if !statement.foreign_key_switch {
            if statement.transactional {
                session
                    .begin(Transaction {
                        lock_timeout_ms: 0,
                        foreign_keys_off,
                    })
                    .await?;
                if let Err(error) = session.execute(&text).await {
                    session.rollback().await?;
                    return Err(error.into());
                }
                session.commit().await?;
            } else {
                session.execute(&text).await?;
            }
        }
        places.extend(own.as_ref().map(|_| ordinal - 1));
        staged.extend(own);
        statements.push(Statement {
            text,
            ..statement.clone()
        });
    }
    Ok((!staged.is_empty()).then(|| (Script::of(statements), staged, places)))
}

/// The staged form of one statement, when there is one.
async fn form(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    place: (&str, usize),
) -> Result<Option<Staged>, TargetError> {
    let Some(taken) = taken(statement, session.dialect()) else {
        return Ok(None);
    };
    if session.dialect() == Dialect::Sqlite {
        return sqlite_form(session, (statement, before), &taken, place).await;
    }
    Ok(match &taken {
        Taken::Table(name) => facts::table(session, name)
            .await?
            .map(|facts| postgres::table(&taken, &facts, place.0, place.1)),
        Taken::Column(table, column) => facts::column(session, table, column)
            .await?
            .and_then(|facts| postgres::column(&taken, &facts, place.0)),
        Taken::Rows(table, change) => facts::table(session, table).await?.and_then(|mut facts| {
            facts.columns = kept(facts.columns, before, &facts.table);
            postgres::rows(&taken, *change, &facts, &statement.text, place)
        }),
    })
}

async fn sqlite_form(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    taken: &Taken,
    place: (&str, usize),
) -> Result<Option<Staged>, TargetError> {
    let (Taken::Table(table) | Taken::Column(table, _) | Taken::Rows(table, _)) = taken;
    let Some(mut facts) = facts::sqlite_table(session, table).await? else {
        return Ok(None);
    };
    if matches!(taken, Taken::Rows(..)) {
        facts.columns = kept(facts.columns, before, &facts.table);
    }
    Ok(match taken {
        Taken::Table(_) => Some(sqlite::table(taken, &facts, &statement.text, place)),
        Taken::Column(_, column) => sqlite::column(taken, &facts, column, place.0),
        Taken::Rows(_, change) => {
            Some(sqlite::rows(taken, *change, &facts, &statement.text, place))
        }
    })
}

/// Columns that were there before the migration: the others are gone again when rows are restored.
fn kept(columns: Vec<String>, before: &Catalog, table: &str) -> Vec<String> {
    let known = before.columns(&table.to_lowercase());
    if known.is_empty() {
        return columns;
    }
    let is_known = |column: &String| known.iter().any(|known| known.eq_ignore_ascii_case(column));
    columns.into_iter().filter(is_known).collect()
}
