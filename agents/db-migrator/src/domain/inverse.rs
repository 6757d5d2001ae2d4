//! Synthesises inverses: from how the objects of two catalogs are made, the statements that lead from one to the other.
//!
//! Nothing here knows in which order the statements work. The engine tries them on the shadow, reads the catalog again
//! and asks for what is left, until nothing is; what worked, in that order, is the inverse, and it is proven like any other.

mod matching;
pub mod tables;

use std::collections::{BTreeMap, BTreeSet};

use matching::Matching;

use super::{lex::bare_name, statement::Rename};

/// A type that gave its name to its successor; dropped as soon as nothing uses it.
const OLD_TYPE: &str = "inverse_old_";

/// One object, or one property that is not the default, with the statements around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipe {
    /// `table`, `column`, `default`, `privileges` and so on.
    pub kind: String,
    /// Qualified name; a property has the name of its object.
    pub name: String,
    /// Name of the object without which this one does not exist.
    pub parent: Option<String>,
    /// The same for the same object under another name.
    pub id: Option<String>,
    /// The part of its name that a rename changes, quoted; empty for what has no name of its own.
    pub own: String,
    /// The schema it is in, quoted.
    pub schema: Option<String>,
    /// What is compared.
    pub state: String,
    /// Ways to make it.
    pub make: Vec<Vec<String>>,
    /// Statements that remove it.
    pub unmake: Vec<String>,
    /// Ways to turn what is there under its name into it.
    pub set: Vec<Vec<String>>,
    /// Head of a statement that renames it; the new name follows.
    pub rename: Option<String>,
    /// Head of a statement that moves it to another schema.
    pub relocate: Option<String>,
    /// Columns of a SQLite table, in order.
    pub columns: Vec<tables::Column>,
}

/// How a whole schema is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blueprint {
    /// Everything in it.
    pub recipes: Vec<Recipe>,
    /// Which object depends on which, by their ids.
    pub dependencies: Vec<(String, String)>,
}

/// When a step makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Gives something its old name back: everything else is compared by name, so this comes first.
    Rename,
    /// Removes what was added: it may be what keeps a name taken.
    Drop,
    /// Makes what is missing and changes back what differs.
    Make,
}

/// Something to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub stage: Stage,
    /// Ways to do it, best first; the statements of one way belong together.
    pub ways: Vec<Vec<String>>,
    /// Id of what it is about.
    pub target: Option<String>,
}

/// What leads from one schema towards another, in the order in which it should be tried.
pub fn steps(current: &Blueprint, goal: &Blueprint) -> Vec<Step> {
    let matching = Matching::new(current, goal);
    let mut all = renames(&matching);
    all.extend(drops(&matching));
    all.extend(changes(&matching));
    all.extend(makes(&matching));
    all.retain(|step| !step.ways.is_empty());
    all
}

/// The renames of a script, newest first, turned round: for databases whose objects have no identity but their name.
pub fn reversed(renames: &[Rename], goal: &Blueprint) -> Vec<Step> {
    let tables = || goal.recipes.iter().filter(|recipe| recipe.kind == "table");
    let was_there = |rename: &&Rename| match &rename.column {
        Some(column) => {
            let mut columns = tables().flat_map(|table| &table.columns);
            columns.any(|known| bare_name(&known.name) == *column)
        }
        None => tables().any(|table| bare_name(&table.own) == rename.table),
    };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let statement = |rename: &Rename| {
        let (table, to) = (quoted(&rename.table), quoted(&rename.to));
        match &rename.column {
            Some(column) => format!("ALTER TABLE {table} RENAME COLUMN {to} TO {}", quoted(column)),
            None => format!("ALTER TABLE {to} RENAME TO {table}"),
        }
    };
    let turned = renames.iter().rev().filter(was_there);
    turned
        .map(|rename| Step {
            stage: Stage::Rename,
            ways: vec![vec![statement(rename)]],
            target: None,
        })
        .collect()
}

/// Step that frees a name while two objects wait for each other's: one takes a name that nobody has.
pub fn step_aside(blocked: &[Step]) -> Option<Step> {
    let waiting = blocked.iter().filter(|step| step.stage == Stage::Rename);
    let (at, step) = (1_usize..).zip(waiting).next()?;
    let head = step.ways.first()?.first()?.rsplit_once(' ')?.0;
    Some(Step {
        stage: Stage::Rename,
        ways: vec![vec![format!("{head} inverse_aside_{at}")]],
        target: step.target.clone(),
    })
}

/// Steps that remove what stands in the way of others and is made again afterwards: what depends on their objects and
/// holds no rows of its own.
pub fn unblock(current: &Blueprint, goal: &Blueprint, blocked: &[Step]) -> Vec<Step> {
    let mut reached = blocked
        .iter()
        .filter_map(|step| step.target.as_deref())
        .collect::<BTreeSet<_>>();
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (dependent, needed) in &current.dependencies {
        dependents.entry(needed).or_default().push(dependent);
    }
    let mut open = reached.iter().copied().collect::<Vec<_>>();
    while let Some(next) = open.pop() {
        for dependent in dependents.get(next).into_iter().flatten() {
            if reached.insert(dependent) {
                open.push(dependent);
            }
        }
    }
    let wanted = blocked
        .iter()
        .filter_map(|step| step.target.as_deref())
        .collect::<BTreeSet<_>>();
    let matching = Matching::new(current, goal);
    let mut found = matching
        .pairs
        .iter()
        .filter(|(now, _)| {
            is_rebuilt(&now.kind)
                && now
                    .id
                    .as_deref()
                    .is_some_and(|id| reached.contains(id) && !wanted.contains(id))
        })
        .map(|(now, _)| *now)
        .collect::<Vec<_>>();
    found.sort_by_key(|recipe| (drop_rank(&recipe.kind), std::cmp::Reverse(order(recipe))));
    found.into_iter().map(drop_step).collect()
}

fn renames(matching: &Matching<'_>) -> Vec<Step> {
    let mut found = matching
        .pairs
        .iter()
        .filter_map(|(now, then)| Some((now, rename(now, then)?)))
        .collect::<Vec<_>>();
    found.sort_by_key(|(now, _)| (make_rank(&now.kind), order(now)));
    found
        .into_iter()
        .map(|(now, statement)| Step {
            stage: Stage::Rename,
            ways: vec![vec![statement]],
            target: now.id.clone(),
        })
        .collect()
}

fn rename(now: &Recipe, then: &Recipe) -> Option<String> {
    if now.own != then.own
        && !then.own.is_empty()
        && let Some(head) = &now.rename
    {
        return Some(format!("{head}{}", then.own));
    }
    let schema = then.schema.as_ref().filter(|_| now.schema != then.schema)?;
    now.relocate.as_ref().map(|head| format!("{head}{schema}"))
}

fn drops(matching: &Matching<'_>) -> Vec<Step> {
    let gone = containers(&matching.added);
    let mut found = matching
        .added
        .iter()
        .filter(|recipe| !inside(recipe, &gone) && !recipe.unmake.is_empty())
        .collect::<Vec<_>>();
    found.sort_by_key(|recipe| (drop_rank(&recipe.kind), std::cmp::Reverse(order(recipe))));
    found.into_iter().map(|recipe| drop_step(recipe)).collect()
}

fn drop_step(recipe: &Recipe) -> Step {
    Step {
        stage: Stage::Drop,
        ways: vec![recipe.unmake.clone()],
        target: recipe.id.clone(),
    }
}

fn changes(matching: &Matching<'_>) -> Vec<Step> {
    let mut found = matching
        .pairs
        .iter()
        .filter(|(now, then)| now.state != then.state && rename(now, then).is_none())
        .collect::<Vec<_>>();
    found.sort_by_key(|(now, _)| (make_rank(&now.kind), order(now)));
    found
        .into_iter()
        .map(|(now, then)| {
            let mut ways = if then.columns.is_empty() {
                then.set.clone()
            } else {
                tables::alter(now, then)
            };
            if is_rebuilt(&then.kind) {
                let again = then.make.first().into_iter().flatten();
                ways.push(now.unmake.iter().chain(again).cloned().collect());
            }
            Step {
                stage: Stage::Make,
                ways,
                target: now.id.clone(),
            }
        })
        .collect()
}

fn makes(matching: &Matching<'_>) -> Vec<Step> {
    let missing = containers(&matching.removed);
    let mut found = matching
        .removed
        .iter()
        .filter(|recipe| !inside(recipe, &missing))
        .collect::<Vec<_>>();
    found.sort_by_key(|recipe| (make_rank(&recipe.kind), order(recipe)));
    found
        .into_iter()
        .map(|recipe| Step {
            stage: Stage::Make,
            ways: recipe.make.clone(),
            target: None,
        })
        .collect()
}

/// Names of those that others are part of.
fn containers<'a>(recipes: &[&'a Recipe]) -> BTreeSet<&'a str> {
    let own = recipes
        .iter()
        .filter(|recipe| recipe.parent.as_ref() != Some(&recipe.name));
    own.map(|recipe| recipe.name.as_str()).collect()
}

fn inside(recipe: &Recipe, containers: &BTreeSet<&str>) -> bool {
    recipe
        .parent
        .as_deref()
        .is_some_and(|parent| containers.contains(parent))
}

/// Older objects first: what they need was there before them. Columns keep their order.
fn order(recipe: &Recipe) -> Vec<u64> {
    let numbers = recipe.id.as_deref().unwrap_or_default().split('/');
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Kinds in the order in which they are made.
const KINDS: [&str; 57] = [
    "setting",
    "schema",
    "extension",
    "collation",
    "foreign-data wrapper",
    "foreign server",
    "enum",
    "domain",
    "domain default",
    "domain not null",
    "domain constraint",
    "range",
    "composite type",
    "attribute",
    "sequence",
    "function",
    "procedure",
    "aggregate",
    "operator",
    "cast",
    "virtual table",
    "table",
    "foreign table",
    "column",
    "type",
    "generated column",
    "default",
    "not null",
    "identity",
    "unlogged",
    "options",
    "storage",
    "compression",
    "statistics target",
    "column options",
    "inheritance",
    "check",
    "constraint",
    "index",
    "partition",
    "replica identity",
    "clustered",
    "view",
    "materialized view",
    "foreign key",
    "sequence owner",
    "statistics",
    "row security",
    "policy",
    "rule",
    "trigger",
    "publication",
    "event trigger",
    "default privileges",
    "owner",
    "privileges",
    "comment",
];

/// What others hang on goes first, so that nothing is dropped that would go anyway.
const DROPS: [&str; 14] = [
    "event trigger",
    "view",
    "materialized view",
    "rule",
    "policy",
    "partition",
    "table",
    "foreign table",
    "foreign key",
    "generated column",
    "column",
    "constraint",
    "index",
    "trigger",
];

fn make_rank(kind: &str) -> usize {
    KINDS
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(KINDS.len())
}

/// Properties come last: most of them are gone with their object by then.
fn drop_rank(kind: &str) -> usize {
    let later = DROPS.len() + KINDS.len();
    let by_kind = match kind {
        "comment" | "privileges" | "owner" | "security label" | "trigger state" | "rule state" => {
            later + 1
        }
        _ => later - make_rank(kind).min(KINDS.len()),
    };
    DROPS
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(by_kind)
}

/// Kinds that hold nothing of their own: dropped and made again, they are the same.
fn is_rebuilt(kind: &str) -> bool {
    !matches!(
        kind,
        "setting"
            | "schema"
            | "extension"
            | "table"
            | "virtual table"
            | "foreign table"
            | "column"
            | "attribute"
            | "type"
            | "composite type"
            | "enum"
            | "enum label"
            | "domain"
            | "range"
            | "sequence"
            | "identity"
            | "owner"
            | "partition"
            | "view column"
            | "foreign-data wrapper"
            | "foreign server"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(kind: &str, name: &str, id: &str, state: &str) -> Recipe {
        Recipe {
            kind: kind.into(),
            name: name.into(),
            id: Some(id.into()),
            own: name.into(),
            state: state.into(),
            make: vec![vec![format!("make {name} {state}")]],
            unmake: vec![format!("drop {name}")],
            rename: Some(format!("rename {name} to ")),
            ..Recipe::default()
        }
    }

    fn statements(current: Vec<Recipe>, goal: Vec<Recipe>) -> Vec<String> {
        let blueprint = |recipes| Blueprint {
            recipes,
            dependencies: Vec::new(),
        };
        steps(&blueprint(current), &blueprint(goal))
            .into_iter()
            .map(|step| step.ways[0].join("; "))
            .collect()
    }

    #[test]
    fn drops_makes_and_replaces() {
        let current = vec![recipe("index", "a", "1", "x"), recipe("index", "b", "2", "new")];
        let goal = vec![recipe("index", "b", "2", "old"), recipe("index", "c", "3", "x")];
        assert_eq!(
            statements(current, goal),
            ["drop a", "drop b; make b old", "make c x"]
        );
    }

    #[test]
    fn gives_a_renamed_object_its_name_back() {
        let current = vec![recipe("table", "b", "1", ""), recipe("table", "a", "2", "")];
        let goal = vec![recipe("table", "a", "1", "")];
        assert_eq!(statements(current, goal), ["rename b to a", "drop a"]);
    }

    #[test]
    fn never_drops_a_table_to_change_it() {
        let current = vec![recipe("table", "a", "1", "range")];
        let goal = vec![recipe("table", "a", "1", "list")];
        assert!(statements(current, goal).is_empty());
    }

    #[test]
    fn leaves_parts_to_their_whole() {
        let part = |name: &str, id: &str| Recipe {
            parent: Some("t".into()),
            ..recipe("index", name, id, "")
        };
        let current = vec![recipe("table", "t", "1", ""), part("i", "2")];
        assert_eq!(statements(current.clone(), vec![]), ["drop t"]);
        assert_eq!(statements(vec![], current), ["make t "]);
    }

    #[test]
    fn removes_what_depends_on_a_blocked_step() {
        let view = |name: &str, id: &str| recipe("view", name, id, "");
        let current = Blueprint {
            recipes: vec![view("v", "7"), view("w", "8"), view("other", "9")],
            dependencies: vec![("7".into(), "1/2".into()), ("8".into(), "7".into())],
        };
        let blocked = Step {
            stage: Stage::Make,
            ways: vec![vec!["alter".into()]],
            target: Some("1/2".into()),
        };
        let found = unblock(&current, &current, &[blocked]);
        let found = found.iter().map(|step| step.ways[0][0].as_str());
        assert_eq!(found.collect::<Vec<_>>(), ["drop w", "drop v"]);
    }
}
