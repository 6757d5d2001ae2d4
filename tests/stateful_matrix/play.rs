//! Plays one scene and looks whether what had to come came.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use shared::approvals::Decision;
use tests::waiting::until;
use tokio::time::{sleep, timeout};

use super::{
    app::{Running, Written, run},
    contracting,
    look::{in_force, rows, stands, still},
    release::release,
    scene::{Approver, BASE_FILES, Expect, OLD, SCENE, Scene, Then},
    stage::{BASE, Labels, NAMESPACE, Stage, session},
};

/// Rows that version 1 writes before the release.
const ROWS: usize = 5;
/// Pods of a workload.
const PODS: u32 = 2;
/// How long a reader keeps its table.
const READING: Duration = Duration::from_secs(2);
const COORDINATOR: &str = "rollback-coordinator";

/// The database that all scenes copy: the base, with rows of version 1.
pub async fn prepare(stage: &Stage) -> anyhow::Result<Vec<Written>> {
    let input = json!({"database": BASE, "dry_run": false, "idempotency_key": BASE, "release": "1", "source": source(&BASE_FILES)});
    stage.apply(&input).await?;
    let mut client = session(&stage.url(BASE)).await?;
    let mut written = Vec::new();
    for row in 0..ROWS {
        let key = format!("old-{row}");
        written.push(OLD.write(&mut client, ("1", &key)).await?);
    }
    Ok(written)
}

pub fn source(files: &[(&str, &str)]) -> Value {
    let files = files
        .iter()
        .map(|(name, content)| json!({"name": name, "content": content}));
    json!({"files": files.collect::<Vec<_>>()})
}

/// Plays a scene.
pub async fn play(stage: &Stage, scene: &Scene, old: &[Written]) -> anyhow::Result<()> {
    let Scene { name, schema, .. } = *scene;
    stage.copy(name).await?;
    let labels = |version, schema: Option<&'static str>| Labels {
        version,
        schema: schema.map(|schema| (name, schema)),
        replicas: PODS,
    };
    stage.deploy(name, labels("1", schema.0)).await?;
    stage.rolled_out(name, "1").await?;
    stage.learned(name).await?;
    let _held = release(stage, scene).await.context("the release")?;
    stage.deploy(name, labels("2", schema.1)).await?;
    stage.rolled_out(name, "2").await?;
    let mut written = old.to_vec();
    let mut client = session(&stage.url(name)).await?;
    for row in 0..scene.rows {
        let key = format!("new-{row}");
        let row = scene.new.write(&mut client, ("2", &key)).await;
        written.push(row.context("a row of version 2")?);
    }
    for then in scene.then {
        happen(stage, scene, then)
            .await
            .with_context(|| format!("{then:?}"))?;
    }
    drop(client);
    ask(stage, scene, written).await
}

/// Contracts what is expanded, or drops for good what is retained.
async fn complete(stage: &Stage, name: &str, purge: bool) -> anyhow::Result<()> {
    let input = json!({
        "database": name, "dry_run": false, "idempotency_key": format!("{name}-complete-{purge}"), "purge": purge,
    });
    let done = stage.signed("complete_migration", &input).await?;
    done.ok().map(drop)
}

async fn happen(stage: &Stage, scene: &Scene, then: &Then) -> anyhow::Result<()> {
    let name = scene.name;
    match *then {
        Then::Complete => complete(stage, name, false).await,
        Then::Purge => complete(stage, name, true).await,
        Then::Sql(sql) => Ok(session(&stage.url(name)).await?.batch_execute(sql).await?),
        Then::Neighbour(schema, replicas) => {
            let labels = Labels {
                version: "1",
                schema: Some((name, schema)),
                replicas,
            };
            let neighbour = format!("{name}-neighbour");
            stage.deploy(&neighbour, labels).await?;
            stage.rolled_out(&neighbour, "1").await
        }
        Then::OnTop(files) => {
            let input = json!({"database": name, "dry_run": false, "idempotency_key": format!("{name}-3"), "release": "3", "source": source(files)});
            stage.apply(&input).await
        }
        Then::ReleasedAgain => {
            let labels = Labels {
                version: "3",
                schema: scene.schema.1.map(|schema| (name, schema)),
                replicas: PODS,
            };
            stage.deploy(name, labels).await?;
            stage.rolled_out(name, "3").await
        }
        Then::Reader => {
            let client = session(&stage.url(name)).await?;
            client
                .batch_execute("BEGIN; SELECT count(*) FROM orders, carts")
                .await?;
            tokio::spawn(async move {
                sleep(READING).await;
                drop(client);
            });
            Ok(())
        }
    }
}

/// Asks for the rollback and looks at what came.
async fn ask(stage: &Stage, scene: &Scene, mut written: Vec<Written>) -> anyhow::Result<()> {
    let name = scene.name;
    let versions = [OLD, scene.new];
    let running = run(
        stage.pods(),
        (name, stage.url(name)),
        versions,
        scene.last_words,
    );
    until("the new version to be probed", || async {
        let rounds = running.seen.rounds[1].load(std::sync::atomic::Ordering::Relaxed);
        Ok((rounds > 0).then_some(()))
    })
    .await?;
    let before = still(stage, scene).await?;
    let planned = stage
        .call(COORDINATOR, "plan_rollback", &wanted(scene))
        .await?;
    let (state, answer, task) = execute(stage, scene).await?;
    let outcome = answer["outcome"].as_str().unwrap_or_default().to_owned();
    let plan = planned.result.clone().unwrap_or_default();
    let at_risk = plan
        .pointer("/plan/database/rows_at_risk")
        .and_then(Value::as_u64);
    let moves = !plan["plan"]["database"].is_null();
    match scene.expect {
        Expect::Refused(says) => {
            let said = planned.result.err().context("there is a plan")?.to_string();
            ensure!(said.contains(says), "the plan says {said}");
            ensure!(answer.to_string().contains(says), "it says {answer}");
        }
        Expect::Waits(rows) => {
            ensure!(state == "TASK_AUTH_REQUIRED", "{state}: {answer}; {plan}");
            ensure!(at_risk == Some(rows), "{at_risk:?} rows at risk: {plan}");
        }
        Expect::Undone(says) => {
            ensure!(answer.to_string().contains(says), "it says {answer}");
            ensure!(journal(stage, &task).await? == "compensated", "{answer}");
        }
        Expect::AppOnly => {
            ensure!(outcome == "rolled_back", "{answer}");
            ensure!(!moves && plan["plan"]["needs_approval"] == false, "{plan}");
        }
        Expect::Reverted(_) | Expect::Approved(..) => {
            ensure!(outcome == "rolled_back", "{answer}");
            let signed = matches!(scene.expect, Expect::Approved(..));
            ensure!(moves && plan["plan"]["needs_approval"] == signed, "{plan}");
            if let Expect::Approved(_, rows) = scene.expect {
                ensure!(at_risk == Some(rows), "{at_risk:?} rows at risk: {plan}");
            }
        }
    }
    settle(stage, scene, &running).await?;
    let after = still(stage, scene).await?;
    written.extend(running.seen.written.lock().unwrap().clone());
    stands(stage, scene, (before, after)).await?;
    rows(stage, scene, &written).await?;
    let misfits = running.seen.misfits.lock().unwrap().clone();
    ensure!(
        misfits.is_empty(),
        "ran on a schema that does not fit: {misfits:?}"
    );
    ensure!(stage.holder(name).await?.is_none(), "the lock is not free");
    ensure!(
        stage.waiting(name).await?.is_empty(),
        "db-migrator still waits for somebody"
    );
    Ok(())
}

/// Waits until the version that has to be in force runs and its queries were seen to succeed.
async fn settle(stage: &Stage, scene: &Scene, running: &Running) -> anyhow::Result<()> {
    let version = in_force(scene);
    stage.rolled_out(scene.name, version).await?;
    let at = usize::from(version != "1");
    let rounds = || running.seen.rounds[at].load(std::sync::atomic::Ordering::Relaxed);
    let then = rounds();
    until("the version in force to be probed", || async {
        let misfit = !running.seen.misfits.lock().unwrap().is_empty();
        Ok((rounds() > then || misfit).then_some(()))
    })
    .await
}

/// Executes the rollback, with the approvals that the scene gives: how its task ended, its answer and its id.
async fn execute(stage: &Stage, scene: &Scene) -> anyhow::Result<(String, Value, String)> {
    let name = scene.name;
    let mut input = wanted(scene);
    input["dry_run"] = false.into();
    input["idempotency_key"] = format!("{name}-back").into();
    let answer = stage.call(COORDINATOR, "execute_rollback", &input).await?;
    let reason = answer.reason().unwrap_or_default().to_owned();
    let task = answer.task_id.clone().context("no task")?;
    if reason != "TASK_AUTH_REQUIRED" || scene.approver == Approver::Nobody {
        let either = answer.result.clone().unwrap_or_else(|error| error);
        return Ok((reason, either, task));
    }
    let digest = answer.metadata("plan_digest").context("no digest")?;
    stage
        .decide(COORDINATOR, (&task, digest), Decision::Approve)
        .await?;
    let sign = async {
        let (waiting, digest) = until("db-migrator to ask", || async {
            Ok(stage.waiting(name).await?.pop())
        })
        .await?;
        let decision = match scene.approver {
            Approver::Signs => Decision::Approve,
            Approver::RefusesData => Decision::Reject,
            Approver::Cancels | Approver::Nobody => {
                stage
                    .ask(COORDINATOR, "CancelTask", &json!({"id": task}))
                    .await?;
                return Ok(());
            }
        };
        stage
            .decide("db-migrator", (&waiting, &digest), decision)
            .await
    };
    let state = {
        let mut ended = std::pin::pin!(stage.settled(COORDINATOR, &task));
        tokio::select! {
            ended = &mut ended => ended?,
            signed = sign => {
                signed?;
                ended.await?
            }
        }
    };
    let again = stage.call(COORDINATOR, "execute_rollback", &input).await?;
    Ok((state, again.result.unwrap_or_else(|error| error), task))
}

/// The rollback that is asked for.
fn wanted(scene: &Scene) -> Value {
    let mut input = json!({"namespace": NAMESPACE, "deployment": scene.name});
    let again = |then: &Then| matches!(then, Then::ReleasedAgain);
    if scene.then.iter().any(again) {
        input["from_revision"] = 2.into();
    }
    input
}

/// How a rollback ended.
async fn journal(stage: &Stage, id: &str) -> anyhow::Result<String> {
    let input = json!({"rollback_id": id});
    let found = stage.ask(COORDINATOR, "rollback_status", &input).await?;
    let outcome = found
        .pointer("/rollbacks/0/outcome")
        .and_then(Value::as_str);
    Ok(outcome.unwrap_or_default().to_owned())
}

/// Plays a scene within a bound of time.
pub async fn within(stage: &Stage, scene: &Scene, old: &[Written]) -> anyhow::Result<()> {
    match timeout(Duration::from_mins(3), Box::pin(play(stage, scene, old))).await {
        Ok(played) => played,
        Err(_) => bail!("it takes too long"),
    }
}

/// A release whose schema is taken away under its feet.
pub const WATCHED: Scene = Scene {
    name: "watched",
    files: &contracting::RENAME,
    new: contracting::REMARK,
    ..SCENE
};

/// Shows that a pod which runs on a schema that does not fit it is seen: without that the other scenes show nothing.
pub async fn watch(stage: &Stage) -> anyhow::Result<()> {
    let Scene { name, new, .. } = WATCHED;
    stage.copy(name).await?;
    let _held = release(stage, &WATCHED).await?;
    let labels = Labels {
        version: "2",
        schema: Some((name, "0002")),
        replicas: 1,
    };
    stage.deploy(name, labels).await?;
    stage.rolled_out(name, "2").await?;
    let running = run(stage.pods(), (name, stage.url(name)), [OLD, new], false);
    settle(
        stage,
        &Scene {
            expect: Expect::Waits(0),
            ..WATCHED
        },
        &running,
    )
    .await?;
    let misfits = || running.seen.misfits.lock().unwrap().clone();
    ensure!(misfits().is_empty(), "{:?}", misfits());
    let input =
        json!({"database": name, "to_version": "0001", "dry_run": false, "idempotency_key": name});
    stage.signed("rollback_migration", &input).await?.ok()?;
    until("the misfit", || async {
        Ok((!misfits().is_empty()).then_some(()))
    })
    .await
}
