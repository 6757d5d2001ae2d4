//! Tells cheaply that a catalog is the one that was read before.
//!
//! A row version of a system catalog never changes its content: whatever a statement changes is a new version, with the
//! transaction that made it and a place of its own. So the same versions are the same catalog, and reading them costs a
//! fraction of rendering every definition. What only moved (VACUUM FULL, a restored copy) is read once more.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use crate::{clients::target::Shape, domain::Catalog};

/// The first id that the server gives to what it did not bring itself.
const FIRST: &str = "16384";

/// What the query of the catalog reads, directly or by the functions that render definitions, with the column that says
/// whose row it is; without one every row counts.
const CATALOGS: [(&str, &str); 46] = [
    ("pg_namespace", ""),
    ("pg_extension", ""),
    ("pg_class", "oid"),
    ("pg_attribute", "attrelid"),
    ("pg_attrdef", "oid"),
    ("pg_type", "oid"),
    ("pg_enum", "oid"),
    ("pg_range", "rngtypid"),
    ("pg_proc", "oid"),
    ("pg_aggregate", "aggfnoid::oid"),
    ("pg_constraint", "oid"),
    ("pg_index", "indexrelid"),
    ("pg_trigger", "oid"),
    ("pg_rewrite", "oid"),
    ("pg_policy", "oid"),
    ("pg_inherits", "inhrelid"),
    ("pg_partitioned_table", "partrelid"),
    ("pg_sequence", "seqrelid"),
    ("pg_depend", "objid"),
    ("pg_statistic_ext", "oid"),
    ("pg_publication", ""),
    ("pg_publication_rel", ""),
    ("pg_publication_namespace", ""),
    ("pg_event_trigger", ""),
    ("pg_default_acl", ""),
    ("pg_cast", "oid"),
    ("pg_operator", "oid"),
    ("pg_opclass", "oid"),
    ("pg_opfamily", "oid"),
    ("pg_amop", "oid"),
    ("pg_amproc", "oid"),
    ("pg_am", "oid"),
    ("pg_collation", "oid"),
    ("pg_conversion", "oid"),
    ("pg_language", ""),
    ("pg_transform", ""),
    ("pg_tablespace", ""),
    ("pg_foreign_data_wrapper", ""),
    ("pg_foreign_server", ""),
    ("pg_foreign_table", ""),
    ("pg_seclabel", ""),
    ("pg_ts_config", "oid"),
    ("pg_ts_config_map", "mapcfg"),
    ("pg_ts_dict", "oid"),
    ("pg_ts_parser", "oid"),
    ("pg_ts_template", "oid"),
];

/// The same for what shows no row versions to everybody, or whose rows of the server itself can be the project's.
const OTHERS: [(&str, &str, &str); 3] = [
    (
        "pg_roles",
        "pg_catalog.hashtextextended(t.oid::text || ' ' || t.rolname::text, 0)",
        "true",
    ),
    (
        "pg_user_mappings",
        "pg_catalog.hashtextextended(t::text, 0)",
        "true",
    ),
    (
        "pg_description",
        VERSION,
        "t.objoid >= 16384 OR t.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass",
    ),
];

/// Hash of a row version.
const VERSION: &str = "pg_catalog.hashtidextended(t.ctid, t.xmin::text::bigint)";

/// One text for all row versions, bound to this database and this start of the server: a copy that goes its own way gives
/// the same numbers to other things.
pub(super) fn query() -> &'static str {
    static QUERY: LazyLock<String> = LazyLock::new(|| {
        let part = |table: &str, hash: &str, condition: &str| {
            format!(
                "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.bit_xor({hash})) \
                 FROM pg_catalog.{table} t WHERE {condition})"
            )
        };
        let plain = CATALOGS.iter().map(|(table, column)| {
            let condition = if column.is_empty() {
                "true".to_owned()
            } else {
                format!("t.{column} >= {FIRST}")
            };
            part(table, VERSION, &condition)
        });
        let others = OTHERS
            .iter()
            .map(|(table, hash, condition)| part(table, hash, condition));
        format!(
            "SELECT pg_catalog.concat_ws(' ', (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()), \
             extract(epoch FROM pg_catalog.pg_postmaster_start_time()), {})",
            plain.chain(others).collect::<Vec<_>>().join(", ")
        )
    });
    &QUERY
}

/// Those of the catalogs in which a stamp counted nothing that is the project's.
pub(super) fn empty(stamp: &str) -> BTreeSet<&'static str> {
    let plain = CATALOGS.iter().map(|(table, _)| *table);
    let others = OTHERS.iter().map(|(table, _, _)| *table);
    // Before the first of them stand the database and the start of its server.
    let counted = stamp.split(' ').skip(2).zip(plain.chain(others));
    let empty = counted.filter(|(versions, _)| versions.starts_with("0:"));
    empty.map(|(_, table)| table).collect()
}

/// What the last look at a database's catalog found; shared by all sessions of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Option<Seen>>>);

#[derive(Debug)]
struct Seen {
    stamp: String,
    shape: Arc<Shape>,
}

impl Memory {
    /// What a catalog with this stamp looks like, when it was seen.
    pub(super) fn recall(&self, stamp: &str) -> Option<Arc<Shape>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.as_ref().filter(|seen| seen.stamp == stamp)?;
        Some(seen.shape.clone())
    }

    /// Keeps what was read after this stamp was taken. A change between the two makes another stamp for good, so that
    /// what is kept is found again only while it is true.
    pub(super) fn keep(&self, stamp: String, catalog: &Catalog) -> Arc<Shape> {
        let shape = Arc::new(Shape::of(catalog));
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(Seen {
            stamp,
            shape: shape.clone(),
        });
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_every_table_that_the_catalog_reads() {
        // Views over others, the names of schemas and of functions.
        const NO_TABLES: [&str; 4] = ["pg_catalog", "pg_toast", "pg_encoding_to_char", "pg_temp_"];
        let known = CATALOGS.iter().map(|(table, _)| *table);
        let known = known
            .chain(OTHERS.iter().map(|(table, _, _)| *table))
            .collect::<BTreeSet<_>>();
        let text = super::super::catalog::query(None, &BTreeSet::new());
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let tables = words.filter(|word| {
            word.starts_with("pg_") && !word.starts_with("pg_get_") && !NO_TABLES.contains(word)
        });
        for table in tables.filter(|word| *word != "pg_describe_object" && *word != "pg_") {
            assert!(known.contains(table), "{table}");
        }
    }
}
