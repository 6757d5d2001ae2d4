//! The recording of the example shop, once read by our own reader and once through a real
//! Prometheus server whose blocks `promtool` made from the same file: both must answer the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers may stop it"
)]

use std::{
    fmt::Write as _,
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use usage::{
    Detail, NamespaceUsage, UsageArgs, UsageError, UsageQuery, UsageSource, Window, WorkloadKind,
};

#[path = "../examples/record_shop/shop.rs"]
mod shop;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    usage: UsageArgs,
}

fn source(flag: &str, value: &str) -> Arc<dyn UsageSource> {
    Flags::parse_from(["test", flag, value]).usage.source()
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/metrics")
}

fn query(workload: Option<&str>, days: i64, step: i64) -> UsageQuery {
    UsageQuery {
        namespace: "shop".into(),
        workload: workload.map(|w| (w.to_owned(), None)),
        window: Window::new(1_768_262_400, days * 86_400, step).unwrap(),
        detail: Detail::Everything,
    }
}

/// A second namespace with what the shop has not: a kill for memory, a counter that is reset, a gap,
/// a container that is recreated under another id, a `CronJob`, a sandbox container, a pod name with a dot.
fn lab() -> String {
    let mut text = String::new();
    for i in (0..=288).filter(|i| !(100..110).contains(i)) {
        for (metric, labels, value) in lab_usage(i).into_iter().chain(lab_owners()) {
            let at = LAB_START + i * 300;
            writeln!(text, "{metric}{{namespace=\"lab\",{labels}}} {value} {at}").unwrap();
        }
        let between = LAB_START + i * 300 + 150;
        let memory =
            "container_memory_working_set_bytes{namespace=\"lab\",pod=\"db.0\",container=\"db\"}";
        writeln!(text, "{memory} {} {between}", 2_000_000 - i).unwrap();
    }
    text + "# EOF\n"
}

const LAB_START: i64 = 1_768_176_000;

type Row = (&'static str, String, i64);

fn lab_usage(i: i64) -> [Row; 6] {
    const CPU: &str = "container_cpu_usage_seconds_total";
    let db = "pod=\"db.0\",container=\"db\"";
    let id = if i < 200 { "a" } else { "b" };
    let reason = if i < 250 { "OOMKilled" } else { "Error" };
    let restarts = i64::from(i >= 200) + i64::from(i >= 250);
    [
        (CPU, format!("{db},id=\"{id}\""), i % 150 * 30),
        (CPU, "pod=\"db.0\",container=\"POD\"".into(), 1_000_000 * i),
        (CPU, "pod=\"batch-1-x\",container=\"job\"".into(), i),
        (
            "container_memory_working_set_bytes",
            db.into(),
            1_000_000 + i * i,
        ),
        (
            "kube_pod_container_status_restarts_total",
            db.into(),
            restarts,
        ),
        (
            "kube_pod_container_status_last_terminated_reason",
            format!("{db},reason=\"{reason}\""),
            i64::from(i >= 200),
        ),
    ]
}

fn lab_owners() -> [Row; 3] {
    let pod =
        |pod, kind, name| format!("pod=\"{pod}\",owner_kind=\"{kind}\",owner_name=\"{name}\"");
    let job = "job_name=\"batch-1\",owner_kind=\"CronJob\",owner_name=\"batch\"";
    [
        ("kube_pod_owner", pod("db.0", "StatefulSet", "db"), 1),
        ("kube_pod_owner", pod("batch-1-x", "Job", "batch-1"), 1),
        ("kube_job_owner", job.into(), 1),
    ]
}

/// A Prometheus server with the recording in its blocks; stopped when dropped.
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
        let text = folder.path().join("shop.om");
        std::fs::write(&text, recording).unwrap();
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1h}\n").unwrap();
        let blocks = folder.path().join("blocks");
        let made = Command::new("promtool")
            .args([
                "tsdb",
                "create-blocks-from",
                "--max-block-duration=256h",
                "openmetrics",
            ])
            .args([&text, &blocks])
            .output()
            .expect("promtool is needed (Debian package prometheus)");
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
            .expect("prometheus is needed (Debian package prometheus)");
        let server = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        };
        for _ in 0..200 {
            if reqwest::get(format!("{}/-/ready", server.url))
                .await
                .is_ok_and(|r| r.status().is_success())
            {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("prometheus did not become ready");
    }
}

fn assert_same(live: &NamespaceUsage, recorded: &NamespaceUsage) {
    assert_eq!(live.workloads.len(), recorded.workloads.len());
    for (a, b) in live.workloads.iter().zip(&recorded.workloads) {
        assert_eq!((a.kind, &a.name), (b.kind, &b.name));
        for (a, b) in a.containers.iter().zip(&b.containers) {
            assert_eq!(
                (&a.name, a.requests, a.limits),
                (&b.name, b.requests, b.limits)
            );
            for (a, b) in a.pods.iter().zip(&b.pods) {
                assert_eq!(
                    (&a.pod, &a.node, a.cpu.len()),
                    (&b.pod, &b.node, b.cpu.len())
                );
                assert_eq!(a, b, "{}", a.pod);
            }
        }
    }
    assert_eq!(live, recorded);
}

#[tokio::test]
async fn a_real_prometheus_and_the_recording_give_the_same_answer() {
    let server = Server::start(&shop::record()).await;
    let (live, recorded) = (
        source("--prometheus", &server.url),
        source("--metrics", recorded().to_str().unwrap()),
    );
    for query in [query(None, 8, 300), query(Some("web"), 3, 900)] {
        let (live, recorded) = (
            live.usage(&query).await.unwrap(),
            recorded.usage(&query).await.unwrap(),
        );
        assert!(live.workloads.iter().all(|w| {
            w.containers
                .iter()
                .all(|c| c.pods.iter().all(|p| !p.memory.is_empty()))
        }));
        assert_same(&live, &recorded);
    }
}

#[tokio::test]
async fn kills_resets_gaps_and_owners_read_the_same_live_and_recorded() {
    let text = lab();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lab.om"), &text).unwrap();
    let server = Server::start(&text).await;
    let (live, recorded) = (
        source("--prometheus", &server.url),
        source("--metrics", folder.path().to_str().unwrap()),
    );
    for workload in [None, Some("db")] {
        let query = UsageQuery {
            namespace: "lab".into(),
            ..query(workload, 1, 300)
        };
        let (live, recorded) = (
            live.usage(&query).await.unwrap(),
            recorded.usage(&query).await.unwrap(),
        );
        assert_same(&live, &recorded);
        let db = live.workloads.iter().find(|w| w.name == "db").unwrap();
        let [container] = db.containers.as_slice() else {
            panic!("{db:?}")
        };
        assert_eq!(
            (db.kind, container.name.as_str()),
            (WorkloadKind::StatefulSet, "db")
        );
        let [pod] = container.pods.as_slice() else {
            panic!("{container:?}")
        };
        // The restart at 200 was for memory, the one at 250 was not.
        assert_eq!(pod.ooms, [LAB_START + 200 * 300]);
        // 288 steps less the ten of the gap and the one behind it; 30 s in 300 s, and 0 at the reset.
        assert_eq!(pod.cpu.len(), 277);
        assert_eq!(pod.cpu.iter().filter(|s| s.value > 0.0).count(), 276);
        assert!(
            pod.cpu
                .iter()
                .all(|s| s.value == 0.0 || (s.value - 0.1).abs() < 1e-9),
            "{pod:?}"
        );
        assert_eq!(
            live.workloads
                .iter()
                .any(|w| w.kind == WorkloadKind::CronJob && w.name == "batch"),
            workload.is_none()
        );
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = source("--prometheus", &format!("http://127.0.0.1:{port}"))
        .usage(&query(None, 8, 300))
        .await
        .unwrap_err();
    assert!(matches!(error, UsageError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn the_shop_has_three_workloads_and_leftovers() {
    let usage = source("--metrics", recorded().to_str().unwrap())
        .usage(&query(None, 8, 300))
        .await
        .unwrap();
    let names: Vec<_> = usage
        .workloads
        .iter()
        .map(|w| (w.kind, w.name.as_str(), w.containers[0].pods.len()))
        .collect();
    assert_eq!(
        names,
        [
            (WorkloadKind::Deployment, "report-batch", 1),
            (WorkloadKind::Deployment, "web", 6),
            (WorkloadKind::Deployment, "worker", 2)
        ]
    );
    let web = &usage.workloads[1].containers[0];
    assert_eq!(
        (web.requests.cpu, web.limits.memory),
        (Some(1.0), Some(1_073_741_824.0))
    );
    assert_eq!(web.replicas().values().max(), Some(&3));
    assert_eq!(
        usage
            .volumes
            .iter()
            .map(|v| (v.claim.as_str(), v.last_mounted.is_some()))
            .collect::<Vec<_>>(),
        [("old-exports", false), ("uploads", true)]
    );
    assert_eq!(
        usage
            .services
            .iter()
            .map(|s| (s.name.as_str(), s.last_endpoint.is_some()))
            .collect::<Vec<_>>(),
        [("legacy-web", false), ("web", true)]
    );
}

#[test]
fn the_recording_is_what_its_generator_writes() {
    let mut text = String::new();
    let packed = std::fs::File::open(recorded().join("shop.om.gz")).unwrap();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    assert!(
        text == shop::record(),
        "write it again: cargo run -p usage --example record_shop -- examples/shop/metrics/shop.om.gz"
    );
}
