//! In which order what was added goes: what depends on another first. In any other order each try removes one object and
//! fails on the rest, and where foreign keys form a circle none works.

use std::collections::{BTreeMap, BTreeSet};

use super::Recipe;

/// What is inside what is inside what is dropped: a property, a column, a table.
const MAX_DEPTH: usize = 4;

/// What is dropped, with what depends on what.
#[derive(Debug)]
struct Graph<'d, 'a> {
    drops: &'d [&'a Recipe],
    /// For every drop, the drops that have to come before it, each with the foreign keys because of which. None of them
    /// when there is another reason.
    before: Vec<BTreeMap<usize, Option<Vec<&'a Recipe>>>>,
    /// The same edges the other way round.
    after: Vec<BTreeSet<usize>>,
}

/// Sorts drops, in the order of preference, so that what depends on another comes before it. A circle is broken by
/// dropping foreign keys, which are otherwise inside what is dropped.
pub(super) fn ordered<'a>(
    drops: &[&'a Recipe],
    added: &[&'a Recipe],
    dependencies: &[(String, String)],
) -> Vec<&'a Recipe> {
    let mut graph = Graph::new(drops, added, dependencies);
    let mut ready = (0..drops.len())
        .filter(|at| graph.is_free(*at))
        .collect::<BTreeSet<_>>();
    let mut left = (0..drops.len()).collect::<BTreeSet<_>>();
    let mut found = Vec::new();
    while let Some(first) = left.first().copied() {
        if let Some(next) = ready.pop_first() {
            left.remove(&next);
            found.extend(drops.get(next));
            ready.extend(graph.dropped(next));
            continue;
        }
        let (blocker, blocked) = graph.circle(first);
        found.extend(graph.cut(blocker, blocked));
        ready.extend(Some(blocked).filter(|at| graph.is_free(*at)));
    }
    found
}

impl<'d, 'a> Graph<'d, 'a> {
    fn new(
        drops: &'d [&'a Recipe],
        added: &[&'a Recipe],
        dependencies: &[(String, String)],
    ) -> Self {
        let owners = owners(drops, added);
        let keys = added
            .iter()
            .filter(|recipe| recipe.kind == "foreign key" && !recipe.unmake.is_empty())
            .filter_map(|recipe| Some((recipe.id.as_deref()?, *recipe)))
            .collect::<BTreeMap<_, _>>();
        let mut before: Vec<BTreeMap<usize, Option<Vec<&Recipe>>>> =
            vec![BTreeMap::new(); drops.len()];
        let mut after = vec![BTreeSet::new(); drops.len()];
        for (dependent, needed) in dependencies {
            let (Some(a), Some(b)) = (owner(&owners, dependent), owner(&owners, needed)) else {
                continue;
            };
            if a == b {
                continue;
            }
            let causes = before.get_mut(b);
            let cause = causes.map(|causes| causes.entry(a).or_insert_with(|| Some(Vec::new())));
            if let Some(cause) = cause {
                match (keys.get(dependent.as_str()), cause.as_mut()) {
                    (Some(key), Some(known)) if known.iter().all(|other| other.id != key.id) => {
                        known.push(key);
                    }
                    (Some(_), _) => {}
                    (None, _) => *cause = None,
                }
            }
            if let Some(dependents) = after.get_mut(a) {
                dependents.insert(b);
            }
        }
        Self {
            drops,
            before,
            after,
        }
    }

    fn is_free(&self, at: usize) -> bool {
        self.before.get(at).is_some_and(BTreeMap::is_empty)
    }

    /// What may follow a drop.
    fn dropped(&mut self, at: usize) -> Vec<usize> {
        let after = self.after.get_mut(at).map(std::mem::take);
        let mut freed = Vec::new();
        for next in after.unwrap_or_default() {
            if let Some(before) = self.before.get_mut(next) {
                before.remove(&at);
                if before.is_empty() {
                    freed.push(next);
                }
            }
        }
        freed
    }

    /// An edge of a circle that stands before `from`; one of foreign keys when the circle has one.
    fn circle(&self, from: usize) -> (usize, usize) {
        let mut path = vec![from];
        let mut at = from;
        loop {
            let before = self.before.get(at).and_then(|before| before.keys().next());
            let Some(blocker) = before.copied() else {
                return (at, from);
            };
            if let Some(start) = path.iter().position(|known| *known == blocker) {
                let members = path.get(start..).unwrap_or_default();
                let edges = members
                    .iter()
                    .zip(members.iter().skip(1).chain([&blocker]))
                    .map(|(blocked, blocker)| (*blocker, *blocked));
                let of_keys = |(blocker, blocked): &(usize, usize)| {
                    let edge = self.before.get(*blocked);
                    edge.and_then(|edge| edge.get(blocker)?.as_ref()).is_some()
                };
                return edges.clone().find(of_keys).unwrap_or((blocker, at));
            }
            path.push(blocker);
            at = blocker;
        }
    }

    /// Takes an edge out; answers with the foreign keys that have to go for it.
    fn cut(&mut self, blocker: usize, blocked: usize) -> Vec<&'a Recipe> {
        if let Some(after) = self.after.get_mut(blocker) {
            after.remove(&blocked);
        }
        let before = self.before.get_mut(blocked);
        let keys = before.and_then(|before| before.remove(&blocker));
        let mut keys = keys.flatten().unwrap_or_default();
        // One that is a drop of its own comes in its turn.
        keys.retain(|key| !self.drops.iter().any(|drop| drop.id == key.id));
        keys
    }
}

/// Which drop removes the object with an id: its own, or that of what it is inside.
fn owners<'a>(drops: &[&'a Recipe], added: &[&'a Recipe]) -> BTreeMap<&'a str, usize> {
    let by_name = |recipes: &[&'a Recipe]| {
        let all = recipes.iter().enumerate();
        let whole = all.filter(|(_, recipe)| recipe.parent.as_ref() != Some(&recipe.name));
        whole
            .map(|(at, recipe)| (recipe.name.as_str(), at))
            .collect::<BTreeMap<_, _>>()
    };
    let (dropped, known) = (by_name(drops), by_name(added));
    let mut found = BTreeMap::new();
    for recipe in added {
        let Some(id) = recipe.id.as_deref() else {
            continue;
        };
        let mut parent = recipe.parent.as_deref();
        for _ in 0..MAX_DEPTH {
            let Some(name) = parent else { break };
            if let Some(at) = dropped.get(name) {
                found.entry(id).or_insert(*at);
                break;
            }
            let inside = known.get(name).and_then(|at| added.get(*at));
            parent = inside.and_then(|recipe| recipe.parent.as_deref());
        }
    }
    for (at, recipe) in drops.iter().enumerate() {
        if let Some(id) = recipe.id.as_deref() {
            found.insert(id, at);
        }
    }
    found
}

/// The drop of an address; a part that has no recipe goes with its object.
fn owner(owners: &BTreeMap<&str, usize>, address: &str) -> Option<usize> {
    let whole = || {
        let (object, _) = address.rsplit_once('/')?;
        owners.get(format!("{object}/0").as_str())
    };
    owners.get(address).or_else(whole).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(kind: &str, name: &str, parent: Option<&str>, id: &str) -> Recipe {
        Recipe {
            kind: kind.into(),
            name: name.into(),
            parent: parent.map(str::to_owned),
            id: Some(id.into()),
            unmake: vec![format!("DROP {name}")],
            ..Recipe::default()
        }
    }

    fn check(edges: &[(&str, &str)], expected: &[&str]) {
        let (a, b, c) = (
            recipe("table", "a", None, "1/1/0"),
            recipe("table", "b", None, "1/2/0"),
            recipe("table", "c", None, "1/3/0"),
        );
        let key = |name: &str, table: &str, id: &str| recipe("foreign key", name, Some(table), id);
        let keys = [
            key("a.k", "a", "2/1/0"),
            key("b.k", "b", "2/2/0"),
            key("c.k", "c", "2/3/0"),
        ];
        let column = recipe("column", "a.x", Some("a"), "1/1/1");
        let view = recipe("view", "v", None, "1/9/0");
        let drops = [&view, &c, &b, &a];
        let mut added = drops.to_vec();
        added.extend([&column]);
        added.extend(&keys);
        let edges = edges
            .iter()
            .map(|(dependent, needed)| ((*dependent).to_owned(), (*needed).to_owned()))
            .collect::<Vec<_>>();
        let found = ordered(&drops, &added, &edges);
        let names = found.iter().map(|recipe| recipe.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn keeps_the_order_where_nothing_stands_against_it() {
        check(&[], &["v", "c", "b", "a"]);
        check(
            &[("2/2/0", "1/1/1"), ("1/9/0", "1/1/1")],
            &["v", "c", "b", "a"],
        );
    }

    #[test]
    fn drops_first_what_depends_on_another() {
        check(
            &[("2/1/0", "1/2/0"), ("2/2/0", "1/3/7")],
            &["v", "a", "b", "c"],
        );
        check(&[("1/1/1", "1/9/0")], &["c", "b", "a", "v"]);
    }

    #[test]
    fn breaks_a_circle_by_its_foreign_keys() {
        check(
            &[("2/1/0", "1/2/0"), ("2/2/0", "1/1/1"), ("1/9/0", "1/2/0")],
            &["v", "c", "a.k", "b", "a"],
        );
        check(
            &[("2/1/0", "1/2/0"), ("2/2/0", "1/3/0"), ("2/3/0", "1/1/0")],
            &["v", "b.k", "c", "a", "b"],
        );
    }

    #[test]
    fn goes_on_when_a_circle_cannot_be_broken() {
        check(
            &[("1/1/1", "1/9/0"), ("1/9/0", "1/1/0")],
            &["c", "b", "a", "v"],
        );
    }
}
