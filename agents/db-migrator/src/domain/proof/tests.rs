//! Verdicts on small catalogs.

use super::{
    super::catalog::tests::{column, table},
    *,
};
use crate::domain::{Entry, statement::Rename};

fn snapshot(entries: Vec<Entry>, rows: &[(&str, u64, &str)]) -> Snapshot {
    let rows = rows.iter().map(|(table, rows, digest)| {
        (
            (*table).to_owned(),
            TableRows {
                rows: *rows,
                digest: (*digest).to_owned(),
            },
        )
    });
    Snapshot {
        catalog: Catalog::new(entries),
        rows: rows.collect(),
    }
}

fn with_note(position: i64) -> Vec<Entry> {
    vec![
        table("t"),
        column("t", "id", "int", 1),
        column("t", "note", "text", position),
    ]
}

fn without_note() -> Vec<Entry> {
    vec![table("t"), column("t", "id", "int", 1)]
}

fn check(
    before: &Snapshot,
    after: &Snapshot,
    down: Option<Result<Snapshot, String>>,
    expected: Verdict,
) -> Proof {
    let second_up = down.as_ref().map(|_| Ok(after.catalog.clone()));
    let observed = Observed {
        before: before.clone(),
        after: after.clone(),
        down,
        second_up,
        unseen_rows: BTreeMap::new(),
        renames: vec![],
        inverse: Inverse::Author,
        writes: vec![],
    };
    let proof = judge(&observed);
    assert_eq!(proof.verdict, expected, "{:?}", proof.evidence);
    proof
}

#[test]
fn calls_an_added_column_reversible_and_remembers_it() {
    let before = snapshot(without_note(), &[("t", 2, "x")]);
    let after = snapshot(with_note(2), &[("t", 2, "y")]);
    let proof = check(
        &before,
        &after,
        Some(Ok(before.clone())),
        Verdict::Reversible,
    );
    assert_eq!(
        proof
            .adds
            .iter()
            .map(|a| a.what.as_str())
            .collect::<Vec<_>>(),
        ["column t.note"]
    );
}

#[test]
fn calls_a_dropped_column_lossy_when_its_values_do_not_return() {
    let before = snapshot(with_note(2), &[("t", 2, "x")]);
    let after = snapshot(without_note(), &[("t", 2, "y")]);
    let proof = check(
        &before,
        &after,
        Some(Ok(snapshot(with_note(2), &[("t", 2, "z")]))),
        Verdict::Lossy,
    );
    assert_eq!(
        proof.destroys,
        ["it drops column t.note, which holds 2 rows"]
    );
    let empty = snapshot(with_note(2), &[("t", 0, "")]);
    check(
        &empty,
        &snapshot(without_note(), &[("t", 0, "")]),
        Some(Ok(empty.clone())),
        Verdict::Reversible,
    );
}

#[test]
fn tells_order_wrong_and_missing_downs_apart() {
    let before = snapshot(
        vec![
            table("t"),
            column("t", "note", "text", 1),
            column("t", "id", "int", 2),
        ],
        &[("t", 0, "")],
    );
    let after = snapshot(without_note(), &[("t", 0, "")]);
    let reordered = snapshot(with_note(2), &[("t", 0, "")]);
    check(&before, &after, Some(Ok(reordered)), Verdict::OrderOnly);
    let proof = check(&before, &after, Some(Ok(after.clone())), Verdict::Wrong);
    assert_eq!(
        proof.evidence,
        ["after its down script: removed column t.note"]
    );
    check(&before, &after, Some(Err("syntax".into())), Verdict::Wrong);
    check(&before, &after, None, Verdict::Irreversible);
    check(&before, &before, None, Verdict::Reversible);
}

#[test]
fn does_not_trust_a_shadow_without_rows() {
    let (before, after) = (
        snapshot(with_note(2), &[("t", 0, "")]),
        snapshot(without_note(), &[("t", 0, "")]),
    );
    let observed = Observed {
        down: Some(Ok(before.clone())),
        second_up: Some(Ok(after.catalog.clone())),
        before,
        after,
        unseen_rows: BTreeMap::from([("t".to_owned(), 9)]),
        renames: vec![],
        inverse: Inverse::Author,
        writes: vec![],
    };
    assert_eq!(judge(&observed).verdict, Verdict::Lossy);
}

#[test]
fn does_not_take_a_renamed_column_for_a_new_one() {
    let before = snapshot(with_note(2), &[("t", 2, "x")]);
    let after = snapshot(
        vec![
            table("t"),
            column("t", "id", "int", 1),
            column("t", "remark", "text", 2),
        ],
        &[("t", 2, "x")],
    );
    let rename = |table: &str| Rename {
        table: table.into(),
        column: Some("note".into()),
        to: "remark".into(),
    };
    let observed = |renames| Observed {
        before: before.clone(),
        after: after.clone(),
        down: None,
        second_up: None,
        unseen_rows: BTreeMap::new(),
        renames,
        inverse: Inverse::None,
        writes: vec![],
    };
    let proof = judge(&observed(vec![rename("t")]));
    assert_eq!((proof.adds.len(), proof.destroys.len()), (0, 0));
    let proof = judge(&observed(vec![rename("u")]));
    assert_eq!(
        (proof.adds.len(), proof.destroys.len()),
        (1, 1),
        "a rename elsewhere explains nothing"
    );
}

#[test]
fn reports_a_dropped_table_once() {
    let before = snapshot(with_note(2), &[("t", 4, "x")]);
    let proof = check(&before, &snapshot(vec![], &[]), None, Verdict::Irreversible);
    assert_eq!(proof.destroys, ["it drops table t, which holds 4 rows"]);
}
