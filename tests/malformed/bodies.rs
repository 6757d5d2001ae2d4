//! HTTP around the envelope: methods, media types, and bodies that are too long.

use serde_json::{Value, json};
use shared::a2a::MAX_BODY;
use tests::{Mesh, Wire, wire};

use super::SCANNER;

#[tokio::test(flavor = "multi_thread")]
async fn http_itself_is_held_to_the_rules() {
    let mesh = Mesh::start().await.unwrap();
    let target = mesh.target(SCANNER);
    let client = mesh.caller("operator").connect(&target).unwrap();
    let url = format!("{}/a2a", target.url);
    let post = |kind: &str, body: Vec<u8>| {
        client
            .post(&url)
            .header("content-type", kind.to_owned())
            .body(body)
    };
    let text: Value = post("text/plain", b"not json".to_vec())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(text["error"]["code"], -32005);
    let version = post(
        "application/json",
        br#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}"#.to_vec(),
    );
    let none: Value = version
        .try_clone()
        .unwrap()
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (
            &none["error"]["code"],
            &none["error"]["data"][0]["metadata"]["field"]
        ),
        (&json!(-32009), &json!("A2A-Version"))
    );
    for (text, code) in [
        ("0.3", -32009),
        ("1.1", -32009),
        ("2", -32009),
        ("1.0", -32001),
        ("1.0.1", -32001),
    ] {
        let answer: Value = version
            .try_clone()
            .unwrap()
            .header("a2a-version", text)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["error"]["code"], code, "A2A-Version {text}");
    }
    let notification = post(
        "application/json",
        br#"{"jsonrpc":"2.0","method":"detect_secrets","params":{}}"#.to_vec(),
    )
    .send()
    .await
    .unwrap();
    assert_eq!(
        (
            notification.status().as_u16(),
            notification.bytes().await.unwrap().len()
        ),
        (204, 0)
    );
    assert_eq!(client.get(&url).send().await.unwrap().status(), 405);
    let id: Value = post(
        "application/json",
        br#"{"jsonrpc":"2.0","id":-7,"method":"rpc.discover"}"#.to_vec(),
    )
    .send()
    .await
    .unwrap()
    .json()
    .await
    .unwrap();
    assert_eq!(id["id"], -7);
    mesh.stop().await.unwrap();
}

/// How a body is sent.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// With its length, at once.
    Declared,
    /// With its length, once the agent says that it wants the body: never, where it is too large.
    Expecting,
    /// In chunks, its length unknown until the end.
    Chunked,
}

impl Sent {
    fn head(self, length: usize) -> String {
        wire::head(&match self {
            Self::Declared => format!("Content-Length: {length}"),
            Self::Expecting => format!("Content-Length: {length}\r\nExpect: 100-continue"),
            Self::Chunked => "Transfer-Encoding: chunked".to_owned(),
        })
    }

    fn body(self, length: usize) -> Vec<u8> {
        let spaces = vec![b' '; length];
        match self {
            Self::Declared | Self::Expecting => spaces,
            Self::Chunked => {
                let size = format!("{length:x}\r\n");
                [size.as_bytes(), &spaces, b"\r\n0\r\n\r\n"].concat()
            }
        }
    }
}

/// Sends a body of spaces and reads while it writes: an agent may answer before it has read everything, and close.
async fn answer_to(wire: &Wire<'_>, mesh: &Mesh, sent: Sent, length: usize) -> wire::Response {
    let good = wire.sign("spiffe://mesh.local/external/operator", |_| ());
    let stream = wire.connect(&mesh.target(SCANNER), Some(&good)).await;
    let (read, mut write) = tokio::io::split(stream.unwrap());
    let mut responses = wire::Responses::new(read);
    wire::send(&mut write, sent.head(length).as_bytes())
        .await
        .unwrap();
    if let Sent::Expecting = sent {
        let first = responses.next().await.unwrap();
        if length > MAX_BODY {
            return first;
        }
        assert_eq!(first.status, 100, "a body at the limit is wanted");
    }
    let writing = async {
        // What is not wanted any more breaks off; the answer says why.
        drop(wire::send(&mut write, &sent.body(length)).await);
        std::future::pending().await
    };
    tokio::select! {
        response = responses.next() => response.unwrap(),
        response = writing => response,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_gets_413_and_one_at_the_limit_is_read() {
    let mesh = Mesh::start().await.unwrap();
    let wire = Wire::new(&mesh);
    for sent in [Sent::Declared, Sent::Expecting, Sent::Chunked] {
        for length in [MAX_BODY + 1, 4 * MAX_BODY] {
            let response = answer_to(&wire, &mesh, sent, length).await;
            let error = &response.body["error"];
            let info = &error["data"][0];
            assert_eq!(
                (response.status, &error["code"], &info["reason"]),
                (413, &json!(-32600), &json!("BODY_TOO_LARGE")),
                "{sent:?} {length}: {response:?}"
            );
            let expected = format!("at most {MAX_BODY} bytes");
            assert_eq!(info["metadata"]["expected"], expected, "{response:?}");
            assert_eq!(response.body["id"], Value::Null);
        }
        let at_limit = answer_to(&wire, &mesh, sent, MAX_BODY).await;
        assert_eq!(
            (at_limit.status, &at_limit.body["error"]["code"]),
            (200, &json!(-32700)),
            "{sent:?}"
        );
    }
    mesh.stop().await.unwrap();
}
