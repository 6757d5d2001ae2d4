//! What migrations added holds how many rows: the ground on which a later rollback is judged.

use super::ledger;
use crate::{
    clients::{Session, TargetError},
    domain::{
        Catalog, MigrationRecord, ledger::MeasuredAddition, lex::bare_name, proof::Addition,
        statement::Rename,
    },
};

/// Above this many rows only their number is compared, and only up to here.
const MAX_MEASURED: i64 = 100_000;

/// Notes what a migration's own additions hold right after it.
pub(super) async fn measure_own(
    session: &mut dyn Session,
    migration: &MigrationRecord,
) -> Result<(), TargetError> {
    if !migration
        .additions
        .iter()
        .any(|measured| measured.addition.seeded)
    {
        return Ok(());
    }
    let mut additions = migration.additions.clone();
    for measured in additions
        .iter_mut()
        .filter(|measured| measured.addition.seeded)
    {
        *measured = measure(session, &measured.addition).await?;
    }
    ledger::set_additions(session, migration.sequence, &additions).await
}

/// Notes what those of a migration's additions hold that are there already: it may stop here.
pub(super) async fn measure_so_far(
    session: &mut dyn Session,
    migration: &MigrationRecord,
) -> Result<(), TargetError> {
    let seeded = |measured: &&MeasuredAddition| measured.addition.seeded;
    let tables = migration.additions.iter().filter(seeded);
    let tables = tables
        .map(|measured| measured.addition.place.table.clone())
        .collect::<Vec<_>>();
    if tables.is_empty() {
        return Ok(());
    }
    let present = session.columns(&tables).await?;
    let mut additions = migration.additions.clone();
    for measured in additions.iter_mut().filter(|one| one.addition.seeded) {
        // Over all its columns: those that are still to come make another digest, and then another measure follows.
        let now = measure_present(session, &present, Some(&measured.addition)).await?;
        if let Some(now) = now {
            measured.rows = now.rows;
            measured.digest = now.digest;
        }
    }
    ledger::set_additions(session, migration.sequence, &additions).await
}

/// Notes what a migration's additions hold after its backfill.
pub(super) async fn measure_again(
    session: &mut dyn Session,
    sequence: i64,
) -> Result<(), TargetError> {
    // An empty name occurs in all of them.
    let found = ledger::in_force(session, &[String::new()]).await?;
    let Some(mut own) = found.into_iter().find(|other| other.sequence == sequence) else {
        return Ok(());
    };
    let tables = own
        .additions
        .iter()
        .map(|measured| measured.addition.place.table.clone())
        .collect::<Vec<_>>();
    let present = session.columns(&tables).await?;
    for measured in &mut own.additions {
        if let Some(now) = measure_present(session, &present, Some(&measured.addition)).await? {
            *measured = now;
        }
    }
    ledger::set_additions(session, sequence, &own.additions).await
}

/// What an addition holds now; a table's rows are digested when there are few.
async fn measure(
    session: &mut dyn Session,
    addition: &Addition,
) -> Result<MeasuredAddition, TargetError> {
    let rows = count(session, addition).await?;
    let place = &addition.place;
    let mut digest = String::new();
    if place.column.is_none() && rows > 0 && rows <= MAX_MEASURED {
        let table = (place.table.clone(), addition.columns.clone());
        digest = session
            .rows(&[table])
            .await?
            .pop()
            .map(|rows| rows.digest)
            .unwrap_or_default();
    }
    Ok(MeasuredAddition {
        addition: addition.clone(),
        rows: u64::try_from(rows).unwrap_or_default(),
        digest,
    })
}

/// Rows of a table, or values of a column other than null and its constant default.
async fn count(session: &mut dyn Session, addition: &Addition) -> Result<i64, TargetError> {
    let place = &addition.place;
    let condition = place.column.as_ref().map_or_else(String::new, |column| {
        // A default that calls a function is not evaluated: it may draw from a sequence.
        let constant = place
            .default
            .as_ref()
            .filter(|default| !default.contains('('));
        let other = constant.map_or_else(String::new, |default| {
            format!(
                " AND CAST(counted.{column} AS text) IS DISTINCT FROM CAST(({default}) AS text)"
            )
        });
        // Qualified: SQLite takes an unknown quoted name for a string.
        format!("WHERE counted.{column} IS NOT NULL{other}")
    });
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {} AS counted {condition} LIMIT {}) AS sample",
        place.table,
        MAX_MEASURED + 1
    );
    session
        .query(&sql, &[])
        .await?
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)
}

/// The additions of other migrations in the tables that this one writes to or renames, before it does.
#[derive(Debug, Default)]
pub(super) struct Baselines {
    /// Each other migration, with what its additions hold now where this migration may change it.
    others: Vec<(ledger::InForce, Vec<Option<MeasuredAddition>>)>,
    renames: Vec<Rename>,
}

impl Baselines {
    /// Measures them inside the migration's transaction.
    pub(super) async fn read(
        session: &mut dyn Session,
        migration: &MigrationRecord,
        renames: Vec<Rename>,
    ) -> Result<Self, TargetError> {
        if migration.touches.is_empty() && renames.is_empty() {
            return Ok(Self::default());
        }
        let named = renames.iter().map(|rename| rename.table.clone());
        let named = migration
            .touches
            .iter()
            .cloned()
            .chain(named)
            .collect::<Vec<_>>();
        let present = session.columns(&migration.touches).await?;
        let mut others = Vec::new();
        for other in ledger::in_force(session, &named).await? {
            if other.sequence != migration.sequence {
                let mut measured = Vec::new();
                for then in &other.additions {
                    let touched = migration.touches.contains(&then.addition.place.table);
                    measured.push(
                        measure_present(
                            session,
                            &present,
                            Some(&then.addition).filter(|_| touched),
                        )
                        .await?,
                    );
                }
                others.push((other, measured));
            }
        }
        Ok(Self { others, renames })
    }

    /// Moves the baselines by what the migration wrote, and lets them follow what it renamed.
    pub(super) async fn shift(self, session: &mut dyn Session) -> Result<(), TargetError> {
        if self.others.is_empty() {
            return Ok(());
        }
        let catalog = if self.renames.is_empty() {
            None
        } else {
            Some(session.catalog().await?)
        };
        for (mut other, measured) in self.others {
            let old = other.additions.clone();
            for (baseline, before) in other.additions.iter_mut().zip(measured) {
                if let Some(catalog) = &catalog {
                    follow(&mut baseline.addition, &self.renames, catalog);
                }
                let Some(before) = before else { continue };
                let place = [baseline.addition.place.table.clone()];
                let present = session.columns(&place).await?;
                let after = measure_present(session, &present, Some(&baseline.addition)).await?;
                if let Some(after) = after {
                    *baseline = MeasuredAddition {
                        addition: after.addition.clone(),
                        ..baseline.shifted(&before, &after)
                    };
                }
            }
            if other.additions != old {
                ledger::set_additions(session, other.sequence, &other.additions).await?;
            }
        }
        Ok(())
    }
}

/// Measures an addition over those of its columns that are there; `None` when it is gone itself. A query for something
/// that is gone would end the transaction.
pub(super) async fn measure_present(
    session: &mut dyn Session,
    tables: &[(String, Vec<String>)],
    addition: Option<&Addition>,
) -> Result<Option<MeasuredAddition>, TargetError> {
    let present = addition.and_then(|addition| {
        let (_, columns) = tables
            .iter()
            .find(|(table, _)| *table == addition.place.table)?;
        let column_is_there = addition
            .place
            .column
            .iter()
            .all(|column| columns.contains(column));
        let kept = addition
            .columns
            .iter()
            .filter(|column| columns.contains(column))
            .cloned()
            .collect();
        column_is_there.then(|| Addition {
            columns: kept,
            ..addition.clone()
        })
    });
    match present {
        Some(addition) => measure(session, &addition).await.map(Some),
        None => Ok(None),
    }
}

/// Gives an addition the names that it has after renames. The order of its columns stays, and with it its digest.
fn follow(addition: &mut Addition, renames: &[Rename], catalog: &Catalog) {
    let last_part = |table: &str| bare_name(table.rsplit('.').next().unwrap_or(table));
    let mut table = last_part(&addition.place.table);
    let mut columns = addition
        .columns
        .iter_mut()
        .chain(&mut addition.place.column)
        .map(|column| (bare_name(column), column))
        .collect::<Vec<_>>();
    for rename in renames {
        match &rename.column {
            _ if rename.table != table => {}
            None => table.clone_from(&rename.to),
            Some(from) => {
                for (name, _) in columns.iter_mut().filter(|(name, _)| name == from) {
                    name.clone_from(&rename.to);
                }
            }
        }
    }
    let tables = catalog.tables();
    let Some((place, present)) = tables.iter().find(|(place, _)| last_part(place) == table) else {
        return;
    };
    for (name, column) in &mut columns {
        if let Some(quoted) = present.iter().find(|quoted| bare_name(quoted) == *name) {
            (*column).clone_from(quoted);
        }
    }
    addition.place.table.clone_from(place);
}
