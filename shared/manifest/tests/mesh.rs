//! mesh.yaml: what is refused, and where it stands.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

use manifest::{GrantedSkills, Mesh, MeshIdentity};

const AGENTS: &str = "trust_domain: mesh.local\nagents:\n  a: {namespace: n, port: 1}\n  b: {namespace: n, port: 2}\n";

fn parse(rest: &str) -> Result<Mesh, String> {
    Mesh::parse(&format!("{AGENTS}{rest}")).map_err(|error| error.to_string())
}

#[test]
fn reads_callers_with_each_kind_of_identity() {
    let mesh = parse(
        "callers:\n  ci:\n    identities:\n      - {spiffe: 'spiffe://mesh.local/external/ci'}\n      - {linkerd: ci.ns.serviceaccount}\n      \
         - {oidc: {issuer: 'https://gitlab.example', audience: mesh, subject: 'project_path:g/p:*'}}\n    skills: {a: [x]}\n",
    )
    .unwrap();
    let caller = &mesh.callers["ci"];
    assert!(
        matches!(&caller.identities[1], MeshIdentity::Linkerd(name) if name == "ci.ns.serviceaccount")
    );
    assert!(
        matches!(&caller.identities[2], MeshIdentity::Oidc { audience, .. } if audience == "mesh")
    );
    assert!(matches!(&caller.skills, GrantedSkills::Some(skills) if skills["a"] == ["x"]));
}

#[test]
fn refuses_what_contradicts_itself() {
    check("colour: red", "unknown field `colour`");
    check("targets: {c: [shop]}", "targets.c: is no agent of the mesh");
    check(
        "callers: {a: {identities: [], skills: all}}",
        "is an agent of the mesh",
    );
    check(
        "callers: {x: {identities: [], skills: some}}",
        "expected `all` or a list",
    );
    check(
        "approvers: [{name: x, public_key: abc}]",
        "approvers[0].public_key: expected an Ed25519 public key of 64 hex digits (line 5",
    );
    let key = "0f".repeat(32);
    check(
        &format!("approvers: [{{name: x, public_key: {key}}}, {{name: x, public_key: {key}}}]"),
        "two approvers",
    );
    let twice = "trust_domain: mesh.local\nagents: {a: {namespace: n, port: 1}, b: {namespace: n, port: 1}}";
    assert!(
        Mesh::parse(twice)
            .unwrap_err()
            .to_string()
            .contains("the same port")
    );
    assert!(
        Mesh::parse("trust_domain: Mesh\nagents: {}")
            .unwrap_err()
            .to_string()
            .contains("trust domain")
    );
}

fn check(rest: &str, expected: &str) {
    let error = parse(rest).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_circle_of_starts_after_is_refused_with_its_agents() {
    let circle = "trust_domain: m\nagents:\n  a: {namespace: n, port: 1, starts_after: [b]}\n  b: {namespace: n, port: 2, starts_after: [a]}\n  c: {namespace: n, port: 3}\n";
    assert!(
        Mesh::parse(circle)
            .unwrap_err()
            .to_string()
            .contains("in a circle: a, b")
    );
    let stranger = "trust_domain: m\nagents: {a: {namespace: n, port: 1, starts_after: [z]}}";
    assert!(
        Mesh::parse(stranger)
            .unwrap_err()
            .to_string()
            .contains("z is no agent")
    );
}

#[test]
fn a_database_is_dev_only_when_every_environment_with_it_is() {
    let mesh = parse(
        "environments: {dev: {dev: true, databases: [one, both]}, prod: {databases: [both, two]}}",
    )
    .unwrap();
    assert_eq!(
        ["one", "both", "two", "none"].map(|name| mesh.is_dev_database(name)),
        [true, false, false, false]
    );
}

#[test]
fn targets_limit_what_an_agent_may_touch() {
    let mesh = parse("targets: {a: [shop]}").unwrap();
    assert!(mesh.may_touch("a", "shop"));
    assert!(!mesh.may_touch("a", "kube-system"));
    assert!(!mesh.may_touch("b", "shop"));
}
