//! What a database knows, what comments ask for and what a caller chooses.

use std::collections::BTreeMap;

use super::lint::{facts, files, report, rules};
use crate::domain::{
    Dialect, Verdict, Version,
    lint::{
        Choice, Facts, Finding, Half, InForce, LintScript, Probe, ProofFact, Question, Severity,
        TableSize, lint,
    },
};

fn with(facts: &Facts, named: &[(&str, &str)]) -> Vec<Finding> {
    lint(
        &LintScript::of(&files(named)),
        Dialect::Postgres,
        facts,
        &Choice::default(),
    )
    .findings
}

fn sized(rows: Option<u64>, bytes: u64) -> Facts {
    let size = TableSize {
        rows,
        bytes: Some(bytes),
    };
    Facts {
        tables: Some(BTreeMap::from([("t".to_owned(), size)])),
        ..facts()
    }
}

#[test]
fn table_size_decides_whether_a_lock_matters() {
    let script = [(
        "1_a.up.sql",
        "create index i on t (a);\nalter table t alter column a set not null;\n",
    )];
    let large = sized(Some(10_000), 1 << 20);
    assert_eq!(
        rules(&with(&large, &script)),
        [
            "adding-not-nullable-field",
            "require-concurrent-index-creation"
        ]
        .into()
    );
    for small in [sized(None, (1 << 20) - 1), sized(Some(9_999), 1 << 30)] {
        let report = lint(
            &LintScript::of(&files(&script)),
            Dialect::Postgres,
            &small,
            &Choice::default(),
        );
        assert_eq!((report.findings.len(), report.quiet.small_table), (0, 2));
    }
    // What the database does not have yet is new when the source makes it, and unknown otherwise.
    let other = [
        ("1_n.up.sql", "create table n (a text);\n"),
        (
            "2_i.up.sql",
            "create index i on n (a);\ncreate index j on elsewhere (a);\n",
        ),
    ];
    let found = with(&large, &other);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].statement, 2);
}

#[test]
fn the_database_says_whether_rows_let_it_fail() {
    let script = [(
        "1_a.up.sql",
        "create unique index concurrently i on s.t (a, \"B\");\n",
    )];
    let question = Question {
        table: "s.t".into(),
        columns: vec!["a".into(), "\"B\"".into()],
        probe: Probe::Duplicates,
    };
    let asked = crate::domain::lint::questions(&LintScript::of(&files(&script)), Dialect::Postgres);
    assert_eq!(asked, std::slice::from_ref(&question));
    assert_eq!(
        question.sql(None),
        "SELECT CAST(1 AS bigint) FROM s.t WHERE a IS NOT NULL AND \"B\" IS NOT NULL GROUP BY a, \"B\" HAVING count(*) > 1 LIMIT 1"
    );
    assert!(
        question
            .sql(Some(5))
            .contains("FROM (SELECT a, \"B\" FROM s.t LIMIT 5) WHERE")
    );
    for (answer, expected) in [(true, 1), (false, 0)] {
        let facts = Facts {
            answers: BTreeMap::from([(question.clone(), answer)]),
            ..facts()
        };
        let found = with(&facts, &script);
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(
            found
                .iter()
                .all(|finding| finding.rule == "unique-on-existing-rows"
                    && finding.severity == Severity::Blocker)
        );
    }
    let nulls = "alter table t alter column a set not null, add primary key (b);\n";
    let asked = crate::domain::lint::questions(
        &LintScript::of(&files(&[("1_a.up.sql", nulls)])),
        Dialect::Postgres,
    );
    let probes = asked
        .iter()
        .map(|question| question.probe)
        .collect::<Vec<_>>();
    assert_eq!(probes, [Probe::Nulls, Probe::Duplicates]);
}

#[test]
fn proofs_and_the_ledger_become_findings() {
    let script = [
        ("1_a.up.sql", "create table a (x text);\n"),
        ("1_a.down.sql", "drop table a;\n"),
        ("2_b.up.sql", "create table b (x text);\n"),
        ("10_c.up.sql", "create table c (x text);\n"),
    ];
    let proof = |version: &str, verdict, evidence: &str| ProofFact {
        version: version.into(),
        verdict,
        evidence: vec![evidence.into()],
    };
    let facts = Facts {
        proofs: vec![
            proof(
                "1",
                Verdict::Wrong,
                "its down script works alone but not after the newer ones were reverted: x",
            ),
            proof("2", Verdict::Irreversible, "it has no down script"),
            proof("10", Verdict::OrderOnly, "order"),
        ],
        conflict: Some(("2".into(), false, "2 was never applied".into())),
        ..facts()
    };
    let found = with(&facts, &script);
    let told = found
        .iter()
        .map(|finding| (finding.file.as_str(), finding.rule.as_str()))
        .collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ("10_c.up.sql", "down-reorders-columns"),
            ("10_c.up.sql", "mixed-version-formats"),
            ("1_a.down.sql", "down-breaks-in-chain"),
            ("2_b.up.sql", "no-way-back"),
            ("2_b.up.sql", "non-linear"),
        ]
    );
    for (verdict, rule) in [
        (Verdict::Wrong, "down-does-not-restore"),
        (Verdict::Lossy, "down-loses-data"),
    ] {
        let facts = Facts {
            proofs: vec![proof("1", verdict, "after its down script: x")],
            conflict: Some(("1".into(), true, "1 was changed".into())),
            ..facts.clone()
        };
        let found = with(&facts, &script[..2]);
        assert_eq!(rules(&found), [rule, "changed-after-apply"].into());
    }
}

#[test]
fn what_the_release_in_force_has_must_stay() {
    let facts = Facts {
        in_force: Some(InForce {
            version: "7".into(),
            release: Some("1.4".into()),
        }),
        ..sized(Some(1), 1 << 30)
    };
    let found = with(
        &facts,
        &[(
            "8_a.up.sql",
            "alter table t drop column a;\ndrop table new;\n",
        )],
    );
    let told = found
        .iter()
        .find(|finding| finding.rule == "breaks-previous-release")
        .unwrap();
    assert_eq!(told.message, "release 1.4 is in force and has t.a");
    assert_eq!(
        found
            .iter()
            .filter(|finding| finding.statement == 2 && finding.rule == told.rule)
            .count(),
        0
    );
}

#[test]
fn functions_that_name_what_goes_are_found_in_their_text() {
    let script = [
        (
            "1_f.up.sql",
            "create function f() returns int language plpgsql as $$ begin return (select a from t); end $$;\n",
        ),
        (
            "2_d.up.sql",
            "alter table t drop column a;\nalter table t drop column b;\n",
        ),
    ];
    let found = with(&facts(), &script);
    let told = found
        .iter()
        .filter(|finding| finding.rule == "untrackable-dependency")
        .map(|finding| finding.statement)
        .collect::<Vec<_>>();
    assert_eq!(told, [1]);
}

#[test]
fn comments_silence_a_rule_when_they_say_why() {
    let of = |sql: &str| report(Dialect::Postgres, &[("1_a.up.sql", sql)]);
    let told =
        of("-- lint:ignore deletes-data the table is a cache\ndelete from t;\ndelete from t;\n");
    assert_eq!((told.findings.len(), told.quiet.ignored), (1, 1));
    assert_eq!(told.findings[0].start.line, 3);
    assert_eq!(
        of("delete from t; -- lint:ignore deletes-data the table is a cache\n").findings,
        []
    );
    assert_eq!(
        of("-- squawk-ignore ban-drop-table\ndrop table t;\n").findings,
        []
    );
    assert_eq!(
        of("-- squawk-ignore-file ban-drop-table\nselect 1;\n\ndrop table t;\n").findings,
        []
    );
    // A comment in a literal is none, and one without reason does nothing.
    let without = of("-- lint:ignore deletes-data\ndelete from t;\n");
    assert_eq!(
        rules(&without.findings),
        ["deletes-data", "ignore-without-reason"].into()
    );
    let unknown = of("-- lint:ignore no-such-rule because\nselect '-- lint:ignore x';\n");
    assert_eq!(rules(&unknown.findings), ["ignore-without-reason"].into());
}

#[test]
fn a_caller_chooses_rules_and_severities() {
    let choice = Choice {
        enable: vec!["require-table-schema".into()],
        disable: vec!["deletes-data".into()],
        severity: BTreeMap::from([("require-table-schema".into(), Severity::Critical)]),
    };
    let scripts = LintScript::of(&files(&[(
        "1_a.up.sql",
        "delete from t;\ncreate table u (a text);\n",
    )]));
    let told = lint(&scripts, Dialect::Postgres, &facts(), &choice);
    assert_eq!(rules(&told.findings), ["require-table-schema"].into());
    assert_eq!(told.findings[0].severity, Severity::Critical);
    assert_eq!(told.quiet.disabled, 1);
}

#[test]
fn reads_sections_and_leaves_what_is_applied_alone() {
    let both =
        "-- +goose Up\ncreate table t (a text);\n-- +goose Down\ndelete from u;\ndrop table t;\n";
    let told = report(Dialect::Postgres, &[("1_a.sql", both)]);
    assert_eq!(told.findings, [], "a down may delete");
    let forbidden = both.replace("delete from u", "rollback");
    let told = report(Dialect::Postgres, &[("1_a.sql", &forbidden)]);
    assert_eq!(told.findings[0].start.line, 4);
    let undo = LintScript::of(&files(&[("U2__x.sql", ""), ("V2__x.sql", "")]));
    let halves = undo
        .iter()
        .map(|script| (script.half, script.version.clone()));
    assert_eq!(
        halves.collect::<Vec<_>>(),
        [
            (Half::Up, Version::parse("2")),
            (Half::Down, Version::parse("2"))
        ]
    );
    let mut scripts = LintScript::of(&files(&[
        ("1_a.sql", "drop table t;\n"),
        ("2_b.sql", "drop table u;\n"),
    ]));
    scripts[0].applied = true;
    let told = lint(&scripts, Dialect::Postgres, &facts(), &Choice::default());
    assert_eq!(told.findings.len(), 1);
    assert_eq!(told.findings[0].file, "2_b.sql");
}
