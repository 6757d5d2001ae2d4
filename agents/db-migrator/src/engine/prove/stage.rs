//! The statements of a destructive migration in the form that keeps what they take away.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Catalog, Dialect, Migration, Statement,
        expand::classified,
        inverse::{Blueprint, Recipe},
        lex::bare_name,
        source::Script,
        staging::{
            Staged, Taken,
            pieces::{Pieces, pieces},
            postgres, sqlite, taken,
            target::Change,
            values::Values,
        },
    },
    engine::{
        EngineError, facts,
        invert::removed,
        shadow::{in_one_transaction, run_texts},
    },
};

/// Names within one statement begin here, so that they do not meet those of other statements.
const PIECE: usize = 10_000;

/// A script in its staged form.
#[derive(Debug)]
pub(super) struct Form {
    /// What runs.
    pub(super) up: Script,
    /// What it keeps, in order.
    pub(super) staged: Vec<Staged>,
    /// Whether it does nothing but take away what is kept.
    pub(super) whole: bool,
    /// What brings back what single statements take, by their place from 0.
    pub(super) back: BTreeMap<usize, String>,
}

/// Runs a script statement by statement on a shadow to learn what hangs on what it takes away at that moment.
pub(super) async fn stage(
    session: &mut dyn Session,
    migration: &Migration,
    reasons: &mut Vec<String>,
) -> Result<Form, EngineError> {
    let before = session.catalog().await?;
    let keys_off = migration.up.foreign_keys_off();
    let (mut statements, mut whole) = (Vec::new(), true);
    let (mut staged, mut back) = (Vec::new(), BTreeMap::new());
    // What is hidden lies in schemas of the database, where every tenant has the same versions.
    let version = match session.tenant() {
        Some(tenant) => format!("{}_{}", tenant.mark(), migration.version),
        None => migration.version.to_string(),
    };
    for (place, statement) in migration.up.statements.iter().enumerate() {
        let at = (version.as_str(), place + 1);
        let one = apart(session, (statement, &before), at, (reasons, keys_off)).await?;
        let values = |staged: &Staged| matches!(staged.taken, Taken::Values(..));
        let pure = one.pure && !one.staged.iter().any(values);
        whole &= pure;
        if pure {
            let downs = one.staged.iter().rev().map(Staged::back);
            back.insert(place, downs.collect::<Vec<_>>().join(";\n"));
        }
        staged.extend(one.staged);
        statements.push(Statement {
            text: one.texts.join(";\n"),
            ..statement.clone()
        });
    }
    Ok(Form {
        up: Script::of(statements),
        staged,
        whole,
        back,
    })
}

/// One statement of a script, staged.
#[derive(Debug, Default)]
struct Part {
    texts: Vec<String>,
    staged: Vec<Staged>,
    /// Whether all of it is kept.
    pure: bool,
}

/// Stages what a statement takes, one thing after the other, and runs it.
async fn apart(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    (version, ordinal): (&str, usize),
    (reasons, keys_off): (&mut Vec<String>, bool),
) -> Result<Part, EngineError> {
    let dialect = session.dialect();
    let Some(pieces) = pieces(&statement.text, dialect) else {
        let own = form(session, (statement, before), (version, ordinal), reasons).await?;
        let text = own
            .as_ref()
            .map_or_else(|| statement.text.clone(), |own| own.up.join(";\n"));
        let transactional = statement.transactional;
        if !statement.foreign_key_switch {
            run_one(session, &text, (transactional, keys_off)).await?;
        }
        return Ok(Part {
            texts: vec![text],
            pure: own.is_some(),
            staged: own.into_iter().collect(),
        });
    };
    if pieces.truncates {
        return truncated(
            session,
            (statement, before),
            (version, ordinal),
            pieces.tables,
        )
        .await;
    }
    let mut part = Part {
        pure: !pieces.cascade,
        ..Part::default()
    };
    if pieces.cascade {
        let dependents = dependents(session, statement, &pieces).await?;
        for text in dependents {
            run_one(session, &text, (true, keys_off)).await?;
            part.texts.push(text);
        }
    }
    for (nth, text) in pieces.texts.iter().enumerate() {
        let Some(piece) = classified(text, dialect) else {
            return Err(TargetError::Unreadable("a statement").into());
        };
        let place = (version, ordinal + nth * PIECE);
        let own = form(session, (&piece, before), place, reasons).await?;
        let text = own
            .as_ref()
            .map_or_else(|| text.clone(), |own| own.up.join(";\n"));
        run_one(session, &text, (true, keys_off)).await?;
        part.pure &= own.is_some();
        part.texts.push(text);
        part.staged.extend(own);
    }
    Ok(part)
}

async fn run_one(
    session: &mut dyn Session,
    text: &str,
    (transactional, keys_off): (bool, bool),
) -> Result<(), TargetError> {
    if transactional {
        in_one_transaction(session, &[text], keys_off).await
    } else {
        run_texts(session, &[text], false).await
    }
}

/// What `CASCADE` would take beside what is named, as statements that drop it explicitly.
async fn dependents(
    session: &mut dyn Session,
    statement: &Statement,
    pieces: &Pieces,
) -> Result<Vec<String>, TargetError> {
    let before = session.blueprint().await?;
    let mut taken = BTreeSet::new();
    for table in &pieces.tables {
        let facts = facts::table(session, table).await?;
        taken.extend(facts.map(|facts| plain(&facts.table)));
    }
    session.begin(Transaction::default()).await?;
    let after = async {
        session.execute(&statement.text).await?;
        session.blueprint().await
    };
    let after = after.await;
    session.rollback().await?;
    let after = after?;
    let left = after
        .recipes
        .iter()
        .map(|recipe| (recipe.kind.as_str(), recipe.name.as_str()))
        .collect::<BTreeSet<_>>();
    let stays = |recipe: &Recipe| {
        left.contains(&(recipe.kind.as_str(), recipe.name.as_str()))
            || belongs(recipe, &before, &taken)
    };
    let goal = Blueprint {
        recipes: before
            .recipes
            .iter()
            .filter(|recipe| stays(recipe))
            .cloned()
            .collect(),
        dependencies: before.dependencies.clone(),
    };
    removed(session, &goal).await
}

fn plain(name: &str) -> String {
    name.replace('"', "")
}

/// Whether an object is one of the tables, or a part of one.
fn belongs(recipe: &Recipe, all: &Blueprint, tables: &BTreeSet<String>) -> bool {
    let mut name = Some(recipe.name.as_str());
    // No chain of parents is longer than this.
    for _ in 0..8 {
        let Some(current) = name else { return false };
        if tables.contains(&plain(current)) {
            return true;
        }
        let found = all.recipes.iter().find(|other| other.name == current);
        name = if current == recipe.name {
            recipe.parent.as_deref()
        } else {
            found.and_then(|found| found.parent.as_deref())
        };
    }
    false
}

/// `TRUNCATE` of several tables: the rows of all are kept, those of tables that refer to others first, so that they come
/// back last.
async fn truncated(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    (version, ordinal): (&str, usize),
    tables: Vec<String>,
) -> Result<Part, EngineError> {
    let tables = with_referring(session, tables).await?;
    let mut part = Part {
        pure: true,
        ..Part::default()
    };
    for (nth, table) in tables.iter().enumerate() {
        let Some(mut facts) = facts::table(session, table).await? else {
            return Ok(Part {
                texts: vec![statement.text.clone()],
                ..Part::default()
            });
        };
        facts.columns = kept(facts.columns, before, &facts.table);
        let taken = Taken::Rows(table.clone(), Change::Truncate);
        let place = (version, ordinal + nth * PIECE);
        // The statement itself runs once, at the end.
        if let Some(own) = postgres::rows(&taken, Change::Truncate, &facts, "", place) {
            part.texts.extend(own.up.iter().cloned());
            part.staged.push(own);
        }
    }
    part.texts.push(statement.text.clone());
    let all = part.texts.join(";\n");
    run_one(session, &all, (true, false)).await?;
    Ok(part)
}

/// The tables with those that refer to them, each before those that it refers to.
async fn with_referring(
    session: &mut dyn Session,
    tables: Vec<String>,
) -> Result<Vec<String>, TargetError> {
    const REFERRING: &str = "WITH RECURSIVE named AS (SELECT to_regclass($1)::oid AS oid, 0 AS depth UNION \
        SELECT k.conrelid, named.depth + 1 FROM named JOIN pg_constraint k ON k.confrelid = named.oid AND k.contype = 'f' AND k.conrelid <> k.confrelid WHERE named.depth < 20) \
        SELECT format('%I.%I', n.nspname, c.relname), max(depth)::bigint FROM named JOIN pg_class c ON c.oid = named.oid JOIN pg_namespace n ON n.oid = c.relnamespace GROUP BY 1";
    let mut depths = BTreeMap::new();
    for table in &tables {
        for row in session.query(REFERRING, &[table.as_str().into()]).await? {
            let depth = depths.entry(row.text(0)?).or_insert(0);
            *depth = row.integer(1)?.max(*depth);
        }
    }
    let mut ordered = depths.into_iter().collect::<Vec<_>>();
    ordered.sort_by_key(|(_, depth)| std::cmp::Reverse(*depth));
    Ok(ordered.into_iter().map(|(table, _)| table).collect())
}

/// The staged form of one statement, when there is one.
async fn form(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    place: (&str, usize),
    reasons: &mut Vec<String>,
) -> Result<Option<Staged>, TargetError> {
    let Some(taken) = taken(statement, session.dialect()) else {
        return Ok(None);
    };
    let staged = if session.dialect() == Dialect::Sqlite {
        sqlite_form(session, (statement, before), &taken, place).await?
    } else {
        postgres_form(session, (statement, before), &taken, place).await?
    };
    if staged.is_none() {
        reasons.push(reason(session, &taken).await?);
    }
    Ok(staged)
}

async fn postgres_form(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    taken: &Taken,
    place: (&str, usize),
) -> Result<Option<Staged>, TargetError> {
    Ok(match taken {
        Taken::Table(name) => facts::table(session, name)
            .await?
            .map(|facts| postgres::table(taken, &facts, place.0, place.1)),
        Taken::Column(table, column) => {
            let identity = facts::identity(session, table, column).await?;
            let facts = facts::column(session, table, column).await?;
            facts.and_then(|facts| postgres::column(taken, &facts, identity.as_deref(), place))
        }
        Taken::Rows(table, change) => facts::table(session, table).await?.and_then(|mut facts| {
            facts.columns = kept(facts.columns, before, &facts.table);
            postgres::rows(taken, *change, &facts, &statement.text, place)
        }),
        Taken::Sequence(name) => facts::sequence(session, name)
            .await?
            .map(|(schema, own)| postgres::sequence(taken, (&schema, &own), place)),
        Taken::Values(table, column) => facts::table(session, table).await?.and_then(|facts| {
            let column = facts
                .columns
                .iter()
                .find(|known| bare_name(known) == bare_name(column))?;
            let values = Values {
                dialect: Dialect::Postgres,
                table: &facts.table,
                column,
                key: &facts.key,
            };
            let keyed = !facts.key.is_empty() && !facts.key.contains(column);
            keyed.then(|| values.staged(&statement.text, place, false))
        }),
    })
}

async fn sqlite_form(
    session: &mut dyn Session,
    (statement, before): (&Statement, &Catalog),
    taken: &Taken,
    place: (&str, usize),
) -> Result<Option<Staged>, TargetError> {
    let (Taken::Table(table)
    | Taken::Column(table, _)
    | Taken::Rows(table, _)
    | Taken::Values(table, _)
    | Taken::Sequence(table)) = taken;
    let Some(mut facts) = facts::sqlite_table(session, table).await? else {
        return Ok(None);
    };
    if matches!(taken, Taken::Rows(..)) {
        facts.columns = kept(facts.columns, before, &facts.table);
    }
    Ok(match taken {
        Taken::Table(_) => Some(sqlite::table(taken, &facts, &statement.text, place)),
        Taken::Column(_, column) => sqlite::column(taken, &facts, (column, &statement.text), place),
        Taken::Rows(_, change) => sqlite::rows(taken, *change, &facts, &statement.text, place),
        Taken::Values(..) | Taken::Sequence(_) => None,
    })
}

/// Why something cannot be kept.
async fn reason(session: &mut dyn Session, taken: &Taken) -> Result<String, TargetError> {
    let (Taken::Table(table)
    | Taken::Column(table, _)
    | Taken::Rows(table, _)
    | Taken::Values(table, _)
    | Taken::Sequence(table)) = taken;
    let name = plain(table);
    let keyless = facts::key(session, table, None).await?.is_none();
    let rowid = session.dialect() == Dialect::Sqlite;
    Ok(match taken {
        Taken::Column(_, column) if !rowid => {
            let facts = facts::column(session, table, column).await?;
            let obstacles = facts.map(|facts| facts.obstacles.join(", "));
            let obstacles = obstacles.filter(|obstacles| !obstacles.is_empty());
            let why = obstacles.unwrap_or_else(|| "its constraints cannot be made again".into());
            format!("column {name}.{column}: {why}")
        }
        Taken::Column(_, column) => format!(
            "column {name}.{column}: it refuses nulls and has no default, and {name} has no primary key to keep its values by"
        ),
        Taken::Values(_, column) if keyless => {
            format!("values of {name}.{column}: {name} has no primary key to keep them by")
        }
        Taken::Values(_, column) => {
            format!(
                "values of {name}.{column}: it is a part of the primary key, or no column of its own"
            )
        }
        Taken::Sequence(_) => {
            format!("sequence {name}: a column owns it, or there is none")
        }
        Taken::Rows(..) => {
            format!("rows of {name}: it has no column beside its key, or is no ordinary table")
        }
        Taken::Table(_) => {
            format!("table {name}: it is no ordinary table, or others inherit from it")
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
