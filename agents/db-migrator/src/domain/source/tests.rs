use super::*;

fn file(name: &str, content: &str) -> SourceFile {
    SourceFile {
        name: name.into(),
        content: content.into(),
    }
}

fn one(name: &str, content: &str, dialect: Dialect) -> Migration {
    read(&[file(name, content)], dialect).unwrap().remove(0)
}

/// Tool and, of each migration, version, name, statements up, statements down.
fn check(files: &[SourceFile], layout: Tool, expected: &[(&str, &str, usize, Option<usize>)]) {
    let source = read_as(files, Dialect::Postgres, None).unwrap();
    assert_eq!(source.layout, layout);
    let shown = source
        .migrations
        .iter()
        .map(|m| {
            let down = m.down.as_ref().map(|down| down.statements.len());
            (
                m.version.as_str(),
                m.name.as_str(),
                m.up.statements.len(),
                down,
            )
        })
        .collect::<Vec<_>>();
    assert_eq!(shown, expected);
}

fn refused(files: &[SourceFile], expected: &str) {
    let error = read(files, Dialect::Postgres).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}: {expected}");
}

#[test]
fn reads_the_layouts_of_sqlx_and_golang_migrate() {
    let files = [
        file("README.md", "ignored"),
        file("10_b.up.sql", "create table b (x int);"),
        file("10_b.down.sql", "drop table b;"),
        file("9_a.up.sql", "create table a (x int)"),
        file("9_a.down.sql", "-- nothing\n"),
        file("11_c.sql", "create table c (x int);;\n;"),
        file("old/1_x.sql", "create table x (x int)"),
    ];
    check(
        &files,
        Tool::Sqlx,
        &[
            ("9", "a", 1, None),
            ("10", "b", 1, Some(1)),
            ("11", "c", 1, None),
        ],
    );
    let notes = read_as(&files, Dialect::Postgres, None).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].starts_with("old/1_x.sql was left out"));
}

#[test]
fn reads_the_layout_of_diesel() {
    check(
        &[
            file("2024-01-31-120000_a/up.sql", "create table a (x int)"),
            file("2024-01-31-120000_a/down.sql", "drop table a"),
            file(
                "2024-01-31-120000_a/metadata.toml",
                "run_in_transaction = false",
            ),
        ],
        Tool::Diesel,
        &[("2024-01-31-120000", "a", 1, Some(1))],
    );
}

#[test]
fn reads_the_layout_of_dbmate() {
    let text = "-- by hand\n\n-- migrate:up transaction:false\ncreate table a (x int);\n\
        create index i on a (x);\n\n--migrate:down\ndrop table a;\n";
    check(
        &[file("20240101_a.sql", text)],
        Tool::Dbmate,
        &[("20240101", "a", 2, Some(1))],
    );
    let read = one("20240101_a.sql", text, Dialect::Postgres);
    assert!(!read.up.is_atomic() && read.down.unwrap().is_atomic());
    assert!(!read.up.text.contains("drop"), "{}", read.up.text);
    refused(
        &[file("1_a.sql", "select 1;\n-- migrate:up\n")],
        "no statement may come before",
    );
    refused(
        &[file("1_a.sql", "-- migrate:down\n-- migrate:up\n")],
        "comes before",
    );
    refused(
        &[file("1_a.sql", "-- migrate:up\n-- migrate:up\n")],
        "more than one section",
    );
    assert!(
        read_as(
            &[file("1_a.sql", "select 1")],
            Dialect::Postgres,
            Some(Tool::Dbmate)
        )
        .is_err()
    );
}

#[test]
fn reads_the_layout_of_goose_and_keeps_its_blocks_whole() {
    let text = "-- +goose NO TRANSACTION\r\n-- +goose Up\r\n-- +goose StatementBegin\r\n\
        create function f() returns int language sql as 'select 1';\r\ncreate table b (x int);\r\n\
        -- +goose StatementEnd\r\ncreate table a (x int);\r\ncreate index concurrently i on a (x);\r\n\
        -- +goose Down\r\ndrop table a, b;\r\n";
    check(
        &[file("3_a.sql", text)],
        Tool::Goose,
        &[("3", "a", 3, Some(1))],
    );
    let read = one("3_a.sql", text, Dialect::Postgres);
    let block = &read.up.statements[0];
    assert!(block.text.contains("function f") && block.text.contains("table b"));
    assert!(block.transactional && !read.up.statements[2].transactional);
    assert!(read.up.no_transaction && read.down.unwrap().no_transaction);
    refused(
        &[file("1_a.sql", "-- +goose Up\n-- +goose ENVSUB ON\n")],
        "ENVSUB ON`, which is not supported",
    );
    refused(
        &[file(
            "1_a.sql",
            "-- +goose Up\n-- +goose StatementBegin\nselect 1;",
        )],
        "no `-- +goose StatementEnd`",
    );
    refused(&[file("1_a.sql", "-- +goose Down\n")], "out of place");
    refused(
        &[file(
            "1_a.sql",
            "-- +goose Up\n-- +goose StatementBegin\ndrop database x;\n-- +goose StatementEnd\n",
        )],
        "DROP DATABASE is not allowed",
    );
}

#[test]
fn reads_the_layout_of_flyway() {
    let files = [
        file("V1__init.sql", "create table a (x int);"),
        file(
            "sub/V1_2__add.sql",
            "create table b (x int); create table c (x int);",
        ),
        file("sub/V1_2__add.sql.conf", "executeInTransaction=false\n"),
        file("U1_2__add.sql", "drop table b, c"),
        file("V1.10__last.sql", "select 1"),
        file("afterMigrate__vacuum.sql", "vacuum"),
    ];
    check(
        &files,
        Tool::Flyway,
        &[
            ("1", "init", 1, None),
            ("1.2", "add", 2, Some(1)),
            ("1.10", "last", 1, None),
        ],
    );
    let source = read_as(&files, Dialect::Postgres, None).unwrap();
    assert!(source.migrations[1].up.no_transaction && !source.migrations[0].up.no_transaction);
    assert!(source.notes[0].contains("a callback of Flyway"));
    refused(
        &[file("V1_0__a.sql", "create table ${schema}.a (x int)")],
        "the placeholder ${schema}, which is not supported: give it a value",
    );
    let dollars = one("V1_0__a.sql", "do $${}$$", Dialect::Postgres);
    assert_eq!(dollars.up.statements.len(), 1);
}

#[test]
fn reads_repeatables_baselines_and_placeholders_of_flyway() {
    let files = [
        file(
            "R__b_views.sql",
            "create view ${Schema}.v as select '${flyway:filename}'",
        ),
        file("R__a_views.sql", "select '${kept}'"),
        file("R__a_views.sql.conf", "placeholderReplacement=false"),
        file("V2__two.sql", "create table ${schema}.t (x int)"),
        file("B1.2__all.sql", "create table a (x int)"),
    ];
    let values = Placeholders::default().with([("schema", "shop")]);
    let read = |values: &Placeholders| read_with(&files, Dialect::Postgres, None, values);
    let source = read(&values).unwrap();
    let found = source
        .migrations
        .iter()
        .map(|m| (m.version.as_str(), m.name.as_str()));
    let expected = [
        ("1.2.baseline", "all"),
        ("2", "two"),
        ("R.a_views", "a_views"),
        ("R.b_views", "b_views"),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let texts = source
        .migrations
        .iter()
        .map(|m| m.up.text.as_str())
        .collect::<Vec<_>>();
    assert_eq!(
        texts[1..],
        [
            "create table shop.t (x int)",
            "select '${kept}'",
            "create view shop.v as select 'R__b_views.sql'"
        ]
    );
    assert_eq!(
        source.migrations[1].original, files[3].content,
        "Flyway's checksum is over the file"
    );
    let other = read(&Placeholders::default().with([("schema", "other")])).unwrap();
    assert_ne!(source.migrations[1].checksum, other.migrations[1].checksum);
    let said = read(&Placeholders::default()).unwrap_err().to_string();
    assert!(said.contains("placeholder ${Schema}"), "{said}");
    refused(
        &[file("R__a.contract.sql", ""), file("V1__a.sql", "")],
        "only a migration with a version",
    );
    refused(
        &[file("R__a.sql", ""), file("x/R__a.sql", "")],
        "the same half of the same version",
    );
    let filled = filled(files.to_vec(), None, &values).unwrap();
    assert_eq!(filled[3].content, "create table shop.t (x int)");
}

#[test]
fn reads_the_layout_of_refinery_when_it_is_named() {
    let files = [
        file("V2__b.sql", "create table b (x int)"),
        file("U1__a.sql", "create table a (x int)"),
    ];
    refused(
        &files,
        "U1__a.sql looks like flyway, but U1__a.sql like refinery",
    );
    let source = read_as(&files, Dialect::Postgres, Some(Tool::Refinery)).unwrap();
    let late = source.migrations.iter().map(|m| m.may_run_late);
    assert_eq!(late.collect::<Vec<_>>(), [true, false]);
    refused(
        &[file("V1__a.sql", "select '${x}'")],
        "name one of them in source.layout",
    );
}

#[test]
fn names_both_candidates_when_layouts_are_mixed() {
    refused(
        &[file("1_a.up.sql", ""), file("2_b/up.sql", "")],
        "1_a.up.sql looks like sqlx, but 2_b/up.sql like diesel",
    );
    refused(
        &[file("1_a.sql", "-- +goose Up\n"), file("2_b.sql", "")],
        "1_a.sql looks like goose, but 2_b.sql like sqlx",
    );
    let files = [
        file("1_a.up.sql", "select 1"),
        file("2_b/up.sql", "select 1"),
    ];
    let named = |layout| {
        read_as(&files, Dialect::Postgres, Some(layout))
            .unwrap()
            .migrations
    };
    assert_eq!(named(Tool::Diesel)[0].name, "b");
    assert_eq!(named(Tool::Sqlx)[0].name, "a");
}

#[test]
fn keeps_the_contract_and_the_backfill_of_a_migration() {
    let files = [
        file("1_a.up.sql", "alter table a add y bigint"),
        file("1_a.contract.sql", "alter table a drop x"),
        file("1_a.backfill.sql", "update a set y = x\n"),
    ];
    let migration = read(&files, Dialect::Postgres).unwrap().remove(0);
    assert_eq!(migration.contract.unwrap().statements.len(), 1);
    assert_eq!(migration.backfill.as_deref(), Some("update a set y = x\n"));
    let folder = [
        file("1_a/up.sql", "select 1"),
        file("1_a/contract.sql", "-- none"),
        file("1_a/backfill.sql", "\n"),
    ];
    let migration = read(&folder, Dialect::Postgres).unwrap().remove(0);
    assert_eq!((migration.contract, migration.backfill), (None, None));
    refused(
        &[file("1_a.contract.sql", ""), file("2_b.sql", "")],
        "no up script",
    );
}

#[test]
fn honours_the_marks_against_one_transaction() {
    let two = "create table a (x int); create table b (x int)";
    let atomic = |text: &str| one("1_a.up.sql", text, Dialect::Postgres).up.is_atomic();
    assert!(atomic(two));
    assert!(!atomic(&format!("-- no-transaction\n{two}")));
    assert!(
        atomic(&format!("\n-- no-transaction\n{two}")),
        "only the first line counts"
    );
    let golang = read_as(
        &[file("1_a.up.sql", &format!("-- no-transaction\n{two}"))],
        Dialect::Postgres,
        Some(Tool::GolangMigrate),
    );
    assert!(
        golang.unwrap().migrations[0].up.is_atomic(),
        "a comment to golang-migrate"
    );
}

#[test]
fn takes_the_place_of_a_transaction_around_a_whole_script() {
    let script = one(
        "1_a.up.sql",
        "BEGIN;\ncreate table a (x int);\nCOMMIT;\n",
        Dialect::Postgres,
    )
    .up;
    assert_eq!(script.statements.len(), 1);
    assert!(script.is_atomic());
    refused(
        &[file(
            "1_a.sql",
            "begin; select 1; commit; begin; select 2; commit; select 3",
        )],
        "the runner owns transactions",
    );
    refused(
        &[file(
            "1_a.sql",
            "begin; select 1; commit; begin; select 2; commit",
        )],
        "the runner owns transactions",
    );
}

#[test]
fn gives_one_checksum_for_crlf_and_lf() {
    let checksum = |text: &str| one("1_a.sql", text, Dialect::Postgres).checksum;
    assert_eq!(
        checksum("\u{feff}create table a (\r\n x int);\r\n"),
        checksum("create table a (\n x int);\n")
    );
    let goose = |text: &str| one("1_a.sql", text, Dialect::Postgres).checksum;
    assert_eq!(
        goose("\u{feff}-- +goose Up\r\nselect 1;\r\n"),
        goose("-- +goose Up\nselect 1;\n")
    );
}

#[test]
fn says_what_is_wrong_with_the_files() {
    refused(&[], "no migration");
    refused(&[file("1_a.down.sql", "select 1")], "no up script");
    refused(
        &[file("1_a.up.sql", ""), file("0001_b.up.sql", "")],
        "same half",
    );
    refused(&[file("seed.sql", "")], "does not start with a version");
    refused(
        &[file("1_a.sql", "drop database x")],
        "1_a.sql: DROP DATABASE is not allowed",
    );
    refused(&[file("1_a.sql", "select 'x")], "1_a.sql: a string");
    refused(
        &[file("1_a.sql", &" ".repeat(MAX_FILE_BYTES + 1))],
        "larger",
    );
    refused(
        &[
            file("1_a/up.sql", ""),
            file("1_a/metadata.toml", "run_in_transaction = 1"),
        ],
        "run_in_transaction is true or false",
    );
}

#[test]
fn keeps_a_new_enum_value_apart_from_its_use() {
    let script = |text: &str| one("1_a.sql", text, Dialect::Postgres).up;
    assert!(script("alter type e add value 'x'").is_atomic());
    assert!(!script("alter type e add value 'x'; insert into t values ('x')").is_atomic());
    assert!(!script("create table a (x int); create index concurrently i on a (x)").is_atomic());
}
