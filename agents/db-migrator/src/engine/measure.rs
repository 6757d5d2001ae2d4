//! What migrations added holds how many rows: the ground on which a later rollback is judged.

use std::collections::BTreeMap;

use super::ledger;
use crate::{
    clients::{Own, Session, TargetError},
    domain::{
        Catalog, MigrationRecord, ledger::MeasuredAddition, lex::bare_name, proof::Addition,
        statement::Rename,
    },
};

/// Above this many rows only their number is compared, and only up to here.
const MAX_MEASURED: u64 = 100_000;
/// From this many on, empty tables are left out by one question before the rest is counted.
const MANY: usize = 8;

/// What notes what a migration's own additions hold right after it.
pub(super) async fn measure_own(
    session: &mut dyn Session,
    migration: &MigrationRecord,
) -> Result<Option<Own>, TargetError> {
    let seeded = |measured: &&MeasuredAddition| measured.addition.seeded;
    let own = migration.additions.iter().filter(seeded);
    let own = own.map(|measured| measured.addition.clone());
    let mut measured = measure(session, own.collect())
        .await?
        .into_iter()
        .peekable();
    if measured.peek().is_none() {
        return Ok(None);
    }
    let additions = migration.additions.iter().map(|then| {
        let now = then.addition.seeded.then(|| measured.next()).flatten();
        now.unwrap_or_else(|| then.clone())
    });
    let additions = additions.collect::<Vec<_>>();
    Ok(Some(ledger::additions_row(
        session.dialect(),
        migration.sequence,
        &additions,
    )))
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
    let wanted = own.additions.iter().map(|then| Some(&then.addition));
    let now = measure_present(session, &present, wanted).await?;
    for (measured, now) in own.additions.iter_mut().zip(now) {
        if let Some(now) = now {
            *measured = now;
        }
    }
    let row = ledger::additions_row(session.dialect(), sequence, &own.additions);
    ledger::write(session, row).await
}

/// What additions hold now; the rows of a table are digested when there are few.
async fn measure(
    session: &mut dyn Session,
    additions: Vec<Addition>,
) -> Result<Vec<MeasuredAddition>, TargetError> {
    let mut empty = Vec::new();
    if additions.len() >= MANY {
        let tables = additions
            .iter()
            .map(|addition| addition.place.table.clone());
        empty = session.empty(&tables.collect::<Vec<_>>()).await?;
        empty.sort();
    }
    let holds = |addition: &Addition| empty.binary_search(&addition.place.table).is_err();
    let counts = additions.iter().filter(|addition| holds(addition));
    let counts = counts.map(count).collect::<Vec<_>>();
    let mut counted = session.pipeline(&counts).await?.into_iter();
    let mut measured = Vec::with_capacity(additions.len());
    for addition in additions {
        let rows = if holds(&addition) {
            let answer = counted.next().unwrap_or_default();
            answer
                .first()
                .ok_or(TargetError::Unreadable("a row"))?
                .integer(0)?
        } else {
            0
        };
        measured.push(MeasuredAddition {
            addition,
            rows: u64::try_from(rows).unwrap_or_default(),
            digest: String::new(),
        });
    }
    let mut few = measured
        .iter_mut()
        .filter(|one| one.addition.place.column.is_none() && (1..=MAX_MEASURED).contains(&one.rows))
        .collect::<Vec<_>>();
    let tables = few.iter().map(|one| {
        let addition = &one.addition;
        (addition.place.table.clone(), addition.columns.clone())
    });
    let digests = session.rows(&tables.collect::<Vec<_>>()).await?;
    for (one, rows) in few.iter_mut().zip(digests) {
        one.digest = rows.digest;
    }
    Ok(measured)
}

/// Rows of a table, or values of a column other than null and its constant default.
fn count(addition: &Addition) -> Own {
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
    Own {
        sql,
        parameters: Vec::new(),
    }
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
                let touched = other.additions.iter().map(|then| {
                    let touched = migration.touches.contains(&then.addition.place.table);
                    Some(&then.addition).filter(|_| touched)
                });
                let measured = measure_present(session, &present, touched).await?;
                others.push((other, measured));
            }
        }
        Ok(Self { others, renames })
    }

    /// What moves the baselines by what the migration wrote, and lets them follow what it renamed.
    pub(super) async fn shift(self, session: &mut dyn Session) -> Result<Vec<Own>, TargetError> {
        if self.others.is_empty() {
            return Ok(Vec::new());
        }
        let catalog = if self.renames.is_empty() {
            None
        } else {
            Some(session.catalog().await?)
        };
        let mut writes = Vec::new();
        for (mut other, measured) in self.others {
            let old = other.additions.clone();
            if let Some(catalog) = &catalog {
                for baseline in &mut other.additions {
                    follow(&mut baseline.addition, &self.renames, catalog);
                }
            }
            let moved = other.additions.iter().zip(&measured);
            let wanted =
                moved.map(|(baseline, before)| before.as_ref().map(|_| &baseline.addition));
            let tables = wanted.clone().flatten();
            let tables = tables.map(|addition| addition.place.table.clone());
            let present = session.columns(&tables.collect::<Vec<_>>()).await?;
            let now = measure_present(session, &present, wanted).await?;
            for ((baseline, before), after) in other.additions.iter_mut().zip(measured).zip(now) {
                if let (Some(before), Some(after)) = (before, after) {
                    *baseline = MeasuredAddition {
                        addition: after.addition.clone(),
                        ..baseline.shifted(&before, &after)
                    };
                }
            }
            if other.additions != old {
                let row =
                    ledger::additions_row(session.dialect(), other.sequence, &other.additions);
                writes.push(row);
            }
        }
        Ok(writes)
    }
}

/// Measures additions over those of their columns that are there; `None` where one is gone itself or is not wanted. A
/// query for something that is gone would end the transaction.
pub(super) async fn measure_present<'a>(
    session: &mut dyn Session,
    tables: &[(String, Vec<String>)],
    additions: impl Iterator<Item = Option<&'a Addition>>,
) -> Result<Vec<Option<MeasuredAddition>>, TargetError> {
    let tables = tables
        .iter()
        .map(|(table, columns)| (table.as_str(), columns))
        .collect::<BTreeMap<_, _>>();
    let present = additions.map(|addition| present(&tables, addition?));
    let present = present.collect::<Vec<_>>();
    let there = present.iter().flatten().cloned().collect();
    let mut measured = measure(session, there).await?.into_iter();
    let all = present.into_iter();
    Ok(all
        .map(|addition| addition.and_then(|_| measured.next()))
        .collect())
}

/// An addition with those of its columns that are there, when it is there itself.
fn present(tables: &BTreeMap<&str, &Vec<String>>, addition: &Addition) -> Option<Addition> {
    let columns = tables.get(addition.place.table.as_str())?;
    let mut own = addition.place.column.iter();
    own.all(|column| columns.contains(column)).then(|| {
        let kept = addition.columns.iter();
        let kept = kept.filter(|column| columns.contains(column));
        Addition {
            columns: kept.cloned().collect(),
            ..addition.clone()
        }
    })
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
