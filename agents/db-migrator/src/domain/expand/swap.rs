//! The contract of a changed column: the new one takes the old one's place in one short transaction, the old one is
//! retained and kept in step, and the same way back.

use super::{AT_ONCE, Change, ColumnFacts, facts::ConstraintFacts, facts::IndexFacts, names};
use crate::domain::{
    Dialect, lex,
    staging::{Kept, Retained, retained_column},
};

/// A contract: statements up and down, and what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contract {
    /// What `complete_migration` runs.
    pub up: Vec<String>,
    /// What brings the expanded form back.
    pub down: Vec<String>,
    /// The old columns.
    pub retained: Vec<Retained>,
}

/// The column that loses its place and the one that takes it.
struct Exchange<'a> {
    change: &'a Change,
    facts: &'a ColumnFacts,
    /// What the one that leaves is called before.
    leaving: &'a str,
    /// What it is called afterwards.
    left: &'a str,
    /// What the one that takes over is called before.
    coming: &'a str,
    /// What it is called afterwards.
    came: &'a str,
}

impl Exchange<'_> {
    fn table(&self) -> &str {
        &self.change.table
    }

    /// Long work without a strong lock: indexes and constraints under other names, and checks of the old rows.
    fn prepare(&self) -> Vec<String> {
        let table = self.table();
        let mut steps = vec![format!("ANALYZE {table}")];
        for index in &self.facts.indexes {
            steps.push(index_on(index, &self.facts.column, self.coming));
        }
        for constraint in &self.facts.constraints {
            let definition = moved(&constraint.definition, &self.facts.column, self.coming);
            let name = temporary(&constraint.name);
            steps.push(format!(
                "ALTER TABLE {table} ADD CONSTRAINT {name} {} NOT VALID",
                without_not_valid(&definition)
            ));
            steps.push(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"));
        }
        steps
    }

    /// The name of NOT NULL, which is free once the column that leaves has lost its own: be it the author's or the server's.
    fn handed_over(&self) -> Option<String> {
        let name = self.facts.strict.as_ref()?;
        let own = self.change.not_null && self.change.names_nulls;
        own.then(|| {
            let filled = self.change.filled();
            format!(
                "ALTER TABLE {} RENAME CONSTRAINT {filled} TO {name}",
                self.table()
            )
        })
    }

    /// The short transaction: every statement only changes the catalog.
    fn exchange(&self) -> Vec<String> {
        let (table, facts) = (self.table(), self.facts);
        let mut steps = Vec::new();
        for constraint in &facts.constraints {
            steps.push(format!(
                "ALTER TABLE {table} DROP CONSTRAINT {}",
                constraint.name
            ));
        }
        for index in &facts.indexes {
            if index.constraint.is_empty() {
                steps.push(format!("DROP INDEX {}", index.name));
            } else {
                let name = names::quoted(&names::last_part(&index.name));
                steps.push(format!("ALTER TABLE {table} DROP CONSTRAINT {name}"));
            }
        }
        if facts.not_null && !self.change.names_nulls {
            steps.push(format!(
                "ALTER TABLE {table} ALTER COLUMN {} SET NOT NULL",
                self.coming
            ));
        }
        steps.push(format!(
            "ALTER TABLE {table} ALTER COLUMN {0} DROP DEFAULT, ALTER COLUMN {0} DROP NOT NULL",
            self.leaving
        ));
        steps.extend(self.handed_over());
        for (from, to) in [(self.leaving, self.left), (self.coming, self.came)] {
            if from != to {
                steps.push(format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}"));
            }
        }
        if let Some(default) = &facts.default {
            steps.push(format!(
                "ALTER TABLE {table} ALTER COLUMN {} SET DEFAULT {default}",
                self.came
            ));
        }
        if let Some(sequence) = &facts.sequence {
            steps.push(format!(
                "ALTER SEQUENCE {sequence} OWNED BY {table}.{}",
                self.came
            ));
        }
        for index in &facts.indexes {
            steps.push(named_back(index, table));
        }
        for constraint in &facts.constraints {
            steps.push(format!(
                "ALTER TABLE {table} RENAME CONSTRAINT {} TO {}",
                temporary(&constraint.name),
                constraint.name
            ));
        }
        steps
    }
}

/// The contract of one change. `facts` are those of the old column, read right before.
pub fn contract(change: &Change, facts: &ColumnFacts, version: &str) -> Contract {
    let own = [change.same(), change.filled()];
    let mut facts = facts.clone();
    facts
        .constraints
        .retain(|constraint| !own.contains(&names::quoted(&names::unquoted(&constraint.name))));
    let facts = &facts;
    let retained = retained_column(version, &names::unquoted(&change.old));
    let quoted = names::quoted(&retained);
    let forth = Exchange {
        change,
        facts,
        leaving: &change.old,
        left: &quoted,
        coming: &change.new,
        came: &change.last,
    };
    let back = Exchange {
        leaving: &change.last,
        left: &change.new,
        coming: &quoted,
        came: &change.old,
        ..forth
    };
    Contract {
        up: forward(change, &forth, &retained),
        down: backward(change, &back, &retained),
        retained: vec![kept(change, &retained)],
    }
}

/// Everything long first, then the swap in one statement.
fn forward(change: &Change, forth: &Exchange<'_>, retained: &str) -> Vec<String> {
    let table = &change.table;
    let mut up = forth.prepare();
    up.extend(validated(change));
    let mut swap = drop_sync(table, &change.sync(), change);
    if change.exact {
        let same = change.same();
        swap.push(format!("ALTER TABLE {table} DROP CONSTRAINT {same}"));
    }
    swap.extend(forth.exchange());
    swap.extend(unfilled(change));
    swap.extend(follow(change, retained));
    up.push(format!("{AT_ONCE}{}", swap.join(";\n")));
    up
}

/// The same the other way round, and what keeps both columns in step again.
fn backward(change: &Change, back: &Exchange<'_>, retained: &str) -> Vec<String> {
    let (table, filled) = (&change.table, change.filled());
    let mut down = back.prepare();
    if change.not_null {
        down.push(change.fills(back.coming));
        down.push(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {filled}"));
    }
    let mut swap = drop_sync(table, retained, change);
    swap.extend(back.exchange());
    swap.extend(unfilled(change));
    swap.extend(change.keep_in_step());
    swap.extend(change.checks());
    down.push(format!("{AT_ONCE}{}", swap.join(";\n")));
    down
}

/// The old column, which follows the new one until it is dropped for good.
fn kept(change: &Change, retained: &str) -> Retained {
    let (table, quoted) = (&change.table, names::quoted(retained));
    Retained {
        what: format!("column {}.{}", plain(table), plain(&change.old)),
        kind: Kept::Column,
        purge: vec![
            format!("DROP TRIGGER IF EXISTS {quoted} ON {table}"),
            format!("DROP FUNCTION IF EXISTS {}()", change.function(retained)),
            format!("ALTER TABLE IF EXISTS {table} DROP COLUMN IF EXISTS {quoted}"),
        ],
        lost: Some(format!(
            "SELECT count(*) FROM {table} WHERE {quoted} IS NULL AND {} IS NOT NULL",
            change.last
        )),
        since: format!(
            "with a value in {}.{} that the old column cannot hold",
            plain(table),
            plain(&change.last)
        ),
    }
}

fn plain(name: &str) -> String {
    name.replace('"', "")
}

fn validated(change: &Change) -> Vec<String> {
    let names = [
        change.exact.then(|| change.same()),
        change.not_null.then(|| change.filled()),
    ];
    names
        .into_iter()
        .flatten()
        .map(|name| format!("ALTER TABLE {} VALIDATE CONSTRAINT {name}", change.table))
        .collect()
}

/// The check that spared a scan has nothing more to do; a constraint with a name is NOT NULL itself.
fn unfilled(change: &Change) -> Option<String> {
    (change.not_null && !change.names_nulls).then(|| {
        format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            change.table,
            change.filled()
        )
    })
}

fn drop_sync(table: &str, name: &str, change: &Change) -> Vec<String> {
    vec![
        format!("DROP TRIGGER {} ON {table}", names::quoted(name)),
        format!("DROP FUNCTION {}()", change.function(name)),
    ]
}

/// The trigger for the time after the contract: the old column follows where it can hold the value, and is null elsewhere.
fn follow(change: &Change, retained: &str) -> [String; 2] {
    let (table, last) = (&change.table, &change.last);
    let (name, function) = (names::quoted(retained), change.function(retained));
    let back = change.back_of("NEW", last);
    [
        format!(
            "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $migrate$\nBEGIN\n\
             \x20 IF TG_OP = 'INSERT' OR NEW.{last} IS DISTINCT FROM OLD.{last} THEN\n\
             \x20   BEGIN NEW.{name} := {back};\n    EXCEPTION WHEN data_exception THEN NEW.{name} := NULL;\n    END;\n\
             \x20 END IF;\n  RETURN NEW;\nEND $migrate$"
        ),
        format!(
            "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        ),
    ]
}

/// The name of an index or constraint until it takes over.
fn temporary(name: &str) -> String {
    names::quoted(&format!(
        "{}_migrate",
        names::shortened(&names::last_part(name))
    ))
}

/// The same index on another column, built while others write.
fn index_on(index: &IndexFacts, column: &str, new: &str) -> String {
    let definition = moved(&index.definition, column, new);
    let unique = definition.starts_with("CREATE UNIQUE INDEX");
    let tokens = lex::tokens(&definition, Dialect::Postgres).unwrap_or_default();
    let on = tokens
        .iter()
        .find(|token| token.is("on"))
        .map_or(0, |token| token.start);
    let rest = definition.get(on..).unwrap_or_default();
    format!(
        "CREATE {}INDEX CONCURRENTLY {} {rest}",
        if unique { "UNIQUE " } else { "" },
        temporary(&index.name)
    )
}

/// The index under its own name again, or the constraint on it.
fn named_back(index: &IndexFacts, table: &str) -> String {
    let name = names::quoted(&names::last_part(&index.name));
    let temporary = temporary(&index.name);
    match index.constraint.as_str() {
        "p" => {
            format!("ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {temporary}")
        }
        "u" => format!("ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {temporary}"),
        _ => format!(
            "ALTER INDEX {}{temporary} RENAME TO {name}",
            names::schema_of(&index.name)
        ),
    }
}

/// A definition with the column renamed: of an index after USING, of a foreign key before REFERENCES.
fn moved(definition: &str, column: &str, new: &str) -> String {
    let tokens = lex::tokens(definition, Dialect::Postgres).unwrap_or_default();
    let place = |word: &str| {
        tokens
            .iter()
            .find(|token| token.is(word))
            .map(|token| token.start)
    };
    let from = place("using")
        .filter(|_| definition.starts_with("CREATE"))
        .unwrap_or(0);
    let to = place("references").unwrap_or(definition.len());
    names::renamed(definition, from..to, &names::unquoted(column), new)
}

fn without_not_valid(definition: &str) -> &str {
    definition.strip_suffix(" NOT VALID").unwrap_or(definition)
}

/// Whether all of a column's constraints can be carried over; otherwise why not.
pub fn obstacles(indexes: &[IndexFacts], constraints: &[ConstraintFacts]) -> Vec<String> {
    let exclusions = indexes.iter().filter(|index| index.constraint == "x");
    let mut found = exclusions
        .map(|index| {
            format!(
                "exclusion constraint {} cannot be built while others write",
                index.name
            )
        })
        .collect::<Vec<_>>();
    found.extend(
        constraints
            .iter()
            .filter(|constraint| constraint.definition.contains("DEFERRABLE"))
            .map(|constraint| format!("constraint {} is deferrable", constraint.name)),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::{super::change::tests::*, *};

    #[test]
    fn swaps_in_one_statement_and_back() {
        let facts = ColumnFacts {
            indexes: vec![
                IndexFacts {
                    name: "public.orders_total".into(),
                    definition: "CREATE INDEX orders_total ON public.orders USING btree (total) WHERE (total > 0)".into(),
                    constraint: String::new(),
                },
                IndexFacts {
                    name: "public.orders_key".into(),
                    definition: "CREATE UNIQUE INDEX orders_key ON public.orders USING btree (id, total)".into(),
                    constraint: "u".into(),
                },
            ],
            constraints: vec![ConstraintFacts {
                name: "fk".into(),
                definition: "FOREIGN KEY (total) REFERENCES p(total)".into(),
            }],
            ..facts()
        };
        let change = Change::new(&to_bigint(None), &facts).unwrap();
        let contract = contract(&change, &facts, "0005.contract");
        assert_eq!(
            contract.up[1],
            "CREATE INDEX CONCURRENTLY \"orders_total_migrate\" ON public.orders USING btree (\"total_new\") WHERE (\"total_new\" > 0)"
        );
        assert!(contract.up.iter().any(|step| {
            step.ends_with("FOREIGN KEY (\"total_new\") REFERENCES p(total) NOT VALID")
        }));
        let swap = contract.up.last().unwrap();
        for part in [
            "RENAME COLUMN total TO \"db_migrator_retained_0005_contract_total\"",
            "RENAME COLUMN \"total_new\" TO total",
            "UNIQUE USING INDEX \"orders_key_migrate\"",
            "ALTER COLUMN total SET DEFAULT 0",
        ] {
            assert!(swap.contains(part), "{part} in {swap}");
        }
        let back = contract.down.last().unwrap();
        assert!(
            back.contains("RENAME COLUMN total TO \"total_new\"")
                && back.contains("CREATE TRIGGER \"migrate_orders_total\"")
        );
    }
}
