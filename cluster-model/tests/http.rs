//! The model as any HTTP client sees it: wrong requests get the documented `Status`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use cluster_model::{BindError, Model, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "Content-Type: application/json\r\n";

async fn start() -> (
    String,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let address = "127.0.0.1:0".parse().unwrap();
    let model = Model::bind(address, Settings::default()).await.unwrap();
    let address = model.local_addr().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(model.serve(async move { drop(stopped.await) }));
    (address, stop, serving)
}

/// Sends one request and reads the whole answer.
async fn send(address: &str, head: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let host = if head.contains("Host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let length = body.len();
    let head = format!(
        "{first} HTTP/1.1\r\n{host}{rest}Connection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may answer, and close, before it has read a body that is too large.
    let _closed = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn pod(name: &str) -> Vec<u8> {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}})
        .to_string()
        .into()
}

/// A server that must refuse.
struct Refusing(String);

impl Refusing {
    async fn check(&self, head: &str, body: &[u8], expected: (u16, &str)) {
        let (status, answer) = send(&self.0, head, body).await;
        let (code, reason) = expected;
        assert_eq!(
            (status, answer["reason"].as_str()),
            (code, Some(reason)),
            "{head}: {answer}"
        );
        assert_eq!(answer["kind"], "Status");
        assert_eq!(answer["code"], code);
    }
}

#[tokio::test]
async fn refuses_wrong_paths_methods_and_hosts() {
    let (address, _stop, _serving) = start().await;
    let server = Refusing(address);
    let (missing, method) = ((404, "NotFound"), (405, "MethodNotAllowed"));
    for path in [
        "/nothing",
        "/api/v9/pods",
        "/api/v1/namespaces/default/pods/a",
        "/apis/none/v1",
    ] {
        server.check(&format!("GET {path}"), b"", missing).await;
    }
    server.check(&format!("PUT {PODS}"), b"", method).await;
    server.check("POST /version", b"", method).await;
    server.check("DELETE /api/v1/pods", b"", method).await;
    let foreign = format!("GET {PODS}\r\nHost: evil.example\r\n");
    server.check(&foreign, b"", (403, "Forbidden")).await;
}

#[tokio::test]
async fn refuses_wrong_bodies_and_goes_on() {
    let (address, _stop, _serving) = start().await;
    let server = Refusing(address.clone());
    let post = format!("POST {PODS}\r\n{JSON}");
    let (bad, media_type) = ((400, "BadRequest"), (415, "UnsupportedMediaType"));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        "",
        "{\"a\":",
        &deep,
        "[]",
        "7",
        "{\"kind\":\"Node\"}",
        "{\"spec\":[]}",
    ] {
        server.check(&post, body.as_bytes(), bad).await;
    }
    server
        .check(&post, b"{\"metadata\":{\"name\":\"a\"}}", (422, "Invalid"))
        .await;
    let text = format!("POST {PODS}\r\nContent-Type: text/plain\r\n");
    server.check(&text, b"{}", media_type).await;
    server
        .check(&format!("PATCH {PODS}/a\r\n{JSON}"), b"{}", media_type)
        .await;
    let apply = |query: &str| {
        format!("PATCH {PODS}/a{query}\r\nContent-Type: application/apply-patch+yaml\r\n")
    };
    server.check(&apply(""), b"{}", bad).await;
    server
        .check(&apply("?fieldManager=x"), bomb().as_bytes(), bad)
        .await;
    let (status, _) = send(&address, &post, &vec![b' '; (3 << 20) + 1]).await;
    assert_eq!(status, 413);
    let (status, created) = send(&address, &post, &pod("fine")).await;
    assert_eq!(
        (status, created["status"]["phase"].as_str()),
        (201, Some("Pending"))
    );
}

#[tokio::test]
async fn refuses_wrong_parameters() {
    let (address, _stop, _serving) = start().await;
    let server = Refusing(address);
    for query in [
        "labelSelector=a%20of%20(b)",
        "fieldSelector=spec.x%3Dy",
        "watch=1&resourceVersion=x",
        "limit=1&continue=x",
    ] {
        server
            .check(&format!("GET {PODS}?{query}"), b"", (400, "BadRequest"))
            .await;
    }
    let some = format!("POST {PODS}?dryRun=Some\r\n{JSON}");
    server.check(&some, b"{}", (400, "BadRequest")).await;
    let up = format!("DELETE {PODS}/a?propagationPolicy=Up");
    server.check(&up, b"", (400, "BadRequest")).await;
}

/// Ten lists of eight times the list before: a billion leaves.
fn bomb() -> String {
    let mut text = "a: &a [x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, this) in ('a'..='i').zip('b'..='j') {
        let eight = vec![format!("*{before}"); 8].join(", ");
        text = format!("{text}{this}: &{this} [{eight}]\n");
    }
    text
}

#[tokio::test]
async fn prints_tables_for_those_who_ask() {
    let (address, _stop, _serving) = start().await;
    send(&address, &format!("POST {PODS}\r\n{JSON}"), &pod("a")).await;
    let head = format!("GET {PODS}\r\nAccept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n");
    let (_, table) = send(&address, &head, b"").await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][2]["name"], "Status");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["cells"][2], "ContainerCreating");
}

#[tokio::test]
async fn ends_open_watches_when_it_stops() {
    let (address, stop, serving) = start().await;
    let watch = tokio::spawn({
        let address = address.clone();
        async move {
            send(&address, &format!("GET {PODS}?watch=true"), b"")
                .await
                .0
        }
    });
    send(&address, &format!("POST {PODS}\r\n{JSON}"), &pod("a")).await;
    stop.send(()).unwrap();
    let patience = Duration::from_secs(20);
    let served = tokio::time::timeout(patience, serving)
        .await
        .expect("an end");
    served.unwrap().unwrap();
    assert_eq!(watch.await.unwrap(), 200);
}

#[tokio::test]
async fn ends_a_watch_after_its_time() {
    let (address, _stop, _serving) = start().await;
    let head = format!("GET {PODS}?watch=true&timeoutSeconds=1");
    assert_eq!(send(&address, &head, b"").await.0, 200);
}

#[tokio::test]
async fn listens_on_loopback_only() {
    let refused = Model::bind("0.0.0.0:0".parse().unwrap(), Settings::default()).await;
    assert!(matches!(refused, Err(BindError::NotLoopback(_))));
}
