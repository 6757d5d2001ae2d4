//! Sources in the file parts of a message.

use std::{io::Write, path::Path, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use shared::{InputFile, Skill, SkillError};

use super::support::{Caller, count};
use crate::{
    Metrics,
    clients::{Databases, OciRegistries, Workspace},
    skills::{ApplyMigration, LintMigration, MigrationStatus, PlanMigration, Workbench},
};

const CREATE: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY)";
const ADD: &str = "ALTER TABLE orders ADD note TEXT";

fn bench(folder: &Path) -> Workbench {
    let spec = format!("shop=sqlite:{},dev", folder.join("shop.db").display());
    Workbench {
        databases: Arc::new(Databases::new([spec.parse().unwrap()])),
        workspace: Workspace::new(folder),
        registries: OciRegistries::new([], [], None).unwrap(),
        metrics: Metrics::default(),
    }
}

fn file(name: &str, content: impl Into<Vec<u8>>) -> InputFile {
    InputFile {
        name: (!name.is_empty()).then(|| name.to_owned()),
        media_type: None,
        content: content.into(),
    }
}

fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn run<S: Skill>(
    skill: &S,
    request: Value,
    files: Vec<InputFile>,
) -> Result<S::Output, SkillError> {
    let context = Caller::operator("t").context().with_files(files);
    let input = serde_json::from_value(request).unwrap();
    skill.run(&context, input).await
}

/// Versions that a status finds pending.
async fn pending(bench: &Workbench, source: Value, files: Vec<InputFile>) -> Vec<String> {
    let request = json!({ "database": "shop", "source": source });
    let status = run(&MigrationStatus(bench.clone()), request, files).await;
    status.unwrap().pending
}

#[tokio::test]
async fn applies_the_files_of_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let files = || {
        vec![
            file("0002_note.up.sql", ADD),
            file("0001_orders.up.sql", CREATE),
            file("0001_orders.down.sql", "DROP TABLE orders"),
        ]
    };
    let request = json!({ "database": "shop" });
    let plan = run(&PlanMigration(bench.clone()), request.clone(), files()).await;
    let versions = plan.unwrap().migrations.into_iter().map(|m| m.version);
    assert_eq!(versions.collect::<Vec<_>>(), ["0001", "0002"]);
    let lint = run(&LintMigration(bench.clone()), request.clone(), files()).await;
    assert_eq!(lint.unwrap().files, 2);
    assert_eq!(
        pending(&bench, Value::Null, files()).await,
        ["0001", "0002"]
    );
    let request = json!({ "database": "shop", "dry_run": false, "idempotency_key": "k" });
    let applied = run(&ApplyMigration(bench.clone()), request, files()).await;
    assert_eq!(applied.unwrap().applied, ["0001", "0002"]);
    let database = bench.databases.find("shop").unwrap();
    let notes = "SELECT count(*) FROM pragma_table_info('orders') WHERE name = 'note'";
    assert_eq!(count(database, notes).await, 1);
    assert_eq!(
        pending(&bench, Value::Null, files()).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn reads_one_file_as_an_archive_by_name_or_media_type() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let packed = tar(&[("db/0001_a.up.sql", CREATE), ("README.md", "no SQL")]);
    let below = json!({ "subfolder": "db" });
    for name in ["shop.tar.gz", "shop.TGZ"] {
        let files = vec![file(name, gzip(&packed))];
        assert_eq!(
            pending(&bench, below.clone(), files).await,
            ["0001"],
            "{name}"
        );
    }
    let files = vec![file("shop.tar", packed.clone())];
    assert_eq!(pending(&bench, below.clone(), files).await, ["0001"]);
    for (kind, bytes) in [
        ("application/x-tar", packed.clone()),
        ("application/gzip", gzip(&packed)),
    ] {
        let nameless = InputFile {
            media_type: Some(kind.into()),
            ..file("", bytes)
        };
        assert_eq!(
            pending(&bench, below.clone(), vec![nameless]).await,
            ["0001"],
            "{kind}"
        );
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn names_what_is_wrong_with_the_files_of_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let status = MigrationStatus(bench);
    let sql = |name: &str| file(name, CREATE);
    let large = "-".repeat(1 << 20);
    let many = (0..9).map(|at| file(&format!("{at}_a.sql"), large.clone()));
    let bomb = gzip(&tar(&[("notes.txt", &" ".repeat(9 << 20))]));
    for (source, files, field, said) in [
        (json!({}), vec![], "source", "several or none"),
        (
            json!({ "path": "." }),
            vec![sql("1_a.sql")],
            "source",
            "both",
        ),
        (
            json!({ "subfolder": "db" }),
            vec![sql("1_a.sql")],
            "source.subfolder",
            "db",
        ),
        (
            json!({ "subfolder": "../db" }),
            vec![file("a.tar", tar(&[]))],
            "source.subfolder",
            "../db",
        ),
        (
            json!({}),
            vec![sql("../1_a.sql")],
            "message.parts",
            "../1_a.sql",
        ),
        (json!({}), vec![sql("")], "message.parts", ""),
        (
            json!({}),
            vec![sql("notes.txt")],
            "message.parts",
            "notes.txt",
        ),
        (
            json!({}),
            vec![sql("1_a.sql"), sql("1_a.sql")],
            "message.parts",
            "1_a.sql",
        ),
        (
            json!({}),
            vec![sql("1_a.sql"), file("a.tar", tar(&[]))],
            "message.parts",
            "a.tar",
        ),
        (
            json!({}),
            vec![file("1_a.sql", vec![0xff])],
            "message.parts",
            "1_a.sql is no UTF-8 text",
        ),
        (
            json!({}),
            vec![file("1_a.sql", vec![b'-'; (1 << 20) + 1])],
            "message.parts",
            "bytes a file",
        ),
        (json!({}), many.collect(), "message.parts", "bytes in all"),
        (
            json!({}),
            vec![file("a.tar.gz", bomb)],
            "message.parts",
            "times its size",
        ),
        (
            json!({}),
            vec![file("a.zip", "no archive")],
            "message.parts",
            "no archive of its kind",
        ),
    ] {
        let request = json!({ "database": "shop", "source": source });
        let refused = run(&status, request, files).await.err().unwrap();
        let SkillError::Rejected { field: f, got, .. } = &refused else {
            panic!("{refused}")
        };
        assert!(
            f == field && got.contains(said),
            "{field} {said}: {refused}"
        );
    }
}
