//! One plan over many databases: waves, a failure in the middle, resume, a crash.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use shared::{Skill, SkillError};

use super::support::*;
use crate::{
    Metrics,
    clients::{Databases, Workspace, databases::FleetError},
    domain::{
        Dialect,
        fleet::{FleetReport, Outcome},
    },
    skills::{
        ApplyMigration, ApplyMigrationOutput, Decision, PlanMigration, RollbackMigration, Workbench,
    },
};

const FOLDER: &str = "DB_MIGRATOR_TEST_FOLDER";
const FIRST: &str = "CREATE TABLE t (x INTEGER)";
const SECOND: &str = "CREATE UNIQUE INDEX one ON t (x)";

/// SQLite databases d00, d01, ... of a folder and PostgreSQL ones behind them, as the fleet `all`.
fn bench(folder: &Path, sqlite: usize, postgres: &[String], options: &str) -> Workbench {
    let mut specs: Vec<_> = (0..sqlite)
        .map(|at| {
            format!(
                "d{at:02}=sqlite:{}{options}",
                folder.join(format!("d{at:02}.db")).display()
            )
        })
        .collect();
    let more = postgres.iter().enumerate();
    specs.extend(more.map(|(at, url)| format!("p{at}={url},superuser=allow{options}")));
    let fleet = if postgres.is_empty() {
        "all=d*"
    } else {
        "all=d*,p*"
    };
    let databases = Databases::new(specs.iter().map(|spec| spec.parse().unwrap()));
    Workbench {
        databases: Arc::new(databases.with_fleets([fleet.parse().unwrap()]).unwrap()),
        workspace: Workspace::new(folder),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    }
}

fn source(count: usize) -> Value {
    let all = [
        json!({"name": "0001_t.up.sql", "content": FIRST}),
        json!({"name": "0001_t.down.sql", "content": "DROP TABLE t"}),
        json!({"name": "0002_one.up.sql", "content": SECOND}),
        json!({"name": "0002_one.down.sql", "content": "DROP INDEX one"}),
    ];
    json!({"files": all[..count * 2]})
}

async fn run(
    bench: &Workbench,
    caller: &Caller,
    count: usize,
) -> Result<ApplyMigrationOutput, SkillError> {
    let request = json!({"fleet": "all", "source": source(count), "release": format!("{count}"), "dry_run": false, "idempotency_key": "k", "pace": {"concurrency": 4}});
    let input = serde_json::from_value(request).unwrap();
    ApplyMigration(bench.clone())
        .run(&caller.context(), input)
        .await
}

fn outcomes(report: &FleetReport) -> Vec<(Outcome, usize)> {
    let mut found: Vec<(Outcome, usize)> = Vec::new();
    for member in &report.members {
        match found
            .iter_mut()
            .find(|(outcome, _)| *outcome == member.outcome)
        {
            Some((_, count)) => *count += 1,
            None => found.push((member.outcome, 1)),
        }
    }
    found
}

fn member<'a>(report: &'a FleetReport, name: &str) -> &'a crate::domain::fleet::MemberReport {
    report
        .members
        .iter()
        .find(|member| member.database == name)
        .unwrap()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn stops_at_a_failure_in_the_third_wave_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let postgres: Vec<_> = (0..3)
        .map(|at| server().create_database(&format!("fleet_{at}")).unwrap())
        .collect();
    let bench = bench(folder.path(), 40, &postgres, ",dev");
    let first = run(&bench, &Caller::operator("first"), 1).await.unwrap();
    let report = first.fleet.unwrap();
    assert!(report.complete && report.waves == 4, "{report:?}");
    assert_eq!(outcomes(&report), [(Outcome::Completed, 43)]);

    // One member of the third wave (4th to 14th) holds rows that a unique index refuses.
    let bad = bench.databases.find("d07").unwrap().clone();
    execute(&bad, "INSERT INTO t VALUES (1), (1)").await;
    let plan = run(&bench, &Caller::operator("second"), 2).await;
    // It is seen while planning already: the proof runs on its own rows.
    let error = plan.unwrap_err().to_string();
    assert!(
        error.contains("d07") && error.contains("fails on the shadow"),
        "{error}"
    );

    // Now it breaks after the plan: a row comes when the wave begins.
    execute(&bad, "DELETE FROM t").await;
    let victim = bad.clone();
    let once = AtomicUsize::new(0);
    let caller = Caller::operator("third").hook(move |line| {
        let begins = line.starts_with("begin sqlite.execute databases/d07 ");
        (begins && once.fetch_add(1, Ordering::SeqCst) == 0)
            .then(|| SkillError::failed("the disk is full"))
    });
    let report = run(&bench, &caller, 2).await.unwrap().fleet.unwrap();
    drop(victim);
    assert!(
        !report.complete && report.stopped.as_deref() == Some("d07 failed"),
        "{report:?}"
    );
    let failed = member(&report, "d07");
    assert_eq!((failed.wave, failed.outcome), (3, Outcome::Failed));
    assert!(
        failed
            .error
            .as_deref()
            .unwrap()
            .contains("the disk is full"),
        "{failed:?}"
    );
    let later = report.members.iter().filter(|member| member.wave == 4);
    assert!(
        later
            .clone()
            .all(|member| member.outcome == Outcome::NotStarted),
        "later waves are untouched"
    );
    assert_eq!(later.count(), 43 - 1 - 3 - 11);
    let early = report.members.iter().filter(|member| member.wave < 3);
    assert!(
        early
            .into_iter()
            .all(|member| member.outcome == Outcome::Completed)
    );

    let report = run(&bench, &Caller::operator("fourth"), 2)
        .await
        .unwrap()
        .fleet
        .unwrap();
    assert!(report.complete, "{report:?}");
    for member in &report.members {
        let database = bench.databases.find(&member.database).unwrap();
        assert_eq!(member.head.as_deref(), Some("0002"), "{member:?}");
        let sql = format!(
            "SELECT count(*) FROM {}migration WHERE state = 'applied'",
            ledger(database.target.dialect())
        );
        assert_eq!(count(database, &sql).await, 2, "each step once: {member:?}");
    }
    let up_to_date = report
        .members
        .iter()
        .filter(|member| member.outcome == Outcome::UpToDate)
        .count();
    assert!(up_to_date >= 4, "the first waves had nothing left to do");
}

#[tokio::test]
async fn asks_one_approval_for_all_and_rolls_all_back() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path(), 6, &[], "");
    let dry = json!({"fleet": "all", "source": source(2)});
    let plan = PlanMigration(bench.clone())
        .run(
            &Caller::operator("p").context(),
            serde_json::from_value(dry).unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(
        (plan.decision, plan.approval_needed, plan.migrations.len()),
        (Decision::Accepted, true, 2)
    );
    let members = plan.fleet.unwrap();
    assert!(members.members.iter().all(|member| member.outcome == Outcome::Planned && member.versions == ["0001", "0002"]));
    let digest = digest_of(run(&bench, &Caller::operator("a"), 2).await.unwrap_err());
    assert_eq!(digest, plan.plan_digest);
    let caller = Caller::operator("a").approved(&digest);
    let report = run(&bench, &caller, 2).await.unwrap().fleet.unwrap();
    assert!(report.complete, "{report:?}");
    // The same task again, as after a restart: the same digest, nothing left to do.
    let again = run(&bench, &caller, 2).await.unwrap().fleet.unwrap();
    assert_eq!(again.plan_digest, digest);
    assert!(again.complete);

    let request =
        json!({"fleet": "all", "to_version": "0001", "dry_run": false, "idempotency_key": "k"});
    let roll = async |caller: &Caller| {
        let input = serde_json::from_value(request.clone()).unwrap();
        RollbackMigration(bench.clone())
            .run(&caller.context(), input)
            .await
    };
    let digest = digest_of(roll(&Caller::operator("r")).await.unwrap_err());
    let done = roll(&Caller::operator("r").approved(&digest))
        .await
        .unwrap()
        .fleet
        .unwrap();
    assert!(
        done.complete
            && done
                .members
                .iter()
                .all(|member| member.head.as_deref() == Some("0001")),
        "{done:?}"
    );
}

#[tokio::test]
async fn retains_what_its_members_drop_for_as_long_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path(), 2, &[], "");
    let source = json!({"files": [
        {"name": "0001_t.up.sql", "content": "CREATE TABLE t (id integer PRIMARY KEY, note text);\nINSERT INTO t VALUES (1, 'kept')"},
        {"name": "0002_drop.up.sql", "content": "DROP TABLE t"},
    ]});
    let apply = async |retain: &str, caller: &Caller, dry_run: bool| {
        let request = json!({"fleet": "all", "source": source, "retain": retain, "dry_run": dry_run, "idempotency_key": "k"});
        let input = serde_json::from_value(request).unwrap();
        ApplyMigration(bench.clone())
            .run(&caller.context(), input)
            .await
    };
    let retained = async |retain: &str| {
        let planned = apply(retain, &Caller::operator("p"), true).await.unwrap();
        planned.plan.unwrap().migrations[1].retained.clone()
    };
    assert_eq!(retained("none").await, Vec::<String>::new());
    assert_eq!(retained("P2D").await, ["table t"]);

    let digest = digest_of(
        apply("P2D", &Caller::operator("a"), false)
            .await
            .unwrap_err(),
    );
    let caller = Caller::operator("a").approved(&digest);
    let done = apply("P2D", &caller, false).await.unwrap().fleet.unwrap();
    assert!(done.complete, "{done:?}");
    let wrong = apply("soon", &caller, false).await.unwrap_err();
    assert!(wrong.to_string().contains("retain"), "{wrong}");
}

/// Runs in a process of its own and stops for ever in the third wave.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let bench = bench(Path::new(&folder), 20, &[], ",dev");
    let seen = AtomicUsize::new(0);
    let caller = Caller::operator("task").hook(move |line| {
        // One database in the first wave, one in the second, five in the third: the fourth commit is in the third wave.
        if line.starts_with("begin sqlite.commit") && seen.fetch_add(1, Ordering::SeqCst) == 4 {
            println!("\nstopped at {line}");
            loop {
                std::thread::park();
            }
        }
        None
    });
    drop(run(&bench, &caller, 1).await);
}

#[tokio::test]
async fn goes_on_after_a_kill_in_a_wave() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::fleet::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let stopped = lines.find(|line| line.starts_with("stopped at "));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(stopped.is_some());
    let bench = bench(folder.path(), 20, &[], ",dev");
    let report = run(&bench, &Caller::operator("task"), 1)
        .await
        .unwrap()
        .fleet
        .unwrap();
    assert!(report.complete, "{report:?}");
    for at in 0..20 {
        let database = bench.databases.find(&format!("d{at:02}")).unwrap();
        let applied = count(
            database,
            "SELECT count(*) FROM db_migrator_migration WHERE state = 'applied'",
        )
        .await;
        assert_eq!(applied, 1, "d{at:02}");
        assert_eq!(count(database, "SELECT count(*) FROM t").await, 0);
    }
}

#[tokio::test]
async fn asks_health_between_waves() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = super::receiver::Receiver::start(|at, _| match at {
        0 => ("200 OK", String::new()),
        _ => ("500 Sick", String::new()),
    });
    let outlets =
        crate::clients::hooks::Outlets::new(vec![receiver.address.parse().unwrap()], [], vec![]);
    let bench = bench(folder.path(), 10, &[], ",dev");
    let databases = Databases::clone(&bench.databases).with_outlets(&Arc::new(outlets));
    let bench = Workbench {
        databases: Arc::new(databases),
        ..bench
    };
    let request = json!({"fleet": "all", "source": source(1), "dry_run": false, "idempotency_key": "k", "pace": {"soak_seconds": 1},
        "hooks": [{"name": "health", "on": ["after_wave"], "http": {"url": format!("http://{}/", receiver.address)}}]});
    let input = serde_json::from_value(request).unwrap();
    let answer = ApplyMigration(bench)
        .run(&Caller::operator("t").context(), input)
        .await
        .unwrap();
    let report = answer.fleet.unwrap();
    assert_eq!(
        outcomes(&report),
        [(Outcome::Completed, 2), (Outcome::NotStarted, 8)]
    );
    assert!(
        report
            .stopped
            .unwrap()
            .contains("hook health at after_wave of 2 failed")
    );
    assert_eq!(receiver.heard().len(), 2);
}

#[test]
fn refuses_fleets_of_databases_that_do_not_exist() {
    let databases = || Databases::new(["a=sqlite:x".parse().unwrap()]);
    let error = databases()
        .with_fleets(["f=a,b*".parse().unwrap()])
        .unwrap_err();
    assert_eq!(error.to_string(), "fleet f: no database is named b*");
    for bad in ["f", "F=a", "f=a b", "f="] {
        assert_eq!(
            bad.parse::<crate::clients::databases::FleetSpec>()
                .unwrap_err(),
            FleetError::Form,
            "{bad}"
        );
    }
    let fleet = databases().with_fleets(["f=a,*".parse().unwrap()]).unwrap();
    assert_eq!(
        fleet.fleet("f").unwrap().members,
        ["a"],
        "each database once"
    );
    assert_eq!(Dialect::Sqlite, fleet.find("a").unwrap().target.dialect());
}
