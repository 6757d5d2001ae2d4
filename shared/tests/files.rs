//! Files that come in a message beside a skill's input.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test says so by a panic"
)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{Context, Effect, Skill, SkillError, testing::OpenAgent};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Counts the bytes of each file.
struct Weigh;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Weights {
    /// Name, media type and bytes.
    files: Vec<(Option<String>, Option<String>, usize)>,
}

fn weigh(context: &Context) -> Weights {
    let files = context.files().iter();
    let files = files.map(|f| (f.name.clone(), f.media_type.clone(), f.content.len()));
    Weights {
        files: files.collect(),
    }
}

impl Skill for Weigh {
    const ID: &'static str = "weigh";
    const NAME: &'static str = "Weigh";
    const DESCRIPTION: &'static str = "Counts bytes.";
    const TAGS: &'static [&'static str] = &["test"];
    const INPUT_FILES: &'static [&'static str] = &["application/sql", "application/octet-stream"];
    type Input = Nothing;
    type Output = Weights;

    async fn run(&self, context: &Context, _: Nothing) -> Result<Weights, SkillError> {
        Ok(weigh(context))
    }
}

/// The same as a change.
struct Keep;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the runtime reads them")]
struct Change {
    dry_run: Option<bool>,
    idempotency_key: Option<String>,
}

impl Skill for Keep {
    const ID: &'static str = "keep";
    const NAME: &'static str = "Keep";
    const DESCRIPTION: &'static str = "Keeps files.";
    const TAGS: &'static [&'static str] = &["test"];
    const EFFECT: Effect = Effect::Mutate;
    const INPUT_FILES: &'static [&'static str] = &["application/sql"];
    type Input = Change;
    type Output = Weights;

    async fn run(&self, context: &Context, _: Change) -> Result<Weights, SkillError> {
        Ok(weigh(context))
    }
}

/// Takes no file.
struct Plain;

impl Skill for Plain {
    const ID: &'static str = "plain";
    const NAME: &'static str = "Plain";
    const DESCRIPTION: &'static str = "Takes no file.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = Nothing;
    type Output = Nothing;

    async fn run(&self, _: &Context, _: Nothing) -> Result<Nothing, SkillError> {
        Ok(Nothing {})
    }
}

struct Lab {
    url: String,
    stop: CancellationToken,
    next: std::sync::atomic::AtomicU64,
}

impl Lab {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let agent = OpenAgent::new("files")
            .skill(Weigh)
            .skill(Keep)
            .skill(Plain);
        tokio::spawn(agent.serve(listener, stop.clone()));
        Self {
            url,
            stop,
            next: 0.into(),
        }
    }

    async fn post(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = reqwest::Client::new().post(format!("{}/a2a", self.url));
        let request = request.header("A2A-Version", "1.0").json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Sends a message with a skill, its input and further parts.
    async fn send(&self, skill: &str, input: Value, files: &[Value]) -> Value {
        let next = &self.next;
        let id = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut parts = vec![json!({"data": {"skill": skill, "input": input}})];
        parts.extend_from_slice(files);
        let message = json!({"messageId": format!("m{id}"), "role": "ROLE_USER", "parts": parts});
        self.post("SendMessage", json!({"message": message})).await
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn file(name: &str, raw: &str) -> Value {
    json!({"raw": raw, "filename": name, "mediaType": "application/sql"})
}

fn artifact(answer: &Value) -> &Value {
    let found = answer.pointer("/result/task/artifacts/0/parts/0/data");
    found.unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn hands_a_skill_the_files_of_its_message() {
    let lab = Lab::start().await;
    let files = [file("a.sql", "+/8="), json!({"raw": "-_8"})];
    let answer = lab.send("weigh", json!({}), &files).await;
    let expected = json!([["a.sql", "application/sql", 2], [null, null, 2]]);
    assert_eq!(artifact(&answer)["files"], expected);
    // A direct call has no message, and so no file.
    let answer = lab.post("weigh", json!({})).await;
    assert_eq!(answer["result"]["files"], json!([]), "{answer}");
    let card = format!("{}/.well-known/agent-card.json", lab.url);
    let card: Value = reqwest::get(card).await.unwrap().json().await.unwrap();
    let modes = |skill: usize| card["skills"][skill]["inputModes"].clone();
    assert_eq!(modes(0), json!(["application/json", "application/sql"]));
    assert_eq!(modes(1), json!(["application/json"]));
    let all = [
        "text/plain",
        "application/json",
        "application/sql",
        "application/octet-stream",
    ];
    assert_eq!(card["defaultInputModes"], json!(all));
}

#[tokio::test]
async fn refuses_files_that_a_skill_does_not_take() {
    let lab = Lab::start().await;
    let url = json!({"url": "https://example.com/a.sql", "mediaType": "application/sql"});
    for (skill, part, code, field) in [
        ("plain", file("a.sql", "AA=="), -32005, "message.parts[1]"),
        (
            "plain",
            json!({"raw": "AA==", "mediaType": "text/plain"}),
            -32005,
            "message.parts[1]",
        ),
        ("keep", json!({"raw": "AA=="}), -32005, "message.parts[1]"),
        (
            "weigh",
            json!({"raw": "AA==", "mediaType": "image/png"}),
            -32005,
            "message.parts[1]",
        ),
        ("weigh", url, -32602, "message.parts[1].url"),
        ("weigh", file("a.sql", "A?"), -32602, "message.parts[1].raw"),
    ] {
        let answer = lab
            .send(skill, json!({}), std::slice::from_ref(&part))
            .await;
        let error = &answer["error"];
        assert_eq!(error["code"], code, "{part}: {answer}");
        assert_eq!(
            error["data"][0]["metadata"]["field"], field,
            "{part}: {answer}"
        );
        assert!(!answer.to_string().contains("example.com"), "{answer}");
    }
}

#[tokio::test]
async fn the_same_key_with_other_files_is_another_call() {
    let lab = Lab::start().await;
    let change = || json!({"dry_run": false, "idempotency_key": "k"});
    let first = lab.send("keep", change(), &[file("a.sql", "AAAA")]).await;
    assert_eq!(artifact(&first)["files"][0][2], 3);
    let again = lab.send("keep", change(), &[file("a.sql", "AAAA")]).await;
    assert_eq!(again["result"]["task"]["id"], first["result"]["task"]["id"]);
    for other in [file("a.sql", "AAAB"), file("b.sql", "AAAA")] {
        let refused = lab.send("keep", change(), &[other]).await;
        assert_eq!(refused["error"]["code"], -32055, "{refused}");
    }
}
