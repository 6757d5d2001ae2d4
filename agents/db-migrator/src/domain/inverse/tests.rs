//! Steps between small schemas.

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
    let current = vec![
        recipe("index", "a", "1", "x"),
        recipe("index", "b", "2", "new"),
    ];
    let goal = vec![
        recipe("index", "b", "2", "old"),
        recipe("index", "c", "3", "x"),
    ];
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
        recipes: vec![view("v", "7/0"), view("w", "8/0"), view("x", "70/0")],
        dependencies: vec![("7/0".into(), "1/2".into()), ("8/0".into(), "7/3".into())],
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
