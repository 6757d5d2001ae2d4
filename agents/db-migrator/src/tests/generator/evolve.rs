//! Changes to what earlier migrations made: most of what a project writes after its first release.

use super::{Generated, Model, Table, change};
use crate::domain::Dialect;

/// Something that hangs on a table and can be dropped and made again as it was.
#[derive(Debug, Clone)]
pub(super) struct Made {
    kind: usize,
    create: Vec<String>,
    drop: Vec<String>,
    /// The label that its text names.
    label: String,
}

/// A generated migration without a down, and whether it takes values away.
#[derive(Debug, Clone)]
pub(in crate::tests) struct OneWay {
    pub(in crate::tests) up: Vec<String>,
    pub(in crate::tests) destroys: bool,
}

/// `count` migrations whose downs were lost; some of them destroy what was there, as real ones do.
pub(in crate::tests) fn one_way(dialect: Dialect, seed: u64, count: usize) -> Vec<OneWay> {
    let mut model = Model::new(seed.wrapping_add(77_000));
    let mut all = Vec::new();
    while all.len() < count {
        let destroys = !model.tables.is_empty() && model.random.below(9) == 0;
        let mut up = Vec::new();
        for _ in 0..=model.random.below(2) {
            up.extend(match (destroys, dialect) {
                (true, Dialect::Postgres) => model.destroy_postgres(),
                (true, Dialect::Sqlite) => model.destroy_sqlite(),
                (false, Dialect::Postgres) => model.postgres().up,
                (false, Dialect::Sqlite) => model.sqlite().up,
            });
            if destroys {
                break;
            }
        }
        all.push(OneWay { up, destroys });
    }
    all
}

impl Table {
    pub(super) fn remember(&mut self, kind: usize, made: &Generated) {
        self.made.push(Made {
            kind,
            create: made.up.clone(),
            drop: made.down.clone(),
            label: self.label.clone(),
        });
    }

    /// Takes something of these kinds whose text is still true.
    fn take(&mut self, kinds: &[usize]) -> Option<Made> {
        let fits = |made: &Made| {
            (kinds.is_empty() || kinds.contains(&made.kind)) && made.label == self.label
        };
        let at = self.made.iter().position(fits)?;
        Some(self.made.remove(at))
    }
}

/// The word after these words.
fn word_after(text: &str, words: &str) -> String {
    let rest = text.split(words).nth(1).unwrap_or_default();
    rest.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

impl Model {
    pub(super) fn evolve_postgres(&mut self, kind: usize, at: usize) -> Generated {
        let n = self.number();
        let table = &mut self.tables[at];
        let found = match kind {
            26..=28 => table
                .take(&[10, 11, 12, 13, 14, 16, 21, 22, 23, 24])
                .map(Made::dropped),
            29 => table
                .take(&[13])
                .map(|made| replace_view(&made, &table.name, &table.label)),
            30 => table.take(&[15]).map(|made| add_label(&made, &table.name)),
            31 => table.take(&[19]).map(|made| detach(&made)),
            32 => table.take(&[14]).map(|made| {
                let (g, t) = (word_after(&made.create[1], "TRIGGER"), &table.name);
                toggled(
                    &format!("ALTER TABLE {t} "),
                    &format!("DISABLE TRIGGER {g}"),
                    &format!("ENABLE TRIGGER {g}"),
                )
            }),
            33 => table.take(&[20]).map(|made| {
                let r = word_after(&made.create[0], "TABLE");
                toggled(
                    &format!("ALTER POLICY own ON {r} USING "),
                    "(owner IS NOT NULL)",
                    "(owner = CURRENT_USER)",
                )
            }),
            34 => table
                .take(&[10, 11, 24, 16])
                .map(|made| rename_made(&made, &table.name, n)),
            35 => table.take(&[22]).map(|made| {
                let d = word_after(&made.create[0], "DOMAIN");
                toggled(
                    &format!("ALTER DOMAIN {d} "),
                    &format!("ADD CONSTRAINT k{n} CHECK (length(VALUE) < 99)"),
                    &format!("DROP CONSTRAINT k{n}"),
                )
            }),
            _ => None,
        };
        found.unwrap_or_else(|| self.flip(kind, at, n))
    }

    /// Properties of a table that go to and fro.
    fn flip(&mut self, kind: usize, at: usize, n: usize) -> Generated {
        let table = &mut self.tables[at];
        let t = table.name.clone();
        let alter = format!("ALTER TABLE {t} ");
        let (on, off) = ("ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY");
        match kind % 7 {
            0 => {
                table.strict = !table.strict;
                either(
                    table.strict,
                    &format!("{alter}ALTER COLUMN qty "),
                    "SET NOT NULL",
                    "DROP NOT NULL",
                )
            }
            1 => {
                let text = |comment: &Option<String>| {
                    let comment = comment
                        .as_ref()
                        .map_or_else(|| "NULL".to_owned(), |text| format!("'{text}'"));
                    format!("COMMENT ON TABLE {t} IS {comment}")
                };
                let old = table.comment.replace(format!("number {n}; it''s"));
                change(&[text(&table.comment)], &[text(&old)])
            }
            2 => {
                table.granted = !table.granted;
                let grant = format!("GRANT SELECT, UPDATE (qty) ON {t} TO PUBLIC");
                let revoke = format!("REVOKE ALL ON {t} FROM PUBLIC");
                either(table.granted, "", &grant, &revoke)
            }
            3 => {
                table.secured = !table.secured;
                either(table.secured, &alter, on, off)
            }
            4 => {
                let set = |target: i64, label: &str| {
                    format!("{alter}ALTER COLUMN {label} SET STATISTICS {target}")
                };
                let new = i64::try_from(n % 90).unwrap() + 5;
                let old = std::mem::replace(&mut table.target, new);
                change(&[set(new, &table.label)], &[set(old, &table.label)])
            }
            5 => {
                let new = format!("t{n}");
                table.made.clear();
                table.name.clone_from(&new);
                change(
                    &[format!("ALTER TABLE {t} RENAME TO {new}")],
                    &[format!("ALTER TABLE {new} RENAME TO {t}")],
                )
            }
            _ => change(
                &[
                    format!("CREATE UNLOGGED TABLE x{n} (a int, b text PRIMARY KEY)"),
                    format!("ALTER TABLE x{n} ALTER COLUMN b SET STORAGE EXTERNAL"),
                ],
                &[format!("DROP TABLE x{n}")],
            ),
        }
    }

    pub(super) fn evolve_sqlite(&mut self, at: usize) -> Generated {
        let n = self.number();
        let table = &mut self.tables[at];
        if n.is_multiple_of(2)
            && let Some(made) = table.take(&[])
        {
            return made.dropped();
        }
        let (old, new) = (table.name.clone(), format!("t{n}"));
        table.made.clear();
        table.name.clone_from(&new);
        change(
            &[format!("ALTER TABLE {old} RENAME TO {new}")],
            &[format!("ALTER TABLE {new} RENAME TO {old}")],
        )
    }

    fn destroy_postgres(&mut self) -> Vec<String> {
        let (at, table) = self.pick();
        let (t, label) = (table.name, table.label);
        match self.random.below(6) {
            0 => {
                self.tables.remove(at);
                vec![format!("DROP TABLE {t} CASCADE")]
            }
            1 => vec![format!("DELETE FROM {t} WHERE qty > 0")],
            2 => vec![format!("UPDATE {t} SET qty = qty + 1")],
            3 => {
                let n = self.number();
                self.tables[at].made.clear();
                self.tables[at].label = format!("name{n}");
                self.tables[at].default = "'x'".into();
                self.tables[at].target = -1;
                vec![
                    format!("ALTER TABLE {t} DROP COLUMN {label} CASCADE"),
                    format!("ALTER TABLE {t} ADD COLUMN name{n} text DEFAULT 'x'"),
                ]
            }
            4 => vec![format!(
                "ALTER TABLE {t} ADD COLUMN wide{0} text NOT NULL DEFAULT 'w', ADD CONSTRAINT wide{0} CHECK (wide{0} <> '')",
                self.number()
            )],
            _ => vec![format!(
                "DO $$ BEGIN ALTER TABLE {t} ADD COLUMN do{} int; END $$",
                self.number()
            )],
        }
    }

    fn destroy_sqlite(&mut self) -> Vec<String> {
        let (at, table) = self.pick();
        let (t, label) = (table.name, table.label);
        match self.random.below(5) {
            0 => {
                let n = self.number();
                self.tables[at].made.clear();
                vec![
                    format!(
                        "CREATE TABLE n{n} (id INTEGER PRIMARY KEY, {label} TEXT NOT NULL DEFAULT 'y', qty INTEGER)"
                    ),
                    format!("INSERT INTO n{n} (id, qty) SELECT id, qty FROM {t}"),
                ]
            }
            1 => vec![format!("DELETE FROM {t} WHERE qty > 0")],
            2 => vec![format!("UPDATE {t} SET qty = qty + 1")],
            3 => vec![format!(
                "ALTER TABLE {t} ADD COLUMN wide{} TEXT NOT NULL DEFAULT 'w'",
                self.number()
            )],
            _ => vec![format!("PRAGMA user_version = {}", self.number())],
        }
    }
}

impl Made {
    fn dropped(self) -> Generated {
        change(&self.drop, &self.create)
    }
}

fn toggled(head: &str, up: &str, down: &str) -> Generated {
    change(&[format!("{head}{up}")], &[format!("{head}{down}")])
}

fn either(on: bool, head: &str, one: &str, other: &str) -> Generated {
    if on {
        toggled(head, one, other)
    } else {
        toggled(head, other, one)
    }
}

fn replace_view(made: &Made, table: &str, label: &str) -> Generated {
    let view = word_after(&made.create[0], "VIEW");
    change(
        &[format!(
            "CREATE OR REPLACE VIEW {view} AS SELECT id, {label} AS label, qty AS more FROM {table}"
        )],
        &[made.drop[0].clone(), made.create[0].clone()],
    )
}

fn add_label(made: &Made, table: &str) -> Generated {
    let name = word_after(&made.create[0], "TYPE");
    change(
        &[format!("ALTER TYPE {name} ADD VALUE 'z' AFTER 'a'")],
        &[
            format!("ALTER TYPE {name} RENAME TO {name}_old"),
            made.create[0].clone(),
            format!(
                "ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT, ALTER COLUMN {name} TYPE {name} USING {name}::text::{name}, ALTER COLUMN {name} SET DEFAULT 'a'"
            ),
            format!("DROP TYPE {name}_old"),
        ],
    )
}

fn detach(made: &Made) -> Generated {
    let p = word_after(&made.create[0], "TABLE");
    toggled(
        &format!("ALTER TABLE {p} "),
        &format!("DETACH PARTITION {p}_a"),
        &format!("ATTACH PARTITION {p}_a FOR VALUES FROM (0) TO (100)"),
    )
}

fn rename_made(made: &Made, table: &str, n: usize) -> Generated {
    let drop = made.drop.last().unwrap();
    let (head, old) = if drop.contains("CONSTRAINT") {
        (
            format!("ALTER TABLE {table} RENAME CONSTRAINT"),
            word_after(drop, "CONSTRAINT"),
        )
    } else {
        let old = drop.rsplit(' ').next().unwrap().to_owned();
        (String::from("ALTER INDEX"), old)
    };
    let to = if head.contains("CONSTRAINT") {
        "TO"
    } else {
        "RENAME TO"
    };
    change(
        &[format!("{head} {old} {to} new{n}")],
        &[format!("{head} new{n} {to} {old}")],
    )
}
