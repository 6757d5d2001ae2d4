//! What migrations added holds how many rows: the ground on which a later rollback is judged.

use std::collections::BTreeMap;

use super::ledger;
use crate::{
    clients::{Counted, Own, Session, Tables, TargetError, Transaction, question},
    domain::{
        Catalog, MigrationRecord,
        ledger::MeasuredAddition,
        lex::bare_name,
        proof::{Addition, TableRows},
        statement::Rename,
    },
};

/// Above this many rows only their number is compared, and only up to here.
const MAX_MEASURED: u64 = 100_000;

/// What notes what those of a migration's additions hold that are there already: it may stop here.
pub(super) async fn measure_so_far(
    session: &mut dyn Session,
    migration: &MigrationRecord,
) -> Result<Option<Own>, TargetError> {
    let tables = seeded_tables(migration);
    if tables.is_empty() {
        return Ok(None);
    }
    let present = session.tables(&tables).await?;
    let wanted = migration.additions.iter().map(|then| {
        let seeded = then.addition.seeded;
        seeded.then_some(&then.addition)
    });
    let now = measure_present(session, &present, wanted).await?;
    let mut additions = migration.additions.clone();
    for (measured, now) in additions.iter_mut().zip(now) {
        // Over all its columns: those that are still to come make another digest, and then another measure follows.
        if let Some(now) = now {
            measured.rows = now.rows;
            measured.digest = now.digest;
        }
    }
    let row = ledger::additions_row(session.dialect(), migration.sequence, &additions);
    Ok(Some(row))
}

/// Notes what a migration's additions hold after its backfill.
pub(super) async fn measure_again(
    session: &mut dyn Session,
    sequence: i64,
) -> Result<(), TargetError> {
    // An empty name occurs in all of them.
    let all = ledger::in_force_of(session.dialect(), &[String::new()]);
    let rows = session.query(&all.sql, &all.parameters).await?;
    let found = ledger::in_force(&rows)?;
    let Some(mut own) = found.into_iter().find(|other| other.sequence == sequence) else {
        return Ok(());
    };
    let tables = own
        .additions
        .iter()
        .map(|measured| measured.addition.place.table.clone())
        .collect::<Vec<_>>();
    let present = session.tables(&tables).await?;
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

/// The tables of what a migration adds that holds something right after it.
fn seeded_tables(migration: &MigrationRecord) -> Vec<String> {
    let seeded = migration.additions.iter().map(|then| &then.addition);
    let seeded = seeded.filter(|addition| addition.seeded);
    seeded
        .map(|addition| addition.place.table.clone())
        .collect()
}

/// What is counted of an addition: rows of a table, or values of a column other than null and its constant default.
fn counted(addition: &Addition) -> Counted {
    let place = &addition.place;
    let condition = place.column.as_ref().map(|column| {
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
        format!("counted.{column} IS NOT NULL{other}")
    });
    Counted {
        table: place.table.clone(),
        digested: condition.is_none().then(|| addition.columns.clone()),
        condition,
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
    /// Opens a migration's transaction and measures them in it.
    pub(super) async fn begin(
        session: &mut dyn Session,
        transaction: Transaction,
        migration: &MigrationRecord,
        renames: Vec<Rename>,
    ) -> Result<Self, TargetError> {
        let written = &migration.touches;
        if written.is_empty() && renames.is_empty() {
            session.begin(transaction).await?;
            return Ok(Self::default());
        }
        let named = renames.iter().map(|rename| rename.table.clone());
        let named = written.iter().cloned().chain(named).collect::<Vec<_>>();
        let mut questions = written
            .iter()
            .map(|table| session.about(table))
            .collect::<Vec<_>>();
        questions.push(ledger::in_force_of(session.dialect(), &named));
        let mut answers = session.begin_asking(transaction, &questions).await?;
        let in_force = ledger::in_force(&answers.pop().unwrap_or_default())?;
        let present = question::tables(written, answers)?;
        let others = in_force
            .into_iter()
            .filter(|other| other.sequence != migration.sequence);
        let others = others.collect::<Vec<_>>();
        let touched = others
            .iter()
            .flat_map(|other| &other.additions)
            .map(|then| {
                let touched = written.contains(&then.addition.place.table);
                Some(&then.addition).filter(|_| touched)
            });
        let mut measured = measure_present(session, &present, touched)
            .await?
            .into_iter();
        let others = others.into_iter().map(|other| {
            let its = measured.by_ref().take(other.additions.len());
            let its = its.collect();
            (other, its)
        });
        Ok(Self {
            others: others.collect(),
            renames,
        })
    }

    /// The tables that are measured once more, also what a migration itself adds.
    pub(super) fn tables(&self, own: Option<&MigrationRecord>) -> Vec<String> {
        let others = self.others.iter();
        let others = others.flat_map(|(other, before)| other.additions.iter().zip(before));
        let measured = others.filter(|(_, before)| before.is_some());
        let mut tables = own.map(seeded_tables).unwrap_or_default();
        tables.extend(measured.map(|(then, _)| then.addition.place.table.clone()));
        tables.sort();
        tables.dedup();
        tables
    }

    /// What moves the baselines by what the migration wrote, and lets them follow what it renamed. `own` is the migration
    /// when what it adds is measured too, `present` those of [`Self::tables`] that exist, when they are known.
    pub(super) async fn shift(
        mut self,
        session: &mut dyn Session,
        own: Option<&MigrationRecord>,
        present: Option<Tables>,
    ) -> Result<Vec<Own>, TargetError> {
        let old = self.others.iter().map(|(other, _)| other.additions.clone());
        let old = old.collect::<Vec<_>>();
        self.follow(session).await?;
        let tables = self.tables(own);
        let present = match present {
            Some(present) => present,
            None if tables.is_empty() => Tables::default(),
            None => session.tables(&tables).await?,
        };
        let others = self.others.iter();
        let others = others.flat_map(|(other, before)| other.additions.iter().zip(before));
        let others = others.map(|(baseline, before)| before.as_ref().map(|_| &baseline.addition));
        let seeded = own.iter().flat_map(|own| &own.additions);
        let seeded = seeded.map(|then| Some(&then.addition).filter(|addition| addition.seeded));
        let now = measure_present(session, &present, others.chain(seeded)).await?;
        let mut now = now.into_iter();

        let mut rows = Vec::new();
        for ((mut other, before), old) in self.others.into_iter().zip(old) {
            let moved = other.additions.iter_mut().zip(before);
            for ((baseline, before), after) in moved.zip(now.by_ref()) {
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
                rows.push(row);
            }
        }
        let own = own.filter(|own| own.additions.iter().any(|then| then.addition.seeded));
        rows.extend(own.map(|own| {
            let additions = own.additions.iter().zip(now);
            let additions = additions.map(|(then, now)| now.unwrap_or_else(|| then.clone()));
            let additions = additions.collect::<Vec<_>>();
            ledger::additions_row(session.dialect(), own.sequence, &additions)
        }));
        Ok(rows)
    }

    async fn follow(&mut self, session: &mut dyn Session) -> Result<(), TargetError> {
        if self.renames.is_empty() || self.others.is_empty() {
            return Ok(());
        }
        let catalog = session.catalog().await?;
        let others = self.others.iter_mut();
        for baseline in others.flat_map(|(other, _)| &mut other.additions) {
            follow(&mut baseline.addition, &self.renames, &catalog);
        }
        Ok(())
    }
}

/// Measures additions over those of their columns that are there; `None` where one is gone itself or is not wanted. A
/// query for something that is gone would end the transaction.
pub(super) async fn measure_present<'a>(
    session: &mut dyn Session,
    tables: &Tables,
    additions: impl Iterator<Item = Option<&'a Addition>>,
) -> Result<Vec<Option<MeasuredAddition>>, TargetError> {
    let all = additions.map(|addition| {
        let addition = addition?;
        let empty = tables.empty.contains(&addition.place.table);
        Some((addition, if empty { Ask::Nothing } else { Ask::Digest }))
    });
    measure(session, &tables.columns, all).await
}

/// What additions hold now that is to be held against what they held then. Where that was nothing, rows are only counted.
pub(super) async fn measure_since<'a>(
    session: &mut dyn Session,
    columns: &[(String, Vec<String>)],
    additions: impl Iterator<Item = &'a MeasuredAddition>,
) -> Result<Vec<Option<MeasuredAddition>>, TargetError> {
    let all = additions.map(|then| {
        let held = then.rows > 0;
        Some((&then.addition, if held { Ask::Digest } else { Ask::Number }))
    });
    measure(session, columns, all).await
}

/// What is asked about the rows of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// There are none.
    Nothing,
    Number,
    Digest,
}

async fn measure<'a>(
    session: &mut dyn Session,
    columns: &[(String, Vec<String>)],
    additions: impl Iterator<Item = Option<(&'a Addition, Ask)>>,
) -> Result<Vec<Option<MeasuredAddition>>, TargetError> {
    let columns = columns
        .iter()
        .map(|(table, columns)| (table.as_str(), columns))
        .collect::<BTreeMap<_, _>>();
    let present = additions.map(|addition| {
        let (addition, ask) = addition?;
        Some((present(&columns, addition)?, ask))
    });
    let present = present.collect::<Vec<_>>();
    let asked = present.iter().flatten().filter_map(|(addition, ask)| {
        let counted = counted(addition);
        (*ask != Ask::Nothing).then(|| Counted {
            digested: counted.digested.filter(|_| *ask == Ask::Digest),
            ..counted
        })
    });
    let asked = asked.collect::<Vec<_>>();
    let mut rows = if asked.is_empty() {
        Vec::new()
    } else {
        session.count(&asked, MAX_MEASURED).await?
    }
    .into_iter();
    let all = present.into_iter().map(|addition| {
        let (addition, ask) = addition?;
        let rows = match ask {
            Ask::Nothing => TableRows::default(),
            Ask::Number | Ask::Digest => rows.next()?,
        };
        Some(MeasuredAddition {
            addition,
            rows: rows.rows,
            digest: rows.digest,
        })
    });
    Ok(all.collect())
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
