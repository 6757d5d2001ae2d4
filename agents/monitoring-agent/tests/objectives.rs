//! Objectives against a real Prometheus server, whose blocks `promtool` made from recorded requests.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{
    fmt::Write as _,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use monitoring_agent::{
    board::Board,
    clients::Prometheus,
    domain::{
        At, Current, Key, Revision, Thresholds, Workload, World, requests::RequestSign,
        slo::Standing,
    },
    objectives::{Meter, ObjectiveArgs, from_texts},
    skills::{EvaluateSlo, evaluate_slo},
};
use serde_json::{Value, json};
use shared::{Skill, SkillError, testing::FakeAgent};

const OBJECTIVES: &str = r#"
apiVersion: openslo/v1
kind: Service
metadata: {name: web}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: web-availability
  annotations:
    ossa.io/workload: shop/Deployment/web
    ossa.io/latency-p95-query: histogram_quantile(0.95, sum by (le) (rate(seconds_bucket{app="web"}[{{.window}}])))
spec:
  service: web
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: Prometheus, spec: {query: 'sum(rate(requests_total{app="web",code="500"}[{{.window}}]))'}}}
        total: {metricSource: {type: Prometheus, spec: {query: 'sum(rate(requests_total{app="web"}[{{.window}}]))'}}}
  objectives: [{target: 0.999}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: api-availability, annotations: {ossa.io/workload: shop/Deployment/api}}
spec:
  service: api
  indicator:
    spec:
      ratioMetric:
        good: {metricSource: {type: Prometheus, spec: {query: 'sum(rate(requests_total{app="api",code="200"}[{{.window}}]))'}}}
        total: {metricSource: {type: Prometheus, spec: {query: 'sum(rate(requests_total{app="api"}[{{.window}}]))'}}}
  objectives: [{target: 0.99}]
"#;

/// Seconds between samples.
const STEP: i64 = 15;
/// How long is recorded.
const LENGTH: i64 = 2 * 3_600;
/// How long before the end `web` was released badly.
const RELEASED: i64 = 240;

/// Counters of two services: 20 requests a second each; of those to `web` a third fails, four times as slow, since
/// its release.
fn recording(end: i64) -> String {
    let mut text = String::from("# TYPE requests counter\n# TYPE seconds histogram\n");
    let mut rows: Vec<(String, Vec<(i64, f64)>)> = Vec::new();
    let series = |name: &str, value: &dyn Fn(i64) -> f64| {
        let at = |i: i64| (end - LENGTH + i * STEP, value(i * STEP));
        (name.to_owned(), (0..=LENGTH / STEP).map(at).collect())
    };
    let bad = |t: i64| f64::max(0.0, (t - (LENGTH - RELEASED)) as f64) * 20.0 / 3.0;
    let all = |t: i64| t as f64 * 20.0;
    rows.push(series(r#"requests_total{app="web",code="500"}"#, &bad));
    rows.push(series(r#"requests_total{app="web",code="200"}"#, &|t| {
        all(t) - bad(t)
    }));
    rows.push(series(r#"requests_total{app="api",code="200"}"#, &all));
    let slow = |t: i64| f64::max(0.0, (t - (LENGTH - RELEASED)) as f64) * 20.0;
    rows.push(series(r#"seconds_bucket{app="web",le="0.1"}"#, &|t| {
        all(t) - slow(t)
    }));
    rows.push(series(r#"seconds_bucket{app="web",le="0.4"}"#, &all));
    rows.push(series(r#"seconds_bucket{app="web",le="+Inf"}"#, &all));
    for (name, samples) in rows {
        for (at, value) in samples {
            writeln!(text, "{name} {value} {at}").unwrap();
        }
    }
    text + "# EOF\n"
}

/// A server with the recording in its blocks; stopped when dropped.
struct Server {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    async fn start(recording: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("requests.om");
        std::fs::write(&text, recording).unwrap();
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1h}\n").unwrap();
        let blocks = folder.path().join("blocks");
        let made = Command::new("promtool")
            .args([
                "tsdb",
                "create-blocks-from",
                "--max-block-duration=24h",
                "openmetrics",
            ])
            .args([&text, &blocks])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .expect("promtool, of the package prometheus");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", blocks.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus, of the package prometheus");
        let url = format!("http://127.0.0.1:{port}");
        let server = Self {
            child,
            url,
            _folder: folder,
        };
        server.until_ready().await;
        server
    }

    async fn until_ready(&self) {
        let client = reqwest::Client::new();
        for _ in 0..600 {
            let answer = client.get(format!("{}/-/ready", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("prometheus does not become ready");
    }
}

/// A board on which `web` changed at a time.
fn board(changed: At) -> Board {
    let key = Key::deployment("shop", "web");
    let mut world = World::default();
    let workload = Workload {
        key: key.clone(),
        uid: "w".into(),
        desired: 1,
        current: Current::Number(1),
        ..Workload::default()
    };
    world.apply_workload(workload, changed);
    world.apply_revision(Revision {
        uid: "r".into(),
        owner: "w".into(),
        number: 1,
        created: changed,
        replica_set: true,
        ..Revision::default()
    });
    world.evaluate(&key, changed, &Thresholds::default());
    let board = Board::new([key]);
    board.publish(&world);
    board
}

async fn call(meter: &Meter, input: Value) -> Result<evaluate_slo::Output, SkillError> {
    let (context, _) = FakeAgent::default().namespace("shop").context();
    let input = serde_json::from_value(input).expect("an input of the skill");
    EvaluateSlo(Some(meter.clone())).run(&context, input).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_shows_in_the_requests_that_a_real_server_counted() {
    let end = monitoring_agent::watch::now().millis() / 1_000;
    let server = Server::start(&recording(end)).await;
    let at = |seconds: i64| At::from_millis(seconds * 1_000);
    let source = Prometheus::new(server.url.parse().unwrap(), None, Duration::from_secs(20));
    let meter = Meter {
        objectives: from_texts(&[OBJECTIVES]).unwrap().into(),
        source: Arc::new(source),
        board: board(at(end - RELEASED)),
        thresholds: Thresholds::default(),
    };
    let [api, web] = &meter.objectives[..] else {
        panic!("two objectives")
    };
    let measured = meter.measure(web, at(end)).await.unwrap();
    assert_eq!(measured.standing, Standing::FastBurn, "{measured:?}");
    let first = measured.burns[0];
    // A third of the last 4 minutes of an hour fails: 240/3600/3 of all, against a thousandth.
    assert!((first.long - 22.2).abs() < 1.5, "{first:?}");
    assert!(first.firing && first.page && first.short > 200.0);
    let trouble = measured.trouble.unwrap();
    assert_eq!(trouble.sign, RequestSign::FastBurn);
    assert_eq!(trouble.worse_than_before, Some(true));
    assert!((trouble.traffic_ratio.unwrap() - 1.0).abs() < 0.1);
    let (now, before) = measured.latency.unwrap();
    assert!(now > 2.0 * before, "{now} {before}");
    let well = meter.measure(api, at(end)).await.unwrap();
    assert_eq!((well.standing, well.trouble), (Standing::Met, None));
    assert!((well.budget.left - 1.0).abs() < 1e-6);

    let output = call(&meter, json!({"namespace": "shop"})).await.unwrap();
    assert_eq!(output.standing, Some(Standing::FastBurn));
    let names: Vec<&str> = output
        .objectives
        .iter()
        .map(|o| o.objective.as_str())
        .collect();
    assert_eq!(names, ["api-availability", "web-availability"]);
    assert!(output.objectives[1].queries[1].contains("[2592000s]"));
    let unknown = call(&meter, json!({"objective": "x"})).await.unwrap_err();
    assert!(matches!(unknown, SkillError::Rejected { .. }));
    let denied = call(&meter, json!({"namespace": "kube-system"})).await;
    assert!(matches!(denied, Err(SkillError::Denied(_))));
    drop(server);
    let silent = call(&meter, json!({})).await.unwrap_err();
    assert!(matches!(silent, SkillError::Unavailable { .. }), "{silent}");
}

#[test]
fn a_file_of_objectives_is_refused_whole_when_one_is_wrong() {
    let twice = format!("{OBJECTIVES}---{}", OBJECTIVES.split("---").nth(1).unwrap());
    let error = from_texts(&[&twice]).unwrap_err().to_string();
    assert_eq!(error, "objective \"web-availability\" is there twice");
    let wrong = OBJECTIVES.replace("target: 0.999", "target: 99.9");
    let error = from_texts(&[&wrong]).unwrap_err().to_string();
    assert!(
        error.contains("web-availability") && error.contains("target"),
        "{error}"
    );
}

#[test]
fn a_folder_of_objectives_is_read_as_a_mounted_configmap_lays_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let load = |path: &std::path::Path| {
        ObjectiveArgs {
            prometheus: Some("http://127.0.0.1:9090".parse().unwrap()),
            prometheus_token_file: None,
            prometheus_timeout: Duration::from_secs(1),
            objectives: Some(path.to_owned()),
            objectives_every: Duration::from_secs(15),
        }
        .load()
    };
    assert!(load(folder.path()).unwrap().is_none(), "an empty folder");
    let documents: Vec<&str> = OBJECTIVES.split("---\n").collect();
    write("web.yaml", documents[1]);
    write("api.yml", documents[2]);
    write("..version.yaml", documents[1]);
    write("notes.txt", "not YAML: [");
    let (objectives, _) = load(folder.path()).unwrap().unwrap();
    let names: Vec<&str> = objectives.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["api-availability", "web-availability"]);
    write("again.yaml", documents[1]);
    let error = format!("{:#}", load(folder.path()).err().unwrap());
    assert!(error.contains("is there twice"), "{error}");
    write("again.yaml", "[");
    let error = format!(
        "{:#}",
        load(&folder.path().join("again.yaml")).err().unwrap()
    );
    assert!(error.contains("again.yaml"), "{error}");
}
