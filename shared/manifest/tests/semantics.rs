//! The semantics verdict: each check with a manifest that fails only it.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod common;

use manifest::{
    Document, Severity,
    semantics::{self, Mode, Peers},
};

const GOOD: &str = "
role: x
messaging: {commands: [{name: look}]}
autonomy: {allowed_actions: [look], blocked_actions: [delete_all]}
access: {tier: tier_1_read, permissions: [read_code]}
separation: {role: scanner, conflicts_with: [deployer]}
";

fn codes_of(spec: &str, mode: Mode) -> Vec<String> {
    codes_of_document(
        &format!(
            "metadata: {{name: a}}\nspec:\n{}",
            spec.trim().replace('\n', "\n  ").replacen("", "  ", 1)
        ),
        mode,
    )
}

fn codes_of_document(rest: &str, mode: Mode) -> Vec<String> {
    let text = format!("apiVersion: ossa/v0.3.6\nkind: Agent\n{rest}\n");
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let verdict = semantics::check(&document, None, mode);
    verdict
        .findings
        .iter()
        .map(|finding| format!("{} {}", finding.code, finding.pointer))
        .collect()
}

/// GOOD with one line replaced by key, or added.
fn check(line: &str, expected: &[&str]) {
    let key = line.split(':').next().unwrap();
    let mut lines: Vec<&str> = GOOD
        .trim()
        .lines()
        .filter(|other| other.split(':').next() != Some(key))
        .collect();
    lines.push(line);
    assert_eq!(
        codes_of(&lines.join("\n"), Mode::Lenient),
        expected,
        "{line}"
    );
}

#[test]
fn a_good_manifest_has_no_findings() {
    assert_eq!(codes_of(GOOD, Mode::Strict), Vec::<String>::new());
}

#[test]
fn holds_permissions_to_the_tier() {
    check(
        "access: {tier: tier_1_read, permissions: [merge_mrs]}",
        &["OSSA-603 /spec/access/permissions/0"],
    );
    check(
        "access: {tier: tier_2_write_limited, permissions: [write_docs, modify_secrets]}",
        &["OSSA-603 /spec/access/permissions/1"],
    );
    check(
        "access: {tier: tier_1_read, permissions: [read_code], prohibited: [read_code]}",
        &["OSSA-603 /spec/access/permissions/0"],
    );
    check(
        "access: {tier: tier_4_policy, permissions: [execute_queries], audit_level: comprehensive, isolation: strict}",
        &["OSSA-603 /spec/access/permissions/0"],
    );
    check(
        "access: {tier: tier_4_policy, audit_level: detailed}",
        &[
            "OSSA-606 /spec/access/isolation",
            "OSSA-604 /spec/access/audit_level",
        ],
    );
    check(
        "access: {tier: tier_3_write_elevated, audit_level: detailed}",
        &["OSSA-605 /spec/access/requires_approval"],
    );
    check(
        "access: {tier: tier_3_write_elevated, audit_level: detailed, requires_approval: true}",
        &["OSSA-605 /spec/access/approval_chain"],
    );
    check(
        "access: {tier: tier_3_write_elevated, requires_approval: true, approval_chain: standard}",
        &["OSSA-604 /spec/access/audit_level"],
    );
}

#[test]
fn holds_actions_scopes_and_cluster_rights_to_the_tier() {
    check(
        "autonomy: {allowed_actions: [look, delete_pods]}",
        &["OSSA-603 /spec/autonomy/allowed_actions/1"],
    );
    check(
        "security: {scopes: ['read:x', 'write:y']}",
        &["OSSA-112 /spec/security/scopes/1"],
    );
    check(
        "identity: {authentication: {scopes: ['admin:node']}}",
        &["OSSA-112 /spec/identity/authentication/scopes/0"],
    );
    let rule = |rest: &str| {
        format!(
            "tools: [{{type: kubernetes, config: {{rules: [{{apiGroups: [''], {rest}, scope: namespace}}]}}}}]"
        )
    };
    check(
        &rule("resources: [pods], verbs: [get, delete]"),
        &["OSSA-603 /spec/tools"],
    );
    check(
        &rule("resources: ['*'], verbs: [get]"),
        &["kubernetes-wildcard /spec/tools"],
    );
    check(
        &rule("resources: [secrets], verbs: [get]"),
        &["kubernetes-secrets /spec/tools"],
    );
    check(
        &rule("resources: [secrets], verbs: [get], reason: copies"),
        &["kubernetes-secrets /spec/tools"],
    );
    let elevated = "access: {tier: tier_3_write_elevated, audit_level: detailed, requires_approval: true, approval_chain: standard}";
    check(
        &format!(
            "{elevated}\n{}",
            rule("resources: [secrets], verbs: [get], reason: copies")
        ),
        &[],
    );
    check(
        &format!(
            "{elevated}\n{}",
            rule("resources: [secrets], verbs: [get], reason: ' '")
        ),
        &["kubernetes-secrets /spec/tools"],
    );
    check(
        "tools: [{type: kubernetes, config: {rules: 5}}]",
        &["OSSA-002 /spec/tools/0/config/rules"],
    );
}

#[test]
fn keeps_duties_apart() {
    check(
        "separation: {role: scanner, conflicts_with: [deployer, scanner]}",
        &["OSSA-607 /spec/separation/conflicts_with/1"],
    );
    check(
        "separation: {role: scanner, can_delegate_to: [a, scanner, remediator, auditor]}",
        &[
            "OSSA-613 /spec/separation/can_delegate_to/0",
            "OSSA-613 /spec/separation/can_delegate_to/1",
            "OSSA-614 /spec/separation/can_delegate_to/2",
        ],
    );
    check(
        "delegation: {allowed_tiers: [tier_1_read, tier_2_write_limited]}",
        &["OSSA-611 /spec/delegation/allowed_tiers/1"],
    );
    let prohibited = "role: x\nmessaging: {commands: []}\nautonomy: {approval_required: true, allowed_actions: [execute_it]}\n\
        access: {tier: tier_3_write_elevated, audit_level: detailed, permissions: [execute_commands]}\n\
        separation: {role: executor, prohibited_actions: [execute]}";
    assert_eq!(
        codes_of(prohibited, Mode::Lenient),
        [
            "OSSA-609 /spec/autonomy/allowed_actions/0",
            "OSSA-609 /spec/access/permissions/0"
        ]
    );
}

#[test]
fn compares_commands_with_allowed_and_blocked_actions() {
    check(
        "autonomy: {allowed_actions: [look], blocked_actions: [look]}",
        &[
            "command-not-allowed /spec/messaging/commands/0/name",
            "allowed-and-blocked /spec/autonomy/allowed_actions/0",
        ],
    );
    check(
        "autonomy: {allowed_actions: []}",
        &["command-not-allowed /spec/messaging/commands/0/name"],
    );
    check(
        "messaging: {commands: [{name: look}, {name: look}]}",
        &["duplicate-command /spec/messaging/commands/1/name"],
    );
    check(
        "autonomy: {level: supervised, allowed_actions: [look]}",
        &["autonomy-level /spec/autonomy/approval_required"],
    );
}

#[test]
fn finds_secrets_without_repeating_them() {
    let secret = format!("glpat-{}", "Ab3".repeat(8));
    for (line, pointer) in [
        (format!("role: use {secret} please"), "/spec/role"),
        (
            format!("tools: [{{type: http, name: x, auth: {{token: {secret}}}}}]"),
            "/spec/tools/0/auth/token",
        ),
        (
            "state: {storage: {config: {password: Tr0ub4dor&3}}}".to_owned(),
            "/spec/state/storage/config/password",
        ),
        (
            "knowledge_sources: [{url: 'postgres://u:hunter2@db/x'}]".to_owned(),
            "/spec/knowledge_sources/0/url",
        ),
    ] {
        check(&line, &[&format!("secret-in-manifest {pointer}")]);
    }
    let text = format!(
        "apiVersion: ossa/v0.3.6\nkind: Agent\nmetadata: {{name: a}}\nspec: {{role: {secret}, access: {secret}}}"
    );
    let document = Document::parse(&text).unwrap();
    for verdict in [
        semantics::check(&document, None, Mode::Strict),
        manifest::schema::check(&document),
    ] {
        assert!(!verdict.is_valid());
        assert!(!format!("{verdict:?}").contains(&secret), "{verdict:?}");
    }
}

#[test]
fn holds_retention_to_the_declared_frameworks() {
    let both = |frameworks: &str, retention: &str| {
        format!(
            "role: x\naccess: {{tier: tier_1_read}}\ncompliance: {{frameworks: [{frameworks}], data_residency: eu-west-1}}\nstate: {{storage: {{retention: {retention}}}}}"
        )
    };
    let codes =
        |frameworks: &str, retention: &str| codes_of(&both(frameworks, retention), Mode::Lenient);
    assert_eq!(
        codes("SOC2", "364d"),
        ["retention /spec/state/storage/retention"]
    );
    assert!(codes("SOC2", "365d").is_empty());
    assert_eq!(
        codes("SOC2, HIPAA", "2189d"),
        ["retention /spec/state/storage/retention"]
    );
    assert!(codes("SOC2, HIPAA", "2190d").is_empty());
    assert_eq!(
        codes("HIPAA", "sometimes"),
        ["retention /spec/state/storage/retention"]
    );
    assert!(codes("", "1d").is_empty());
    check(
        "compliance: {frameworks: [SOC2], audit_logging: disabled}",
        &[
            "retention /spec/state/storage/retention",
            "retention /spec/compliance/audit_logging",
        ],
    );
    let audit = "role: x\naccess: {tier: tier_1_read}\ncompliance: {frameworks: [SOC2]}\nstate: {storage: {retention: '86400'}}\nsecurity: {audit: {retention_days: 365}}";
    assert!(
        codes_of(audit, Mode::Lenient).is_empty(),
        "what is declared for audits wins"
    );
}

#[test]
fn holds_residency_to_its_label_and_framework() {
    let rest = |label: &str, region: &str, framework: &str| {
        format!(
            "metadata: {{name: a, labels: {{data-residency: {label}}}}}\nspec: {{access: {{tier: tier_1_read}}, state: {{storage: {{retention: 2555d}}}}, \
             compliance: {{data_residency: {region}, frameworks: [{framework}]}}}}"
        )
    };
    let codes = |label: &str, region: &str, framework: &str| {
        codes_of_document(&rest(label, region, framework), Mode::Lenient)
    };
    assert!(codes("eu-west-1", "eu-west-1", "GDPR").is_empty());
    assert_eq!(
        codes("eu-west-1", "us-east-1", "SOC2"),
        ["data-residency /metadata/labels/data-residency"]
    );
    assert_eq!(
        codes("us-east-1", "us-east-1", "GDPR"),
        ["data-residency /spec/compliance/data_residency"]
    );
    assert_eq!(
        codes("eu-west-1", "eu-west-1", "FedRAMP"),
        ["data-residency /spec/compliance/data_residency"]
    );
    check(
        "compliance: {frameworks: [GDPR]}",
        &[
            "retention /spec/state/storage/retention",
            "data-residency /spec/compliance/data_residency",
        ],
    );
}

#[test]
fn compares_namespaces_identities_and_endpoints() {
    let two = "metadata: {name: a}\nspec: {access: {tier: tier_1_read}, extensions: {kagent: {kubernetes: {namespace: one}}}}\nextensions: {kagent: {kubernetes: {namespace: two}}}";
    assert_eq!(
        codes_of_document(two, Mode::Lenient),
        ["namespace /extensions/kagent/kubernetes/namespace"]
    );
    let (one, other) = ("0".repeat(40), "1".repeat(40));
    let dids = format!(
        "metadata: {{name: a, decentralized_identity: {{did: 'did:ossa:{one}'}}}}\nspec: {{access: {{tier: tier_1_read}}, identity: {{did: 'did:ossa:{other}'}}}}"
    );
    assert_eq!(
        codes_of_document(&dids, Mode::Lenient),
        ["OSSA-101 /spec/identity/did"]
    );
    check(
        "tools: [{type: a2a, name: b, endpoint: 'http://b:8080/a2a', config: {skills: [x]}}]",
        &["plaintext-peer /spec/tools/0/endpoint"],
    );
    check(
        "extensions: {kagent: {a2aConfig: {endpoints: ['https://b.ns:8080/a2a']}}}",
        &["undeclared-peer /spec/extensions/kagent/a2aConfig/endpoints/0"],
    );
}

#[test]
fn warns_of_labels_without_bound_and_of_missing_tiers() {
    check(
        "observability: {metrics: {customMetrics: [{name: x_total, type: counter, labels: [cve_id]}, {name: y, type: counter}]}}",
        &[
            "unbounded-label /spec/observability/metrics/customMetrics/0/labels",
            "metric-name /spec/observability/metrics/customMetrics/1/name",
        ],
    );
    assert_eq!(
        codes_of("role: x", Mode::Lenient),
        ["OSSA-601 /spec/access"]
    );
}

#[test]
fn strict_finds_keys_that_nobody_knows() {
    let strict = |spec: &str| {
        codes_of(
            &format!("access: {{tier: tier_1_read}}\n{spec}"),
            Mode::Strict,
        )
    };
    assert_eq!(
        strict("efficency: {tier: standard}"),
        ["unknown-key /spec/efficency"]
    );
    assert_eq!(
        strict("security: {id: x, scops: []}"),
        ["unknown-key /spec/security/scops"]
    );
    assert_eq!(
        strict("autonomy: {allowed_action: []}"),
        ["unknown-key /spec/autonomy/allowed_action"]
    );
    assert_eq!(
        strict("tools: [{type: a2a, name: b, skills: []}]"),
        ["unknown-key /spec/tools/0/skills"]
    );
    assert!(strict("tools: [{type: mcp, name: b, config: {anything: goes}}]").is_empty());
    assert_eq!(
        strict("token_efficiency: {routing: {}}"),
        ["unknown-key /spec/token_efficiency/routing"]
    );
    assert!(codes_of("access: {tier: tier_1_read}\nefficency: {}", Mode::Lenient).is_empty());
}

#[test]
fn compares_declared_peers_with_the_mesh() {
    let fleet = common::fleet();
    let peers = Peers {
        mesh: &fleet.mesh,
        manifests: &fleet.manifests,
    };
    let path = common::manifests().join("config-validator.ossa.yaml");
    let original = std::fs::read_to_string(path).unwrap();
    let codes = |from: &str, to: &str| -> Vec<String> {
        assert!(original.contains(from));
        let document = Document::parse(&original.replace(from, to)).unwrap();
        let verdict = semantics::check(&document, Some(peers), Mode::Strict);
        verdict
            .findings
            .iter()
            .map(|finding| format!("{} {}", finding.code, finding.pointer))
            .collect()
    };
    assert!(codes("detect_secrets", "detect_secrets").is_empty());
    assert_eq!(
        codes("skills: [detect_secrets]", "skills: [fly]"),
        ["unknown-skill /spec/tools/0/config/skills"]
    );
    assert_eq!(
        codes("skills: [detect_secrets]", "skills: []"),
        ["edge-without-skills /spec/tools/0"]
    );
    assert_eq!(
        codes("name: security-scanner, config", "name: nobody, config"),
        ["undeclared-peer /spec/tools/0"]
    );
    assert_eq!(
        codes(
            "name: security-scanner, config",
            "name: config-validator, config"
        ),
        ["undeclared-peer /spec/tools/0"]
    );
    assert_eq!(
        codes("namespace: platform-system", "namespace: elsewhere"),
        ["namespace /metadata/namespace"]
    );
    assert_eq!(
        codes("name: config-validator\n", "name: other\n"),
        ["not-in-mesh /metadata/name"]
    );
}

/// What the checks say about the reference mesh, which no OSSA tool objects to.
#[test]
fn finds_the_defects_of_the_reference_manifests() {
    let Some(data) = common::test_data() else {
        return;
    };
    let mut found = std::collections::BTreeMap::new();
    for path in common::files(&data.join("reference-manifests"), ".ossa.yaml") {
        let document = common::document(&path);
        assert!(
            manifest::schema::check(&document).is_valid(),
            "{}",
            path.display()
        );
        let verdict = semantics::check(&document, None, Mode::Strict);
        assert!(
            verdict
                .findings
                .iter()
                .any(|f| f.code == "OSSA-601" && f.severity == Severity::Warning)
        );
        assert!(!verdict.is_valid(), "{}", path.display());
        for finding in verdict.findings {
            *found.entry(finding.code).or_insert(0) += 1;
        }
    }
    for code in [
        "namespace",
        "undeclared-peer",
        "plaintext-peer",
        "unbounded-label",
        "unknown-key",
        "data-residency",
    ] {
        assert!(found.contains_key(code), "{code} is missing in {found:?}");
    }
    for id in ["baseline", "enterprise", "gitlab-kagent"] {
        let profile = common::profile(&data, id);
        for path in common::files(&data.join("reference-manifests"), ".ossa.yaml") {
            let score = manifest::score(&profile, &common::document(&path));
            assert!(
                score.points <= 75.0 && score.missing_required.contains(&"spec.identity.id".into()),
                "{score:?}"
            );
        }
    }
}

#[test]
fn the_fixtures_get_the_verdicts_that_their_folders_name() {
    let Some(data) = common::test_data() else {
        return;
    };
    for (folder, valid) in [
        ("baseline/valid", true),
        ("baseline/invalid", false),
        ("enterprise/valid", true),
        ("gitlab-kagent/valid", true),
    ] {
        let profile = common::profile(&data, folder.split('/').next().unwrap());
        for path in common::files(&data.join("conformance/tests").join(folder), ".yaml") {
            let score = manifest::score(&profile, &common::document(&path));
            assert_eq!(
                score.standing == manifest::Standing::Pass,
                valid,
                "{}: {score:?}",
                path.display()
            );
        }
    }
}
