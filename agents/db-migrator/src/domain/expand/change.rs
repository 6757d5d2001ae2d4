//! A column in two forms: the SQL that adds the second one and keeps both in step.

use serde::{Deserialize, Serialize};

use super::{
    AT_ONCE, Backfill, ColumnFacts, NotOnline, directive::Action, directive::Online,
    facts::KeyColumn, names,
};
use crate::domain::{
    Dialect,
    lex::{self, Kind},
};

/// A column that exists twice until the contract: the old application uses the old one, the new application the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The table, quoted and qualified.
    pub table: String,
    /// The old column, quoted.
    pub old: String,
    /// The new column until the contract, quoted.
    pub new: String,
    /// The new column's name after the contract, quoted: the old name for a change of type.
    pub last: String,
    /// Type of the old column.
    pub old_kind: String,
    /// Type of the new column.
    pub new_kind: String,
    /// The new value from the old column.
    pub forward: String,
    /// The old value from the new column.
    pub back: String,
    /// Whether the new value is nothing but a cast, so that the database itself can check that no row diverges.
    pub exact: bool,
    /// Whether the column refuses nulls.
    pub not_null: bool,
    /// Whether the server keeps that as a constraint with a name.
    #[serde(default)]
    pub names_nulls: bool,
}

impl Change {
    /// Decides how a column is changed.
    ///
    /// # Errors
    /// `NotOnline` with everything that stands in the way.
    pub fn new(online: &Online, facts: &ColumnFacts) -> Result<Self, NotOnline> {
        let what = format!("{}.{}", facts.table, facts.column);
        changeable(facts).map_err(|reason| NotOnline::new(&what, reason))?;
        let (new_kind, using, last) = match &online.action {
            Action::Type { to, using, .. } => (to.clone(), using.clone(), facts.column.clone()),
            Action::Rename { to, .. } => (
                facts.kind.clone(),
                Some(facts.column.clone()),
                names::quoted(to),
            ),
            Action::NotNull { .. } | Action::Constraint { .. } => {
                return Err(NotOnline::new(what, "this action needs no second column"));
            }
        };
        let renames = last != facts.column;
        let bare = names::unquoted(&facts.column);
        let new = match &online.alias {
            Some(alias) => names::quoted(alias),
            None if renames => last.clone(),
            None => names::quoted(&names::shortened(&format!("{bare}_new"))),
        };
        if facts.columns.contains(&names::unquoted(&new)) {
            return Err(NotOnline::new(
                what,
                format!("the table already has a column {new}"),
            ));
        }
        let exact = renames || using.is_none();
        let forward = using.unwrap_or_else(|| format!("CAST({} AS {new_kind})", facts.column));
        if let Some(other) = others(&forward, facts).first() {
            return Err(NotOnline::new(
                what,
                format!("USING may read the column alone, not {other}"),
            ));
        }
        let back = online.back.clone().unwrap_or_else(|| {
            if renames {
                new.clone()
            } else {
                format!("CAST({new} AS {})", facts.kind)
            }
        });
        Ok(Self {
            table: facts.table.clone(),
            old: facts.column.clone(),
            new,
            last,
            old_kind: facts.kind.clone(),
            new_kind,
            forward,
            back,
            exact,
            not_null: facts.not_null,
            names_nulls: facts.names_nulls,
        })
    }

    fn bare(&self) -> (String, String) {
        (names::last_part(&self.table), names::unquoted(&self.old))
    }

    /// Function and trigger that keep both columns in step.
    pub(super) fn sync(&self) -> String {
        let (table, column) = self.bare();
        names::derived("migrate", &table, &column)
    }

    pub(super) fn function(&self, name: &str) -> String {
        format!("{}{}", names::schema_of(&self.table), names::quoted(name))
    }

    /// The check that says that no row diverges.
    pub(super) fn same(&self) -> String {
        names::quoted(&format!("{}_same", self.sync()))
    }

    /// What stands in for NOT NULL until the contract: a check, or the constraint itself where it has a name.
    pub(super) fn filled(&self) -> String {
        names::quoted(&format!("{}_filled", self.sync()))
    }

    /// The new value of a row variable such as `NEW`.
    pub(super) fn forward_of(&self, row: &str) -> String {
        of_row(&self.forward, &self.old, row)
    }

    /// The old value of a row variable, from the column `new`.
    pub(super) fn back_of(&self, row: &str, new: &str) -> String {
        names::renamed(
            &self.back,
            0..self.back.len(),
            &names::unquoted(&self.new),
            &format!("{row}.{new}"),
        )
    }

    /// The statements of up: short ones, each in its own transaction.
    pub fn expand(&self) -> Vec<String> {
        let Self {
            table,
            new,
            new_kind,
            ..
        } = self;
        let mut steps = vec![format!("ALTER TABLE {table} ADD COLUMN {new} {new_kind}")];
        steps.extend(self.keep_in_step());
        steps.extend(self.checks());
        steps
            .into_iter()
            .map(|step| format!("{AT_ONCE}{step}"))
            .collect()
    }

    /// The trigger for the time when both applications write.
    ///
    /// A write to the new column wins over one to the old, because an application that knows the new column means it.
    pub(super) fn keep_in_step(&self) -> [String; 2] {
        let Self {
            table, old, new, ..
        } = self;
        let sync = self.sync();
        let function = self.function(&sync);
        let (forward, back) = (self.forward_of("NEW"), self.back_of("NEW", new));
        [
            format!(
                "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $migrate$\nBEGIN\n\
                 \x20 IF TG_OP = 'INSERT' THEN\n\
                 \x20   IF NEW.{new} IS NULL THEN NEW.{new} := {forward};\n\
                 \x20   ELSIF NEW.{new} IS DISTINCT FROM {forward} THEN NEW.{old} := {back};\n    END IF;\n\
                 \x20 ELSIF NEW.{new} IS DISTINCT FROM OLD.{new} THEN\n\
                 \x20   IF NEW.{new} IS DISTINCT FROM {forward} THEN NEW.{old} := {back};\n    END IF;\n\
                 \x20 ELSIF NEW.{old} IS DISTINCT FROM OLD.{old} OR NEW.{new} IS NULL THEN\n\
                 \x20   NEW.{new} := {forward};\n  END IF;\n  RETURN NEW;\nEND $migrate$"
            ),
            format!(
                "CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
                names::quoted(&sync)
            ),
        ]
    }

    /// Checks that hold for every row written from now on; old rows are looked at by the contract.
    pub(super) fn checks(&self) -> Vec<String> {
        let Self {
            table,
            new,
            forward,
            ..
        } = self;
        let mut checks = Vec::new();
        if self.exact {
            checks.push(format!(
                "ALTER TABLE {table} ADD CONSTRAINT {} CHECK ({new} IS NOT DISTINCT FROM ({forward})) NOT VALID",
                self.same()
            ));
        }
        if self.not_null {
            checks.push(self.fills(new));
        }
        checks
    }

    /// Lets a column refuse nulls from now on, without a look at the rows that are there.
    pub(super) fn fills(&self, column: &str) -> String {
        let (table, filled) = (&self.table, self.filled());
        if self.names_nulls {
            format!("ALTER TABLE {table} ADD CONSTRAINT {filled} NOT NULL {column} NOT VALID")
        } else {
            format!(
                "ALTER TABLE {table} ADD CONSTRAINT {filled} CHECK ({column} IS NOT NULL) NOT VALID"
            )
        }
    }

    /// The statements that undo [`Self::expand`]; the old column was never touched by it.
    pub fn abort(&self) -> Vec<String> {
        let Self { table, new, .. } = self;
        let sync = self.sync();
        vec![
            format!("{AT_ONCE}DROP TRIGGER {} ON {table}", names::quoted(&sync)),
            format!("DROP FUNCTION {}()", self.function(&sync)),
            // The checks on it go with it.
            format!("ALTER TABLE {table} DROP COLUMN {new}"),
        ]
    }

    /// The update that brings old rows along. It leaves rows that are right alone.
    pub fn backfill(&self, key: &[KeyColumn]) -> Backfill {
        let Self {
            table,
            new,
            forward,
            ..
        } = self;
        Backfill {
            table: table.clone(),
            alias: table.clone(),
            head: format!("UPDATE {table} SET {new} = {forward}"),
            condition: Some(format!("{new} IS DISTINCT FROM ({forward})")),
            key: key.to_vec(),
            batch: super::backfill::FIRST_BATCH,
        }
    }
}

/// Whether the rows of a column can be brought along at all.
fn changeable(facts: &ColumnFacts) -> Result<(), String> {
    if !facts.obstacles.is_empty() {
        return Err(facts.obstacles.join("; "));
    }
    if facts.key.is_empty() {
        return Err(String::from(
            "the table has no primary key, so its rows cannot be brought along in batches",
        ));
    }
    Ok(())
}

/// The expression with the column read from a row variable.
fn of_row(expression: &str, column: &str, row: &str) -> String {
    names::renamed(
        expression,
        0..expression.len(),
        &names::unquoted(column),
        &format!("{row}.{column}"),
    )
}

/// Other columns of the table that an expression reads.
fn others(expression: &str, facts: &ColumnFacts) -> Vec<String> {
    let own = names::unquoted(&facts.column);
    let tokens = lex::tokens(expression, Dialect::Postgres).unwrap_or_default();
    tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        .filter_map(names::meaning)
        .filter(|name| *name != own && facts.columns.contains(name))
        .collect()
}

/// NOT NULL, a check or a foreign key without a long lock: (up, down).
///
/// # Errors
/// `NotOnline` when the constraint is declared NOT VALID already.
pub fn constraint(
    online: &Online,
    facts: &ColumnFacts,
) -> Result<(Vec<String>, Vec<String>), NotOnline> {
    let table = &online.table;
    match &online.action {
        Action::NotNull { column } if facts.names_nulls => {
            Ok(named_not_null(table, column, facts.strict.as_deref()))
        }
        Action::NotNull { column } => {
            let column = names::quoted(column);
            let check = names::quoted(&format!(
                "{}_filled",
                names::derived(
                    "migrate",
                    &names::last_part(table),
                    &names::unquoted(&column)
                )
            ));
            let down = if facts.not_null {
                Vec::new()
            } else {
                vec![format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
                )]
            };
            let up = vec![
                format!(
                    "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
                ),
                format!("ALTER TABLE {table} VALIDATE CONSTRAINT {check}"),
                // The validated check spares the scan under the strongest lock.
                format!("ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"),
                format!("ALTER TABLE {table} DROP CONSTRAINT {check}"),
            ];
            Ok((up, down))
        }
        Action::Constraint { name, statement } => {
            let words = statement.to_ascii_lowercase();
            if words.trim_end().ends_with("not valid") {
                return Err(NotOnline::new(
                    name,
                    "it is NOT VALID already: leave that to the directive",
                ));
            }
            Ok((
                vec![
                    format!("{statement} NOT VALID"),
                    format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"),
                ],
                vec![format!("ALTER TABLE {table} DROP CONSTRAINT {name}")],
            ))
        }
        Action::Type { .. } | Action::Rename { .. } => {
            Err(NotOnline::new(table, "a second column is needed for this"))
        }
    }
}

/// NOT NULL where it is a constraint with a name: under the name that SET NOT NULL would give it.
fn named_not_null(table: &str, column: &str, known: Option<&str>) -> (Vec<String>, Vec<String>) {
    let validate = |name: &str| format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}");
    if let Some(known) = known {
        return (vec![validate(known)], Vec::new());
    }
    let name = names::quoted(&names::of_not_null(&names::last_part(table), column));
    let column = names::quoted(column);
    (
        vec![
            format!("ALTER TABLE {table} ADD CONSTRAINT {name} NOT NULL {column} NOT VALID"),
            validate(&name),
        ],
        vec![format!(
            "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
        )],
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::domain::expand) fn facts() -> ColumnFacts {
        ColumnFacts {
            table: "public.orders".into(),
            column: "total".into(),
            kind: "integer".into(),
            not_null: true,
            default: Some("0".into()),
            columns: vec!["id".into(), "total".into(), "tax".into()],
            key: vec![KeyColumn {
                name: "id".into(),
                kind: "integer".into(),
            }],
            ..ColumnFacts::default()
        }
    }

    pub(in crate::domain::expand) fn to_bigint(using: Option<&str>) -> Online {
        Online {
            table: "orders".into(),
            action: Action::Type {
                column: "total".into(),
                to: "bigint".into(),
                using: using.map(str::to_owned),
            },
            alias: None,
            back: None,
        }
    }

    #[test]
    fn adds_a_second_column_and_only_adds() {
        let change = Change::new(&to_bigint(None), &facts()).unwrap();
        let steps = change.expand();
        assert_eq!(
            steps[0].trim_start_matches(AT_ONCE),
            "ALTER TABLE public.orders ADD COLUMN \"total_new\" bigint"
        );
        assert!(
            steps[1].contains("NEW.\"total_new\" := CAST(NEW.total AS bigint);"),
            "{}",
            steps[1]
        );
        assert!(steps[1].contains("NEW.total := CAST(NEW.\"total_new\" AS integer);"));
        assert_eq!(steps.len(), 5, "both checks: {steps:?}");
        assert_eq!(change.abort().len(), 3);
        assert_eq!(
            change.backfill(&facts().key).condition.unwrap(),
            "\"total_new\" IS DISTINCT FROM (CAST(total AS bigint))"
        );
    }

    #[test]
    fn refuses_by_name_what_it_cannot_carry_over() {
        let other = Change::new(&to_bigint(Some("total + tax")), &facts()).unwrap_err();
        assert!(other.to_string().contains("not tax"), "{other}");
        let viewed = ColumnFacts {
            obstacles: vec!["view public.v reads it".into()],
            ..facts()
        };
        assert!(
            Change::new(&to_bigint(None), &viewed)
                .unwrap_err()
                .to_string()
                .contains("public.v")
        );
        let keyless = ColumnFacts {
            key: vec![],
            ..facts()
        };
        assert!(Change::new(&to_bigint(None), &keyless).is_err());
        let taken = Online {
            alias: Some("tax".into()),
            ..to_bigint(None)
        };
        assert!(Change::new(&taken, &facts()).is_err());
    }
}
