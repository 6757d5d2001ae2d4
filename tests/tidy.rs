//! The invariants of the source tree that no compiler checks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::{collections::BTreeSet, fs, path::Path};

use tests::tools::{files, root};

const AGENTS: [&str; 8] = [
    "security-scanner",
    "compliance-auditor",
    "performance-optimizer",
    "cost-analyzer",
    "db-migrator",
    "config-validator",
    "monitoring-agent",
    "rollback-coordinator",
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The source without its inline test module.
fn code(path: &Path) -> String {
    read(path)
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Names that `mod` declarations of a file introduce.
fn modules(source: &str) -> BTreeSet<String> {
    source
        .lines()
        .filter_map(|line| {
            let line = line
                .trim()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub ");
            line.strip_prefix("mod ")?
                .strip_suffix(';')
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn every_source_file_is_reached_by_a_module() {
    let mut orphans = Vec::new();
    for path in files(&root(), ".rs") {
        let relative = path.strip_prefix(root()).unwrap().to_owned();
        let Some(inside) = relative
            .to_string_lossy()
            .split_once("/src/")
            .map(|(_, inside)| inside.to_owned())
        else {
            continue;
        };
        if ["lib.rs", "main.rs"].contains(&inside.as_str()) || inside.starts_with("bin/") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = path.parent().unwrap();
        let parents = if folder.ends_with("src") {
            vec![folder.join("lib.rs"), folder.join("main.rs")]
        } else {
            vec![folder.with_extension("rs")]
        };
        let reached = parents
            .iter()
            .any(|parent| parent.exists() && modules(&read(parent)).contains(&name));
        let by_path = parents
            .iter()
            .any(|parent| parent.exists() && read(parent).contains(&format!("{name}.rs\"")));
        if !reached && !by_path {
            orphans.push(relative);
        }
    }
    assert!(orphans.is_empty(), "no `mod` names {orphans:?}");
}

#[test]
fn domain_has_no_io_async_or_clock() {
    let forbidden = [
        "async ",
        ".await",
        "tokio",
        "kube::",
        "k8s_openapi",
        "std::fs",
        "std::net",
        "std::process",
        "now_utc",
        "Instant::now",
        "SystemTime",
        "reqwest",
        "rusqlite",
        "tokio_postgres",
        "rand::",
    ];
    let mut found = Vec::new();
    for agent in AGENTS {
        let source = root().join("agents").join(agent).join("src");
        let mut domain = files(&source.join("domain"), ".rs");
        domain.extend(Some(source.join("domain.rs")).filter(|path| path.exists()));
        assert!(!domain.is_empty(), "{agent} has no domain");
        for path in domain {
            let code: String = code(&path)
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            found.extend(
                forbidden
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|word| format!("{}: {word}", path.display())),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn main_files_are_short() {
    for agent in AGENTS {
        let main = root().join("agents").join(agent).join("src/main.rs");
        assert!(
            read(&main).lines().count() < 40,
            "{} outgrew 40 lines",
            main.display()
        );
    }
}

#[test]
fn agents_do_not_depend_on_each_other() {
    for agent in AGENTS {
        let manifest = read(&root().join("agents").join(agent).join("Cargo.toml"));
        for other in AGENTS.iter().filter(|other| **other != agent) {
            let depends = manifest.lines().any(|line| {
                line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} ="))
            });
            assert!(!depends, "{agent} depends on {other}");
        }
    }
}

#[test]
fn meshctl_links_no_agent() {
    let manifest = read(&root().join("meshctl/Cargo.toml"));
    for agent in AGENTS.iter().chain(&["cluster-model"]) {
        assert!(
            !manifest.lines().any(|line| line.starts_with(agent)),
            "meshctl links {agent}"
        );
    }
}

#[test]
fn every_agent_has_its_files() {
    let compose = read(&root().join("docker-compose.yml"));
    let folders = files(&root().join("agents"), "Cargo.toml");
    assert_eq!(
        folders.len(),
        AGENTS.len(),
        "agents/ and this list disagree: {folders:?}"
    );
    for agent in AGENTS {
        for file in [
            format!("agents/{agent}/README.md"),
            format!("agents/{agent}/src/main.rs"),
            format!("manifests/{agent}.ossa.yaml"),
            format!("deploy/kubernetes/{agent}.yaml"),
            format!("deploy/istio/{agent}.yaml"),
            format!("deploy/grafana/{agent}.json"),
        ] {
            let path = root().join(&file);
            assert!(
                fs::metadata(&path).is_ok_and(|meta| meta.len() > 100),
                "{file} is missing or empty"
            );
        }
        assert!(
            compose.contains(&format!("  {agent}:")),
            "docker-compose.yml has no service {agent}"
        );
    }
}

#[test]
fn skill_names_agree_everywhere() {
    let fleet = manifest::load_dir(&root().join("manifests")).unwrap();
    for agent in AGENTS {
        let folder = root().join("agents").join(agent);
        let ids: BTreeSet<String> = files(&folder.join("src/skills"), ".rs")
            .iter()
            .flat_map(|path| {
                let text = read(path);
                let ids = text
                    .match_indices("const ID: &'static str = \"")
                    .map(|(at, mark)| {
                        text[at + mark.len()..]
                            .split('"')
                            .next()
                            .unwrap()
                            .to_owned()
                    });
                let ids: Vec<String> = ids.collect();
                for id in &ids {
                    assert_eq!(
                        path.file_stem().unwrap().to_string_lossy(),
                        *id,
                        "{} holds skill {id}",
                        path.display()
                    );
                }
                ids
            })
            .collect();
        let declared: BTreeSet<String> = fleet
            .manifest(agent)
            .unwrap()
            .skills
            .iter()
            .map(|skill| skill.name.clone())
            .collect();
        assert_eq!(ids, declared, "code and manifest of {agent}");
        let readme = read(&folder.join("README.md"));
        for id in &declared {
            assert!(
                readme.contains(id.as_str()),
                "agents/{agent}/README.md does not mention {id}"
            );
            assert!(
                fleet.manifest(agent).unwrap().permits(id),
                "{agent} is not allowed its own skill {id}"
            );
        }
    }
}
