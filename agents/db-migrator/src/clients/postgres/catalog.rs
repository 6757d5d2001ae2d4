//! PostgreSQL's system catalogs as catalog entries: one message, one round trip.

mod dependents;

use std::collections::BTreeSet;

use tokio_postgres::SimpleQueryRow;

use super::TargetError;
use crate::domain::{Catalog, Entry, Place, Tenant, history};
use dependents::DEPENDENTS;

/// Columns of an entry: kind, name, definition, position, table, column, default.
const WIDTH: usize = 7;

/// The query of a whole database or of one tenant's schema, without what reads only catalogs that hold nothing.
pub(super) fn query(tenant: Option<&Tenant>, empty: &BTreeSet<&str>) -> String {
    let objects = objects();
    let filled = objects.iter().filter(|one| !one.is_empty(empty));
    let Some(tenant) = tenant else {
        return text(OURS, "", filled.map(|one| one.sql.clone()));
    };
    let own = filled.filter(|one| !WHOLE.contains(&one.kind));
    let own = own.map(|one| one.sql.replace("OF THE SCHEMA", MINE_ONLY));
    text(&format!("= {}", tenant.literal()), MINE, own)
}

/// Statements with an empty search path around them, so that every definition names its schema.
pub(super) fn with_empty_path(statements: &str) -> String {
    format!(
        "SELECT set_config('db_migrator.search_path', current_setting('search_path'), true);\n\
         SELECT set_config('search_path', 'pg_catalog', true);\n\
         {statements};\n\
         SELECT set_config('search_path', current_setting('db_migrator.search_path'), true);"
    )
}

fn text(ours: &str, mine: &str, objects: impl Iterator<Item = String>) -> String {
    let objects = objects.collect::<Vec<_>>();
    format!(
        "{}\n{}",
        COMMON
            .replace("HISTORIES", &histories())
            .replace("TABLE AUTOMATIC", include_str!("automatic.sql"))
            .replace("OURS", ours)
            + mine,
        objects.join("\nUNION ALL\n").replace("OF THE SCHEMA", "")
    )
}

/// The schemas of a project, for its whole database.
const OURS: &str = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'db_migrator') AND nspname !~ '^(pg_(toast_)?temp_|db_migrator_tenant_)'";
/// What no tenant's migration may change, because all of them share it, and the tenant's own schema.
const WHOLE: [&str; 13] = [
    "schema",
    "extension",
    "publication",
    "event trigger",
    "default privileges",
    "cast",
    "foreign server",
    "foreign-data wrapper",
    "user mapping",
    "language",
    "transform or access method",
    "text search template or parser",
    "extension dependency",
];
/// Everything of the schema that a comment or a label can be about.
const MINE: &str = r",
mine AS (
  SELECT 'pg_class'::regclass AS class, oid FROM rel UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace IN (SELECT oid FROM ns)
  UNION ALL SELECT 'pg_proc'::regclass, oid FROM fun UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ns)
  UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t JOIN rel r ON r.oid = t.tgrelid UNION ALL SELECT 'pg_rewrite'::regclass, w.oid FROM pg_rewrite w JOIN rel r ON r.oid = w.ev_class
  UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy p JOIN rel r ON r.oid = p.polrelid UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxnamespace IN (SELECT oid FROM ns)
  UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE collnamespace IN (SELECT oid FROM ns) UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion WHERE connamespace IN (SELECT oid FROM ns)
  UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM ns) UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcnamespace IN (SELECT oid FROM ns)
  UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE opfnamespace IN (SELECT oid FROM ns) UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE dictnamespace IN (SELECT oid FROM ns)
  UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE cfgnamespace IN (SELECT oid FROM ns))";
const MINE_ONLY: &str =
    " AND EXISTS (SELECT FROM mine m WHERE m.class = x.classoid AND m.oid = x.objoid)";

/// What reads the objects of one kind.
#[derive(Debug)]
struct Objects {
    kind: &'static str,
    sql: String,
    /// Without a row of the project's in any of these catalogs there is none of the kind; unknown where none is named.
    of: &'static [&'static str],
}

impl Objects {
    fn is_empty(&self, empty: &BTreeSet<&str>) -> bool {
        !self.of.is_empty() && self.of.iter().all(|table| empty.contains(table))
    }
}

/// Reads the answer to [`query`].
pub(super) fn read<'a>(
    rows: impl Iterator<Item = &'a SimpleQueryRow>,
) -> Result<Catalog, TargetError> {
    rows.filter(|row| row.len() == WIDTH)
        .map(entry)
        .collect::<Result<Vec<_>, _>>()
        .map(Catalog::new)
}

fn entry(row: &SimpleQueryRow) -> Result<Entry, TargetError> {
    let text = |column: usize| {
        row.try_get(column)
            .map_err(TargetError::from)
            .map(|text| text.map(str::to_owned))
    };
    let required = |column: usize| text(column)?.ok_or(TargetError::Unreadable("a catalog text"));
    let (column, default) = (text(5)?, text(6)?);
    Ok(Entry {
        kind: required(0)?,
        name: required(1)?,
        definition: text(2)?.unwrap_or_default(),
        position: text(3)?.and_then(|position| position.parse().ok()),
        place: text(4)?.map(|table| Place {
            table,
            column,
            default,
        }),
    })
}

/// The tables in which other tools keep their history: no part of a project's schema.
fn histories() -> String {
    history::TABLES.map(|table| format!("'{table}'")).join(", ")
}

/// Histories of other tools, namespaces, extension members, relations and user types that belong to the project's schema.
const COMMON: &str = r"WITH ns AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
  WHERE nspname OURS),
member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
automatic AS (TABLE AUTOMATIC),
history AS (
  SELECT c.oid FROM pg_class c JOIN ns n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relname IN (HISTORIES)
  UNION ALL SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relkind = 'r' AND c.relname IN (HISTORIES)
  UNION ALL SELECT d.objid FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid WHERE d.classid = 'pg_class'::regclass
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'r' AND c.relname IN (HISTORIES)),
rel AS (
  SELECT c.oid, c.relkind, c.relowner, c.relacl, c.relpersistence, c.reloptions, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
    c.relpartbound, c.relispartition, c.relam, c.reltablespace, c.reloftype, c.reltoastrelid, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN ns n ON n.oid = c.relnamespace
  WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
    AND NOT EXISTS (SELECT FROM history h WHERE h.oid = c.oid)),
typ AS (
  SELECT t.oid, t.typtype, t.typowner, t.typacl, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, t.typcollation, format('%I.%I', n.nspname, t.typname) AS name
  FROM pg_type t JOIN ns n ON n.oid = t.typnamespace
  WHERE t.typtype IN ('d', 'e', 'r') AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)),
fun AS (
  SELECT p.oid, p.prokind, p.proowner, p.proacl, p.proparallel, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
  FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid))";

/// The owner, and the privileges of all.
fn owned(list: &str, kind: char, owner: &str) -> String {
    format!(
        "pg_get_userbyid({owner}) || ':' || {}",
        acl(list, kind, owner)
    )
}

/// All privileges as sorted text: an explicit default equals an absent list.
fn acl(list: &str, kind: char, owner: &str) -> String {
    format!(
        "CASE WHEN {list} IS NULL THEN '' ELSE \
         coalesce(nullif((SELECT string_agg(a.grantee::regrole::text || '=' || a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' \
         ORDER BY a.grantee, a.privilege_type) FROM aclexplode({list}) a), (SELECT string_agg(a.grantee::regrole::text || '=' || a.privilege_type || CASE WHEN a.is_grantable \
         THEN '*' ELSE '' END, ',' ORDER BY a.grantee, a.privilege_type) FROM aclexplode(acldefault('{kind}', {owner})) a)), \
         CASE WHEN cardinality({list}) = 0 THEN 'none' ELSE '' END) END"
    )
}

fn objects() -> Vec<Objects> {
    let of = |kind, of, sql| Objects { kind, sql, of };
    let plain = |kind, catalogs, name: &str, definition: &str, from: &str| {
        let sql =
            format!("SELECT '{kind}', {name}, {definition}, NULL, NULL, NULL, NULL FROM {from}");
        of(kind, catalogs, sql)
    };
    let mut all = vec![
        plain(
            "schema",
            &[],
            "n.nspname::text",
            &owned("n.nspacl", 'n', "n.nspowner"),
            "ns n",
        ),
        plain(
            "extension",
            &[],
            "e.extname::text",
            "concat_ws('; ', e.extversion, e.extnamespace::regnamespace)",
            "pg_extension e",
        ),
        of("relation", &["pg_class"], relations()),
        of("column", &["pg_attribute"], columns()),
        plain(
            "type",
            &["pg_type"],
            "t.name",
            &format!(
                "concat_ws('; ', t.typtype, (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), \
                 CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, t.typnotnull, t.typdefault, \
                 (SELECT concat_ws(' ', format_type(rngsubtype, NULL), rngmultitypid::regtype, rngcanonical, rngsubdiff, (SELECT opcname FROM pg_opclass WHERE oid = rngsubopc), nullif(rngcollation, 0)::regcollation) FROM pg_range WHERE rngtypid = t.oid), \
                 nullif(t.typcollation, 0)::regcollation, {})",
                owned("t.typacl", 'T', "t.typowner")
            ),
            "typ t",
        ),
        plain(
            "function",
            &["pg_proc"],
            "f.name",
            &format!(
                "CASE WHEN f.prokind = 'a' THEN (SELECT concat_ws(' ', aggkind, aggnumdirectargs, aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn, aggfinalextra, aggmfinalextra, aggfinalmodify, aggmfinalmodify, \
                 nullif(aggsortop, 0)::regoperator, format_type(aggtranstype, NULL), aggtransspace, format_type(nullif(aggmtranstype, 0), NULL), aggmtransspace, agginitval, aggminitval, f.proparallel) FROM pg_aggregate WHERE aggfnoid = f.oid) \
                 ELSE pg_get_functiondef(f.oid) END || {}",
                owned("f.proacl", 'f', "f.proowner")
            ),
            "fun f",
        ),
    ];
    all.extend(
        DEPENDENTS
            .iter()
            .map(|(kind, of, name, definition, from)| plain(kind, of, name, definition, from)),
    );
    all
}

fn relations() -> String {
    let grants = format!(
        "CASE r.relkind WHEN 'S' THEN {} ELSE {} END",
        owned("r.relacl", 's', "r.relowner"),
        owned("r.relacl", 'r', "r.relowner")
    );
    format!(
        r"SELECT CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
    WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' ELSE 'composite type' END, r.name,
  concat_ws('; ', r.relpersistence, r.reloptions::text, (SELECT t.reloptions::text FROM pg_class t WHERE t.oid = r.reltoastrelid), (SELECT m.amname FROM pg_am m WHERE m.oid = r.relam AND m.amname <> 'heap'),
    (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = r.reltablespace), format_type(nullif(r.reloftype, 0), NULL),
    (SELECT concat_ws(' ', s.srvname, f.ftoptions::text) FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = r.oid), r.relrowsecurity, r.relforcerowsecurity, r.relreplident, pg_get_expr(r.relpartbound, r.oid),
    CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) END, CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END,
    (SELECT string_agg(i.inhparent::regclass::text || CASE WHEN i.inhdetachpending THEN ' detaching' ELSE '' END, ',' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = r.oid),
    (SELECT concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
      (SELECT d.refobjid::regclass || '.' || quote_ident(a.attname) FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
       WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0 LIMIT 1)) FROM pg_sequence s WHERE s.seqrelid = r.oid),
    {grants}),
  NULL, CASE WHEN r.relkind = 'r' THEN r.name END, NULL, NULL
FROM rel r WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')"
    )
}

fn columns() -> String {
    format!(
        r"SELECT 'column', format('%s.%I', r.name, a.attname),
  concat_ws('; ', format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
    CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END, a.attstorage, a.attcompression, a.attoptions::text, a.attfdwoptions::text,
    nullif(a.attstattarget, -1), a.attislocal, {}),
  (row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum))::text, CASE WHEN r.relkind = 'r' AND a.attgenerated = '' THEN r.name END, quote_ident(a.attname),
  pg_get_expr(d.adbin, d.adrelid)
FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND (r.relkind IN ('r', 'p', 'f', 'c')
  OR r.relkind IN ('v', 'm', 'i', 'I') AND (a.atthasdef OR a.attacl IS NOT NULL OR a.attoptions IS NOT NULL AND r.relkind IN ('v', 'm') OR coalesce(a.attstattarget::int, -1) >= 0))",
        acl("a.attacl", 'c', "r.relowner")
    )
}
