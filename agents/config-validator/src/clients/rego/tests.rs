//! The engine against small policies: what it answers, and what it refuses before or while it runs.

use serde_json::json;

use super::*;
use crate::domain::policy::{Level, messages};

/// Far away: the limit is one of the process, and other tests run in it. `tests/memory_limit.rs` is alone.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;

fn source(name: &str, content: &str) -> PolicySource {
    PolicySource {
        name: name.into(),
        content: content.into(),
    }
}

fn compile(content: &str) -> Result<Program, PolicyError> {
    Regorus::new(Duration::from_secs(5), MEMORY).compile(&[source("p.rego", content)], &json!({}))
}

fn ask(content: &str, input: &Value) -> Result<Vec<String>, PolicyError> {
    let engine = Regorus::new(Duration::from_millis(500), MEMORY);
    let mut program = engine.compile(
        &[source("p.rego", content)],
        &json!({"limits": {"replicas": 2}}),
    )?;
    let rules = Regorus::rules(&program).to_vec();
    let mut all = Vec::new();
    for rule in &rules {
        all.extend(messages(rule, &engine.eval(&mut program, rule, input)?));
    }
    Ok(all)
}

#[test]
fn runs_both_versions_of_the_language_and_every_style() {
    let input = json!({"kind": "Pod", "spec": {"hostNetwork": true}});
    for policy in [
        "package main\ndeny contains msg if { input.spec.hostNetwork; msg := \"no\" }",
        "package main\ndeny[msg] { input.spec.hostNetwork; msg := \"no\" }",
        "package main\nimport rego.v1\nviolation contains {\"msg\": \"no\"} if input.spec.hostNetwork",
        "package main\nviolation[{\"msg\": msg}] { input.spec.hostNetwork; msg := \"no\" }",
        "package main\nwarn_host_network[msg] { input.spec.hostNetwork; msg := \"no\" }",
    ] {
        assert_eq!(ask(policy, &input).unwrap(), ["no"], "{policy}");
        assert_eq!(
            ask(policy, &json!({"kind": "Pod"})).unwrap(),
            [""; 0],
            "{policy}"
        );
    }
}

#[test]
fn finds_the_rules_to_ask_and_their_levels() {
    let program = compile("package a.b\nimport data.lib\ndeny contains \"x\"\ndeny contains \"y\"\nwarn_it contains \"z\"\nallow := true\nhelper(x) := x\n").unwrap();
    let rules: Vec<_> = Regorus::rules(&program)
        .iter()
        .map(|r| (r.package.as_str(), r.rule.as_str(), r.level))
        .collect();
    assert_eq!(
        rules,
        [
            ("a.b", "deny", Level::Deny),
            ("a.b", "warn_it", Level::Warn)
        ]
    );
}

#[test]
fn policies_use_each_other_and_the_data() {
    let engine = Regorus::new(Duration::from_secs(5), MEMORY);
    let library = source(
        "lib.rego",
        "package lib\ntoo_few(n) if n < data.limits.replicas",
    );
    let policy = source(
        "p.rego",
        "package main\nimport data.lib as l\ndeny contains \"too few\" if l.too_few(input.spec.replicas)",
    );
    let mut program = engine
        .compile(&[policy, library], &json!({"limits": {"replicas": 2}}))
        .unwrap();
    let rule = Regorus::rules(&program)[0].clone();
    let value = engine
        .eval(&mut program, &rule, &json!({"spec": {"replicas": 1}}))
        .unwrap();
    assert_eq!(value, json!(["too few"]));
}

#[test]
fn a_policy_that_does_not_compile_is_named_with_its_line() {
    let error = compile("package main\n\ndeny contains msg if { msg := }\n").unwrap_err();
    assert!(
        matches!(&error, PolicyError::Compile { policy, message } if policy == "p.rego" && message.contains("p.rego:3")),
        "{error:?}"
    );
}

#[test]
fn recursion_is_refused_before_it_can_exhaust_the_stack() {
    for policy in [
        "package main\nf(x) := y if { y := f(x + 1) }\ndeny contains \"a\" if f(1)",
        "package main\nf(x) := g(x)\ng(x) := h(x)\nh(x) := f(x)\ndeny contains \"a\" if f(1)",
        "package main\nimport data.main as me\nf(x) := me.f(x)\ndeny contains \"a\" if f(1)",
        "package main\nf(x) := data.main.f(x)\ndeny contains \"a\" if f(1)",
        "package main\nf(x) := data[\"main\"].f(x)\ndeny contains \"a\" if f(1)",
        "package main\nf(x) := r if x > 0\nr := f(1)\ndeny contains \"a\" if r",
    ] {
        let error = compile(policy).unwrap_err();
        assert!(
            error.to_string().contains("Rego forbids recursion"),
            "{policy}: {error}"
        );
    }
}

#[test]
fn a_name_used_twice_is_no_recursion() {
    compile("package main\nmsg := \"x\"\nf(msg) := count(msg)\ndeny contains msg if { msg := concat(\"\", [\"a\"]); f(msg) > 0 }").unwrap();
    compile("package main\na if input.x\na if input.y\ndeny contains \"n\" if not a").unwrap();
}

#[test]
fn time_is_limited() {
    let policy = "package main\ndeny contains x if { x := input.a[_] + input.a[_] + input.a[_] + input.a[_]; x < 0 }";
    let input = json!({"a": (0..200).collect::<Vec<_>>()});
    assert!(
        matches!(ask(policy, &input), Err(PolicyError::TimeLimit { rule, limit_ms: 500 }) if rule == "main.deny")
    );
}

#[test]
fn a_range_cannot_ask_for_all_memory_at_once() {
    assert_eq!(
        ask(
            "package main\ndeny contains sprintf(\"%d\", [count(numbers.range(1, 10))])",
            &json!({})
        )
        .unwrap(),
        ["10"]
    );
    assert_eq!(
        ask(
            "package main\ndeny contains json.marshal(numbers.range(3, 1))",
            &json!({})
        )
        .unwrap(),
        ["[3,2,1]"]
    );
    assert_eq!(
        ask(
            "package main\ndeny contains json.marshal(numbers.range_step(1, 7, 3))",
            &json!({})
        )
        .unwrap(),
        ["[1,4,7]"]
    );
    let huge = ask(
        "package main\ndeny contains count(numbers.range(1, 1000000000000))",
        &json!({}),
    );
    assert!(
        matches!(&huge, Err(PolicyError::Evaluate { message, .. }) if message.contains("longer than 100000")),
        "{huge:?}"
    );
}

#[test]
fn policies_reach_no_network_and_no_environment() {
    for call in [
        "http.send({\"url\": \"http://127.0.0.1\", \"method\": \"GET\"})",
        "opa.runtime().env",
        "net.lookup_ip_addr(\"localhost\")",
    ] {
        let outcome = ask(
            &format!("package main\ndeny contains \"x\" if {call}"),
            &json!({}),
        );
        assert!(
            matches!(&outcome, Err(PolicyError::Evaluate { message, .. } | PolicyError::Compile { message, .. }) if message.contains("could not find function")),
            "{call}: {outcome:?}"
        );
    }
}

#[test]
fn says_where_it_differs_from_open_policy_agent() {
    let gap = "package main\nok(a, b) if a == b\n\ndeny contains \"wrong\" if not ok(input.a, input.missing)";
    let program = compile(gap).unwrap();
    let caveats: Vec<_> = Regorus::caveats(&program)
        .iter()
        .map(|c| (c.policy.as_str(), c.line))
        .collect();
    assert_eq!(caveats, [("p.rego", 4)]);
    assert_eq!(
        ask(gap, &json!({"a": 1})).unwrap(),
        ["wrong"],
        "when this is empty, the caveat can go"
    );
    let repaired = "package main\nok(a, b) if a == b\n\ndeny contains \"wrong\" if { m := input.missing; not ok(input.a, m) }";
    assert_eq!(ask(repaired, &json!({"a": 1})).unwrap(), [""; 0]);
}

#[test]
fn gatekeepers_review_is_noticed() {
    let program = compile("package k8srequiredlabels\nviolation[{\"msg\": \"m\"}] { input.review.object.kind == input.parameters.kind }").unwrap();
    assert!(Regorus::rules(&program)[0].wants_review);
    assert!(
        !Regorus::rules(&compile("package main\ndeny contains \"x\" if input.kind").unwrap())[0]
            .wants_review
    );
}
