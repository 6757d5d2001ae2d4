//! A tenant: one schema of a database that many tenants share, each with the same tables, a ledger and a lock of its own.

mod reach;

pub use reach::{Around, Reach, reach};

use super::sha256_hex;

/// The schema of a whole database's ledger, as every statement of the engine names it.
pub const LEDGER: &str = "db_migrator";
/// What the schemas of tenants' ledgers begin with.
pub const LEDGERS: &str = "db_migrator_tenant_";
/// Digits of a mark: 40 bits keep a million pairs of tenants apart, and names that hold one stay below 63 bytes.
const MARK: usize = 10;

/// One schema of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    schema: String,
    ledger: String,
}

/// Why a schema can be no tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant's schema has 1 to 63 bytes without control characters, and is neither the server's own nor a ledger"
)]
pub struct NoTenant;

impl Tenant {
    /// The tenant whose tables are in this schema, named as the catalog has it.
    ///
    /// # Errors
    /// `NoTenant` for what no schema of a project is called.
    pub fn new(schema: &str) -> Result<Self, NoTenant> {
        let own = schema.starts_with("pg_")
            || schema == "information_schema"
            || schema.starts_with(LEDGER);
        let fits = (1..=63).contains(&schema.len()) && !schema.chars().any(char::is_control);
        if own || !fits {
            return Err(NoTenant);
        }
        let bare =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        // A name that needs no quotes anywhere; a hash where the schema's own would need them or is too long.
        let plain = schema.len() <= 63 - LEDGERS.len() && schema.chars().all(bare);
        let ledger = if plain {
            format!("{LEDGERS}{schema}")
        } else {
            format!(
                "{LEDGERS}_{}",
                sha256_hex(schema).get(..32).unwrap_or_default()
            )
        };
        Ok(Self {
            schema: schema.to_owned(),
            ledger,
        })
    }

    /// The schema as the catalog has it.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The schema as SQL, in quotes.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.schema.replace('"', "\"\""))
    }

    /// The schema as a literal.
    pub fn literal(&self) -> String {
        format!("'{}'", self.schema.replace('\'', "''"))
    }

    /// The schema of its ledger.
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// What keeps names that all tenants' runs would share apart.
    pub fn mark(&self) -> String {
        sha256_hex(&self.schema)
            .get(..MARK)
            .unwrap_or_default()
            .to_owned()
    }

    /// The setting of a connection that leads unqualified names there and nowhere else.
    pub fn search_path(&self) -> String {
        let escaped = self.quoted().replace('\\', "\\\\").replace(' ', "\\ ");
        format!("-c search_path={escaped}")
    }

    /// A statement of the engine with the tenant's ledger in place of the database's. No author's statement names one.
    pub fn placed(&self, sql: &str) -> String {
        sql.replace(
            &format!("CREATE SCHEMA IF NOT EXISTS {LEDGER};"),
            &format!("CREATE SCHEMA IF NOT EXISTS {};", self.ledger),
        )
        .replace(&format!("{LEDGER}."), &format!("{}.", self.ledger))
    }

    /// A definition without the name of the schema: equal for all tenants of which the same is true.
    pub fn normalised(&self, text: &str) -> String {
        let quoted = format!("{}.", self.quoted());
        let bare = format!("{}.", self.schema);
        // In a literal, as in the name of a sequence, its quotes are doubled.
        let literal = quoted.replace('\'', "''");
        let text = text.replace(&quoted, ".").replace(&literal, ".");
        let mut normal = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(&bare) {
            let (before, found) = rest.split_at(at);
            normal.push_str(before);
            let inside = |letter: char| letter.is_alphanumeric() || "_$\"".contains(letter);
            let starts = !normal.chars().next_back().is_some_and(inside);
            normal.push_str(if starts { "." } else { &bare });
            rest = found.get(bare.len()..).unwrap_or_default();
        }
        normal.push_str(rest);
        normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_ledger_that_needs_no_quotes() {
        let ledger = |schema: &str| Tenant::new(schema).unwrap().ledger().to_owned();
        assert_eq!(ledger("acme_1"), "db_migrator_tenant_acme_1");
        let odd = ["Acme", "acme corp", "a\"b", "o'neil", &"x".repeat(63)];
        for schema in odd {
            let ledger = ledger(schema);
            assert!(ledger.len() <= 63, "{ledger}");
            assert!(
                ledger
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            );
        }
        assert_ne!(ledger("Acme"), ledger("acme"));
    }

    #[test]
    fn refuses_what_belongs_to_the_server_or_to_us() {
        for schema in [
            "",
            "pg_toast",
            "information_schema",
            "db_migrator",
            "db_migrator_tenant_a",
            "a\nb",
        ] {
            assert_eq!(Tenant::new(schema), Err(NoTenant), "{schema}");
        }
        assert!(Tenant::new("public").is_ok());
    }

    #[test]
    fn puts_the_ledger_where_the_tenant_has_it() {
        let acme = Tenant::new("acme").unwrap();
        assert_eq!(
            acme.placed("CREATE SCHEMA IF NOT EXISTS db_migrator; SELECT to_regclass('db_migrator.step') FROM db_migrator.run"),
            "CREATE SCHEMA IF NOT EXISTS db_migrator_tenant_acme; SELECT to_regclass('db_migrator_tenant_acme.step') FROM db_migrator_tenant_acme.run"
        );
        let hidden = "ALTER TABLE t SET SCHEMA db_migrator_retained_0001_1";
        assert_eq!(acme.placed(hidden), hidden);
        let odd = Tenant::new("a \"b\\").unwrap();
        assert_eq!(odd.search_path(), "-c search_path=\"a\\ \"\"b\\\\\"");
    }

    #[test]
    fn normalises_its_own_name_and_no_other() {
        let acme = Tenant::new("acme").unwrap();
        assert_eq!(
            acme.normalised(
                "FOREIGN KEY (a) REFERENCES acme.t(a), xacme.t, nextval('acme.s'), \"acme\".u"
            ),
            "FOREIGN KEY (a) REFERENCES .t(a), xacme.t, nextval('.s'), .u"
        );
        let odd = Tenant::new("Acme Corp").unwrap();
        assert_eq!(odd.normalised("\"Acme Corp\".t, acme.t"), ".t, acme.t");
        let odd = Tenant::new("it's").unwrap();
        assert_eq!(
            odd.normalised("nextval('\"it''s\".s'::regclass), \"it's\".t"),
            "nextval('.s'::regclass), .t"
        );
    }
}
