//! Level `restricted`, on top of `baseline`.

use super::{
    Check, Pod, Violation,
    baseline::{added, unmasked},
};
use crate::domain::{rules, yaml::Cursor};

pub(super) const CHECKS: &[Check] = &[
    (rules::POD_RESTRICTED_VOLUMES, volumes),
    (rules::POD_PRIVILEGE_ESCALATION, privilege_escalation),
    (rules::POD_RUN_AS_NON_ROOT, run_as_non_root),
    (rules::POD_RUN_AS_USER, run_as_user),
    (rules::POD_RESTRICTED_SECCOMP, seccomp),
    (rules::POD_RESTRICTED_CAPABILITIES, capabilities),
    (rules::POD_RESTRICTED_PROC_MOUNT, unmasked),
];

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volumes<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let all = pod.spec.list("volumes").into_iter();
    // A volume of no kind becomes an emptyDir.
    let has_kind = |v: &Cursor<'_>| {
        v.node()
            .entries()
            .iter()
            .any(|e| e.key != "name" && !e.value.is_null())
    };
    let others = all.filter(|v| has_kind(v) && !VOLUMES.iter().any(|kind| v.get(kind).is_some()));
    others.map(|v| (v, "is a volume of a restricted kind".into(), "configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected or secret")).collect()
}

fn privilege_escalation<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    if pod.is_windows() {
        return Vec::new();
    }
    let allowed = |c: &Cursor<'_>| {
        c.path(&["securityContext", "allowPrivilegeEscalation"])
            .and_then(|p| p.node().as_bool())
            != Some(false)
    };
    let containers = pod.containers().into_iter().filter(allowed);
    containers
        .map(|c| {
            (
                c,
                "does not set securityContext.allowPrivilegeEscalation to false".into(),
                "false",
            )
        })
        .collect()
}

fn run_as_non_root<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    const EXPECTED: &str = "true";
    if pod.has_user_namespace() {
        return Vec::new();
    }
    let setting = |place: &Cursor<'a>| place.path(&["securityContext", "runAsNonRoot"]);
    let of_pod = setting(&pod.spec);
    let pod_says = of_pod.as_ref().and_then(|p| p.node().as_bool());
    let mut found: Vec<Violation<'a>> = Vec::new();
    if let (Some(place), Some(false)) = (of_pod, pod_says) {
        found.push((place, "allows the user root".into(), EXPECTED));
    }
    for container in pod.containers() {
        match setting(&container) {
            Some(own) if own.node().as_bool() != Some(true) => {
                found.push((own, "allows the user root".into(), EXPECTED));
            }
            None if pod_says != Some(true) => {
                found.push((
                    container,
                    "neither pod nor container sets securityContext.runAsNonRoot to true".into(),
                    EXPECTED,
                ));
            }
            _ => {}
        }
    }
    found
}

fn run_as_user<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    if pod.has_user_namespace() {
        return Vec::new();
    }
    let users = pod
        .security_contexts()
        .into_iter()
        .filter_map(|c| c.get("runAsUser"));
    users
        .filter(|u| u.node().as_i64() == Some(0))
        .map(|u| (u, "runs as user 0, root".into(), "another user or absent"))
        .collect()
}

fn seccomp<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    if pod.is_windows()
        || pod
            .spec
            .path(&["securityContext", "seccompProfile"])
            .is_some()
    {
        return Vec::new(); // a pod-level profile of the wrong type is a baseline violation
    }
    let without = pod
        .containers()
        .into_iter()
        .filter(|c| c.path(&["securityContext", "seccompProfile"]).is_none());
    without
        .map(|c| {
            (
                c,
                "neither pod nor container sets securityContext.seccompProfile".into(),
                "type RuntimeDefault or Localhost",
            )
        })
        .collect()
}

fn capabilities<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    if pod.is_windows() {
        return Vec::new();
    }
    let drops_all = |c: &Cursor<'_>| {
        let dropped = c
            .path(&["securityContext", "capabilities"])
            .map(|caps| caps.list("drop"))
            .unwrap_or_default();
        dropped.iter().any(|d| d.node().as_str() == Some("ALL"))
    };
    let keep = pod.containers().into_iter().filter(|c| !drops_all(c));
    let mut found: Vec<_> = keep
        .map(|c| {
            (
                c,
                "does not drop all capabilities".to_owned(),
                "capabilities.drop: [ALL]",
            )
        })
        .collect();
    found.extend(added(
        pod,
        &["NET_BIND_SERVICE"],
        "NET_BIND_SERVICE or none",
    ));
    found
}
