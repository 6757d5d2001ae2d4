//! The invariants of the source tree that no compiler checks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly, and tables of cases are long"
)]

use std::{collections::BTreeSet, ffi::OsStr, fs, path::Path, process::Command};

use meshctl::processes::programs;
use tests::tools::{agents_of, files, program, root};

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

fn modules_reach_every_file(root: &Path) {
    let mut orphans = Vec::new();
    for path in files(root, ".rs") {
        let relative = path.strip_prefix(root).unwrap().to_owned();
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
fn every_source_file_is_reached_by_a_module() {
    modules_reach_every_file(&root());
}

fn domain_is_pure(root: &Path) {
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
    for agent in &agents_of(root) {
        let source = root.join("agents").join(agent).join("src");
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
fn domain_has_no_io_async_or_clock() {
    domain_is_pure(&root());
}

fn mains_are_short(root: &Path) {
    for agent in &agents_of(root) {
        let main = root.join("agents").join(agent).join("src/main.rs");
        assert!(
            read(&main).lines().count() < 40,
            "{} outgrew 40 lines",
            main.display()
        );
    }
}

#[test]
fn main_files_are_short() {
    mains_are_short(&root());
}

fn agents_are_apart(root: &Path) {
    let agents = agents_of(root);
    for agent in &agents {
        let manifest = read(&root.join("agents").join(agent).join("Cargo.toml"));
        for other in agents.iter().filter(|other| *other != agent) {
            let depends = manifest.lines().any(|line| {
                line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} ="))
            });
            assert!(!depends, "{agent} depends on {other}");
        }
    }
}

#[test]
fn agents_do_not_depend_on_each_other() {
    agents_are_apart(&root());
}

fn meshctl_is_apart(root: &Path) {
    let manifest = read(&root.join("meshctl/Cargo.toml"));
    for agent in agents_of(root).iter().chain(&["cluster-model".to_owned()]) {
        assert!(
            !manifest.lines().any(|line| line.starts_with(agent)),
            "meshctl links {agent}"
        );
    }
}

#[test]
fn meshctl_links_no_agent() {
    meshctl_is_apart(&root());
}

fn agents_are_complete(root: &Path) {
    let compose = read(&root.join("docker-compose.yml"));
    let harness = read(&root.join("tests/src/mesh.rs"));
    let folders = files(&root.join("agents"), "Cargo.toml");
    assert_eq!(
        folders.len(),
        agents_of(root).len(),
        "agents/ and manifests/mesh.yaml disagree: {folders:?}"
    );
    for agent in &agents_of(root) {
        for file in [
            format!("agents/{agent}/README.md"),
            format!("agents/{agent}/src/main.rs"),
            format!("manifests/{agent}.ossa.yaml"),
            format!("deploy/kubernetes/{agent}.yaml"),
            format!("deploy/istio/{agent}.yaml"),
            format!("deploy/grafana/{agent}.json"),
        ] {
            let path = root.join(&file);
            assert!(
                fs::metadata(&path).is_ok_and(|meta| meta.len() > 0),
                "{file} is missing or empty"
            );
        }
        assert!(
            compose.contains(&format!("  {agent}:")),
            "docker-compose.yml has no service {agent}"
        );
        assert!(
            harness.contains(&format!("bind::<{}::Cli>", agent.replace('-', "_"))),
            "tests/src/mesh.rs does not start {agent}"
        );
    }
}

#[test]
fn every_agent_has_its_files() {
    agents_are_complete(&root());
}

fn skill_names_agree(root: &Path) {
    let fleet = manifest::load_dir(&root.join("manifests")).unwrap();
    for agent in &agents_of(root) {
        let folder = root.join("agents").join(agent);
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

#[test]
fn skill_names_agree_everywhere() {
    skill_names_agree(&root());
}

/// What holds for every tree of this project.
const CHECKS: [fn(&Path); 7] = [
    modules_reach_every_file,
    domain_is_pure,
    mains_are_short,
    agents_are_apart,
    meshctl_is_apart,
    agents_are_complete,
    skill_names_agree,
];

/// Runs a program in a folder; it has to succeed.
fn succeeds(program: impl AsRef<OsStr>, arguments: &[&str], folder: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_NET_OFFLINE", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// The guide's first steps on a copy of the tree. The ninth agent is not compiled here: it is a renamed copy of one
/// that is, and building the copied workspace anew would take minutes.
#[tokio::test]
async fn a_new_agent_is_entered_wherever_the_mesh_lists_its_agents() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path();
    for path in files(&root(), "") {
        let target = copy.join(path.strip_prefix(root()).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
    let meshctl = programs(&["meshctl"]).await.unwrap().join("meshctl");
    let script = copy.join("tests/new-agent");
    for name in ["spare-part", "spare"] {
        succeeds(&script, &[name], copy);
    }
    succeeds(&meshctl, &["render"], copy);
    for check in CHECKS {
        check(copy);
    }
    succeeds(&meshctl, &["render", "--check"], copy);
    succeeds("cargo", &["fmt", "--all", "--check"], copy);
    succeeds(
        "cargo",
        &["metadata", "--locked", "--format-version=1"],
        copy,
    );
    succeeds(program("docker-compose"), &["config", "-q"], copy);
    let agents = agents_of(copy);
    let new: Vec<&String> = agents
        .iter()
        .filter(|agent| !agents_of(&root()).contains(agent))
        .collect();
    assert_eq!(new, ["spare", "spare-part"]);
    for name in ["spare", "Spare", "serde", "a--b", "../x"] {
        let refused = Command::new(&script).arg(name).output().unwrap();
        assert!(!refused.status.success(), "{name}: {refused:?}");
    }
    assert_eq!(agents_of(copy), agents, "a refused name leaves no trace");
}
