//! Asks a database what a lint needs to know of it. Reads only.

use std::collections::BTreeMap;

use shared::SkillError;

use super::Job;
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Dialect, Inverse, Migration, Version,
        lint::{Facts, InForce, ProofFact, Question, SMALL_ROWS, TableSize},
        staging::Retention,
        tenant::{Around, reach},
    },
};

/// Longest that one question about rows may take; what takes longer stays unknown.
const QUESTION_TIMEOUT_MS: u64 = 2_000;
/// Most rows that a question looks at in SQLite, which has no time limit.
const SQLITE_ROWS: u64 = 200_000;
/// Most questions of one lint.
const MAX_QUESTIONS: usize = 50;

/// Every table with its estimated rows and its bytes, partitions included. -1 rows: never counted.
const SIZES: &str = "SELECT c.relname::text, c.reltuples::bigint, \
    coalesce((SELECT sum(pg_relation_size(p.relid)) FROM pg_partition_tree(c.oid) p), pg_relation_size(c.oid))::bigint \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
    AND n.nspname NOT LIKE 'pg_toast%'";

/// Sizes, server version and answers from the database.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn lint_facts(job: Job<'_>, questions: &[Question]) -> Result<Facts, SkillError> {
    let mut session = job.connect().await?;
    let facts = job.reading(read(session.as_mut(), questions)).await;
    job.close(session).await;
    facts
}

/// What a shadow run proves about what is pending.
///
/// # Errors
/// Those of [`super::plan`].
pub async fn lint_proofs(job: Job<'_>, source: &[Migration]) -> Result<Vec<ProofFact>, SkillError> {
    // What the author wrote is judged, not what a retention window would save of it.
    let plan = super::plan(job, source, Retention::NONE).await?;
    let authored = |version: &Version| {
        source
            .iter()
            .any(|migration| migration.version == *version && migration.down.is_some())
    };
    Ok(plan
        .migrations
        .into_iter()
        .map(|migration| ProofFact {
            replaced: migration.inverse == Inverse::Synthesised && authored(&migration.version),
            version: migration.version.to_string(),
            verdict: migration.proof.verdict,
            evidence: migration.proof.evidence,
        })
        .collect())
}

async fn read(session: &mut dyn Session, questions: &[Question]) -> Result<Facts, TargetError> {
    let dialect = session.dialect();
    let tables = match dialect {
        Dialect::Postgres => sizes(session).await?,
        Dialect::Sqlite => counts(session).await?,
    };
    let mut answers = BTreeMap::new();
    let tenant = session.tenant().cloned();
    let there = questions.iter().filter(|question| {
        let stays = |tenant| reach(&question.sql(None), tenant, &Around::default()).is_none();
        tables.contains_key(&question.bare_table()) && tenant.as_ref().is_none_or(stays)
    });
    for question in there.take(MAX_QUESTIONS) {
        if let Some(answer) = ask(session, question).await? {
            answers.insert(question.clone(), answer);
        }
    }
    Ok(Facts {
        server_version: server_version(session).await?,
        tables: Some(tables),
        answers,
        ..Facts::default()
    })
}

async fn server_version(session: &mut dyn Session) -> Result<u32, TargetError> {
    if session.dialect() == Dialect::Sqlite {
        return Ok(0);
    }
    let sql = "SELECT current_setting('server_version_num')::bigint / 10000";
    let rows = session.query(sql, &[]).await?;
    let row = rows.first().ok_or(TargetError::Unreadable("a row"))?;
    u32::try_from(row.integer(0)?).map_err(|_| TargetError::Unreadable("a version"))
}

async fn sizes(session: &mut dyn Session) -> Result<BTreeMap<String, TableSize>, TargetError> {
    let mut tables = BTreeMap::<String, TableSize>::new();
    let ours = session.tenant().map_or_else(String::new, |tenant| {
        format!(" AND n.nspname = {}", tenant.literal())
    });
    for row in session.query(&format!("{SIZES}{ours}"), &[]).await? {
        let size = TableSize {
            rows: u64::try_from(row.integer(1)?).ok(),
            bytes: u64::try_from(row.integer(2)?).ok(),
        };
        let known = tables.entry(row.text(0)?.to_lowercase()).or_insert(size);
        // The same name in another schema: the larger one decides.
        if known.bytes < size.bytes {
            *known = size;
        }
    }
    Ok(tables)
}

/// SQLite keeps no estimate: rows are counted, no further than needed.
async fn counts(session: &mut dyn Session) -> Result<BTreeMap<String, TableSize>, TargetError> {
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut tables = BTreeMap::new();
    for row in session.query(names, &[]).await? {
        let name = row.text(0)?;
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM \"{}\" LIMIT {SMALL_ROWS})",
            name.replace('"', "\"\"")
        );
        let counted = session.query(&sql, &[]).await?;
        let rows = counted.first().ok_or(TargetError::Unreadable("a row"))?;
        let size = TableSize {
            rows: u64::try_from(rows.integer(0)?).ok(),
            bytes: None,
        };
        tables.insert(name.to_lowercase(), size);
    }
    Ok(tables)
}

/// `None` when it took too long (57014), or when the columns are not there yet.
async fn ask(session: &mut dyn Session, question: &Question) -> Result<Option<bool>, TargetError> {
    if session.dialect() == Dialect::Sqlite {
        let sql = question.sql(Some(SQLITE_ROWS));
        return known(session.query(&sql, &[]).await);
    }
    let transaction = Transaction {
        lock_timeout_ms: QUESTION_TIMEOUT_MS,
        ..Transaction::default()
    };
    session.begin(transaction).await?;
    let limit =
        format!("SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {QUESTION_TIMEOUT_MS}");
    let answer = match session.execute(&limit).await {
        Ok(()) => known(session.query(&question.sql(None), &[]).await),
        Err(error) => Err(error),
    };
    session.rollback().await?;
    answer
}

fn known(rows: Result<Vec<crate::clients::Row>, TargetError>) -> Result<Option<bool>, TargetError> {
    match rows {
        Ok(rows) => Ok(Some(!rows.is_empty())),
        Err(TargetError::Sql { .. } | TargetError::LockTimeout) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newest migration in force.
pub fn lint_in_force(status: &super::Status) -> Option<InForce> {
    let newest = status.migrations.last()?;
    Some(InForce {
        version: newest.version.to_string(),
        release: newest.release.clone(),
    })
}
