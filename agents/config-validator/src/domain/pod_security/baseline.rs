//! Level `baseline`.

use super::{Check, Pod, Violation};
use crate::domain::{rules, yaml::Cursor};

pub(super) const CHECKS: &[Check] = &[
    (rules::POD_HOST_PROCESS, host_process),
    (rules::POD_HOST_NAMESPACES, host_namespaces),
    (rules::POD_PRIVILEGED, privileged),
    (rules::POD_CAPABILITIES, capabilities),
    (rules::POD_HOST_PATH, host_path),
    (rules::POD_HOST_PORTS, host_ports),
    (rules::POD_HOST_PROBES, host_probes),
    (rules::POD_APPARMOR, apparmor),
    (rules::POD_SELINUX, selinux),
    (rules::POD_PROC_MOUNT, proc_mount),
    (rules::POD_SECCOMP, seccomp),
    (rules::POD_SYSCTLS, sysctls),
];

/// The default set of the common container runtimes.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Sysctls that stay in the pod's own namespaces.
const SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];

const SELINUX_TYPES: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

fn host_process<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let options = pod
        .security_contexts()
        .into_iter()
        .filter_map(|c| c.path(&["windowsOptions", "hostProcess"]));
    options
        .filter(is_true)
        .map(|p| {
            (
                p,
                "runs as a process of the Windows host".into(),
                "false or absent",
            )
        })
        .collect()
}

fn host_namespaces<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let flags = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter_map(|key| Some((key, pod.spec.get(key)?)));
    flags
        .filter(|(_, p)| is_true(p))
        .map(|(key, p)| {
            (
                p,
                format!("shares the node's namespace ({key})"),
                "false or absent",
            )
        })
        .collect()
}

fn privileged<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let flags = pod
        .containers()
        .into_iter()
        .filter_map(|c| c.path(&["securityContext", "privileged"]));
    flags
        .filter(is_true)
        .map(|p| {
            (
                p,
                "a privileged container is root on its node".into(),
                "false or absent",
            )
        })
        .collect()
}

fn capabilities<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    added(
        pod,
        &CAPABILITIES,
        "one of the container runtimes' default capabilities",
    )
}

/// Added capabilities that are not in a set.
pub(super) fn added<'a>(
    pod: &Pod<'a>,
    allowed: &[&str],
    expected: &'static str,
) -> Vec<Violation<'a>> {
    let lists = pod
        .containers()
        .into_iter()
        .filter_map(|c| c.path(&["securityContext", "capabilities", "add"]));
    let added: Vec<_> = lists
        .flat_map(|list| list.items().collect::<Vec<_>>())
        .collect();
    let forbidden = added.into_iter().filter(|c| {
        c.node()
            .as_str()
            .is_some_and(|name| !allowed.contains(&name))
    });
    forbidden
        .map(|c| {
            (
                c.clone(),
                format!("adds capability {}", c.node().as_str().unwrap_or_default()),
                expected,
            )
        })
        .collect()
}

fn host_path<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let volumes = pod
        .spec
        .list("volumes")
        .into_iter()
        .filter_map(|v| v.get("hostPath"));
    volumes
        .map(|p| {
            (
                p,
                "mounts a path of the node".into(),
                "another kind of volume",
            )
        })
        .collect()
}

fn host_ports<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let ports = pod
        .containers()
        .into_iter()
        .flat_map(|c| c.list("ports"))
        .filter_map(|p| p.get("hostPort"));
    ports
        .filter(|p| p.node().as_i64() != Some(0))
        .map(|p| (p, "opens a port of the node".into(), "absent"))
        .collect()
}

fn host_probes<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    const HANDLERS: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    let containers = pod.containers();
    let handlers = containers
        .iter()
        .flat_map(|c| HANDLERS.iter().filter_map(|way| c.path(way)));
    let hosts = handlers.flat_map(|h| {
        ["httpGet", "tcpSocket"]
            .into_iter()
            .filter_map(move |action| h.path(&[action, "host"]))
    });
    hosts
        .filter(|h| h.node().as_str() != Some(""))
        .map(|h| {
            (
                h,
                "makes the kubelet call another host".into(),
                "absent: the pod itself",
            )
        })
        .collect()
}

fn apparmor<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    const EXPECTED: &str = "RuntimeDefault or Localhost";
    let profiles = pod
        .security_contexts()
        .into_iter()
        .filter_map(|c| c.get("appArmorProfile"));
    let fields =
        profiles.filter(|p| !matches!(p.text("type"), Some("RuntimeDefault" | "Localhost")));
    let mut found: Vec<_> = fields
        .map(|p| (p, "does not use an AppArmor profile".to_owned(), EXPECTED))
        .collect();
    if let Some(annotations) = pod.template.path(&["metadata", "annotations"]) {
        let beta = annotations
            .fields()
            .filter(|(key, _)| key.starts_with(PREFIX));
        let off = beta.filter(|(_, v)| {
            !v.node().as_str().is_some_and(|v| {
                v.is_empty() || v == "runtime/default" || v.starts_with("localhost/")
            })
        });
        found.extend(off.map(|(_, v)| {
            (
                v,
                "turns AppArmor off by annotation".to_owned(),
                "runtime/default or localhost/...",
            )
        }));
    }
    found
}

fn selinux<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let mut found: Vec<Violation<'a>> = Vec::new();
    for options in pod
        .security_contexts()
        .into_iter()
        .filter_map(|c| c.get("seLinuxOptions"))
    {
        if let Some(kind) = options
            .get("type")
            .filter(|t| !SELINUX_TYPES.contains(&t.node().as_str().unwrap_or("?")))
        {
            found.push((
                kind,
                "sets an unusual SELinux type".into(),
                "container_t, container_init_t, container_kvm_t or container_engine_t",
            ));
        }
        for key in ["user", "role"] {
            if let Some(set) = options.get(key).filter(|v| v.node().as_str() != Some("")) {
                found.push((set, format!("sets the SELinux {key}"), "absent"));
            }
        }
    }
    found
}

fn proc_mount<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    if pod.has_user_namespace() {
        Vec::new()
    } else {
        unmasked(pod)
    }
}

/// Containers that see the host's whole /proc.
pub(super) fn unmasked<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let mounts = pod
        .containers()
        .into_iter()
        .filter_map(|c| c.path(&["securityContext", "procMount"]));
    mounts
        .filter(|m| m.node().as_str() != Some("Default"))
        .map(|m| (m, "unmasks /proc".into(), "Default or absent"))
        .collect()
}

fn seccomp<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let profiles = pod
        .security_contexts()
        .into_iter()
        .filter_map(|c| c.get("seccompProfile"));
    let off = profiles.filter(|p| !matches!(p.text("type"), Some("RuntimeDefault" | "Localhost")));
    off.map(|p| {
        (
            p,
            "turns seccomp off".into(),
            "type RuntimeDefault or Localhost",
        )
    })
    .collect()
}

fn sysctls<'a>(pod: &Pod<'a>) -> Vec<Violation<'a>> {
    let list = pod
        .spec
        .get("securityContext")
        .map(|c| c.list("sysctls"))
        .unwrap_or_default();
    let unsafe_ones = list
        .into_iter()
        .filter(|s| !SYSCTLS.contains(&s.text("name").unwrap_or_default()));
    unsafe_ones
        .map(|s| {
            (
                s,
                "sets a sysctl outside the safe set".into(),
                "one of the safe sysctls",
            )
        })
        .collect()
}

fn is_true(place: &Cursor<'_>) -> bool {
    place.node().as_bool() == Some(true)
}
