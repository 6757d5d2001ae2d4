//! Seeded migrations whose downs are right by construction, over the DDL that real projects use.

mod evolve;
mod random;

use crate::domain::Dialect;
use evolve::Made;
pub(super) use evolve::{OneWay, one_way};
pub(super) use random::Random;

/// A generated migration: statements up, and down in the order in which they run.
#[derive(Debug, Clone)]
pub(super) struct Generated {
    pub(super) up: Vec<String>,
    pub(super) down: Vec<String>,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct Table {
    name: String,
    label: String,
    wide: bool,
    default: String,
    spare: Vec<(String, String)>,
    made: Vec<Made>,
    comment: Option<String>,
    strict: bool,
    granted: bool,
    secured: bool,
    target: i64,
}

#[derive(Debug)]
struct Model {
    random: Random,
    next: usize,
    tables: Vec<Table>,
    functions: Vec<(String, usize)>,
}

/// `count` migrations of one to three changes each.
pub(super) fn generate(dialect: Dialect, seed: u64, count: usize) -> Vec<Generated> {
    let mut model = Model::new(seed);
    let mut all = Vec::new();
    for _ in 0..count {
        let mut migration = Generated {
            up: Vec::new(),
            down: Vec::new(),
        };
        for _ in 0..=model.random.below(3) {
            let change = match dialect {
                Dialect::Sqlite => model.sqlite(),
                Dialect::Postgres => model.postgres(),
            };
            migration.up.extend(change.up);
            migration.down.splice(0..0, change.down);
        }
        all.push(migration);
    }
    all
}

fn change(up: &[String], down: &[String]) -> Generated {
    Generated {
        up: up.to_vec(),
        down: down.to_vec(),
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            next: 0,
            tables: Vec::new(),
            functions: Vec::new(),
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn create_table(&mut self, options: &str) -> Generated {
        let n = self.number();
        let name = format!("t{n}");
        self.tables.push(Table {
            name: name.clone(),
            label: "name".into(),
            wide: false,
            default: "'x'".into(),
            spare: Vec::new(),
            made: Vec::new(),
            comment: None,
            strict: false,
            granted: false,
            secured: false,
            target: -1,
        });
        change(
            &[format!(
                "CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT DEFAULT 'x', qty INTEGER CHECK (qty >= 0)){options}"
            )],
            &[format!("DROP TABLE {name}")],
        )
    }

    fn pick(&mut self) -> (usize, Table) {
        let at = self.random.below(self.tables.len());
        (at, self.tables[at].clone())
    }

    fn rename(&mut self, at: usize) -> Generated {
        let label = format!("name{}", self.number());
        let table = &mut self.tables[at];
        let old = std::mem::replace(&mut table.label, label.clone());
        change(
            &[format!(
                "ALTER TABLE {} RENAME COLUMN {old} TO {label}",
                table.name
            )],
            &[format!(
                "ALTER TABLE {} RENAME COLUMN {label} TO {old}",
                table.name
            )],
        )
    }

    fn add_column(&mut self, at: usize, definition: &str) -> Generated {
        let column = format!("c{}", self.number());
        let table = &mut self.tables[at];
        table.spare.push((column.clone(), definition.to_owned()));
        change(
            &[format!(
                "ALTER TABLE {} ADD COLUMN {column} {definition}",
                table.name
            )],
            &[format!("ALTER TABLE {} DROP COLUMN {column}", table.name)],
        )
    }

    fn drop_column(&mut self, at: usize) -> Option<Generated> {
        let table = &mut self.tables[at];
        let (column, definition) = table.spare.pop()?;
        Some(change(
            &[format!("ALTER TABLE {} DROP COLUMN {column}", table.name)],
            &[format!(
                "ALTER TABLE {} ADD COLUMN {column} {definition}",
                table.name
            )],
        ))
    }

    fn insert(&mut self, table: &Table) -> Generated {
        let n = self.number();
        change(
            &[format!(
                "INSERT INTO {} (id, qty) VALUES ({n}, 3)",
                table.name
            )],
            &[format!("DELETE FROM {} WHERE id = {n}", table.name)],
        )
    }

    #[expect(clippy::too_many_lines, reason = "a table of changes")]
    fn sqlite(&mut self) -> Generated {
        if self.tables.is_empty() {
            return self.create_table("");
        }
        let (at, table) = self.pick();
        let (name, label) = (table.name.clone(), table.label.clone());
        let n = self.number();
        match self.random.below(16) {
            0 => self.create_table(""),
            1 => self.create_table(" STRICT"),
            2 => self.add_column(
                at,
                [
                    "TEXT",
                    "INTEGER NOT NULL DEFAULT 7",
                    "REAL DEFAULT 1.5",
                    "TEXT COLLATE NOCASE DEFAULT 'it''s; fine'",
                ][n % 4],
            ),
            3 => self.drop_column(at).unwrap_or_else(|| self.insert(&table)),
            4 => {
                let made = change(
                    &[format!("CREATE INDEX i{n} ON {name} ({label}, qty)")],
                    &[format!("DROP INDEX i{n}")],
                );
                self.tables[at].remember(4, &made);
                made
            }
            5 => change(
                &[format!(
                    "CREATE UNIQUE INDEX i{n} ON {name} (id) WHERE qty > {n}"
                )],
                &[format!("DROP INDEX i{n}")],
            ),
            6 => change(
                &[format!(
                    "CREATE VIEW v{n} AS SELECT id, {label} AS label FROM {name} WHERE id > {n} -- a view\n"
                )],
                &[format!("DROP VIEW v{n}")],
            ),
            7 => change(
                &[format!(
                    "CREATE TRIGGER g{n} AFTER UPDATE OF qty ON {name} BEGIN UPDATE {name} SET {label} = CASE WHEN new.qty > 1 THEN 'a;b' ELSE 'c' END WHERE id = new.id; END"
                )],
                &[format!("DROP TRIGGER g{n}")],
            ),
            8 => self.rename(at),
            9 => self.insert(&table),
            12..16 => self.evolve_sqlite(at),
            10 => change(
                &[format!(
                    "ALTER TABLE {name} ADD COLUMN g{n} INTEGER GENERATED ALWAYS AS (qty * 2) VIRTUAL"
                )],
                &[format!("ALTER TABLE {name} DROP COLUMN g{n}")],
            ),
            _ => change(
                &[format!(
                    "CREATE TABLE w{n} (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID"
                )],
                &[format!("DROP TABLE w{n}")],
            ),
        }
    }

    fn postgres(&mut self) -> Generated {
        if self.tables.is_empty() {
            return self.create_table("");
        }
        let (at, table) = self.pick();
        match self.random.below(46) {
            0 | 1 => self.create_table(" WITH (fillfactor = 80)"),
            2 | 3 => {
                let definition = [
                    "text",
                    "int NOT NULL DEFAULT 7",
                    "jsonb DEFAULT '{\"a\": 1}'",
                    "timestamptz DEFAULT '2026-01-01'",
                    "numeric(10, 2)",
                    "text[] COLLATE \"C\"",
                ][self.next % 6];
                self.add_column(at, definition)
            }
            4 => self.drop_column(at).unwrap_or_else(|| self.insert(&table)),
            5 => self.rename(at),
            6 => self.insert(&table),
            7 => self.widen(at),
            8 => self.set_default(at),
            9 => self.replace_function(),
            kind @ 10..26 => {
                let made = self.postgres_object(kind, &table);
                self.tables[at].remember(kind, &made);
                made
            }
            kind => self.evolve_postgres(kind, at),
        }
    }

    fn widen(&mut self, at: usize) -> Generated {
        let table = &mut self.tables[at];
        let (from, to) = if table.wide {
            ("bigint", "integer")
        } else {
            ("integer", "bigint")
        };
        table.wide = !table.wide;
        change(
            &[format!(
                "ALTER TABLE {} ALTER COLUMN qty TYPE {to}",
                table.name
            )],
            &[format!(
                "ALTER TABLE {} ALTER COLUMN qty TYPE {from}",
                table.name
            )],
        )
    }

    fn set_default(&mut self, at: usize) -> Generated {
        let default = format!("'d{}'", self.number());
        let table = &mut self.tables[at];
        let old = std::mem::replace(&mut table.default, default.clone());
        let set = |value: &str| {
            format!(
                "ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {value}",
                table.name, table.label
            )
        };
        change(&[set(&default)], &[set(&old)])
    }

    fn replace_function(&mut self) -> Generated {
        let body = |name: &str, version: usize| {
            format!(
                "CREATE OR REPLACE FUNCTION {name}(a int) RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN a + {version}; END; $f$"
            )
        };
        let version = self.number();
        if version.is_multiple_of(2) && !self.functions.is_empty() {
            let at = self.random.below(self.functions.len());
            let (name, old) = &mut self.functions[at];
            let down = body(name, *old);
            *old = version;
            return change(&[body(name, version)], &[down]);
        }
        let name = format!("f{version}");
        self.functions.push((name.clone(), version));
        change(
            &[body(&name, version)],
            &[format!("DROP FUNCTION {name}(int)")],
        )
    }

    #[expect(clippy::too_many_lines, reason = "one story, told in order")]
    fn postgres_object(&mut self, kind: usize, table: &Table) -> Generated {
        let (t, label, n) = (&table.name, &table.label, self.number());
        let one = |up: String, down: String| change(&[up], &[down]);
        match kind {
            10 => one(
                format!(
                    "CREATE INDEX i{n} ON {t} USING btree (lower({label}), qty DESC) INCLUDE (id)"
                ),
                format!("DROP INDEX i{n}"),
            ),
            11 => one(
                format!("CREATE UNIQUE INDEX i{n} ON {t} (id) WHERE qty > {n}"),
                format!("DROP INDEX i{n}"),
            ),
            12 => one(
                format!("CREATE INDEX CONCURRENTLY i{n} ON {t} ({label})"),
                format!("DROP INDEX CONCURRENTLY i{n}"),
            ),
            13 => one(
                format!("CREATE VIEW v{n} AS SELECT id, {label} AS label FROM {t} WHERE id > {n}"),
                format!("DROP VIEW v{n}"),
            ),
            14 => change(
                &[
                    format!(
                        "CREATE FUNCTION g{n}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id; RETURN NEW; END $$"
                    ),
                    format!(
                        "CREATE TRIGGER g{n} BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION g{n}()"
                    ),
                ],
                &[
                    format!("DROP TRIGGER g{n} ON {t}"),
                    format!("DROP FUNCTION g{n}()"),
                ],
            ),
            15 => change(
                &[
                    format!("CREATE TYPE e{n} AS ENUM ('a', 'b''s', 'c')"),
                    format!("ALTER TABLE {t} ADD COLUMN e{n} e{n} DEFAULT 'a'"),
                ],
                &[
                    format!("ALTER TABLE {t} DROP COLUMN e{n}"),
                    format!("DROP TYPE e{n}"),
                ],
            ),
            16 => one(
                format!("ALTER TABLE {t} ADD CONSTRAINT k{n} CHECK (id > -{n}) NOT VALID"),
                format!("ALTER TABLE {t} DROP CONSTRAINT k{n}"),
            ),
            17 => change(
                &[
                    format!("ALTER TABLE {t} ADD COLUMN r{n} int"),
                    format!(
                        "ALTER TABLE {t} ADD CONSTRAINT r{n} FOREIGN KEY (r{n}) REFERENCES {t} (id) ON DELETE SET NULL"
                    ),
                ],
                &[format!("ALTER TABLE {t} DROP COLUMN r{n}")],
            ),
            18 => change(
                &[
                    format!("CREATE SEQUENCE s{n} INCREMENT 5 MAXVALUE 900 CYCLE"),
                    format!("GRANT USAGE ON SEQUENCE s{n} TO PUBLIC"),
                    format!("COMMENT ON SEQUENCE s{n} IS 'five; by five'"),
                ],
                &[format!("DROP SEQUENCE s{n}")],
            ),
            19 => change(
                &[
                    format!("CREATE TABLE p{n} (id int NOT NULL, at date) PARTITION BY RANGE (id)"),
                    format!("CREATE TABLE p{n}_a PARTITION OF p{n} FOR VALUES FROM (0) TO (100)"),
                ],
                &[format!("DROP TABLE p{n}")],
            ),
            20 => change(
                &[
                    format!(
                        "CREATE TABLE r{n} (id int GENERATED ALWAYS AS IDENTITY, owner text, twice int GENERATED ALWAYS AS (length(owner) * 2) STORED)"
                    ),
                    format!("ALTER TABLE r{n} ENABLE ROW LEVEL SECURITY"),
                    format!(
                        "CREATE POLICY own ON r{n} FOR SELECT TO PUBLIC USING (owner = current_user)"
                    ),
                    format!("GRANT SELECT, INSERT ON r{n} TO PUBLIC"),
                ],
                &[format!("DROP TABLE r{n}")],
            ),
            21 => one(
                format!("CREATE MATERIALIZED VIEW m{n} AS SELECT count(*) AS n FROM {t}"),
                format!("DROP MATERIALIZED VIEW m{n}"),
            ),
            22 => change(
                &[
                    format!("CREATE DOMAIN d{n} AS text CHECK (VALUE <> 'no;')"),
                    format!("ALTER TABLE {t} ADD COLUMN d{n} d{n}"),
                    format!("COMMENT ON COLUMN {t}.d{n} IS 'a domain'"),
                ],
                &[
                    format!("ALTER TABLE {t} DROP COLUMN d{n}"),
                    format!("DROP DOMAIN d{n}"),
                ],
            ),
            23 => one(
                format!("CREATE STATISTICS st{n} (dependencies) ON id, qty FROM {t}"),
                format!("DROP STATISTICS st{n}"),
            ),
            24 => one(
                format!(
                    "ALTER TABLE {t} ADD CONSTRAINT u{n} UNIQUE (id, {label}) DEFERRABLE INITIALLY DEFERRED"
                ),
                format!("ALTER TABLE {t} DROP CONSTRAINT u{n}"),
            ),
            _ => change(
                &[
                    format!("CREATE SCHEMA n{n}"),
                    format!("CREATE TABLE n{n}.\"Odd name\" (\"Odd; column\" int)"),
                ],
                &[
                    format!("DROP TABLE n{n}.\"Odd name\""),
                    format!("DROP SCHEMA n{n}"),
                ],
            ),
        }
    }
}
