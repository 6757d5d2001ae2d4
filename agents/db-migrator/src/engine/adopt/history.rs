//! Reads the tables in which other tools keep their history.

use shared::SkillError;

use crate::{
    clients::{Session, TargetError},
    domain::{
        Dialect, Tenant,
        history::{History, Row, TABLES, Tool},
    },
    engine::{Job, ledger},
};

/// Tables of these names, with their columns in order, and whether Rails keeps its own table beside them.
fn tables(dialect: Dialect, tenant: Option<&Tenant>) -> String {
    let names = TABLES.map(|table| format!("'{table}'")).join(", ");
    let ours = tenant.map_or_else(
        || String::from("!~ '^(pg_|information_schema)'"),
        |tenant| format!("= {}", tenant.literal()),
    );
    match dialect {
        Dialect::Postgres => format!(
            "SELECT c.relname::text, format('%I.%I', n.nspname, c.relname), \
             (SELECT string_agg(a.attname, ',' ORDER BY a.attname COLLATE \"C\") FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
             (EXISTS (SELECT FROM pg_class r WHERE r.relname = 'ar_internal_metadata' AND r.relnamespace = c.relnamespace))::int::bigint \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.relname IN ({names}) AND n.nspname {ours} ORDER BY 2"
        ),
        Dialect::Sqlite => format!(
            "SELECT s.name, '\"' || s.name || '\"', (SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(s.name) ORDER BY name)), \
             (SELECT count(*) FROM sqlite_schema WHERE name = 'ar_internal_metadata') \
             FROM sqlite_schema s WHERE s.type = 'table' AND s.name IN ({names}) ORDER BY 2"
        ),
    }
}

/// Version, good (0 or 1), checksum and kind of each row, oldest first.
fn rows(tool: Tool, table: &str, dialect: Dialect) -> String {
    let text = |column: &str| format!("CAST({column} AS text)");
    let truth = |column: &str| match dialect {
        Dialect::Postgres => format!("({column})::int::bigint"),
        Dialect::Sqlite => format!("CAST(({column}) AS integer)"),
    };
    let hex = |column: &str| match dialect {
        Dialect::Postgres => format!("encode({column}, 'hex')"),
        Dialect::Sqlite => format!("hex({column})"),
    };
    let none = || String::from("CAST(NULL AS text)");
    let always = || match dialect {
        Dialect::Postgres => String::from("1::bigint"),
        Dialect::Sqlite => String::from("1"),
    };
    let (version, good, checksum, kind, order) = match tool {
        Tool::Sqlx => (
            text("version"),
            truth("success"),
            hex("checksum"),
            "''",
            "version",
        ),
        Tool::Diesel | Tool::Dbmate => (text("version"), always(), none(), "''", "version"),
        Tool::Refinery => (text("version"), always(), text("checksum"), "''", "version"),
        Tool::GolangMigrate => (text("version"), truth("NOT dirty"), none(), "''", "version"),
        Tool::Goose => (text("version_id"), truth("is_applied"), none(), "''", "id"),
        // A repeatable has no version, only a description, in which underscores are spaces.
        Tool::Flyway => (
            String::from(
                "CASE WHEN version IS NULL AND type = 'SQL' THEN 'R.' || replace(description, ' ', '_') \
                 WHEN type = 'SQL_BASELINE' THEN version || '.baseline' ELSE CAST(version AS text) END",
            ),
            truth("success"),
            text("checksum"),
            "CAST(type AS text)",
            "installed_rank",
        ),
    };
    format!("SELECT {version}, {good}, {checksum}, {kind} FROM {table} ORDER BY {order}")
}

/// All histories in a database that hold any version.
pub(super) async fn find(session: &mut dyn Session) -> Result<Vec<History>, TargetError> {
    let dialect = session.dialect();
    let mut found = Vec::new();
    let tables = tables(dialect, session.tenant());
    for row in session.query(&tables, &[]).await? {
        let (name, table) = (row.text(0)?, row.text(1)?);
        let columns = row.text(2)?;
        let columns = columns.split(',').collect::<Vec<_>>();
        let Some(tool) = Tool::of(&name, &columns, row.integer(3)? > 0) else {
            continue;
        };
        let read = session.query(&rows(tool, &table, dialect), &[]).await?;
        let read = read.iter().map(|row| {
            Ok(Row {
                version: row.optional_text(0)?,
                good: row.integer(1)? != 0,
                checksum: row.optional_text(2)?,
                kind: row.text(3)?,
            })
        });
        let history = History::read(tool, table, read.collect::<Result<_, TargetError>>()?);
        if !history.entries.is_empty() {
            found.push(history);
        }
    }
    Ok(found)
}

impl Job<'_> {
    /// Running what another tool ran already would fail at best.
    pub(in crate::engine) async fn refuse_foreign_history(
        &self,
        session: &mut dyn Session,
    ) -> Result<(), SkillError> {
        let found = self.reading(find(session)).await?;
        match found.first() {
            None => Ok(()),
            Some(history) => Err(SkillError::rejected(
                "adopt",
                format!("auto or {}", history.tool.name()),
                format!(
                    "nothing, and the database holds a history of {} in {}",
                    history.tool.name(),
                    history.table
                ),
            )),
        }
    }

    /// Whether our own ledger holds any migration.
    pub(super) async fn is_ours(&self, session: &mut dyn Session) -> Result<bool, SkillError> {
        Ok(self.has_ledger(session).await?
            && !self.reading(ledger::migrations(session)).await?.is_empty())
    }
}
