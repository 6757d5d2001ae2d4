//! Every rule on an example that breaks it, and the noise on migrations that break none.

use std::collections::BTreeSet;

use crate::domain::{
    Dialect, SourceFile,
    lint::{
        Choice, Facts, Finding, LintReport, LintScript, lint,
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

pub(super) fn facts() -> Facts {
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

pub(super) fn rules(findings: &[Finding]) -> BTreeSet<&str> {
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

#[test]
fn survives_scripts_that_end_anywhere() {
    let mut statements = 0;
    for (_, sql) in POSTGRES.iter().chain(&SQLITE) {
        for (at, _) in sql.char_indices() {
            for dialect in [Dialect::Postgres, Dialect::Sqlite] {
                let told = report(
                    dialect,
                    &[("1_a.up.sql", &sql[..at]), ("1_a.down.sql", &sql[at..])],
                );
                for finding in &told.findings {
                    assert!(
                        finding.start.line >= 1 && finding.start <= finding.end,
                        "{finding:?}"
                    );
                    assert!(
                        !finding.message.is_empty() && !finding.help.is_empty(),
                        "{finding:?}"
                    );
                }
                statements += told.statements;
            }
        }
    }
    assert!(statements > 5_000, "{statements}");
}
