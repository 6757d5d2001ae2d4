//! Every rule on an example that breaks it, and the noise on migrations that break none.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    Dialect, SourceFile, Verdict,
    lint::{
        Choice, Facts, Finding, InForce, LintReport, LintScript, Probe, ProofFact, Question,
        Severity, TableSize, lint,
        table::{self, Reports},
    },
};

pub(super) fn files(named: &[(&str, &str)]) -> Vec<SourceFile> {
    let file = |(name, content): &(&str, &str)| SourceFile {
        name: (*name).into(),
        content: (*content).into(),
    };
    named.iter().map(file).collect()
}

fn facts() -> Facts {
    Facts {
        server_version: 15,
        ..Facts::default()
    }
}

pub(super) fn report(dialect: Dialect, named: &[(&str, &str)]) -> LintReport {
    lint(
        &LintScript::of(&files(named)),
        dialect,
        &facts(),
        &Choice::default(),
    )
}

fn rules(findings: &[Finding]) -> BTreeSet<&str> {
    findings
        .iter()
        .map(|finding| finding.rule.as_str())
        .collect()
}

/// A rule and an up script that breaks it.
const POSTGRES: [(&str, &str); 66] = [
    (
        "require-concurrent-index-creation",
        "create index i on t (a);",
    ),
    ("require-concurrent-index-deletion", "drop index i;"),
    ("require-concurrent-reindex", "reindex table t;"),
    (
        "require-concurrent-partition-detach",
        "alter table t detach partition p;",
    ),
    (
        "constraint-missing-not-valid",
        "alter table t add constraint c check (a > 0);",
    ),
    (
        "adding-foreign-key-constraint",
        "alter table t add constraint c foreign key (a) references u (a);",
    ),
    (
        "disallowed-unique-constraint",
        "alter table t add constraint c unique (a);",
    ),
    (
        "adding-serial-primary-key-field",
        "alter table t add primary key (a);",
    ),
    (
        "adding-field-with-default",
        "alter table t add column a text default random_text();",
    ),
    (
        "adding-not-nullable-field",
        "alter table t alter column a set not null;",
    ),
    (
        "adding-required-field",
        "alter table t add column a text not null;",
    ),
    (
        "changing-column-type",
        "alter table t alter column a type text;",
    ),
    ("renaming-column", "alter table t rename column a to b;"),
    ("renaming-table", "alter table t rename to u;"),
    ("renaming-object", "alter view v rename to w;"),
    ("ban-drop-database", "drop database d;"),
    ("ban-drop-schema", "drop schema s;"),
    ("ban-drop-table", "drop table t;"),
    ("ban-drop-column", "alter table t drop column a;"),
    ("ban-truncate-cascade", "truncate t cascade;"),
    (
        "ban-drop-not-null",
        "alter table t alter column a drop not null;",
    ),
    ("ban-drop-constraint", "alter table t drop constraint c;"),
    (
        "ban-drop-default",
        "alter table t alter column a drop default;",
    ),
    ("ban-drop-view", "drop view v;"),
    ("ban-drop-function", "drop function f();"),
    ("ban-drop-type", "drop type e;"),
    ("ban-drop-domain", "drop domain d;"),
    ("ban-drop-sequence", "drop sequence s;"),
    ("ban-drop-extension", "drop extension hstore;"),
    (
        "ban-drop-generated-expression",
        "alter table t alter column a drop expression;",
    ),
    (
        "ban-alter-identity",
        "alter table t alter column a set generated always;",
    ),
    ("ban-set-schema", "alter table t set schema s;"),
    (
        "ban-create-domain-with-constraint",
        "create domain d as text check (value <> '');",
    ),
    (
        "ban-alter-domain-with-add-constraint",
        "alter domain d add constraint c check (value <> '');",
    ),
    (
        "ban-duplicate-column-assignments",
        "update t set a = 1, a = 2 where b;",
    ),
    ("require-enum-value-ordering", "alter type e add value 'x';"),
    (
        "prefer-identity",
        "create table t (a bigserial primary key);",
    ),
    ("prefer-text-field", "create table t (a varchar(10));"),
    ("prefer-timestamp-tz", "create table t (a timestamp);"),
    ("ban-char-field", "create table t (a char(10));"),
    (
        "identifier-too-long",
        "create table a234567890123456789012345678901234567890123456789012345678901234567890 (a text);",
    ),
    ("unused-ignore", "-- squawk-ignore no-such-rule\nselect 1;"),
    (
        "add-stored-generated-column",
        "alter table t add column a text generated always as (b || 'x') stored;",
    ),
    (
        "add-exclusion-constraint",
        "alter table t add constraint c exclude using gist (a with &&);",
    ),
    ("rewrites-table", "alter table t set unlogged;"),
    (
        "work-under-exclusive-lock",
        "alter table t add column a text; update u set b = 1;",
    ),
    (
        "mergeable-alters",
        "alter table t add column a text; alter table t add column b text;",
    ),
    (
        "foreign-key-without-index",
        "create table t (a bigint references u (a));",
    ),
    (
        "wide-index",
        "create index concurrently i on t (a, b, c, d);",
    ),
    ("json-column", "alter table t add column a json;"),
    ("rename-enum-value", "alter type e rename value 'a' to 'b';"),
    ("rename-schema", "alter schema s rename to r;"),
    (
        "force-create",
        "drop table if exists t; create table t (a text);",
    ),
    ("deletes-data", "delete from t;"),
    ("index-dropped", "drop index concurrently i;"),
    ("access-changed", "grant select on t to public;"),
    ("extension-upgrade", "alter extension hstore update;"),
    ("unsplittable", "select 'a;"),
    ("syntax", "create table t (a text;);"),
    ("forbidden-statement", "begin;"),
    (
        "newer-server-needed",
        "alter table t add constraint c not null a;",
    ),
    ("missing-final-semicolon", "select 1"),
    ("view-selects-star", "create view v as select * from t;"),
    (
        "touches-history-table",
        "delete from \"_sqlx_migrations\" where version = 3;",
    ),
    (
        "enum-value-used-at-once",
        "alter type e add value 'x' before 'y'; insert into t values ('x');",
    ),
    (
        "if-not-exists-hides-invalid-index",
        "create index concurrently if not exists i on t (a);",
    ),
];

const SQLITE: [(&str, &str); 16] = [
    ("ban-drop-table", "drop table t;"),
    ("ban-drop-column", "alter table t drop column a;"),
    ("renaming-column", "alter table t rename a to b;"),
    ("renaming-table", "alter table t rename to u;"),
    (
        "adding-required-field",
        "alter table t add a text not null;",
    ),
    ("sqlite-add-not-null", "alter table t add a text not null;"),
    (
        "sqlite-constraint-with-new-column",
        "alter table t add column a text unique;",
    ),
    (
        "sqlite-default-not-constant",
        "alter table t add column a text default current_timestamp;",
    ),
    (
        "sqlite-rebuild-deletes-children",
        "create table c (a references t (a)); create index i on c (a); create table n (a); drop table t; alter table n rename to t;",
    ),
    (
        "force-create",
        "drop table if exists t; create table t (a text);",
    ),
    ("deletes-data", "delete from t;"),
    ("index-dropped", "drop index i;"),
    ("wide-index", "create index i on t (a, b, c, d);"),
    (
        "foreign-key-without-index",
        "create table t (a references u (a));",
    ),
    ("forbidden-statement", "attach 'x' as y;"),
    ("view-selects-star", "create view v as select t.* from t;"),
];

#[test]
fn every_rule_has_an_example_that_breaks_it() {
    let mut shown = BTreeSet::new();
    let all = POSTGRES
        .iter()
        .map(|case| (Dialect::Postgres, case))
        .chain(SQLITE.iter().map(|case| (Dialect::Sqlite, case)));
    for (dialect, (rule, sql)) in all {
        let found = report(dialect, &[("1_a.up.sql", sql)]).findings;
        assert!(rules(&found).contains(rule), "{rule} of {sql}: {found:?}");
        shown.insert(*rule);
    }
    // What needs more than one script, or a database, has a test of its own below.
    let others = [
        "crlf",
        "ignore-without-reason",
        "mixed-version-formats",
        "untrackable-dependency",
        "unique-on-existing-rows",
        "not-null-on-existing-rows",
        "non-linear",
        "changed-after-apply",
        "source-layout",
        "down-does-not-restore",
        "down-loses-data",
        "down-breaks-in-chain",
        "no-way-back",
        "down-reorders-columns",
        "breaks-previous-release",
        // From PostgreSQL 19 on, and what the runner never lets happen.
        "prefer-repack",
        "ban-concurrent-index-creation-in-transaction",
        "ban-uncommitted-transaction",
    ];
    shown.extend(others);
    let on = table::all()
        .iter()
        .filter(|rule| rule.default == Reports::On)
        .map(|rule| rule.id)
        .collect::<BTreeSet<_>>();
    assert_eq!(
        on.symmetric_difference(&shown).collect::<Vec<_>>(),
        Vec::<&&str>::new()
    );
}

#[test]
fn says_nothing_about_good_migrations() {
    let good = [
        (
            "1_orders.up.sql",
            "create table customers (id bigint generated by default as identity primary key, email text not null unique);\n\
             create table orders (id bigint generated by default as identity primary key, customer bigint not null references customers (id), created timestamptz not null default now());\n\
             create index orders_customer on orders (customer);\n",
        ),
        (
            "1_orders.down.sql",
            "drop table orders;\ndrop table customers;\n",
        ),
        (
            "2_note.up.sql",
            "alter table orders add column note text;\n",
        ),
        ("2_note.down.sql", "alter table orders drop column note;\n"),
        (
            "3_index.up.sql",
            "create index concurrently orders_created on orders (created);\n",
        ),
        (
            "3_index.down.sql",
            "drop index concurrently orders_created; -- lint:ignore index-dropped nothing is older\n",
        ),
        (
            "4_check.up.sql",
            "alter table orders add constraint note_given check (note <> '') not valid;\n",
        ),
        (
            "5_valid.up.sql",
            "alter table orders validate constraint note_given;\n",
        ),
        (
            "6_view.up.sql",
            "create view open_orders as select id, note from orders;\ncreate or replace function f() returns int language sql as $$ select 1; $$;\n",
        ),
    ];
    let found = report(Dialect::Postgres, &good);
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
    assert_eq!(
        (found.files, found.quiet.ignored),
        (6, 0),
        "squawk honours its own, ours come from the down"
    );
}

#[test]
fn says_nothing_about_the_example() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/shop/releases/1.0.0/migrations");
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let content = std::fs::read_to_string(&path).unwrap();
        sources.push(SourceFile { name, content });
    }
    let scripts = LintScript::of(&sources);
    assert_eq!(scripts.len(), 6);
    let of = |dialect| lint(&scripts, dialect, &facts(), &Choice::default()).findings;
    assert_eq!(of(Dialect::Sqlite), []);
    // One script for both databases has to say `timestamp`.
    assert_eq!(
        rules(&of(Dialect::Postgres)),
        ["prefer-timestamp-tz"].into()
    );
}

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
    assert_eq!(asked, [question.clone()]);
    assert_eq!(
        question.sql(),
        "SELECT 1 FROM s.t WHERE a IS NOT NULL AND \"B\" IS NOT NULL GROUP BY a, \"B\" HAVING count(*) > 1 LIMIT 1"
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
    let mut scripts = LintScript::of(&files(&[
        ("1_a.sql", "drop table t;\n"),
        ("2_b.sql", "drop table u;\n"),
    ]));
    scripts[0].applied = true;
    let told = lint(&scripts, Dialect::Postgres, &facts(), &Choice::default());
    assert_eq!(told.findings.len(), 1);
    assert_eq!(told.findings[0].file, "2_b.sql");
}
