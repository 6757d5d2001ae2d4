//! Reads what hangs on a column or table that is about to change.

use crate::{
    clients::{Row, Session, TargetError},
    domain::{
        Dialect,
        expand::{
            ColumnFacts,
            facts::{ConstraintFacts, IndexFacts, KeyColumn},
            swap,
        },
        staging::{postgres, sqlite},
    },
};

const COLUMN: &str = "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull::int::bigint, \
    CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END, a.attnum::bigint, \
    concat_ws(E'\\n', CASE WHEN c.relkind <> 'r' THEN 'it is not an ordinary table' END, CASE WHEN a.attidentity <> '' THEN 'it is an identity column' END, \
      CASE WHEN a.attgenerated <> '' THEN 'it is a generated column' END, CASE WHEN a.attacl IS NOT NULL THEN 'it has privileges of its own' END, \
      CASE WHEN NOT z.convalidated THEN 'its NOT NULL was never validated' END, CASE WHEN z.connoinherit THEN 'its NOT NULL is not inherited' END, \
      (SELECT 'the table inherits or is a partition' FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid LIMIT 1), \
      (SELECT string_agg(format('foreign key %I of %s refers to it', k.conname, k.conrelid::regclass), E'\\n') FROM pg_constraint k \
        WHERE k.contype = 'f' AND k.confrelid = c.oid AND a.attnum = ANY (k.confkey))), \
    (SELECT format('%I.%I', sn.nspname, s.relname) FROM pg_depend p JOIN pg_class s ON s.oid = p.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace \
      WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid AND p.refobjsubid = a.attnum AND p.deptype = 'a' LIMIT 1), \
    (current_setting('server_version_num')::int >= 180000)::int::bigint, quote_ident(z.conname) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
    LEFT JOIN pg_constraint z ON z.conrelid = c.oid AND z.contype = 'n' AND z.conkey = ARRAY[a.attnum] WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped";
const COLUMNS: &str = "SELECT attname::text, quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
    AND attgenerated = '' ORDER BY attnum";
const KEY: &str = "SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
    AND a.attnum = ANY (i.indkey) WHERE i.indrelid = to_regclass($1) AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)";
const NAMED: &str = "SELECT quote_ident(attname), format_type(atttypid, atttypmod), attnotnull::int::bigint FROM pg_attribute \
    WHERE attrelid = to_regclass($1) AND attname = $2 AND attnum > 0 AND NOT attisdropped";
const INDEXES: &str = "SELECT format('%I.%I', n.nspname, x.relname), pg_get_indexdef(i.indexrelid), coalesce((SELECT k.contype::text FROM pg_constraint k \
    WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')), '') FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
    JOIN pg_namespace n ON n.oid = x.relnamespace WHERE i.indrelid = to_regclass($1) AND ($2::int2 = ANY (i.indkey) OR EXISTS (SELECT FROM pg_depend d \
    WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid AND d.refobjsubid = $2)) ORDER BY 1";
const CONSTRAINTS: &str = "SELECT quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype IN ('c', 'f') \
    AND $2::int2 = ANY (conkey) ORDER BY 1";
const DEPENDENTS: &str = "SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on it' FROM pg_depend d \
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1) AND d.refobjsubid = $2 \
    AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class x WHERE x.oid = d.objid AND x.relkind IN ('i', 'S'))) \
    AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint k WHERE k.oid = d.objid AND k.conrelid = d.refobjid)) \
    AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef e WHERE e.oid = d.objid AND e.adrelid = d.refobjid AND e.adnum = d.refobjsubid))";
const TABLE: &str = "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname), quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent \
    WHERE p.relkind <> 'p' AND (i.inhrelid = c.oid OR i.inhparent = c.oid))";
const PARTITION: &str = "SELECT format('%I.%I', n.nspname, p.relname), pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid \
    JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace WHERE c.oid = to_regclass($1) AND c.relispartition";
const PARTS: &str = "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname), quote_ident(c.relname) FROM pg_partition_tree(to_regclass($1)) t \
    JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.level > 0 ORDER BY t.level, 1";
const INHERITED: &str = "SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'f' AND conparentid <> 0 ORDER BY 1";
const FIXED: &str = "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attidentity = 'a' AND NOT attisdropped";
const IDENTITY: &str = "SELECT CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 \
    AND attidentity <> '' AND NOT attisdropped";
const REFERENCES: &str = "SELECT quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'f' AND conparentid = 0 ORDER BY 1";
const ATTACHED: &str = "SELECT lower(relname) FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = to_regclass($1) \
    UNION ALL SELECT lower(conname) FROM pg_constraint WHERE conrelid = to_regclass($1) UNION ALL SELECT lower(tgname) FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal \
    UNION ALL SELECT lower(s.relname) FROM pg_depend p JOIN pg_class s ON s.oid = p.objid AND s.relkind = 'S' WHERE p.classid = 'pg_class'::regclass \
    AND p.refclassid = 'pg_class'::regclass AND p.refobjid = to_regclass($1) AND p.deptype = 'a'";

/// A column of a PostgreSQL table; `None` when there is no such column.
pub(super) async fn column(
    session: &mut dyn Session,
    table: &str,
    column: &str,
) -> Result<Option<ColumnFacts>, TargetError> {
    let found = session
        .query(COLUMN, &[table.into(), column.into()])
        .await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let place = [row.text(0)?.into(), row.integer(5)?.into()];
    let table = row.text(0)?;
    let indexes = session.query(INDEXES, &place).await?;
    let indexes = indexes.iter().map(|row| {
        Ok(IndexFacts {
            name: row.text(0)?,
            definition: row.text(1)?,
            constraint: row.text(2)?,
        })
    });
    let indexes = indexes.collect::<Result<Vec<_>, TargetError>>()?;
    let constraints = session.query(CONSTRAINTS, &place).await?;
    let constraints = constraints.iter().map(|row| {
        Ok(ConstraintFacts {
            name: row.text(0)?,
            definition: row.text(1)?,
        })
    });
    let constraints = constraints.collect::<Result<Vec<_>, TargetError>>()?;
    let mut obstacles = row.text(6)?.lines().map(str::to_owned).collect::<Vec<_>>();
    obstacles.extend(texts(&session.query(DEPENDENTS, &place).await?, 0)?);
    obstacles.extend(swap::obstacles(&indexes, &constraints));
    Ok(Some(ColumnFacts {
        column: row.text(1)?,
        kind: row.text(2)?,
        not_null: row.integer(3)? != 0,
        names_nulls: row.integer(8)? != 0,
        strict: row.optional_text(9)?,
        default: row.optional_text(4)?,
        sequence: row.optional_text(7)?,
        columns: texts(&session.query(COLUMNS, &[table.as_str().into()]).await?, 0)?,
        key: key(session, &table, None).await?.unwrap_or_default(),
        indexes,
        constraints,
        obstacles,
        table,
    }))
}

/// The primary key of a table, or the named columns. `None` when a column is missing or may be null.
pub(super) async fn key(
    session: &mut dyn Session,
    table: &str,
    named: Option<&[String]>,
) -> Result<Option<Vec<KeyColumn>>, TargetError> {
    if session.dialect() == Dialect::Sqlite {
        return sqlite_key(session, table, named).await;
    }
    let read = |row: &Row| {
        Ok(KeyColumn {
            name: row.text(0)?,
            kind: row.text(1)?,
        })
    };
    let Some(named) = named else {
        let rows = session.query(KEY, &[table.into()]).await?;
        let key = rows
            .iter()
            .map(read)
            .collect::<Result<Vec<_>, TargetError>>()?;
        return Ok(Some(key).filter(|key| !key.is_empty()));
    };
    let mut key = Vec::new();
    for name in named {
        let rows = session
            .query(NAMED, &[table.into(), name.as_str().into()])
            .await?;
        match rows.first() {
            Some(row) if row.integer(2)? != 0 => key.push(read(row)?),
            _ => return Ok(None),
        }
    }
    Ok(Some(key))
}

async fn sqlite_key(
    session: &mut dyn Session,
    table: &str,
    named: Option<&[String]>,
) -> Result<Option<Vec<KeyColumn>>, TargetError> {
    const INFO: &str = "SELECT name, \"notnull\", pk FROM pragma_table_info($1) ORDER BY pk, cid";
    let bare = crate::domain::lex::bare_name(table.rsplit('.').next().unwrap_or(table));
    let rows = session.query(INFO, &[bare.into()]).await?;
    let column = |name: &str| KeyColumn {
        name: format!("\"{}\"", name.replace('"', "\"\"")),
        kind: String::new(),
    };
    let mut key = Vec::new();
    for row in &rows {
        let name = row.text(0)?;
        let fits = row.integer(1)? != 0 || row.integer(2)? != 0;
        match named {
            None if row.integer(2)? > 0 => key.push(column(&name)),
            Some(named) if fits && named.iter().any(|one| one.eq_ignore_ascii_case(&name)) => {
                key.push(column(&name));
            }
            _ => {}
        }
    }
    if let Some(named) = named {
        return Ok(Some(key).filter(|key| key.len() == named.len()));
    }
    if key.is_empty() && !rows.is_empty() {
        key.push(column("rowid"));
    }
    Ok(Some(key).filter(|key| !key.is_empty()))
}

/// A PostgreSQL table that may be hidden; `None` for partitions and what is no ordinary table.
pub(super) async fn table(
    session: &mut dyn Session,
    table: &str,
) -> Result<Option<postgres::TableFacts>, TargetError> {
    let found = session.query(TABLE, &[table.into()]).await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let name = [row.text(0)?.into()];
    let references = session.query(REFERENCES, &name).await?;
    let references = references
        .iter()
        .map(|row| Ok((row.text(0)?, row.text(1)?)))
        .collect::<Result<_, TargetError>>()?;
    Ok(Some(postgres::TableFacts {
        table: row.text(0)?,
        schema: row.text(1)?,
        name: row.text(2)?,
        references,
        columns: texts(&session.query(COLUMNS, &name).await?, 1)?,
        key: texts(&session.query(KEY, &name).await?, 0)?,
        attached: texts(&session.query(ATTACHED, &name).await?, 0)?,
        fixed: texts(&session.query(FIXED, &name).await?, 0)?,
        partition: match session.query(PARTITION, &name).await?.first() {
            Some(row) => Some((row.text(0)?, row.text(1)?)),
            None => None,
        },
        inherited: texts(&session.query(INHERITED, &name).await?, 0)?,
        parts: session
            .query(PARTS, &name)
            .await?
            .iter()
            .map(|row| Ok((row.text(0)?, row.text(1)?, row.text(2)?)))
            .collect::<Result<_, TargetError>>()?,
    }))
}

/// Schema and name of a sequence, quoted; `None` when a column owns it or there is none.
pub(super) async fn sequence(
    session: &mut dyn Session,
    sequence: &str,
) -> Result<Option<(String, String)>, TargetError> {
    const SEQUENCE: &str = "SELECT quote_ident(n.nspname), quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.oid = to_regclass($1) AND c.relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
        AND d.deptype IN ('a', 'i'))";
    let rows = session.query(SEQUENCE, &[sequence.into()]).await?;
    let row = rows.first();
    row.map(|row| Ok((row.text(0)?, row.text(1)?))).transpose()
}

/// `ALWAYS` or `BY DEFAULT` of an identity column.
pub(super) async fn identity(
    session: &mut dyn Session,
    table: &str,
    column: &str,
) -> Result<Option<String>, TargetError> {
    let place = [table.into(), column.into()];
    let rows = session.query(IDENTITY, &place).await?;
    rows.first().map(|row| row.text(0)).transpose()
}

/// A SQLite table; `None` when there is none.
pub(super) async fn sqlite_table(
    session: &mut dyn Session,
    table: &str,
) -> Result<Option<sqlite::TableFacts>, TargetError> {
    const DEFINITIONS: &str = "SELECT sql FROM sqlite_schema WHERE lower(tbl_name) = $1 AND sql IS NOT NULL AND type IN ('table', 'index', 'trigger') \
        ORDER BY type <> 'table', rowid";
    const COLUMNS: &str = "SELECT name, (\"notnull\" AND dflt_value IS NULL AND pk = 0), pk FROM pragma_table_xinfo($1) WHERE hidden = 0 ORDER BY cid";
    let bare = crate::domain::lex::bare_name(table.rsplit('.').next().unwrap_or(table));
    let name = [bare.as_str().into()];
    let definitions = texts(&session.query(DEFINITIONS, &name).await?, 0)?;
    if definitions.is_empty() {
        return Ok(None);
    }
    let rows = session.query(COLUMNS, &name).await?;
    let (mut columns, mut required, mut key) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let column = row.text(0)?;
        let quoted = format!("\"{}\"", column.replace('"', "\"\""));
        if row.integer(2)? != 0 {
            key.push(quoted.clone());
        }
        columns.push(quoted);
        if row.integer(1)? != 0 {
            required.push(column);
        }
    }
    Ok(Some(sqlite::TableFacts {
        table: format!("\"{}\"", bare.replace('"', "\"\"")),
        definitions,
        columns,
        required,
        key,
    }))
}

fn texts(rows: &[Row], column: usize) -> Result<Vec<String>, TargetError> {
    rows.iter().map(|row| row.text(column)).collect()
}
