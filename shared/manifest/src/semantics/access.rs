//! Access tier against permissions, scopes and cluster rights; separation of duties; delegation.

use serde_json::Value;

use crate::{Access, Approval, AuditLevel, Document, Finding, Manifest, Tier};

/// What each tier may do, beside what is in [`READ`].
const TIERS: [(Tier, &[&str]); 4] = [
    (Tier::Read, &[]),
    (Tier::WriteLimited, &LIMITED),
    (Tier::WriteElevated, &ELEVATED),
    (
        Tier::Policy,
        &[
            "define_policies",
            "publish_policies",
            "audit_compliance",
            "report_violations",
        ],
    ),
];
const LIMITED: [&str; 7] = [
    "write_docs",
    "write_tests",
    "write_scaffolds",
    "write_configs_draft",
    "create_issues",
    "create_mrs_draft",
    "execute_sandboxed",
];
/// Tier 3 may write to production, but never touch secrets directly: `modify_secrets` is nobody's.
const ELEVATED: [&str; 8] = [
    "execute_deployments",
    "modify_pipelines",
    "merge_mrs",
    "modify_configs",
    "execute_commands",
    "write_production_code",
    "delete_branches",
    "modify_infrastructure",
];

/// Role pairs that one agent must not unite.
const CONFLICTS: [(&str, &str); 6] = [
    ("reviewer", "approver"),
    ("critic", "executor"),
    ("auditor", "remediator"),
    ("policy_definer", "enforcer"),
    ("governor", "operator"),
    ("scanner", "remediator"),
];

/// Verbs that change production, at the beginning of an action or scope.
const WRITING: [&str; 12] = [
    "write", "delete", "modify", "execute", "apply", "rollback", "patch", "admin", "deploy",
    "merge", "trigger", "restart",
];

pub(super) fn check(manifest: &Manifest, document: &Document, findings: &mut Vec<Finding>) {
    match &manifest.access {
        Some(access) => {
            tier(manifest, access, findings);
            if !matches!(access.tier, Tier::WriteLimited | Tier::WriteElevated) {
                scopes(manifest, access.tier, document, findings);
            }
        }
        None => findings.push(
            Finding::warning("OSSA-601", "/spec/access", "an access tier")
                .got("no tier, so none is enforced"),
        ),
    }
    separation(manifest, findings);
    delegation(manifest, findings);
}

fn may(tier: Tier, permission: &str) -> bool {
    let reads = permission.starts_with("read_")
        || (permission == "execute_queries" && tier != Tier::Policy);
    let limited = tier == Tier::WriteElevated && LIMITED.contains(&permission);
    let own = TIERS
        .iter()
        .any(|(of, permissions)| *of == tier && permissions.contains(&permission));
    reads || limited || own
}

fn tier(manifest: &Manifest, access: &Access, findings: &mut Vec<Finding>) {
    let Access {
        tier,
        permissions,
        prohibited,
        ..
    } = access;
    let allowed = format!("what {} may do", tier.as_str());
    for (index, permission) in permissions.iter().enumerate() {
        let pointer = format!("/spec/access/permissions/{index}");
        if !may(*tier, permission) {
            findings.push(Finding::error("OSSA-603", pointer, &allowed).got(permission));
        } else if prohibited.contains(permission) {
            findings.push(
                Finding::error("OSSA-603", pointer, "no permission that is also prohibited")
                    .got(permission),
            );
        }
    }
    if *tier != Tier::WriteElevated {
        writes_below_tier_3(manifest, *tier, findings);
    }
    approval(manifest, access, findings);
    let least = match tier {
        Tier::Read | Tier::WriteLimited => AuditLevel::Standard,
        Tier::WriteElevated => AuditLevel::Detailed,
        Tier::Policy => AuditLevel::Comprehensive,
    };
    if access.audit_level.unwrap_or(AuditLevel::Standard) < least {
        let expected =
            format!("at least {least:?} auditing under {}", tier.as_str()).to_lowercase();
        findings.push(Finding::error("OSSA-604", "/spec/access/audit_level", expected).got("less"));
    }
    if *tier == Tier::Policy && access.isolation.as_deref() != Some("strict") {
        let got = access.isolation.as_deref().unwrap_or("none");
        findings.push(
            Finding::error(
                "OSSA-606",
                "/spec/access/isolation",
                "strict under tier_4_policy",
            )
            .got(got),
        );
    }
}

fn writes_below_tier_3(manifest: &Manifest, tier: Tier, findings: &mut Vec<Finding>) {
    let expected = format!("nothing that changes production under {}", tier.as_str());
    for (index, action) in manifest.autonomy.allowed_actions.iter().enumerate() {
        if tier != Tier::WriteLimited && begins_with(action, '_', &WRITING) {
            let pointer = format!("/spec/autonomy/allowed_actions/{index}");
            findings.push(Finding::error("OSSA-603", pointer, &expected).got(action));
        }
    }
    let reads = |verb: &String| matches!(verb.as_str(), "get" | "list" | "watch");
    if manifest
        .kubernetes_rules()
        .iter()
        .any(|rule| !rule.verbs.iter().all(reads))
    {
        let expected = format!(
            "only get, list and watch on the cluster under {}",
            tier.as_str()
        );
        findings
            .push(Finding::error("OSSA-603", "/spec/tools", expected).got("a verb that writes"));
    }
}

fn scopes(manifest: &Manifest, tier: Tier, document: &Document, findings: &mut Vec<Finding>) {
    let standard = "/spec/identity/authentication/scopes";
    let in_standard = document
        .root()
        .pointer(standard)
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    let place = if in_standard {
        standard
    } else {
        "/spec/security/scopes"
    };
    for (index, scope) in manifest.overlay.scopes.iter().enumerate() {
        if begins_with(scope, ':', &WRITING) {
            let expected = format!("no scope that writes under {}", tier.as_str());
            findings
                .push(Finding::error("OSSA-112", format!("{place}/{index}"), expected).got(scope));
        }
    }
}

fn begins_with(text: &str, separator: char, words: &[&str]) -> bool {
    let first = text.split(separator).next().unwrap_or(text);
    words.contains(&first) && text != "execute_queries"
}

fn approval(manifest: &Manifest, access: &Access, findings: &mut Vec<Finding>) {
    let listed = match &manifest.autonomy.approval_required {
        Approval::All(all) => *all,
        Approval::Actions(actions) => !actions.is_empty(),
    };
    if access.tier == Tier::WriteElevated && !access.requires_approval && !listed {
        let expected =
            "requires_approval or autonomy.approval_required under tier_3_write_elevated";
        findings.push(
            Finding::error("OSSA-605", "/spec/access/requires_approval", expected)
                .got("no approval at all"),
        );
    } else if access.requires_approval && access.approval_chain.is_none() {
        let expected = "the approval chain that is meant";
        findings.push(
            Finding::warning("OSSA-605", "/spec/access/approval_chain", expected).got("nothing"),
        );
    }
}

fn separation(manifest: &Manifest, findings: &mut Vec<Finding>) {
    let separation = &manifest.separation;
    let Some(role) = separation.role.as_deref() else {
        return;
    };
    for (index, other) in separation.conflicts_with.iter().enumerate() {
        if other == role {
            let pointer = format!("/spec/separation/conflicts_with/{index}");
            findings.push(
                Finding::error("OSSA-607", pointer, "other roles than the agent's own").got(other),
            );
        }
    }
    for (index, other) in separation.can_delegate_to.iter().enumerate() {
        let pointer = format!("/spec/separation/can_delegate_to/{index}");
        if *other == manifest.name || other == role {
            findings.push(
                Finding::error("OSSA-613", pointer, "somebody else than the agent itself")
                    .got(other),
            );
        } else if CONFLICTS
            .iter()
            .any(|(a, b)| [(role, other.as_str()), (other, role)].contains(&(*a, *b)))
        {
            let expected = format!("no role that is kept apart from {role}");
            findings.push(Finding::error("OSSA-614", pointer, expected).got(other));
        }
    }
    for prohibited in &separation.prohibited_actions {
        let verb = if prohibited == "modify_production" {
            "modify"
        } else {
            prohibited.as_str()
        };
        let expected = format!("nothing that the role's prohibited action {prohibited} covers");
        for (index, action) in manifest.autonomy.allowed_actions.iter().enumerate() {
            if action == prohibited || begins_with(action, '_', &[verb]) {
                let pointer = format!("/spec/autonomy/allowed_actions/{index}");
                findings.push(Finding::error("OSSA-609", pointer, &expected).got(action));
            }
        }
        let permissions = manifest
            .access
            .as_ref()
            .map_or(&[][..], |access| &access.permissions);
        for (index, permission) in permissions.iter().enumerate() {
            if permission == prohibited || begins_with(permission, '_', &[verb]) {
                let pointer = format!("/spec/access/permissions/{index}");
                findings.push(Finding::error("OSSA-609", pointer, &expected).got(permission));
            }
        }
    }
}

/// The delegation matrix: 1 -> 1; 2 -> 1, 2; 3 -> 1, 2, 3; 4 -> 1, 4. It holds for OSSA's delegation
/// only; an edge of the mesh is a request that the callee serves under its own tier.
fn delegation(manifest: &Manifest, findings: &mut Vec<Finding>) {
    let Some(own) = manifest.tier() else { return };
    for (index, tier) in manifest.delegation_tiers.iter().enumerate() {
        let fits = match own {
            Tier::Policy => matches!(tier, Tier::Read | Tier::Policy),
            _ => *tier <= own,
        };
        if !fits {
            let pointer = format!("/spec/delegation/allowed_tiers/{index}");
            let expected = format!("a tier that {} may delegate to", own.as_str());
            findings.push(Finding::error("OSSA-611", pointer, expected).got(tier.as_str()));
        }
    }
}
