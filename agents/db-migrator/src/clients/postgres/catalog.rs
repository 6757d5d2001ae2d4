//! PostgreSQL's system catalogs as catalog entries: one message, one round trip.

use std::collections::BTreeSet;

use tokio_postgres::SimpleQueryRow;

use super::TargetError;
use crate::domain::{Catalog, Entry, Place, Tenant, history};

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

/// Kind, catalogs, name, definition and source of objects that hang on others, and of those of which existence is all
/// that is compared.
const DEPENDENTS: [(&str, &[&str], &str, &str, &str); 26] = [
    (
        "constraint",
        &["pg_constraint"],
        "format('%s.%I', coalesce(r.name, t.name), k.conname)",
        "concat_ws('; ', pg_get_constraintdef(k.oid), k.convalidated, k.conislocal)",
        "pg_constraint k LEFT JOIN rel r ON r.oid = k.conrelid LEFT JOIN typ t ON t.oid = k.contypid WHERE k.contype <> 't' AND (k.contype <> 'n' OR k.conislocal) AND NOT EXISTS (SELECT FROM automatic u WHERE u.oid = k.oid) AND coalesce(r.name, t.name) IS NOT NULL",
    ),
    (
        "index",
        &["pg_index"],
        "r.name",
        "concat_ws('; ', pg_get_indexdef(r.oid), i.indisvalid, i.indisready, i.indisclustered, i.indisreplident, \
         (SELECT h.inhparent::regclass FROM pg_inherits h WHERE h.inhrelid = r.oid), (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = r.reltablespace))",
        "rel r JOIN pg_index i ON i.indexrelid = r.oid",
    ),
    (
        "trigger",
        &["pg_trigger"],
        "format('%s.%I', r.name, t.tgname)",
        "concat_ws('; ', pg_get_triggerdef(t.oid), t.tgenabled)",
        "pg_trigger t JOIN rel r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal",
    ),
    (
        "rule",
        &["pg_rewrite"],
        "format('%s.%I', r.name, w.rulename)",
        "concat_ws('; ', pg_get_ruledef(w.oid), w.ev_enabled)",
        "pg_rewrite w JOIN rel r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'",
    ),
    (
        "policy",
        &["pg_policy"],
        "format('%s.%I', r.name, p.polname)",
        "concat_ws('; ', p.polcmd, p.polpermissive, (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE o::regrole::text END, ',' ORDER BY o) FROM unnest(p.polroles) o), \
         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))",
        "pg_policy p JOIN rel r ON r.oid = p.polrelid",
    ),
    (
        "comment",
        &["pg_description"],
        "pg_describe_object(x.classoid, x.objoid, x.objsubid)",
        "x.description",
        "pg_description x WHERE (x.objoid >= 16384 OR x.classoid = 'pg_namespace'::regclass AND x.objoid IN (SELECT oid FROM ns)) \
         AND NOT EXISTS (SELECT FROM member m WHERE m.classid = x.classoid AND m.objid = x.objoid) AND x.classoid <> 'pg_extension'::regclassOF THE SCHEMA",
    ),
    (
        "statistics",
        &["pg_statistic_ext"],
        "format('%I.%I', n.nspname, s.stxname)",
        "concat_ws('; ', pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1), pg_get_userbyid(s.stxowner))",
        "pg_statistic_ext s JOIN ns n ON n.oid = s.stxnamespace",
    ),
    (
        "publication",
        &["pg_publication"],
        "p.pubname::text",
        "concat_ws('; ', pg_get_userbyid(p.pubowner), p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, \
         (SELECT string_agg(concat_ws(' ', t.prrelid::regclass, t.prattrs::text, pg_get_expr(t.prqual, t.prrelid)), ',' ORDER BY 1) FROM pg_publication_rel t WHERE t.prpubid = p.oid), \
         (SELECT string_agg(t.pnnspid::regnamespace::text, ',' ORDER BY 1) FROM pg_publication_namespace t WHERE t.pnpubid = p.oid))",
        "pg_publication p",
    ),
    (
        "event trigger",
        &["pg_event_trigger"],
        "e.evtname::text",
        "concat_ws('; ', e.evtevent, e.evtenabled, e.evttags::text, e.evtfoid::regprocedure, pg_get_userbyid(e.evtowner))",
        "pg_event_trigger e",
    ),
    (
        "default privileges",
        &["pg_default_acl"],
        "concat_ws(' ', d.defaclrole::regrole, d.defaclobjtype, (SELECT nspname FROM pg_namespace WHERE oid = d.defaclnamespace))",
        "(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(d.defaclacl) a)",
        "pg_default_acl d",
    ),
    (
        "cast",
        &["pg_cast"],
        "pg_describe_object('pg_cast'::regclass, c.oid, 0)",
        "concat_ws('; ', c.castcontext, c.castmethod, nullif(c.castfunc, 0)::regprocedure)",
        "pg_cast c WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.objid = c.oid)",
    ),
    (
        "operator",
        &["pg_operator"],
        "pg_describe_object('pg_operator'::regclass, o.oid, 0)",
        "concat_ws('; ', o.oprcode, pg_get_userbyid(o.oprowner), nullif(o.oprcom, 0)::regoperator, nullif(o.oprnegate, 0)::regoperator, o.oprrest, o.oprjoin, o.oprcanhash, o.oprcanmerge)",
        "(SELECT *, 'pg_operator'::regclass AS classoid, oid AS objoid FROM pg_operator) o, LATERAL (SELECT o.classoid, o.objoid) x WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.objid = o.oid)OF THE SCHEMA",
    ),
    (
        "foreign server",
        &["pg_foreign_server"],
        "s.srvname::text",
        "concat_ws('; ', s.srvtype, s.srvversion, (SELECT fdwname FROM pg_foreign_data_wrapper WHERE oid = s.srvfdw), s.srvoptions::text, pg_get_userbyid(s.srvowner), s.srvacl::text)",
        "pg_foreign_server s",
    ),
    (
        "foreign-data wrapper",
        &["pg_foreign_data_wrapper"],
        "w.fdwname::text",
        "concat_ws('; ', nullif(w.fdwhandler, 0)::regproc, nullif(w.fdwvalidator, 0)::regproc, w.fdwoptions::text, pg_get_userbyid(w.fdwowner), w.fdwacl::text)",
        "pg_foreign_data_wrapper w WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = w.oid)",
    ),
    (
        "user mapping",
        &["pg_user_mappings"],
        "concat_ws(' ', u.srvname, u.usename)",
        "coalesce(encode(sha256(convert_to(u.umoptions::text, 'UTF8')), 'hex'), '')",
        "pg_user_mappings u",
    ),
    (
        "collation",
        &["pg_collation"],
        "format('%I.%I', n.nspname, c.collname)",
        "concat_ws('; ', c.collprovider, c.collisdeterministic, c.collcollate, c.collctype, to_jsonb(c)->>'colllocale', to_jsonb(c)->>'colliculocale', to_jsonb(c)->>'collicurules', pg_get_userbyid(c.collowner))",
        "pg_collation c JOIN ns n ON n.oid = c.collnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_collation'::regclass AND m.objid = c.oid)",
    ),
    (
        "conversion",
        &["pg_conversion"],
        "format('%I.%I', n.nspname, c.conname)",
        "concat_ws('; ', pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc, c.condefault, pg_get_userbyid(c.conowner))",
        "pg_conversion c JOIN ns n ON n.oid = c.connamespace",
    ),
    (
        "operator family",
        &["pg_opfamily"],
        "format('%I.%I %s', n.nspname, f.opfname, f.opfmethod)",
        "concat_ws('; ', pg_get_userbyid(f.opfowner), (SELECT string_agg(concat_ws(' ', o.amopstrategy, o.amopopr::regoperator, o.amoppurpose), ',' ORDER BY o.amopstrategy, o.amopopr) FROM pg_amop o WHERE o.amopfamily = f.oid), \
         (SELECT string_agg(concat_ws(' ', q.amprocnum, q.amproc::regprocedure, q.amproclefttype::regtype), ',' ORDER BY q.amprocnum, q.amproc) FROM pg_amproc q WHERE q.amprocfamily = f.oid))",
        "pg_opfamily f JOIN ns n ON n.oid = f.opfnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opfamily'::regclass AND m.objid = f.oid)",
    ),
    (
        "operator class",
        &["pg_opclass"],
        "format('%I.%I %s', n.nspname, c.opcname, c.opcmethod)",
        "concat_ws('; ', pg_get_userbyid(c.opcowner), (SELECT opfname FROM pg_opfamily WHERE oid = c.opcfamily), c.opcintype::regtype, c.opcdefault, nullif(c.opckeytype, 0)::regtype)",
        "pg_opclass c JOIN ns n ON n.oid = c.opcnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opclass'::regclass AND m.objid = c.oid)",
    ),
    (
        "text search dictionary",
        &["pg_ts_dict"],
        "format('%I.%I', n.nspname, d.dictname)",
        "concat_ws('; ', pg_get_userbyid(d.dictowner), (SELECT tmplname FROM pg_ts_template WHERE oid = d.dicttemplate), d.dictinitoption)",
        "pg_ts_dict d JOIN ns n ON n.oid = d.dictnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_ts_dict'::regclass AND m.objid = d.oid)",
    ),
    (
        "text search configuration",
        &["pg_ts_config"],
        "format('%I.%I', n.nspname, c.cfgname)",
        "concat_ws('; ', pg_get_userbyid(c.cfgowner), (SELECT prsname FROM pg_ts_parser WHERE oid = c.cfgparser), (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict::regdictionary), ',' \
         ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))",
        "pg_ts_config c JOIN ns n ON n.oid = c.cfgnamespace WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_ts_config'::regclass AND m.objid = c.oid)",
    ),
    (
        "text search template or parser",
        &["pg_ts_template", "pg_ts_parser"],
        "name",
        "definition",
        "(SELECT format('%I.%I', n.nspname, t.tmplname) AS name, concat_ws(' ', t.tmplinit, t.tmpllexize) AS definition, t.oid FROM pg_ts_template t JOIN ns n ON n.oid = t.tmplnamespace \
         UNION ALL SELECT format('%I.%I', n.nspname, p.prsname), concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype), p.oid FROM pg_ts_parser p JOIN ns n ON n.oid = p.prsnamespace) t \
         WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid IN ('pg_ts_template'::regclass, 'pg_ts_parser'::regclass) AND m.objid = t.oid)",
    ),
    (
        "language",
        &[],
        "l.lanname::text",
        "concat_ws('; ', pg_get_userbyid(l.lanowner), l.lanpltrusted, nullif(l.lanplcallfoid, 0)::regproc, nullif(l.laninline, 0)::regproc, nullif(l.lanvalidator, 0)::regproc, l.lanacl::text)",
        "pg_language l WHERE l.oid >= 16384 OR l.lanacl IS NOT NULL",
    ),
    (
        "transform or access method",
        &["pg_transform", "pg_am"],
        "name",
        "definition",
        "(SELECT concat_ws(' ', t.trftype::regtype, l.lanname) AS name, concat_ws(' ', nullif(t.trffromsql, 0)::regprocedure, nullif(t.trftosql, 0)::regprocedure) AS definition, t.oid \
         FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang UNION ALL SELECT a.amname, concat_ws(' ', a.amtype, a.amhandler), a.oid FROM pg_am a WHERE a.oid >= 16384) t \
         WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid IN ('pg_transform'::regclass, 'pg_am'::regclass) AND m.objid = t.oid)",
    ),
    (
        "security label",
        &["pg_seclabel"],
        "concat_ws(' ', x.provider, pg_describe_object(x.classoid, x.objoid, x.objsubid))",
        "x.label",
        "pg_seclabel x WHERE x.objoid >= 16384OF THE SCHEMA",
    ),
    (
        "extension dependency",
        &["pg_depend"],
        "concat_ws(' ', pg_describe_object(d.classid, d.objid, d.objsubid), (SELECT extname FROM pg_extension WHERE oid = d.refobjid))",
        "''",
        "pg_depend d WHERE d.deptype = 'x'",
    ),
];
