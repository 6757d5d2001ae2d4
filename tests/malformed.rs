//! Bad input gets the documented error with the field named, and the agents stay up.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use serde_json::{Value, json};
use shared::a2a::MAX_BODY;
use tests::{Mesh, Wire, wire};

/// What is sent, and what has to come back.
struct Case {
    agent: &'static str,
    name: String,
    body: Vec<u8>,
    status: u16,
    code: i64,
    field: Option<&'static str>,
}

fn raw(
    agent: &'static str,
    name: &str,
    body: impl Into<Vec<u8>>,
    code: i64,
    field: Option<&'static str>,
) -> Case {
    Case {
        agent,
        name: name.into(),
        body: body.into(),
        status: 200,
        code,
        field,
    }
}

fn call(
    agent: &'static str,
    method: &str,
    params: &Value,
    code: i64,
    field: Option<&'static str>,
) -> Case {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut name = format!("{method} {params}");
    name.truncate(name.floor_char_boundary(160));
    Case {
        agent,
        name,
        body: body.into_bytes(),
        status: 200,
        code,
        field,
    }
}

const SCANNER: &str = "security-scanner";
const VALIDATOR: &str = "config-validator";
const MIGRATOR: &str = "db-migrator";
const COORDINATOR: &str = "rollback-coordinator";
const MONITOR: &str = "monitoring-agent";
const AUDITOR: &str = "compliance-auditor";
const OPTIMIZER: &str = "performance-optimizer";
const COST: &str = "cost-analyzer";

fn envelopes() -> Vec<Case> {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let mut cases = vec![
        raw(SCANNER, "empty body", "", -32700, None),
        raw(SCANNER, "not JSON", "hello", -32700, None),
        raw(
            SCANNER,
            "cut off",
            r#"{"jsonrpc":"2.0","id":1,"meth"#,
            -32700,
            None,
        ),
        raw(
            SCANNER,
            "trailing text",
            r#"{"jsonrpc":"2.0","id":1,"method":"x"} x"#,
            -32700,
            None,
        ),
        raw(
            SCANNER,
            "no UTF-8",
            vec![b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}'],
            -32700,
            None,
        ),
        raw(
            SCANNER,
            "batch",
            r#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#,
            -32600,
            Some("$"),
        ),
        raw(SCANNER, "empty batch", "[]", -32600, Some("$")),
        raw(SCANNER, "number", "42", -32600, Some("$")),
        raw(SCANNER, "null", "null", -32600, Some("$")),
        raw(SCANNER, "string", r#""x""#, -32600, Some("$")),
        raw(
            SCANNER,
            "no version",
            r#"{"id":1,"method":"x"}"#,
            -32600,
            Some("$"),
        ),
        raw(
            SCANNER,
            "wrong version",
            r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
            -32600,
            Some("$"),
        ),
        raw(
            SCANNER,
            "no method",
            r#"{"jsonrpc":"2.0","id":1}"#,
            -32600,
            Some("$"),
        ),
        raw(
            SCANNER,
            "method is a number",
            r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
            -32600,
            Some("$"),
        ),
        raw(
            SCANNER,
            "method twice",
            r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#,
            -32600,
            Some("$"),
        ),
        raw(
            SCANNER,
            "fractional id",
            r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#,
            -32600,
            Some("id"),
        ),
        raw(
            SCANNER,
            "boolean id",
            r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#,
            -32600,
            Some("id"),
        ),
        raw(
            SCANNER,
            "object id",
            r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#,
            -32600,
            Some("id"),
        ),
        raw(
            SCANNER,
            "params is an array",
            r#"{"jsonrpc":"2.0","id":1,"method":"detect_secrets","params":[1]}"#,
            -32602,
            Some("params"),
        ),
        raw(
            SCANNER,
            "params is a string",
            r#"{"jsonrpc":"2.0","id":1,"method":"detect_secrets","params":"x"}"#,
            -32602,
            Some("params"),
        ),
        raw(
            SCANNER,
            "params is null-ish number",
            r#"{"jsonrpc":"2.0","id":1,"method":"detect_secrets","params":0}"#,
            -32602,
            Some("params"),
        ),
        raw(SCANNER, "deep", deep(100), -32600, Some("$")),
        raw(SCANNER, "very deep", deep(1_000_000), -32600, Some("$")),
        raw(
            SCANNER,
            "deep params",
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"detect_secrets","params":{{"x":{}}}}}"#,
                deep(200)
            ),
            -32600,
            Some("$"),
        ),
    ];
    for method in [
        "",
        "x",
        "message/send",
        "tasks/get",
        "sendMessage",
        "detect_secret",
        "DETECT_SECRETS",
        "rpc.nothing",
        "../a2a",
        "\u{0}",
        "a\nb",
    ] {
        cases.push(call(SCANNER, method, &json!({}), -32601, Some("method")));
    }
    cases.push(call(
        SCANNER,
        &"m".repeat(100_000),
        &json!({}),
        -32601,
        Some("method"),
    ));
    cases
}

fn messages() -> Vec<Case> {
    let send = |message: Value, code: i64, field: Option<&'static str>| {
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": message}),
            code,
            field,
        )
    };
    let part = json!([{"text": "x"}]);
    vec![
        call(SCANNER, "SendMessage", &json!({}), -32602, Some("message")),
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": 1}),
            -32602,
            Some("message"),
        ),
        send(
            json!({"role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": "", "role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": "m".repeat(300), "role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": 1, "role": "ROLE_USER", "parts": part}),
            -32602,
            Some("message.messageId"),
        ),
        send(
            json!({"messageId": "m", "parts": part}),
            -32602,
            Some("message.role"),
        ),
        send(
            json!({"messageId": "m", "role": "user", "parts": part}),
            -32602,
            Some("message.role"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER"}),
            -32602,
            Some("message.parts"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": []}),
            -32602,
            Some("message.parts"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{}]}),
            -32602,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a", "data": 1}]}),
            -32602,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a", "mediaType": "image/png"}]}),
            -32005,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"url": "file:///etc/passwd"}]}),
            -32005,
            Some("message.parts[0]"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": part, "taskId": "no-such-task"}),
            -32001,
            Some("id"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": part, "taskId": ""}),
            -32602,
            Some("message.taskId"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": part, "contextId": ""}),
            -32602,
            Some("message.contextId"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"skill": "no_such_skill"}}]}),
            -32601,
            Some("method"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"skill": "detect_secrets", "input": {"x": 1}}}]}),
            -32602,
            Some("x"),
        ),
        send(
            json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"skill": "detect_secrets", "_meta": 1}}]}),
            -32602,
            Some("_meta"),
        ),
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": part}, "configuration": {"historyLength": -1}}),
            -32602,
            Some("historyLength"),
        ),
        call(
            SCANNER,
            "SendMessage",
            &json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": part}, "configuration": {"taskPushNotificationConfig": {"url": "http://169.254.169.254/"}}}),
            -32602,
            Some("url"),
        ),
        call(SCANNER, "GetTask", &json!({}), -32602, Some("id")),
        call(SCANNER, "GetTask", &json!({"id": 1}), -32602, Some("id")),
        call(SCANNER, "GetTask", &json!({"id": ""}), -32602, Some("id")),
        call(
            SCANNER,
            "GetTask",
            &json!({"id": "x".repeat(5000)}),
            -32602,
            Some("id"),
        ),
        call(
            SCANNER,
            "GetTask",
            &json!({"id": "../../etc/passwd"}),
            -32001,
            Some("id"),
        ),
        call(
            SCANNER,
            "GetTask",
            &json!({"id": "x", "historyLength": -3}),
            -32602,
            Some("historyLength"),
        ),
        call(
            SCANNER,
            "CancelTask",
            &json!({"id": "x"}),
            -32001,
            Some("id"),
        ),
        call(SCANNER, "CancelTask", &json!({}), -32602, Some("id")),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageSize": 0}),
            -32602,
            Some("pageSize"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageSize": 101}),
            -32602,
            Some("pageSize"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageSize": "many"}),
            -32602,
            Some("pageSize"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"pageToken": "nonsense"}),
            -32602,
            Some("pageToken"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"status": "DONE"}),
            -32602,
            Some("status"),
        ),
        call(
            SCANNER,
            "ListTasks",
            &json!({"statusTimestampAfter": "yesterday"}),
            -32602,
            Some("statusTimestampAfter"),
        ),
        call(
            SCANNER,
            "SubscribeToTask",
            &json!({"id": "x"}),
            -32001,
            Some("id"),
        ),
        call(SCANNER, "SubscribeToTask", &json!({}), -32602, Some("id")),
        call(
            SCANNER,
            "SendStreamingMessage",
            &json!({}),
            -32602,
            Some("message"),
        ),
        call(
            SCANNER,
            "CreateTaskPushNotificationConfig",
            &json!({}),
            -32602,
            Some("url"),
        ),
        call(
            SCANNER,
            "DeleteTaskPushNotificationConfig",
            &json!({}),
            -32602,
            Some("taskId"),
        ),
    ]
}

fn skills() -> Vec<Case> {
    let bomb = (0..30).fold(String::from("a0: &a0 x\n"), |text, n| {
        format!(
            "{text}a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}, *a{n}]\n",
            n + 1,
            n + 1
        )
    });
    let deadline = json!({"_meta": {"deadline": "soon"}});
    vec![
        call(
            SCANNER,
            "detect_secrets",
            &json!({"content": 1}),
            -32602,
            Some("content"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"content": [{"name": "x"}]}),
            -32602,
            Some("content[0].content"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"content": [{"name": "x", "content": 5}]}),
            -32602,
            Some("content[0].content"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"nonsense": true}),
            -32602,
            Some("nonsense"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": "x"}),
            -32602,
            Some("paths"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": ["../outside"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": ["/etc/passwd"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": ["a/../../b"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": ["no/such/file"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": ["escape"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"paths": ["a\u{0}b"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &deadline,
            -32602,
            Some("_meta.deadline"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"_meta": {"async": "yes"}}),
            -32602,
            Some("_meta.async"),
        ),
        call(
            SCANNER,
            "detect_secrets",
            &json!({"_meta": {"other": 1}}),
            -32602,
            Some("_meta.other"),
        ),
        call(
            SCANNER,
            "scan_vulnerabilities",
            &json!({"paths": ["../x"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            SCANNER,
            "audit_rbac",
            &json!({"paths": ["/x"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            VALIDATOR,
            "validate_manifests",
            &json!({"files": [{"path": "a.yaml"}]}),
            -32602,
            Some("files[0].content"),
        ),
        call(
            VALIDATOR,
            "validate_manifests",
            &json!({"paths": ["../x"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            VALIDATOR,
            "validate_manifests",
            &json!({"paths": ["escape"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            VALIDATOR,
            "validate_manifests",
            &json!({"pod_security": "none-at-all"}),
            -32602,
            Some("pod_security"),
        ),
        call(
            VALIDATOR,
            "evaluate_policies",
            &json!({"files": 3}),
            -32602,
            Some("files"),
        ),
        call(
            VALIDATOR,
            "evaluate_policies",
            &json!({"data": []}),
            -32602,
            Some("data"),
        ),
        call(
            VALIDATOR,
            "evaluate_policies",
            &json!({"paths": ["/etc"]}),
            -32602,
            Some("paths[0]"),
        ),
        call(
            VALIDATOR,
            "validate_manifests",
            &json!({"files": [{"path": "bomb.yaml", "content": bomb}]}),
            -32602,
            Some("files[0].content"),
        ),
        call(
            MIGRATOR,
            "migration_status",
            &json!({}),
            -32602,
            Some("database"),
        ),
        call(
            MIGRATOR,
            "migration_status",
            &json!({"database": "no-such"}),
            -32602,
            Some("database"),
        ),
        call(
            MIGRATOR,
            "migration_status",
            &json!({"database": "postgres://u:p@h/d"}),
            -32602,
            Some("database"),
        ),
        call(
            MIGRATOR,
            "plan_migration",
            &json!({"database": "shop"}),
            -32602,
            Some("source"),
        ),
        call(
            MIGRATOR,
            "plan_migration",
            &json!({"database": "shop", "source": {"path": "../x"}}),
            -32602,
            Some("source.path"),
        ),
        call(
            MIGRATOR,
            "plan_migration",
            &json!({"database": "shop", "source": {"path": "/etc"}}),
            -32602,
            Some("source.path"),
        ),
        call(
            MIGRATOR,
            "apply_migration",
            &json!({"database": "shop", "source": {"files": []}, "dry_run": false}),
            -32602,
            Some("idempotency_key"),
        ),
        call(
            MIGRATOR,
            "apply_migration",
            &json!({"database": "shop", "source": {"files": []}, "dry_run": false, "idempotency_key": ""}),
            -32602,
            Some("idempotency_key"),
        ),
        call(
            MIGRATOR,
            "apply_migration",
            &json!({"database": "shop", "source": {"files": []}, "dry_run": false, "idempotency_key": 7}),
            -32602,
            Some("idempotency_key"),
        ),
        call(
            MIGRATOR,
            "apply_migration",
            &json!({"database": "shop", "source": {"files": []}, "dry_run": "no"}),
            -32602,
            Some("dry_run"),
        ),
        call(
            MIGRATOR,
            "rollback_migration",
            &json!({"database": "shop", "dry_run": false}),
            -32602,
            Some("idempotency_key"),
        ),
        call(
            MIGRATOR,
            "assess_rollback",
            &json!({"database": 1}),
            -32602,
            Some("database"),
        ),
        call(
            COORDINATOR,
            "plan_rollback",
            &json!({}),
            -32602,
            Some("namespace"),
        ),
        call(
            COORDINATOR,
            "plan_rollback",
            &json!({"namespace": "shop"}),
            -32602,
            Some("deployment"),
        ),
        call(
            COORDINATOR,
            "plan_rollback",
            &json!({"namespace": "shop", "deployment": "no-such"}),
            -32602,
            Some("deployment"),
        ),
        call(
            COORDINATOR,
            "plan_rollback",
            &json!({"namespace": "../x", "deployment": "web"}),
            -32602,
            Some("namespace"),
        ),
        call(
            COORDINATOR,
            "plan_rollback",
            &json!({"namespace": "shop", "deployment": "web", "to_revision": -1}),
            -32602,
            Some("to_revision"),
        ),
        call(
            COORDINATOR,
            "execute_rollback",
            &json!({"namespace": "shop", "deployment": "web", "dry_run": false}),
            -32602,
            Some("idempotency_key"),
        ),
        call(
            COORDINATOR,
            "rollback_status",
            &json!({"rollback_id": "no-such"}),
            -32602,
            Some("rollback_id"),
        ),
        Case {
            status: 403,
            ..call(
                COORDINATOR,
                "plan_rollback",
                &json!({"namespace": "kube-system", "deployment": "coredns"}),
                -32050,
                None,
            )
        },
        Case {
            status: 403,
            ..call(
                MONITOR,
                "check_health",
                &json!({"namespace": "kube-system"}),
                -32050,
                None,
            )
        },
        call(
            MONITOR,
            "check_health",
            &json!({}),
            -32602,
            Some("namespace"),
        ),
        call(MONITOR, "get_incident", &json!({}), -32602, Some("id")),
        call(
            AUDITOR,
            "query_audit_trail",
            &json!({"limit": 1_000_000}),
            -32602,
            Some("limit"),
        ),
        call(
            AUDITOR,
            "query_audit_trail",
            &json!({"limit": -1}),
            -32602,
            Some("limit"),
        ),
        call(
            AUDITOR,
            "query_audit_trail",
            &json!({"since": "yesterday"}),
            -32602,
            Some("since"),
        ),
        call(
            AUDITOR,
            "query_audit_trail",
            &json!({"cursor": "nonsense"}),
            -32602,
            Some("cursor"),
        ),
        call(
            AUDITOR,
            "append_audit_records",
            &json!({"records": "x"}),
            -32602,
            Some("records"),
        ),
        call(
            AUDITOR,
            "assess_compliance",
            &json!({"frameworks": ["ISO9999"]}),
            -32602,
            Some("frameworks[0]"),
        ),
        call(
            OPTIMIZER,
            "analyze_utilization",
            &json!({}),
            -32602,
            Some("namespace"),
        ),
        call(
            OPTIMIZER,
            "recommend_hpa",
            &json!({"namespace": "shop"}),
            -32602,
            Some("workload"),
        ),
        call(
            OPTIMIZER,
            "assess_resize",
            &json!({"namespace": "shop", "workload": "web", "requests": {"cpu": "lots"}}),
            -32602,
            Some("requests.cpu"),
        ),
        call(
            COST,
            "find_idle_resources",
            &json!({"namespace": 1}),
            -32602,
            Some("namespace"),
        ),
        call(
            COST,
            "recommend_rightsizing",
            &json!({"namespace": "shop", "max_checks": -1}),
            -32602,
            Some("max_checks"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_gets_its_documented_error_and_the_agents_stay_up() {
    let mesh = Mesh::start().await.unwrap();
    std::os::unix::fs::symlink("/etc", mesh.workspace.join("escape")).unwrap();
    std::os::unix::fs::symlink("loop", mesh.workspace.join("loop")).unwrap();
    let operator = mesh.caller("operator");
    let cases: Vec<Case> = [envelopes(), messages(), skills()]
        .into_iter()
        .flatten()
        .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let target = mesh.target(case.agent);
        let client = operator.connect(&target).unwrap();
        let sent = client
            .post(format!("{}/a2a", target.url))
            .header("content-type", "application/json")
            .header("a2a-version", "1.0")
            .body(case.body)
            .send()
            .await
            .unwrap();
        let status = sent.status().as_u16();
        let answer: Value = sent.json().await.unwrap();
        let info = &answer["error"]["data"][0];
        let field = case
            .field
            .is_none_or(|field| info["metadata"]["field"] == field);
        let structured = info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
            && info["reason"].is_string();
        if (status, answer["error"]["code"].as_i64()) != (case.status, Some(case.code))
            || !field
            || !structured
        {
            wrong.push(format!(
                "{} {}: wanted {} {} {:?}, got {status} {answer}",
                case.agent, case.name, case.status, case.code, case.field
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for agent in mesh.ground.fleet.mesh.agents.keys() {
        mesh.call(agent, "rpc.discover", &json!({}))
            .await
            .unwrap()
            .ok()
            .unwrap();
    }
    mesh.stop().await.unwrap();
}

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
