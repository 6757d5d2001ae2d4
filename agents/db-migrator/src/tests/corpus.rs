//! Two hundred statements, up and down, and a kill -9 of a real process at three points around each of them: before it,
//! after it and before its outcome is recorded, and after that. The next process goes on where the last one was killed.
//! Each statement is killed at one of the three in turns; with `DB_MIGRATOR_TEST_EVERY_KILL` set, at all of them.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    path::Path,
};

use tokio::time::Instant;

use super::support::*;
use crate::{
    domain::{Dialect, Migration, Verdict, Version},
    engine::Goal,
};

const URL: &str = "DB_MIGRATOR_TEST_URL";
const WORK: &str = "DB_MIGRATOR_TEST_WORK";
const TASK: &str = "DB_MIGRATOR_TEST_TASK";
const POINTS: &str = "DB_MIGRATOR_TEST_POINTS";
const PART: &str = "DB_MIGRATOR_TEST_PART";
/// Set to anything, every statement is killed at all three moments; else at one of them, in turns.
const EVERY: &str = "DB_MIGRATOR_TEST_EVERY_KILL";
const MOMENTS: &str = "DB_MIGRATOR_TEST_MOMENTS";
/// After so many kills another starter comes along instead of the same task.
const SAME_TASK: usize = 60;
/// Rounds through the kinds of migration in each part.
const ROUNDS: [usize; 2] = [3, 2];

fn base() -> (String, String) {
    let mut up = String::from(
        "CREATE TABLE base (id int PRIMARY KEY, x int, y int); INSERT INTO base SELECT g, g, g FROM generate_series(1, 50) g; \
         CREATE TABLE counter (unit int PRIMARY KEY, n int NOT NULL); INSERT INTO counter SELECT g, 0 FROM generate_series(0, 99) g; \
         CREATE TABLE parts (id int NOT NULL, v int) PARTITION BY RANGE (id);",
    );
    for part in 0..100 {
        write!(
            up,
            " CREATE TABLE parts_{part} PARTITION OF parts FOR VALUES FROM ({part}) TO ({});",
            part + 1
        )
        .unwrap();
    }
    (
        up,
        "DROP TABLE parts; DROP TABLE counter; DROP TABLE base".into(),
    )
}

/// One migration of each kind; every count of `counter` shows a statement that ran twice or not at all.
fn unit(u: usize) -> (&'static str, String, String) {
    let plus = format!("UPDATE counter SET n = n + 1 WHERE unit = {u}");
    let minus = format!("UPDATE counter SET n = n - 1 WHERE unit = {u}");
    match u % 6 {
        0 => (
            "plain",
            format!(
                "CREATE TABLE plain_{u} (a int PRIMARY KEY, b text); CREATE INDEX plain_{u}_b ON plain_{u} (b); COMMENT ON TABLE plain_{u} IS 'x'; ALTER TABLE plain_{u} ADD COLUMN c int"
            ),
            format!(
                "ALTER TABLE plain_{u} DROP COLUMN c; COMMENT ON TABLE plain_{u} IS NULL; DROP INDEX plain_{u}_b; DROP TABLE plain_{u}"
            ),
        ),
        1 => (
            "index",
            format!(
                "{plus}; CREATE INDEX CONCURRENTLY cic_{u} ON base (x); {plus}; CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ciu_{u} ON base (id, y)"
            ),
            format!(
                "DROP INDEX CONCURRENTLY ciu_{u}; {minus}; DROP INDEX CONCURRENTLY IF EXISTS cic_{u}; {minus}"
            ),
        ),
        2 => (
            "reindex",
            format!("{plus}; REINDEX TABLE CONCURRENTLY base; VACUUM base; {plus}"),
            format!(
                "REINDEX INDEX CONCURRENTLY base_pkey; {minus}; VACUUM (ANALYZE) base; {minus}"
            ),
        ),
        3 => (
            "detach",
            format!("ALTER TABLE parts DETACH PARTITION parts_{u} CONCURRENTLY; {plus}"),
            format!(
                "{minus}; ALTER TABLE parts ATTACH PARTITION parts_{u} FOR VALUES FROM ({u}) TO ({}); ALTER TABLE parts_{u} DROP CONSTRAINT parts_{u}_id_check",
                u + 1
            ),
        ),
        4 => (
            "value",
            format!(
                "CREATE TYPE mood_{u} AS ENUM ('a'); ALTER TYPE mood_{u} ADD VALUE 'b'; CREATE TABLE moods_{u} (m mood_{u} DEFAULT 'b'); {plus}"
            ),
            format!("{minus}; DROP TABLE moods_{u}; DROP TYPE mood_{u}"),
        ),
        _ => (
            "rows",
            format!("{plus}; CREATE VIEW view_{u} AS SELECT x FROM base; {plus}"),
            format!("{minus}; DROP VIEW view_{u}; {minus}"),
        ),
    }
}

fn source(part: usize) -> Vec<Migration> {
    let mut all = vec![("base", base())];
    for u in 0..6 * ROUNDS[part] {
        let (name, up, down) = unit(part * 6 * ROUNDS[0] + u);
        all.push((name, (up, down)));
    }
    let all = all
        .iter()
        .map(|(name, (up, down))| (*name, up.as_str(), down.as_str()))
        .collect::<Vec<_>>();
    migrations(Dialect::Postgres, &all)
}

fn base_version() -> Version {
    Version::parse("0001").unwrap()
}

/// Whether a run is killed here: at the moments that are asked for, of which each statement has its turn.
fn chosen(line: &str, moments: &str) -> bool {
    let moment = line.split(' ').next().unwrap_or_default();
    let digits = line.bytes().filter(u8::is_ascii_digit);
    let statement = digits.map(|digit| usize::from(digit - b'0')).sum::<usize>();
    let turn = ["begin", "end", "recorded"][statement % 3];
    moments.split(',').any(|asked| asked == moment)
        && (std::env::var_os(EVERY).is_some() || turn == moment)
}

/// Runs in a process of its own and stops for ever at the first point where none stopped before.
#[tokio::test]
#[ignore = "the process that other tests kill"]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let variable = |name| std::env::var(name).unwrap();
    let stopped: BTreeSet<String> = std::fs::read_to_string(variable(POINTS))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let moments = variable(MOMENTS);
    let caller = Caller::operator(&variable(TASK)).hook(move |line| {
        let point = line.contains(" postgres.execute ") && chosen(line, &moments);
        if point && !stopped.contains(line) {
            println!("\nstopped at {line}");
            loop {
                std::thread::park();
            }
        }
        None
    });
    let database = database(&url, true);
    if variable(WORK) == "rollback" {
        let goal = Goal::Version(base_version());
        rollback(&database, &caller, goal).await.unwrap();
    } else {
        let source = source(variable(PART).parse().unwrap());
        apply(&database, &caller, &source, None).await.unwrap();
    }
    println!("\ncompleted");
}

/// What is killed: a run on one database, at some moments of each statement.
struct Victim<'a> {
    url: &'a str,
    part: usize,
    work: &'a str,
    moments: &'a str,
}

impl Victim<'_> {
    /// Kills processes until one completes. Answers with the points and the seconds from each kill to the next point.
    fn kill_everywhere(&self, points: &Path) -> (Vec<String>, Vec<f64>) {
        let (mut stops, mut resumed) = (Vec::new(), Vec::new());
        std::fs::write(points, "").unwrap();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(points)
            .unwrap();
        loop {
            let starter = stops.len() / SAME_TASK;
            let began = Instant::now();
            let mut child = process(
                "tests::corpus::child",
                &[
                    (URL, self.url),
                    (WORK, self.work),
                    (MOMENTS, self.moments),
                    (TASK, &format!("{}-{}-{starter}", self.work, self.moments)),
                    (POINTS, points.to_str().unwrap()),
                    (PART, &self.part.to_string()),
                ],
            )
            .spawn()
            .unwrap();
            let last = BufReader::new(child.stdout.take().unwrap())
                .lines()
                .map_while(Result::ok)
                .find(|line| line.starts_with("stopped at ") || line == "completed");
            child.kill().unwrap();
            child.wait().unwrap();
            let last =
                last.unwrap_or_else(|| panic!("{} failed after {:?}", self.work, stops.last()));
            let Some(point) = last.strip_prefix("stopped at ") else {
                return (stops, resumed);
            };
            // A new starter proves what is left first: that is no resumption.
            if !stops.len().is_multiple_of(SAME_TASK) {
                resumed.push(began.elapsed().as_secs_f64());
            }
            writeln!(file, "{point}").unwrap();
            stops.push(point.to_owned());
        }
    }
}

fn report(work: &str, stops: &[String], mut resumed: Vec<f64>) {
    resumed.sort_by(f64::total_cmp);
    println!(
        "{work}: {} kills; from a kill to the next statement, with the start of the process: median {:.3} s, longest {:.3} s",
        stops.len(),
        resumed[resumed.len() / 2],
        resumed[resumed.len() - 1]
    );
}

/// Every statement was stopped at, at this moment. Statements that are sent at once end at once: after the first of their
/// ends the whole script is done and is not run again.
fn check_points(stops: &[String], moment: &str, statements: usize, at_once: usize) {
    let prefix = format!("{moment} postgres.execute ");
    let met = stops
        .iter()
        .filter(|line| line.starts_with(&prefix))
        .count();
    let expected = if moment == "begin" {
        statements
    } else {
        statements - at_once
    };
    assert_eq!(met, expected, "{moment}: {stops:#?}");
}

async fn state(fixture: &Fixture) -> (String, i64, i64) {
    let database = &fixture.database;
    (
        fingerprint(database).await,
        count(
            database,
            "SELECT coalesce(sum(n * (unit + 1)), 0)::bigint FROM counter",
        )
        .await,
        count(
            database,
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid",
        )
        .await,
    )
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn survives(part: usize) {
    let all = source(part);
    let (reference, fixture) = (
        fixture(Dialect::Postgres, true),
        fixture(Dialect::Postgres, true),
    );
    for one in [&reference, &fixture] {
        apply(&one.database, &Caller::operator("base"), &all[..1], None)
            .await
            .unwrap();
    }
    let empty = state(&reference).await;
    let whole = apply(&reference.database, &Caller::operator("whole"), &all, None)
        .await
        .unwrap();
    assert!(
        whole
            .migrations
            .iter()
            .all(|migration| migration.verdict == Verdict::Reversible),
        "the corpus itself is right"
    );
    let full = state(&reference).await;
    assert!(full.1 > 0);
    let folder = tempfile::tempdir().unwrap();
    let points = folder.path().join("points");
    let (ups, downs) = all[1..].iter().fold((0, 0), |(ups, downs), migration| {
        let down = migration
            .down
            .as_ref()
            .map_or(0, |down| down.statements.len());
        (ups + migration.up.statements.len(), downs + down)
    });
    assert_eq!(
        ups + downs,
        42 * ROUNDS[part],
        "both parts hold 210 statements"
    );

    // The up of every migration of kind `plain` (four statements) and `rows` (three) is sent at once; a down is compared
    // before its commit.
    let at_once = (3 + 2) * ROUNDS[part];
    let mut kills = 0;
    for moments in [&["begin", "end"][..], &["recorded"]] {
        for (work, statements, at_once, after) in [
            ("apply", ups, at_once, &full),
            ("rollback", downs, 0, &empty),
        ] {
            let victim = Victim {
                url: &fixture.url,
                part,
                work,
                moments: &moments.join(","),
            };
            let (stops, resumed) = victim.kill_everywhere(&points);
            report(work, &stops, resumed);
            kills += stops.len();
            if std::env::var_os(EVERY).is_some() {
                for moment in moments {
                    check_points(&stops, moment, statements, at_once);
                }
            }
            assert_eq!(
                &state(&fixture).await,
                after,
                "nothing lost, nothing doubled"
            );
            let open = "SELECT count(*) FROM db_migrator.step s JOIN db_migrator.migration m ON m.sequence = s.migration \
                WHERE m.state = 'applied' AND s.direction = 'up' AND s.state <> 'applied'";
            assert_eq!(count(&fixture.database, open).await, 0);
        }
    }
    assert!(
        kills >= (ups + downs) / 4,
        "only {kills} kills around {ups} and {downs} statements"
    );
}

#[tokio::test]
async fn survives_kills_around_every_statement_of_one_half() {
    survives(0).await;
}

#[tokio::test]
async fn survives_kills_around_every_statement_of_the_other_half() {
    survives(1).await;
}
