//! kill -9 of db-migrator or of monitoring-agent in the middle of a stateful rollback: it ends as if nothing had happened.
//! The control plane, PostgreSQL and the agents are real processes; Git is played by the test. A run takes a few moments
//! for the kill, `CRASH_ROLLBACK_EVERY=1` takes all of them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::large_futures,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests fail loudly, and their figures are for people"
)]

#[path = "crash_rollback/town.rs"]
mod town;

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};
use tests::waiting::PATIENCE;
use tokio::time::{Instant, sleep};
use town::{AUDITOR, COORDINATOR, MIGRATOR, MONITOR, SHOP, Town};

/// A moment for a kill: who, at which step of the journal, and how long after it was begun.
#[derive(Debug, Clone, Copy)]
struct Moment {
    victim: &'static str,
    step: &'static str,
    after: Duration,
}

/// The steps of a stateful rollback of a workload that Git brings.
const STEPS: [&str; 10] = [
    "lock",
    "pause_gitops",
    "pause_rollout",
    "stop_writers",
    "roll_back_database",
    "restore_template",
    "await_ready",
    "verify",
    "resume_gitops",
    "release",
];
/// Within the step that takes longest at db-migrator, and within the wait for the verdict.
const WITHIN: [u64; 4] = [100, 250, 450, 700];
/// Between looks at the journal; a step can be over in a few of them.
const BETWEEN: Duration = Duration::from_millis(5);

fn moments() -> Vec<Moment> {
    let at = |victim, step, after| Moment {
        victim,
        step,
        after: Duration::from_millis(after),
    };
    if std::env::var_os("CRASH_ROLLBACK_EVERY").is_none() {
        return vec![
            at(MIGRATOR, "roll_back_database", 0),
            at(MIGRATOR, "roll_back_database", 250),
            at(MONITOR, "await_ready", 0),
            at(MONITOR, "verify", 0),
        ];
    }
    let each = [MIGRATOR, MONITOR].into_iter().flat_map(|victim| {
        let long = if victim == MIGRATOR {
            "roll_back_database"
        } else {
            "await_ready"
        };
        let steps = STEPS.iter().map(move |step| at(victim, *step, 0));
        steps.chain(WITHIN.iter().map(move |after| at(victim, long, *after)))
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_ends_as_if_nobody_had_been_killed() {
    let moments = moments();
    let names: Vec<String> = (0..moments.len()).map(|at| format!("app{at}")).collect();
    let agents = [AUDITOR, MIGRATOR, COORDINATOR, MONITOR];
    let began = Instant::now();
    let mut town = Town::start(&agents, &names).await.unwrap();
    let up = began.elapsed();
    try_join_all(names.iter().map(|name| town.release(name)))
        .await
        .unwrap();
    let released = began.elapsed();
    println!("all up after {up:.1?}, all released after {released:.1?}");
    println!(
        "{:<20}{:<20}{:>8}  {:<20}{:>8}{:>9}",
        "killed", "from step", "after", "met", "back", "whole"
    );
    let mut in_time = 0;
    for (name, moment) in names.iter().zip(&moments) {
        let told = killed(&mut town, name, *moment).await;
        in_time += usize::from(told.met == moment.step);
        println!(
            "{:<20}{:<20}{:>8?}  {:<20}{:>7.2}s{:>8.2}s",
            moment.victim,
            moment.step,
            moment.after,
            told.met,
            told.back.as_secs_f64(),
            told.whole.as_secs_f64()
        );
    }
    assert!(in_time > 0, "every kill came too late");
    try_join_all(names.iter().map(|name| town.git_goes_on(name)))
        .await
        .unwrap();
    println!("Git goes on everywhere after {:.1?}", began.elapsed());
    let trail = town
        .ask(AUDITOR, "verify_audit_trail", &json!({}))
        .await
        .unwrap();
    assert_eq!(trail["intact"], true, "{trail}");
}

/// What one kill met and what it cost.
struct Told {
    /// The step that was under way just before the kill.
    met: String,
    /// Until the victim was back.
    back: Duration,
    /// The whole rollback.
    whole: Duration,
}

/// Kills at the moment; the rollback has to end as if nothing had happened.
async fn killed(town: &mut Town, name: &str, moment: Moment) -> Told {
    let began = Instant::now();
    let input = json!({"namespace": SHOP, "deployment": name, "dry_run": false, "idempotency_key": name, "_meta": {"async": true}});
    let asked = town
        .call(COORDINATOR, "execute_rollback", &input)
        .await
        .unwrap();
    let task = asked.task_id.clone().unwrap_or_else(|| panic!("{asked:?}"));
    until_step(town, &task, moment.step).await;
    sleep(moment.after).await;
    let met = under_way(&journal(town, &task).await);
    let struck = Instant::now();
    town.kill(moment.victim).await.unwrap();
    let back = struck.elapsed();
    let state = town.settled(COORDINATOR, &task).await.unwrap();
    let whole = began.elapsed();
    let journal = journal(town, &task).await;
    assert_eq!(state, "TASK_STATE_COMPLETED", "{moment:?}: {journal:#}");
    assert_eq!(journal["outcome"], "rolled_back", "{moment:?}: {journal:#}");
    let steps = journal["entries"].as_array().unwrap();
    let steps: Vec<&str> = steps
        .iter()
        .map(|one| one["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, STEPS, "{moment:?}");
    town.is_back(name)
        .await
        .unwrap_or_else(|problem| panic!("{moment:?}: {problem:#}"));
    Told { met, back, whole }
}

/// The step that is not done yet.
fn under_way(journal: &Value) -> String {
    let mut all = journal["entries"].as_array().into_iter().flatten();
    let open = all.find(|one| one["state"] != "done");
    open.map_or("none", |one| one["step"].as_str().unwrap())
        .into()
}

/// Waits until the journal comes to a step.
async fn until_step(town: &Town, task: &str, step: &str) {
    let wanted = STEPS.iter().position(|one| *one == step).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let journal = journal(town, task).await;
        let reached = journal["entries"]
            .as_array()
            .is_some_and(|all| all.iter().skip(wanted).any(|one| one["state"] != "pending"));
        if reached {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "never came to {step}: {journal:#}"
        );
        sleep(BETWEEN).await;
    }
}

/// The journal, once there is one.
async fn journal(town: &Town, task: &str) -> Value {
    let input = json!({"rollback_id": task});
    let found = town
        .call(COORDINATOR, "rollback_status", &input)
        .await
        .unwrap();
    let found = found.result.unwrap_or_default();
    found.pointer("/rollbacks/0").cloned().unwrap_or_default()
}
