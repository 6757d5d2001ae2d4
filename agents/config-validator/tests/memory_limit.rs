//! The engine's memory limit is one of the process, so its test has a process of its own.

use std::time::Duration;

use config_validator::{
    clients::rego::Regorus,
    domain::policy::{PolicyEngine, PolicyError, PolicySource},
};
use serde_json::json;

#[test]
fn memory_is_limited() {
    let engine = Regorus::new(Duration::from_mins(1), 128 * 1024 * 1024);
    let lines: Vec<_> = (1..12)
        .map(|i| format!("a{i} := concat(\"\", [a{0}, a{0}])\n", i - 1))
        .collect();
    let body = lines.concat();
    let content = format!(
        "package main\ndeny contains \"x\" if {{\na0 := input.text\n{body}count(a11) > 0\n}}"
    );
    let mut program = engine
        .compile(
            &[PolicySource {
                name: "p.rego".into(),
                content,
            }],
            &json!({}),
        )
        .unwrap();
    let rule = Regorus::rules(&program)[0].clone();
    let small = engine
        .eval(&mut program, &rule, &json!({"text": "x"}))
        .unwrap();
    assert_eq!(small, json!(["x"]));
    let large = engine.eval(&mut program, &rule, &json!({"text": "x".repeat(1 << 20)}));
    assert_eq!(
        large,
        Err(PolicyError::MemoryLimit {
            rule: "main.deny".into()
        })
    );
    let again = engine
        .eval(&mut program, &rule, &json!({"text": "x"}))
        .unwrap();
    assert_eq!(
        again,
        json!(["x"]),
        "what the refused evaluation took is given back"
    );
}
