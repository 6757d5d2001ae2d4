//! The project's own manifests and mesh: valid, complete, and without the reference mesh's defects.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use manifest::{
    Caller, Document, EdgeProblem, KubernetesScope, Manifest, Mesh, RUNTIME_METHODS, Tier,
    compile_edges,
    schema::{self, Version},
    semantics::{self, Mode, Peers},
};

/// The agents with namespace, A2A port, tier and skills.
const AGENTS: [(&str, &str, u16, u8, &str); 8] = [
    (
        "compliance-auditor",
        "compliance-system",
        7102,
        4,
        "append_audit_records query_audit_trail verify_audit_trail assess_compliance",
    ),
    (
        "config-validator",
        "platform-system",
        7106,
        1,
        "validate_manifests evaluate_policies",
    ),
    (
        "cost-analyzer",
        "finops-system",
        7104,
        1,
        "find_idle_resources recommend_rightsizing",
    ),
    (
        "db-migrator",
        "data-system",
        7105,
        3,
        "migration_status plan_migration lint_migration apply_migration complete_migration rollback_migration assess_rollback verify_schema",
    ),
    (
        "monitoring-agent",
        "observability-system",
        7107,
        2,
        "check_health list_incidents get_incident acknowledge_incident follow_incident draft_postmortem evaluate_slo measure_dora list_alerts",
    ),
    (
        "performance-optimizer",
        "platform-system",
        7103,
        1,
        "analyze_utilization recommend_vpa recommend_hpa assess_resize",
    ),
    (
        "rollback-coordinator",
        "deployment-system",
        7108,
        3,
        "list_revisions plan_rollback execute_rollback rollback_status abort_rollback resume_gitops",
    ),
    (
        "security-scanner",
        "security-system",
        7101,
        1,
        "detect_secrets scan_vulnerabilities audit_rbac",
    ),
];

/// The edges between agents, beside everybody's to the audit trail.
const EDGES: [(&str, &str, &str); 6] = [
    ("config-validator", "security-scanner", "detect_secrets"),
    (
        "monitoring-agent",
        "rollback-coordinator",
        "plan_rollback execute_rollback rollback_status",
    ),
    (
        "rollback-coordinator",
        "db-migrator",
        "assess_rollback rollback_migration migration_status",
    ),
    ("rollback-coordinator", "monitoring-agent", "check_health"),
    (
        "cost-analyzer",
        "performance-optimizer",
        "assess_resize analyze_utilization",
    ),
    ("compliance-auditor", "security-scanner", "audit_rbac"),
];

fn documents() -> Vec<Document> {
    common::files(&common::manifests(), ".ossa.yaml")
        .iter()
        .map(|path| common::document(path))
        .collect()
}

#[test]
fn agents_skills_and_tiers_are_the_designed_ones() {
    let fleet = common::fleet();
    assert_eq!(fleet.manifests.len(), AGENTS.len());
    for (manifest, (name, namespace, port, tier, skills)) in fleet.manifests.iter().zip(AGENTS) {
        assert_eq!(
            (manifest.name.as_str(), manifest.namespace.as_str()),
            (name, namespace)
        );
        assert_eq!(fleet.mesh.agents[name].port, port);
        assert_eq!(manifest.tier().map(Tier::number), Some(tier), "{name}");
        let named: Vec<&str> = manifest
            .skills
            .iter()
            .map(|skill| skill.name.as_str())
            .collect();
        assert_eq!(named, skills.split(' ').collect::<Vec<_>>(), "{name}");
        assert_eq!(manifest.autonomy.allowed_actions, named, "{name}");
        assert!(
            fleet
                .mesh
                .spiffe_id(name)
                .unwrap()
                .ends_with(&format!("/ns/{namespace}/sa/{name}"))
        );
    }
}

#[test]
fn every_verdict_is_clean_even_under_strict() {
    let fleet = common::fleet();
    let peers = Peers {
        mesh: &fleet.mesh,
        manifests: &fleet.manifests,
    };
    for document in documents() {
        for version in [Version::V0_3, Version::V0_4, Version::V0_5] {
            assert_eq!(schema::check_as(&document, version).findings, []);
        }
        assert_eq!(
            semantics::check(&document, Some(peers), Mode::Strict).findings,
            []
        );
    }
}

#[test]
fn the_three_profiles_give_100_of_100() {
    let Some(data) = common::test_data() else {
        return;
    };
    for id in ["baseline", "enterprise", "gitlab-kagent"] {
        let profile = common::profile(&data, id);
        for document in documents() {
            let score = manifest::score(&profile, &document);
            assert_eq!((score.points, score.of), (100.0, 100.0), "{id}: {score:?}");
        }
    }
}

#[test]
fn the_built_in_profiles_are_the_standards_files() {
    let Some(data) = common::test_data() else {
        return;
    };
    for built_in in manifest::Profile::standard() {
        let file = common::profile(&data, &built_in.id);
        assert_eq!(
            (&built_in.required, &built_in.optional),
            (&file.required, &file.optional)
        );
        assert_eq!(built_in.scoring, file.scoring);
        for document in documents() {
            assert!((manifest::score(&built_in, &document).points - 100.0).abs() < 1e-9);
        }
    }
}

#[test]
fn exactly_the_designed_pairs_are_open_and_only_for_declared_skills() {
    let fleet = common::fleet();
    let mut expected: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (caller, callee, skills) in EDGES {
        expected.insert((caller, callee), skills.split(' ').collect());
    }
    for (name, ..) in AGENTS
        .iter()
        .filter(|(name, ..)| *name != "compliance-auditor")
    {
        expected.insert(
            (name, "compliance-auditor"),
            BTreeSet::from(["append_audit_records"]),
        );
    }
    let pairs = AGENTS.len() * (AGENTS.len() - 1);
    assert_eq!((pairs, expected.len()), (56, 13));
    let none = BTreeSet::new();
    for (caller, ..) in AGENTS {
        for (callee, .., skills) in AGENTS {
            let open = expected.get(&(caller, callee)).unwrap_or(&none);
            for skill in skills
                .split(' ')
                .chain(RUNTIME_METHODS)
                .chain(["no_such_skill"])
            {
                let allowed = fleet.edges().allows(&Caller::agent(caller), callee, skill);
                assert_eq!(
                    allowed,
                    open.contains(skill),
                    "{caller} -> {callee} {skill}"
                );
            }
        }
    }
    let pairs: BTreeSet<_> = fleet
        .edges()
        .iter()
        .filter_map(|edge| {
            if let Caller::Agent(name) = edge.caller {
                Some((name.as_str(), edge.callee))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(pairs, expected.keys().copied().collect());
}

#[test]
fn external_callers_may_call_what_mesh_yaml_grants() {
    let fleet = common::fleet();
    let may = |caller: &str, callee: &str, skill: &str| {
        fleet
            .edges()
            .allows(&Caller::external(caller), callee, skill)
    };
    for (agent, .., skills) in AGENTS {
        for skill in skills.split(' ').chain(RUNTIME_METHODS) {
            assert!(may("operator", agent, skill), "{agent} {skill}");
        }
    }
    assert!(may("gitlab-runner", "db-migrator", "apply_migration"));
    assert!(!may("gitlab-runner", "db-migrator", "rollback_migration"));
    assert!(!may("gitlab-runner", "db-migrator", "decide_approval"));
    assert!(!may(
        "gitlab-runner",
        "rollback-coordinator",
        "execute_rollback"
    ));
    assert!(may("dashboard", "monitoring-agent", "check_health"));
    for mutating in [
        "apply_migration",
        "rollback_migration",
        "execute_rollback",
        "append_audit_records",
        "decide_approval",
    ] {
        for (agent, ..) in AGENTS {
            assert!(!may("dashboard", agent, mutating), "{agent} {mutating}");
        }
    }
    assert!(!may("stranger", "monitoring-agent", "check_health"));
    // An agent's name gives an external caller nothing, and the other way round.
    assert!(!may(
        "config-validator",
        "security-scanner",
        "detect_secrets"
    ));
    assert!(!fleet.edges().allows(
        &Caller::agent("operator"),
        "security-scanner",
        "detect_secrets"
    ));
}

/// Everything that rollback-coordinator may write, by the first resource of each rule.
const WRITES: [(&str, &[&str]); 15] = [
    ("deployments", &["patch"]),
    ("pods", &["delete"]),
    ("pods/eviction", &["create"]),
    ("leases", &["create", "patch"]),
    ("applications", &["patch"]),
    ("kustomizations", &["patch"]),
    ("helmreleases", &["patch"]),
    ("scaledobjects", &["patch"]),
    ("verticalpodautoscalers", &["patch"]),
    ("canaries", &["patch"]),
    ("httproutes", &["patch"]),
    ("virtualservices", &["patch"]),
    ("rollouts", &["patch"]),
    ("rollouts/status", &["patch"]),
    // What Helm releases consist of.
    ("secrets", &["create", "patch", "delete"]),
];
/// Further kinds that Helm releases consist of.
const OF_RELEASES: [&str; 4] = [
    "configmaps",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
    "ingresses",
];

#[test]
fn only_rollback_coordinator_writes_to_the_cluster() {
    for manifest in &common::fleet().manifests {
        for rule in manifest.kubernetes_rules() {
            let writes: Vec<&str> = rule
                .verbs
                .iter()
                .map(String::as_str)
                .filter(|verb| !["get", "list", "watch"].contains(verb))
                .collect();
            let first = rule.resources.first().map_or("", String::as_str);
            let of_release = OF_RELEASES.contains(&first).then_some("secrets");
            let known = WRITES
                .iter()
                .find(|(resource, _)| *resource == of_release.unwrap_or(first));
            let allowed = known.map_or(&[][..], |(_, verbs)| verbs);
            let coordinates = manifest.name == "rollback-coordinator";
            let allowed = if coordinates { allowed } else { &[] };
            assert_eq!(writes, allowed, "{} {rule:?}", manifest.name);
            if rule.scope == KubernetesScope::Cluster {
                let known = ["nodes", "clusterroles", "clusterrolebindings"];
                assert!(
                    rule.resources
                        .iter()
                        .all(|resource| known.contains(&resource.as_str())),
                    "{rule:?}"
                );
            }
            // Helm keeps its records in Secrets; the rule says so.
            assert!(
                first != "secrets" || (coordinates && rule.reason.is_some()),
                "{}",
                manifest.name
            );
        }
    }
    let fleet = common::fleet();
    let rules = |name: &str| fleet.manifest(name).unwrap().kubernetes_rules().len();
    assert_eq!(
        [
            rules("config-validator"),
            rules("db-migrator"),
            rules("compliance-auditor"),
            rules("performance-optimizer"),
            rules("cost-analyzer")
        ],
        [0, 0, 0, 0, 0]
    );
    assert_eq!(
        [
            rules("security-scanner"),
            rules("monitoring-agent"),
            rules("rollback-coordinator")
        ],
        [5, 5, 21]
    );
}

#[test]
fn the_overlay_and_identity_of_each_agent_are_its_own() {
    let fleet = common::fleet();
    for manifest in &fleet.manifests {
        assert_eq!(
            manifest.overlay.alias,
            Some(format!("did:ossa:{}-v1", manifest.name))
        );
        assert_eq!(
            manifest.overlay.efficiency_tier.as_deref(),
            Some("standard")
        );
        assert_eq!(manifest.overlay.prompt_caching, Some(true));
        assert_eq!(
            manifest.overlay.tracing_provider.as_deref(),
            Some("opentelemetry")
        );
        assert!(!manifest.overlay.scopes.is_empty());
        assert_eq!(
            manifest.data_residency(),
            manifest.compliance.data_residency.as_deref()
        );
        assert!(manifest.source().contains(&format!(
            "\"agent://{}/{}\"",
            manifest.namespace, manifest.name
        )));
        assert!(
            manifest.guardrails.rate_limit.is_some()
                && manifest.guardrails.max_tool_calls.is_some()
        );
    }
}

// The defects of the reference mesh, each absent here.

#[test]
fn every_action_that_anybody_invokes_is_allowed_at_the_callee() {
    let fleet = common::fleet();
    for edge in fleet
        .edges()
        .iter()
        .filter(|edge| !RUNTIME_METHODS.contains(&edge.skill))
    {
        let callee = fleet.manifest(edge.callee).unwrap();
        assert!(
            callee.permits(edge.skill) && callee.skill(edge.skill).is_some(),
            "{edge:?}"
        );
    }
}

#[test]
fn migrations_of_production_wait_for_an_approval() {
    let fleet = common::fleet();
    assert!(
        fleet
            .manifest("db-migrator")
            .unwrap()
            .needs_approval("apply_migration")
    );
    assert!(fleet.mesh.is_dev_database("dev"));
    assert!(!fleet.mesh.is_dev_database("shop"));
    assert!(!fleet.mesh.is_dev_database("unheard-of"));
    assert!(
        fleet.mesh.approvers.is_empty(),
        "no approver's key belongs into Git"
    );
}

#[test]
fn an_order_of_starting_exists_although_calls_form_circles() {
    let fleet = common::fleet();
    let order = fleet.mesh.start_order().unwrap();
    assert_eq!(order.len(), AGENTS.len());
    for (name, member) in &fleet.mesh.agents {
        let place = |agent: &str| order.iter().position(|other| *other == agent);
        for earlier in &member.starts_after {
            assert!(
                place(earlier) < place(name),
                "{earlier} before {name}: {order:?}"
            );
        }
    }
    let calls = |a: &str, b: &str| fleet.edges().connects(&Caller::agent(a), b);
    assert!(
        calls("monitoring-agent", "rollback-coordinator")
            && calls("rollback-coordinator", "monitoring-agent")
    );
}

#[test]
fn declared_peers_and_the_meshs_edges_are_the_same_list() {
    let fleet = common::fleet();
    let declared: BTreeSet<(String, String, String)> = fleet
        .manifests
        .iter()
        .flat_map(|manifest| manifest.calls.iter().map(move |call| (manifest, call)))
        .flat_map(|(manifest, call)| {
            call.skills
                .iter()
                .map(|skill| (manifest.name.clone(), call.agent.clone(), skill.clone()))
        })
        .collect();
    let compiled: BTreeSet<(String, String, String)> = fleet
        .edges()
        .iter()
        .filter(|edge| matches!(edge.caller, Caller::Agent(_)))
        .map(|edge| {
            (
                edge.caller.name().to_owned(),
                edge.callee.to_owned(),
                edge.skill.to_owned(),
            )
        })
        .collect();
    assert_eq!(declared, compiled);
}

#[test]
fn no_peer_is_named_by_a_plain_http_address() {
    for manifest in &common::fleet().manifests {
        assert!(!manifest.source().contains("http://"), "{}", manifest.name);
    }
}

#[test]
fn no_metric_has_an_unbounded_label_and_none_stands_twice() {
    for manifest in &common::fleet().manifests {
        let metrics = &manifest.observability.custom_metrics;
        let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names.len(), metrics.len(), "{}", manifest.name);
        for label in metrics.iter().flat_map(|metric| &metric.labels) {
            assert!(
                !["cve_id", "component", "workload", "service"].contains(&label.as_str()),
                "{label}"
            );
        }
    }
}

#[test]
fn retention_is_what_the_declared_frameworks_demand() {
    let days = |manifest: &Manifest| manifest.retention.unwrap().as_secs() / 86_400;
    for manifest in &common::fleet().manifests {
        let demand = match &manifest.compliance.frameworks {
            frameworks if frameworks.iter().any(|f| f == "HIPAA") => 2190,
            frameworks if frameworks.is_empty() => 0,
            _ => 365,
        };
        assert!(days(manifest) >= demand, "{}", manifest.name);
        if ["db-migrator", "compliance-auditor", "rollback-coordinator"]
            .contains(&manifest.name.as_str())
        {
            assert_eq!(days(manifest), 2555, "{}", manifest.name);
        }
    }
}

#[test]
fn mesh_yaml_survives_being_written_as_json() {
    let mesh = common::fleet().mesh;
    let text = serde_json::to_string_pretty(&mesh).unwrap();
    assert_eq!(Mesh::parse(&text).unwrap(), mesh);
}

#[test]
fn declarations_that_cannot_hold_are_all_named() {
    let mut fleet = common::fleet();
    fleet.manifests[1].calls[0].skills.push("fly".into());
    fleet.manifests[2].calls[0].agent = "nobody".into();
    let own = fleet.manifests[3].name.clone();
    fleet.manifests[3].calls[0].agent = own;
    fleet
        .mesh
        .agents
        .get_mut("security-scanner")
        .unwrap()
        .namespace = "elsewhere".into();
    let problems = compile_edges(&fleet.manifests, &fleet.mesh)
        .unwrap_err()
        .problems;
    let has = |wanted: &dyn Fn(&EdgeProblem) -> bool| {
        assert!(problems.iter().any(wanted), "{problems:?}");
    };
    has(&|p| matches!(p, EdgeProblem::UnknownSkill { skill, .. } if skill == "fly"));
    has(&|p| matches!(p, EdgeProblem::UnknownCallee { callee, .. } if callee == "nobody"));
    has(&|p| matches!(p, EdgeProblem::CallsItself { agent } if agent == "db-migrator"));
    has(&|p| matches!(p, EdgeProblem::Namespace { agent, .. } if agent == "security-scanner"));
}

#[test]
fn a_manifest_without_a_place_in_the_mesh_and_the_other_way_round_are_refused() {
    let fleet = common::fleet();
    let problems = compile_edges(&fleet.manifests[1..], &fleet.mesh)
        .unwrap_err()
        .problems;
    assert!(problems.contains(&EdgeProblem::Unpaired {
        agent: "compliance-auditor".into(),
        has_manifest: false
    }));
    let mut mesh = fleet.mesh.clone();
    mesh.agents.remove("cost-analyzer");
    mesh.callers.clear();
    let problems = compile_edges(&fleet.manifests, &mesh).unwrap_err().problems;
    assert_eq!(
        problems,
        [EdgeProblem::Unpaired {
            agent: "cost-analyzer".into(),
            has_manifest: true
        }]
    );
}
