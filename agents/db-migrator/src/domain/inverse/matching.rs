//! Which object of one schema is which of another: by identity where there is one, else by name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Blueprint, OLD_TYPE, Recipe};

/// Two schemas side by side.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    /// What is in both: as it is, as it was.
    pub(super) pairs: Vec<(&'a Recipe, &'a Recipe)>,
    /// Only in the current one.
    pub(super) added: Vec<&'a Recipe>,
    /// Only in the goal.
    pub(super) removed: Vec<&'a Recipe>,
}

impl<'a> Matching<'a> {
    /// Pairs the objects of two schemas.
    pub(super) fn new(current: &'a Blueprint, goal: &'a Blueprint) -> Self {
        let mut pairs = Vec::new();
        let mut taken = BTreeSet::new();
        let by_id = goal
            .recipes
            .iter()
            .enumerate()
            .filter_map(|(at, recipe)| Some(((recipe.kind.as_str(), recipe.id.as_deref()?), at)))
            .collect::<BTreeMap<_, _>>();
        let mut rest = Vec::new();
        for now in &current.recipes {
            let same = now
                .id
                .as_deref()
                .filter(|_| !is_old(now))
                .and_then(|id| by_id.get(&(now.kind.as_str(), id)).copied());
            let then = same
                .and_then(|at| Some((at, goal.recipes.get(at)?)))
                .filter(|(_, then)| arguments(now) == arguments(then));
            match then {
                Some((at, then)) if taken.insert(at) => pairs.push((now, then)),
                _ => rest.push(now),
            }
        }
        let free = goal
            .recipes
            .iter()
            .enumerate()
            .filter(|(at, _)| !taken.contains(at));
        let mut by_name = free
            .map(|(_, recipe)| ((recipe.kind.as_str(), recipe.name.as_str()), recipe))
            .collect::<BTreeMap<_, _>>();
        let mut added = Vec::new();
        for now in rest {
            match by_name.remove(&(now.kind.as_str(), now.name.as_str())) {
                Some(then) => pairs.push((now, then)),
                None => added.push(now),
            }
        }
        Self {
            pairs,
            added,
            removed: by_name.into_values().collect(),
        }
    }
}

fn is_old(recipe: &Recipe) -> bool {
    recipe.own.starts_with(OLD_TYPE)
        || recipe
            .parent
            .as_deref()
            .is_some_and(|parent| parent.contains(OLD_TYPE))
        || recipe.name.contains(OLD_TYPE)
}

/// A routine with other arguments is another routine, whatever its identity.
fn arguments(recipe: &Recipe) -> &str {
    let routine = matches!(
        recipe.kind.as_str(),
        "function" | "procedure" | "aggregate" | "operator" | "cast"
    );
    recipe
        .name
        .find('(')
        .filter(|_| routine)
        .and_then(|at| recipe.name.get(at..))
        .unwrap_or_default()
}
