use std::collections::BTreeMap;

use super::{checksum::*, *};
use crate::domain::{Dialect, SourceFile, source::read_as};

fn source(files: &[(&str, &str)], layout: Tool) -> Vec<Migration> {
    let files = files
        .iter()
        .map(|(name, content)| SourceFile {
            name: (*name).into(),
            content: (*content).into(),
        })
        .collect::<Vec<_>>();
    read_as(&files, Dialect::Postgres, Some(layout))
        .unwrap()
        .migrations
}

fn three() -> Vec<Migration> {
    source(
        &[
            ("1_a.up.sql", "select 1;\n"),
            ("2_b.up.sql", "select 2;\n"),
            ("3_c.up.sql", "select 3;\n"),
        ],
        Tool::Sqlx,
    )
}

fn row(version: &str, good: bool, checksum: Option<String>, kind: &str) -> Row {
    Row {
        version: (!version.is_empty()).then(|| version.into()),
        good,
        checksum,
        kind: kind.into(),
    }
}

fn history(tool: Tool, rows: Vec<Row>) -> History {
    History::read(tool, "t".into(), rows)
}

fn versions(history: &History, source: &[Migration]) -> Vec<String> {
    adopted(history, source, &BTreeMap::new())
        .unwrap()
        .iter()
        .map(|a| {
            format!(
                "{}{}",
                a.migration.version,
                if a.baseline { "b" } else { "" }
            )
        })
        .collect()
}

#[test]
fn takes_every_older_version_from_the_one_row_of_golang_migrate() {
    let at = |version: &str| history(Tool::GolangMigrate, vec![row(version, true, None, "")]);
    assert_eq!(versions(&at("2"), &three()), ["1", "2"]);
    assert!(versions(&at("-1"), &three()).is_empty());
    assert_eq!(
        adopted(&at("9"), &three(), &BTreeMap::new())
            .unwrap_err()
            .to_string(),
        "golang_migrate holds version 9, which the source lacks"
    );
}

#[test]
fn counts_the_last_row_of_a_version_in_goose() {
    let rows = [
        ("0", true),
        ("1", true),
        ("2", true),
        ("2", false),
        ("3", true),
        ("3", false),
        ("3", true),
    ];
    let rows = rows.map(|(version, good)| row(version, good, None, ""));
    assert_eq!(
        versions(&history(Tool::Goose, rows.into()), &three()),
        ["1", "3"]
    );
}

#[test]
fn reads_baselines_undone_and_deleted_rows_of_flyway() {
    let rows = vec![
        row("", true, None, "SCHEMA"),
        row("1", true, None, "BASELINE"),
        row("2", true, None, "SQL"),
        row("3", true, None, "SQL"),
        row("3", true, None, "UNDO_SQL"),
        row("", true, Some("7".into()), "SQL"),
    ];
    let history = history(Tool::Flyway, rows);
    assert_eq!(versions(&history, &three()), ["1b", "2"]);
    assert_eq!(history.notes.len(), 1);
}

#[test]
fn asks_about_a_dirty_version_and_takes_the_answer() {
    let source = three();
    let history = history(
        Tool::Sqlx,
        vec![row("1", true, None, ""), row("2", false, None, "")],
    );
    let dirty = adopted(&history, &source, &BTreeMap::new());
    assert!(matches!(dirty, Err(AdoptError::Dirty { version, .. }) if version.as_str() == "2"));
    let decided = |version: &str, decision| {
        let decisions = BTreeMap::from([(Version::parse(version).unwrap(), decision)]);
        adopted(&history, &source, &decisions).map(|found| found.len())
    };
    assert_eq!(decided("2", DirtyDecision::Applied), Ok(2));
    assert_eq!(decided("2", DirtyDecision::NotApplied), Ok(1));
    assert!(matches!(
        decided("1", DirtyDecision::Applied),
        Err(AdoptError::NotDirty(_))
    ));
}

#[test]
fn accepts_the_checksum_of_sqlx_whatever_the_line_ends() {
    let source = source(&[("1_a.sql", "select 1;\r\nselect 2;\r\n")], Tool::Sqlx);
    let verdict = |text: &str| compare(Tool::Sqlx, &source[0], &sha384(text).to_uppercase());
    assert_eq!(verdict("select 1;\r\nselect 2;\r\n"), ChecksumVerdict::Same);
    assert_eq!(
        verdict("select 1;\nselect 2;\n"),
        ChecksumVerdict::OtherLineEnds
    );
    assert_eq!(verdict("select 1;\nselect 2;"), ChecksumVerdict::Differs);
}

/// The first number was written by refinery 0.10.1; the last is the published check value of CRC-32.
#[test]
fn computes_the_checksums_of_refinery_and_flyway() {
    let text = "create table a (x int);";
    let source = source(&[("V1__initial.sql", text)], Tool::Refinery);
    let recorded = "18157951938915400257";
    assert_eq!(
        compare(Tool::Refinery, &source[0], recorded),
        ChecksumVerdict::Same
    );
    let wide = refinery("initial", 1_i64, text).to_string();
    assert_eq!(
        compare(Tool::Refinery, &source[0], &wide),
        ChecksumVerdict::Same
    );
    assert_eq!(
        compare(Tool::Refinery, &source[0], "1"),
        ChecksumVerdict::Differs
    );
    assert_eq!(flyway("12345\r\n6789\n"), 0xcbf4_3926_u32.cast_signed());
}

#[test]
fn tells_tables_of_one_name_apart_by_their_columns() {
    let of = |columns: &[&str], rails| Tool::of("schema_migrations", columns, rails);
    assert_eq!(of(&["dirty", "version"], false), Some(Tool::GolangMigrate));
    assert_eq!(of(&["version"], false), Some(Tool::Dbmate));
    assert_eq!(of(&["version"], true), None, "the table of Rails");
    assert_eq!(
        of(&["inserted_at", "version"], false),
        None,
        "the table of Ecto"
    );
    assert_eq!(Tool::of("_sqlx_migrations", &["a"], false), None);
}
