//! What the runtime promises about runs: a small agent in this process, over its real listeners.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

mod probe;

use std::{net::IpAddr, time::Duration};

use probe::{
    Ground, OWN,
    agent::{Agent, Caller},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

fn change(key: &str) -> Value {
    json!({"dry_run": false, "idempotency_key": key})
}

fn deadline(left: Duration) -> String {
    (OffsetDateTime::now_utc() + left).format(&Rfc3339).unwrap()
}

#[tokio::test]
async fn a_panic_fails_its_task_and_the_agent_serves_on() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let answer = agent.caller.call("panics", json!({})).await;
    assert_eq!(answer.code(), Some(-32056), "{}", answer.body);
    assert!(!answer.body.to_string().contains("a mistake in a skill"));
    let task = answer.metadata("task_id").unwrap();
    assert_eq!(agent.caller.state(task).await, "TASK_STATE_FAILED");
    assert_eq!(agent.caller.echo().await.text(), Some("hello"));
}

#[tokio::test]
async fn a_deadline_ends_the_run_and_the_wait() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    for left in [Duration::from_millis(300), Duration::ZERO] {
        let meta = json!({"deadline": deadline(left)});
        let answer = agent.caller.call("slow", json!({"_meta": meta})).await;
        assert_eq!(answer.code(), Some(-32053), "{}", answer.body);
        let task = answer.metadata("task_id").unwrap();
        assert_eq!(agent.caller.state(task).await, "TASK_STATE_FAILED");
    }
    assert_eq!(agent.caller.echo().await.text(), Some("hello"));
}

#[tokio::test]
async fn a_running_task_is_canceled_whether_it_listens_or_not() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &["--max-concurrency", "1"]).await;
    for stubborn in [false, true] {
        let input = json!({"stubborn": stubborn});
        let task = agent.caller.detached("slow", input).await;
        agent.probe.has_started().await;
        let answer = agent.caller.call("CancelTask", json!({"id": task})).await;
        assert_eq!(answer.state(), Some("TASK_STATE_CANCELED"), "{stubborn}");
        assert_eq!(agent.caller.state(&task).await, "TASK_STATE_CANCELED");
        // The run is gone, and its place is free again.
        agent.caller.reaches(&task, "TASK_STATE_CANCELED").await;
        recovers(&agent).await;
    }
}

/// The agent takes a call again once the runs before it have let go of their places.
async fn recovers(agent: &Agent) {
    let mut answer = agent.caller.echo().await;
    for _ in 0..3_000 {
        if answer.code() != Some(-32052) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = agent.caller.echo().await;
    }
    assert_eq!(answer.text(), Some("hello"), "{}", answer.body);
}

#[tokio::test]
async fn beyond_the_limit_of_concurrent_runs_calls_are_refused_until_a_place_is_free() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &["--max-concurrency", "2"]).await;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(agent.caller.detached("slow", json!({})).await);
        agent.probe.has_started().await;
    }
    let answer = agent.caller.echo().await;
    assert_eq!(answer.code(), Some(-32052), "{}", answer.body);
    assert_eq!(answer.metadata("retryable"), Some("true"));
    agent.probe.gate.add_permits(2);
    for task in &tasks {
        agent.caller.reaches(task, "TASK_STATE_COMPLETED").await;
    }
    recovers(&agent).await;
}

#[tokio::test]
async fn the_rate_of_the_manifest_holds_for_each_principal() {
    let ground = Ground::with_rate(1, 3);
    let agent = Agent::start(&ground, &[]).await;
    for _ in 0..3 {
        assert_eq!(agent.caller.echo().await.status, 200);
    }
    let answer = agent.caller.echo().await;
    assert_eq!((answer.status, answer.code()), (429, Some(-32051)));
    let seconds: u64 = answer.retry_after.unwrap().parse().unwrap();
    assert!(seconds > 0);
    let guest = Caller {
        client: ground.client("guest"),
        url: agent.caller.url.clone(),
    };
    assert_eq!(guest.echo().await.text(), Some("hello"));
}

#[tokio::test]
async fn a_full_audit_outbox_refuses_changes_and_serves_reads() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &["--max-outbox", "2"]).await;
    for _ in 0..2 {
        assert_eq!(agent.caller.echo().await.text(), Some("hello"));
    }
    let answer = agent.caller.call("change", change("one")).await;
    assert_eq!(answer.code(), Some(-32054), "{}", answer.body);
    assert_eq!(answer.metadata("dependency"), Some("audit"));
    assert_eq!(agent.probe.lines("run"), 0);
    assert_eq!(agent.caller.echo().await.text(), Some("hello"));
    let plan = agent.caller.call("change", json!({})).await;
    assert_eq!(plan.text(), Some("would write"));
    let tools = agent.caller.call("tools", json!({"count": 2})).await;
    assert_eq!(tools.text(), Some("2"));
}

#[tokio::test]
async fn a_task_makes_no_more_tool_calls_than_the_manifest_allows() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    for _ in 0..2 {
        let answer = agent.caller.call("tools", json!({"count": 3})).await;
        assert_eq!(answer.text(), Some("3"));
    }
    let answer = agent.caller.call("tools", json!({"count": 4})).await;
    assert_eq!(answer.code(), Some(-32050), "{}", answer.body);
    assert!(answer.body.to_string().contains("max_tool_calls"));
}

#[tokio::test]
async fn a_draining_agent_is_unready_finishes_what_runs_and_takes_nothing_new() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    assert_eq!(agent.caller.echo().await.text(), Some("hello"));
    assert_eq!(agent.ready().await, 200);
    let caller = agent.caller.clone();
    let running = tokio::spawn(async move { caller.call("slow", json!({})).await });
    agent.probe.has_started().await;
    agent.shutdown.cancel();
    while agent.ready().await == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.ready().await, 503);
    let answer = agent.caller.echo().await;
    assert_eq!(answer.code(), Some(-32052), "{}", answer.body);
    agent.probe.gate.add_permits(1);
    assert_eq!(running.await.unwrap().text(), Some("through"));
    agent.serving.await.unwrap().unwrap();
}

/// Runs the agent on a runtime of its own until a change waits before its effect, then takes the runtime away:
/// every task of the process is gone, wherever it was.
fn crash_amid_a_change(ground: &Ground, meta: &Value) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let task = runtime.block_on(async {
        let agent = Agent::start(ground, &[]).await;
        let mut input = change("one");
        input["wait"] = json!(true);
        input["_meta"] = meta.clone();
        let task = agent.caller.detached("change", input).await;
        agent.probe.has_started().await;
        task
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    task
}

#[test]
fn a_change_that_a_crash_cut_off_is_resumed_once_though_its_deadline_passed() {
    let ground = Ground::new();
    let end = OffsetDateTime::now_utc() + Duration::from_secs(3);
    let meta = json!({"deadline": end.format(&Rfc3339).unwrap()});
    let task = crash_amid_a_change(&ground, &meta);
    let left = end - OffsetDateTime::now_utc();
    std::thread::sleep(left.try_into().unwrap_or_default());
    let probe = ground.probe();
    assert_eq!((probe.lines("run"), probe.lines("effect")), (1, 0));
    for _ in 0..2 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let agent = Agent::start(&ground, &[]).await;
            agent.probe.gate.add_permits(1);
            agent.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
            // The key still stands for this task.
            let mut input = change("one");
            input["wait"] = json!(true);
            let again = agent.caller.call("change", input).await;
            assert_eq!(again.task.as_deref(), Some(task.as_str()));
            assert_eq!(again.text(), Some("written"));
            agent.shutdown.cancel();
            agent.serving.await.unwrap().unwrap();
        });
        assert_eq!((probe.lines("run"), probe.lines("effect")), (2, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_changes_at_the_same_time_are_one_task_with_one_effect() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let (caller, probe) = (&agent.caller, &agent.probe);
    let mut waiting = change("held");
    waiting["wait"] = json!(true);
    let release = async {
        probe.has_started().await;
        probe.gate.add_permits(1);
    };
    let (a, b, ()) = tokio::join!(
        caller.call("change", waiting.clone()),
        caller.call("change", waiting.clone()),
        release
    );
    assert_eq!((a.text(), b.text()), (Some("written"), Some("written")));
    assert!(a.task.is_some() && a.task == b.task);
    assert_eq!(probe.lines("effect"), 1);
    for round in 0..20 {
        let input = change(&format!("round-{round}"));
        let calls = (0..8).map(|_| caller.call("change", input.clone()));
        let answers = futures::future::join_all(calls).await;
        let first = answers[0].task.clone().unwrap();
        for answer in &answers {
            assert_eq!(answer.text(), Some("written"), "{}", answer.body);
            assert_eq!(answer.task.as_ref(), Some(&first));
        }
        assert_eq!(probe.lines("effect"), round + 2);
    }
    let other = caller.call("change", change("held")).await;
    assert_eq!(other.code(), Some(-32055), "{}", other.body);
}

const OPERATOR: &str = "spiffe://mesh.local/external/operator";
const STRANGER: &str = "spiffe://mesh.local/external/stranger";

/// A plain-HTTP caller from one loopback address, as a proxy would connect.
fn from(address: [u8; 4], agent: &Agent) -> Caller {
    let client = reqwest::Client::builder()
        .no_proxy()
        .local_address(IpAddr::from(address))
        .build();
    Caller {
        client: client.unwrap(),
        url: format!("http://{}/a2a", agent.addresses.a2a),
    }
}

#[tokio::test]
async fn behind_a_mesh_proxy_only_its_own_header_is_believed() {
    let ground = Ground::new();
    let flags = ["--transport", "mesh", "--peer-identity", "xfcc"];
    let flags = [&flags[..], &["--trusted-proxy", "127.0.0.1/32"]].concat();
    let agent = Agent::start(&ground, &flags).await;
    let element = |peer: &str| format!("By={OWN};Hash=00;URI={peer}");
    let (proxy, other) = (from([127, 0, 0, 1], &agent), from([127, 0, 0, 2], &agent));
    let xfcc = "x-forwarded-client-cert";
    let linkerd = "operator.shop.serviceaccount.identity.linkerd.cluster.local";
    let operator = element(OPERATOR);
    let pushed_aside = format!("{},{operator}", element(STRANGER));
    let spoofed = format!("{operator},{}", element(STRANGER));
    let foreign = format!("By={STRANGER};Hash=00;URI={OPERATOR}");
    let cases = [
        (&proxy, vec![(xfcc, operator.as_str())], 200),
        (&other, vec![(xfcc, operator.as_str())], 401),
        (&proxy, vec![], 401),
        (&proxy, vec![("l5d-client-id", linkerd)], 401),
        (
            &proxy,
            vec![(xfcc, &operator), ("l5d-client-id", "x.y")],
            200,
        ),
        (&proxy, vec![(xfcc, &element(STRANGER))], 401),
        (&proxy, vec![(xfcc, &pushed_aside)], 200),
        (&proxy, vec![(xfcc, &spoofed)], 401),
        (&proxy, vec![(xfcc, &foreign)], 401),
        (&proxy, vec![(xfcc, &operator), (xfcc, &operator)], 401),
    ]
    .map(|(caller, headers, status)| {
        let headers: Vec<(String, String)> = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        (caller, headers, status)
    });
    for (caller, headers, status) in cases {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = caller
            .call_with(&headers, "echo", json!({"text": "hello"}))
            .await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
        assert_eq!(answer.text().is_some(), status == 200, "{headers:?}");
    }
}

#[tokio::test]
async fn a_caller_gets_only_the_skills_that_it_was_given() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let guest = Caller {
        client: ground.client("guest"),
        url: agent.caller.url.clone(),
    };
    assert_eq!(guest.echo().await.text(), Some("hello"));
    let refused = guest.call("change", change("one")).await;
    assert_eq!((refused.status, refused.code()), (403, Some(-32050)));
    let task = agent.caller.detached("slow", json!({})).await;
    let foreign = guest.call("CancelTask", json!({"id": task})).await;
    assert_eq!(foreign.code(), Some(-32001), "{}", foreign.body);
    agent.probe.gate.add_permits(1);
    agent.caller.reaches(&task, "TASK_STATE_COMPLETED").await;
}

#[tokio::test]
async fn the_card_is_signed_cached_and_not_sent_twice() {
    let ground = Ground::new();
    let agent = Agent::start(&ground, &[]).await;
    let url = agent
        .caller
        .url
        .replace("/a2a", "/.well-known/agent-card.json");
    let get = |headers: &[(&str, &str)]| {
        let mut request = agent.caller.client.get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send()
    };
    let first = get(&[]).await.unwrap();
    let header = |name: &str| first.headers()[name].to_str().unwrap().to_owned();
    let (etag, modified) = (header("etag"), header("last-modified"));
    assert!(header("cache-control").contains("max-age="));
    assert!(header("strict-transport-security").contains("max-age="));
    for (condition, status) in [
        (("if-none-match", etag.as_str()), 304),
        (("if-none-match", "\"other\""), 200),
        (("if-modified-since", modified.as_str()), 304),
        (("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"), 200),
    ] {
        let answer = get(&[condition]).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{condition:?}");
    }
    let card: Value = first.json().await.unwrap();
    let directory = identity::Directory::load(&ground.path("directory.json")).unwrap();
    let own = directory.by_spiffe_id(&OWN.parse().unwrap()).unwrap();
    let mut trusted = a2a::signature::TrustStore::default();
    for key in &own.signing_keys {
        trusted.trust(key.public_key);
    }
    let verified = a2a::signature::verify(&card, &trusted).unwrap();
    assert_eq!(verified.card["name"], "probe-agent");
    // The extended card shows a caller what it may use, and is signed as well.
    for (caller, skills) in [("operator", 6), ("guest", 1)] {
        let caller = agent.caller_named(&ground, caller);
        let answer = caller.call("GetExtendedAgentCard", json!({})).await;
        let card = &answer.body["result"];
        assert_eq!(card["skills"].as_array().unwrap().len(), skills, "{card}");
        a2a::signature::verify(card, &trusted).unwrap();
    }
    agent.stop().await;
}
