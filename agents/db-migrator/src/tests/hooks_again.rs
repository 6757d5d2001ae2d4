//! Hooks of runs that are repeated, and hooks that nobody has looked at.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use shared::SkillError;

use super::{
    hooks::{apply_with, declared, line, lines, reaching, with_log},
    receiver::Receiver,
    support::*,
};
use crate::{
    domain::{Dialect, Version, hooks::Hook},
    engine::{self, Goal, Job},
};

#[tokio::test]
async fn repeats_an_external_hook_under_its_key_and_an_sql_hook_never() {
    for dialect in BOTH {
        let (fixture, source) = with_log(dialect, true).await;
        let receiver = Receiver::start(|_, _| ("200 OK", String::new()));
        let database = reaching(&fixture.database, &receiver);
        let url = format!("http://{}/x", receiver.address);
        let hooks = declared(
            &database,
            json!([line("after_step"), {"name": "tell", "on": ["after_step"], "http": {"url": url}}]),
        );
        // The run ends at every point of every tool call in turn, as by a crash, and goes on.
        let mut point = 0;
        loop {
            let seen = AtomicUsize::new(0);
            let caller = Caller::operator("t").hook(move |line| {
                let write = line.contains(".execute ")
                    || line.contains(".commit ")
                    || line.contains("http.post");
                (write && seen.fetch_add(1, Ordering::SeqCst) == point)
                    .then(|| SkillError::failed("crash"))
            });
            let ran = apply_with(&database, &caller, &source, &hooks).await;
            // A crash leaves a run without an outcome.
            execute(
                &database,
                &format!(
                    "UPDATE {}run SET outcome = NULL WHERE id = 't'",
                    ledger(dialect)
                ),
            )
            .await;
            if ran.is_ok() {
                break;
            }
            point += 1;
            assert!(point < 60, "it never ends");
        }
        assert_eq!(
            lines(&database).await,
            ["after_step", "after_step"],
            "{dialect:?}"
        );
        let mut keys: Vec<_> = receiver
            .heard()
            .iter()
            .map(|(_, body)| body["idempotency_key"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(
            keys,
            ["t/after_step/0002/tell", "t/after_step/0003/tell"],
            "{dialect:?}"
        );
    }
}

#[tokio::test]
async fn wants_an_approval_for_hooks_that_a_request_adds_to_a_rollback() {
    let (fixture, source) = with_log(Dialect::Sqlite, true).await;
    apply(&fixture.database, &Caller::operator("a"), &source, None)
        .await
        .unwrap();
    let database = database(&fixture.url, false);
    let hooks = declared(&database, json!([line("before_run")]));
    let roll = async |caller: &Caller, hooks: &[Hook]| {
        let (context, metrics) = (caller.context(), crate::Metrics::default());
        let job = Job {
            context: &context,
            database: &database,
            metrics: &metrics,
        };
        let goal = Goal::Version(Version::parse("0002").unwrap());
        engine::rollback(
            job,
            engine::RollbackRequest {
                goal,
                hooks,
                covered: None,
            },
        )
        .await
    };
    let wait = roll(&Caller::coordinator("r"), &hooks).await.unwrap_err();
    let digest = digest_of(wait);
    let done = roll(&Caller::coordinator("r").approved(&digest), &hooks)
        .await
        .unwrap();
    assert_eq!(done.head.as_deref(), Some("0002"));
    assert_eq!(lines(&database).await, ["before_run"]);
}
