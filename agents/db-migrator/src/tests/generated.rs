//! Up, down, up leaves the catalog identical: proven for generated migrations, and held against `pg_dump`.

use std::process::Command;

use super::{
    generator::{Generated, Random, generate},
    support::*,
};
use crate::{
    domain::{Dialect, Inverse, Migration, Version},
    engine::Goal,
};

const CHAINS: u64 = 6;
const LENGTH: usize = 20;

fn migrations_of(dialect: Dialect, all: &[Generated]) -> Vec<Migration> {
    let texts = all
        .iter()
        .map(|migration| (migration.up.join(";\n"), migration.down.join(";\n")))
        .collect::<Vec<_>>();
    migrations(
        dialect,
        &texts
            .iter()
            .map(|(up, down)| ("generated", up.as_str(), down.as_str()))
            .collect::<Vec<_>>(),
    )
}

/// The schema by PostgreSQL's own means; the random token of newer versions is left out.
fn dump(url: &str) -> String {
    let bin = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|version| version.unwrap().path().join("bin/pg_dump"))
        .max()
        .unwrap();
    let output = Command::new(bin)
        .args([
            "--schema-only",
            "--exclude-schema=db_migrator",
            "--dbname",
            url,
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Applies a chain, goes back half way and to zero, and up again.
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn goes_up_and_down_and_up(dialect: Dialect, seed: u64) {
    let generated = generate(dialect, seed, LENGTH);
    let source = migrations_of(dialect, &generated);
    let fixture = fixture(dialect, true);
    let database = &fixture.database;
    let shows = |when: &str| {
        (dialect == Dialect::Postgres).then(|| (when.to_owned(), dump(&fixture.url)).1)
    };
    let (empty, empty_dump) = (fingerprint(database).await, shows("empty"));
    let plan = plan(database, &source)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(
        plan.refusals().is_empty(),
        "seed {seed}: {:#?}",
        plan.refusals()
    );
    apply(
        database,
        &Caller::operator("up"),
        &source[..LENGTH / 2],
        None,
    )
    .await
    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let (half, half_dump) = (fingerprint(database).await, shows("half"));
    apply(database, &Caller::operator("rest"), &source, None)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let full = fingerprint(database).await;
    let middle = Goal::Version(source[LENGTH / 2 - 1].version.clone());
    rollback(database, &Caller::operator("half"), middle)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(fingerprint(database).await, half, "seed {seed}");
    if plan
        .migrations
        .iter()
        .all(|m| m.proof.verdict == crate::domain::Verdict::Reversible)
    {
        assert_eq!(
            shows("half again"),
            half_dump,
            "seed {seed}: pg_dump agrees"
        );
    }
    apply(database, &Caller::operator("again"), &source, None)
        .await
        .unwrap();
    assert_eq!(fingerprint(database).await, full, "seed {seed}");
    rollback(
        database,
        &Caller::operator("down"),
        Goal::Version(Version::zero()),
    )
    .await
    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(fingerprint(database).await, empty, "seed {seed}");
    assert_eq!(
        shows("empty again"),
        empty_dump,
        "seed {seed}: pg_dump agrees"
    );
}

/// The same chain with one statement of one down left out: exactly that migration is found.
async fn finds_the_spoiled_down(dialect: Dialect, seed: u64) {
    let mut generated = generate(dialect, seed, LENGTH);
    let mut random = Random::new(seed + 1_000);
    let spoiled = random.below(LENGTH);
    let missing = random.below(generated[spoiled].down.len());
    let left_out = generated[spoiled].down.remove(missing);
    let fixture = fixture(dialect, true);
    let plan = plan(&fixture.database, &migrations_of(dialect, &generated))
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let unproven = plan
        .migrations
        .iter()
        .enumerate()
        .filter(|(_, m)| m.inverse != Inverse::Author)
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    assert_eq!(
        unproven,
        [spoiled],
        "seed {seed}, without {left_out}: {:?}",
        plan.refusals()
    );
}

#[tokio::test]
async fn restores_the_catalog_of_120_migrations_on_sqlite() {
    for seed in 0..CHAINS {
        goes_up_and_down_and_up(Dialect::Sqlite, seed).await;
    }
}

#[tokio::test]
async fn restores_the_catalog_of_120_migrations_on_postgres() {
    for seed in 0..CHAINS {
        goes_up_and_down_and_up(Dialect::Postgres, seed).await;
    }
}

#[tokio::test]
async fn finds_the_one_down_that_lacks_a_statement() {
    for seed in 0..CHAINS {
        finds_the_spoiled_down(Dialect::Sqlite, seed).await;
    }
    for seed in 0..CHAINS / 2 {
        finds_the_spoiled_down(Dialect::Postgres, seed).await;
    }
}
