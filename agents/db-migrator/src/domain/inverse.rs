//! Synthesises inverses: from how the objects of two catalogs are made, the statements that lead from one to the other.
//!
//! Nothing here knows in which order the statements work. The engine tries them on the shadow, reads the catalog again
//! and asks for what is left, until nothing is; what worked, in that order, is the inverse, and it is proven like any other.

mod kinds;
mod matching;
mod ordering;
pub mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kinds::{REMADE, drop_rank, is_rebuilt, make_rank, order};
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
    all.extend(drops(&matching, &current.dependencies));
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
            Some(column) => format!(
                "ALTER TABLE {table} RENAME COLUMN {to} TO {}",
                quoted(column)
            ),
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
    let wanted = blocked
        .iter()
        .filter_map(|step| step.target.as_deref())
        .collect::<BTreeSet<_>>();
    let reached = dependents(&current.dependencies, &wanted);
    let matching = Matching::new(current, goal);
    let mut found = matching
        .pairs
        .iter()
        .filter(|(now, _)| {
            let known = |id: &str| match now.kind.as_str() {
                "default" => reached.contains(id) && !wanted.contains(id),
                kind => reached.contains(id) && REMADE.contains(&kind),
            };
            now.id.as_deref().is_some_and(known)
        })
        .map(|(now, _)| *now)
        .collect::<Vec<_>>();
    found.sort_by_key(|recipe| (drop_rank(&recipe.kind), std::cmp::Reverse(order(recipe))));
    found.into_iter().map(drop_step).collect()
}

/// These and everything that depends on them, at any distance. What needs a part of an object needs the object.
fn dependents<'a>(edges: &'a [(String, String)], of: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let mut by_need: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (dependent, needed) in edges {
        by_need.entry(needed).or_default().push(dependent);
    }
    let mut reached = of.clone();
    let mut open = reached.iter().copied().collect::<Vec<_>>();
    while let Some(next) = open.pop() {
        let whole = next.strip_suffix("/0").map(|object| format!("{object}/"));
        let range = by_need.range(whole.as_deref().unwrap_or(next)..);
        let needs = range.take_while(|(needed, _)| match &whole {
            Some(object) => needed.starts_with(object.as_str()),
            None => **needed == next,
        });
        for dependent in needs.flat_map(|(_, dependents)| dependents) {
            if reached.insert(dependent) {
                open.push(dependent);
            }
        }
    }
    reached
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

fn drops(matching: &Matching<'_>, dependencies: &[(String, String)]) -> Vec<Step> {
    let gone = containers(&matching.added);
    let mut found = matching
        .added
        .iter()
        .filter(|recipe| !inside(recipe, &gone) && !recipe.unmake.is_empty())
        .copied()
        .collect::<Vec<_>>();
    found.sort_by_key(|recipe| (drop_rank(&recipe.kind), std::cmp::Reverse(order(recipe))));
    ordering::ordered(&found, &matching.added, dependencies)
        .into_iter()
        .map(drop_step)
        .collect()
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
