//! JSON-RPC envelopes that are none.

use serde_json::json;

use super::{Case, SCANNER, call, raw};

pub(super) fn envelopes() -> Vec<Case> {
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
