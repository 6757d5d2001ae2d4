//! The recording of the example shop, once read by our own reader and once through a real
//! Prometheus server whose blocks `promtool` made from the same file: both must answer the same.

use std::{
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use usage::{Detail, NamespaceUsage, UsageArgs, UsageError, UsageQuery, UsageSource, Window, WorkloadKind};

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

/// A Prometheus server with the recording in its blocks; stopped when dropped.
struct Server {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("shop.om");
        std::fs::write(&text, shop::record()).unwrap();
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1h}\n").unwrap();
        let blocks = folder.path().join("blocks");
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "--max-block-duration=256h", "openmetrics"])
            .args([&text, &blocks])
            .output()
            .expect("promtool is needed (Debian package prometheus)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", blocks.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is needed (Debian package prometheus)");
        let server = Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder };
        for _ in 0..200 {
            if reqwest::get(format!("{}/-/ready", server.url)).await.is_ok_and(|r| r.status().is_success()) {
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
            assert_eq!((&a.name, a.requests, a.limits), (&b.name, b.requests, b.limits));
            for (a, b) in a.pods.iter().zip(&b.pods) {
                assert_eq!((&a.pod, &a.node, a.cpu.len()), (&b.pod, &b.node, b.cpu.len()));
                assert_eq!(a, b, "{}", a.pod);
            }
        }
    }
    assert_eq!(live, recorded);
}

#[tokio::test]
async fn a_real_prometheus_and_the_recording_give_the_same_answer() {
    let server = Server::start().await;
    let (live, recorded) = (source("--prometheus", &server.url), source("--metrics", recorded().to_str().unwrap()));
    for query in [query(None, 8, 300), query(Some("web"), 3, 900)] {
        let (live, recorded) = (live.usage(&query).await.unwrap(), recorded.usage(&query).await.unwrap());
        assert!(live.workloads.iter().all(|w| w.containers.iter().all(|c| c.pods.iter().all(|p| !p.memory.is_empty()))));
        assert_same(&live, &recorded);
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = source("--prometheus", &format!("http://127.0.0.1:{port}")).usage(&query(None, 8, 300)).await.unwrap_err();
    assert!(matches!(error, UsageError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn the_shop_has_three_workloads_and_leftovers() {
    let usage = source("--metrics", recorded().to_str().unwrap()).usage(&query(None, 8, 300)).await.unwrap();
    let names: Vec<_> = usage.workloads.iter().map(|w| (w.kind, w.name.as_str(), w.containers[0].pods.len())).collect();
    assert_eq!(names, [(WorkloadKind::Deployment, "report-batch", 1), (WorkloadKind::Deployment, "web", 6), (WorkloadKind::Deployment, "worker", 2)]);
    let web = &usage.workloads[1].containers[0];
    assert_eq!((web.requests.cpu, web.limits.memory), (Some(1.0), Some(1_073_741_824.0)));
    assert_eq!(web.replicas().values().max(), Some(&3));
    assert_eq!(usage.volumes.iter().map(|v| (v.claim.as_str(), v.last_mounted.is_some())).collect::<Vec<_>>(), [("old-exports", false), ("uploads", true)]);
    assert_eq!(usage.services.iter().map(|s| (s.name.as_str(), s.last_endpoint.is_some())).collect::<Vec<_>>(), [("legacy-web", false), ("web", true)]);
}

#[test]
fn the_recording_is_what_its_generator_writes() {
    let mut text = String::new();
    let packed = std::fs::File::open(recorded().join("shop.om.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    assert!(text == shop::record(), "write it again: cargo run -p usage --example record_shop -- examples/shop/metrics/shop.om.gz");
}
