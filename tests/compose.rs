//! Compose file and rendered Kubernetes files against the code that they start: flags cannot drift.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use clap::{CommandFactory, Parser};
use config_validator::{
    clients::schema::built_in,
    domain::{
        finding::Severity,
        object::SourceFile,
        pod_security::PodSecurity,
        validate::{Manifests, validate},
    },
};
use serde_json::Value;
use tests::tools::{agents, files, program, root};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(&root().join(path)))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The compose file as docker-compose understands it: merged, interpolated and checked.
fn compose() -> Value {
    let mut command = Command::new(program("docker-compose"));
    let output = command
        .arg("config")
        .current_dir(root())
        .env_remove("POSTGRES_PASSWORD")
        .env_remove("AGENT_CLUSTER")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_saphyr::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            item.as_str()
                .unwrap_or_else(|| panic!("{item} is no text"))
                .to_owned()
        })
        .collect()
}

/// Parses flags, and environment variables as the flags that they stand for.
fn parse<C: Parser + CommandFactory>(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<(), String> {
    let command = C::command();
    let mut line = vec![command.get_name().to_owned()];
    line.extend(arguments.iter().cloned());
    for (name, value) in environment {
        let flag = command
            .get_arguments()
            .find(|argument| argument.get_env().is_some_and(|env| env == name.as_str()));
        let flag = flag
            .and_then(|argument| argument.get_long())
            .ok_or_else(|| format!("no flag reads {name}"))?;
        if !arguments.contains(&format!("--{flag}")) {
            line.push(format!("--{flag}={value}"));
        }
    }
    C::try_parse_from(line)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn parse_for(
    agent: &str,
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<(), String> {
    match agent {
        "security-scanner" => parse::<security_scanner::Cli>(arguments, environment),
        "compliance-auditor" => parse::<compliance_auditor::Cli>(arguments, environment),
        "performance-optimizer" => parse::<performance_optimizer::Cli>(arguments, environment),
        "cost-analyzer" => parse::<cost_analyzer::Cli>(arguments, environment),
        "db-migrator" => parse::<db_migrator::Cli>(arguments, environment),
        "config-validator" => parse::<config_validator::Cli>(arguments, environment),
        "monitoring-agent" => parse::<monitoring_agent::Cli>(arguments, environment),
        "rollback-coordinator" => parse::<rollback_coordinator::Cli>(arguments, environment),
        other => Err(format!("no agent is called {other}")),
    }
}

#[test]
fn docker_compose_accepts_the_file() {
    let output = Command::new(program("docker-compose"))
        .args(["config", "-q"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.stderr.is_empty(),
        "no warnings: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn nothing_is_used_that_compose_v2_refuses() {
    let file = yaml("docker-compose.yml");
    let known = ["networks", "services", "volumes"];
    let unknown: Vec<&String> = file
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| !key.starts_with("x-") && !known.contains(&key.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // Keys of the Compose specification; `links`, `container_name` and the like are left out on purpose.
    let keys = BTreeSet::from([
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "environment",
        "healthcheck",
        "image",
        "mem_limit",
        "network_mode",
        "networks",
        "ports",
        "read_only",
        "restart",
        "security_opt",
        "stop_grace_period",
        "tmpfs",
        "volumes",
    ]);
    for (name, service) in compose()["services"].as_object().unwrap() {
        let strange: Vec<&String> = service
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !keys.contains(key.as_str()))
            .collect();
        assert!(strange.is_empty(), "{name}: {strange:?}");
    }
}

#[test]
fn every_flag_and_variable_of_the_compose_file_is_one_of_the_agents() {
    let services = &compose()["services"];
    for agent in &agents() {
        let environment = services[agent]["environment"].as_object().unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        parse_for(agent, &strings(&services[agent]["command"]), &environment)
            .unwrap_or_else(|error| panic!("{agent}: {error}"));
    }
}

#[test]
fn every_flag_and_variable_of_the_deployments_is_one_of_the_agents() {
    for agent in &agents() {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text(
            &root().join(format!("deploy/kubernetes/{agent}.yaml")),
        ))
        .unwrap();
        let deployment = objects
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|v| Some((v["name"].as_str()?, v["value"].as_str()?)));
        let ours = variables.filter(|(name, _)| !name.starts_with("OTEL_"));
        let environment = ours
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        parse_for(agent, &strings(&container["args"]), &environment)
            .unwrap_or_else(|error| panic!("{agent}: {error}"));
    }
}

#[test]
fn a_flag_that_no_agent_has_is_noticed() {
    let wrong = ["--no-such-flag".to_owned(), "x".to_owned()];
    assert!(
        parse_for("db-migrator", &wrong, &BTreeMap::new())
            .unwrap_err()
            .contains("--no-such-flag")
    );
    let unread = BTreeMap::from([("AGENT_NO_SUCH_THING".to_owned(), "x".to_owned())]);
    assert!(
        parse_for("db-migrator", &[], &unread)
            .unwrap_err()
            .contains("AGENT_NO_SUCH_THING")
    );
}

#[test]
fn containers_are_locked_down_and_agents_see_their_own_keys_only() {
    let compose = compose();
    let fleet = manifest::load_dir(&root().join("manifests")).unwrap();
    for agent in &agents() {
        let service = &compose["services"][agent];
        assert_eq!(
            (&service["read_only"], &service["cap_drop"]),
            (&true.into(), &serde_json::json!(["ALL"])),
            "{agent}"
        );
        assert_eq!(
            strings(&service["security_opt"]),
            ["no-new-privileges:true"],
            "{agent}"
        );
        assert!(
            service["user"].is_null() && service["privileged"].is_null(),
            "{agent} runs as the image's user"
        );
        assert!(service["healthcheck"]["test"].is_array(), "{agent}");
        assert_eq!(
            service["depends_on"]["init"]["condition"], "service_completed_successfully",
            "{agent}"
        );
        let member = &fleet.mesh.agents[agent];
        assert_eq!(
            strings(&service["networks"]["mesh"]["aliases"]),
            [format!("{agent}.{}.svc", member.namespace)]
        );
        assert!(
            service["ports"][0]
                .as_str()
                .unwrap()
                .starts_with(&format!("127.0.0.1:{}:8080", member.port)),
            "{agent}"
        );
        let keys: Vec<String> = strings(&service["volumes"])
            .into_iter()
            .filter(|volume| volume.contains("-keys:") || volume.starts_with("authority"))
            .collect();
        assert_eq!(keys, [format!("{agent}-keys:/mesh/agents/{agent}:ro")]);
        let init = strings(&compose["services"]["init"]["volumes"]);
        assert!(
            init.iter()
                .any(|volume| volume.starts_with(&format!("{agent}-keys:/mesh/agents/{agent}"))),
            "init gives {agent} no keys"
        );
    }
}

#[test]
fn what_compose_mounts_is_there() {
    for (name, service) in yaml("docker-compose.yml")["services"].as_object().unwrap() {
        for volume in strings(&service["volumes"])
            .iter()
            .filter(|volume| volume.starts_with("./"))
        {
            let source = volume.split(':').next().unwrap();
            assert!(root().join(source).exists(), "{name} mounts {source}");
        }
    }
    let compose = compose();
    let examples = |path: &str| path.replace("/workspace/", "examples/");
    for agent in &agents() {
        let service = &compose["services"][agent];
        let cluster = service["environment"]["AGENT_CLUSTER"]
            .as_str()
            .and_then(|source| source.strip_prefix("snapshot:"))
            .map(str::to_owned);
        for path in strings(&service["command"])
            .into_iter()
            .chain(cluster)
            .filter(|word| word.starts_with("/workspace/"))
        {
            assert!(
                root().join(examples(&path)).exists(),
                "{agent} reads {path}"
            );
        }
    }
}

#[test]
fn prometheus_and_grafana_know_the_services() {
    let compose = compose();
    let scraped: BTreeSet<String> =
        yaml("deploy/compose/prometheus/prometheus.yml")["scrape_configs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| {
                let name = job["job_name"].as_str().unwrap().to_owned();
                assert_eq!(
                    strings(&job["static_configs"][0]["targets"]),
                    [format!("{name}:9090")],
                    "the dashboards choose by job"
                );
                name
            })
            .collect();
    assert_eq!(scraped, agents().into_iter().collect());
    let sources = yaml("deploy/compose/grafana/provisioning/datasources/datasources.yaml");
    for source in sources["datasources"].as_array().unwrap() {
        let host = source["url"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://")
            .split(':')
            .next()
            .unwrap();
        assert!(compose["services"][host].is_object(), "no service {host}");
    }
    let check = Command::new(program("promtool"))
        .args([
            "check",
            "config",
            "deploy/compose/prometheus/prometheus.yml",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
}

#[test]
fn the_image_has_a_folder_for_every_volume_and_the_health_checks_program() {
    let dockerfile = text(&root().join("Dockerfile"));
    for expected in [
        "FROM scratch",
        "USER 65532:65532",
        "/bin/wget",
        "ENTRYPOINT [\"/bin/program\"]",
    ] {
        assert!(dockerfile.contains(expected), "{expected}");
    }
    let skeleton = |path: &str| {
        path.starts_with("/mesh/agents/") || dockerfile.contains(&format!("/skeleton{path}"))
    };
    let compose = compose();
    for name in agents().into_iter().chain(["init".to_owned()]) {
        for volume in strings(&compose["services"][name]["volumes"]) {
            let mut parts = volume.split(':');
            let (source, target) = (parts.next().unwrap(), parts.next().unwrap());
            assert!(
                source.starts_with('/') || skeleton(target),
                "an empty volume at {target} would belong to root"
            );
        }
    }
}

#[test]
fn our_own_validator_accepts_the_rendered_objects_as_restricted() {
    let folder = root().join("deploy/kubernetes");
    let sources: Vec<SourceFile> = files(&folder, ".yaml")
        .into_iter()
        .filter(|path| {
            path.parent() == Some(&folder)
                && path
                    .file_name()
                    .is_some_and(|name| name != "kustomization.yaml")
        })
        .map(|path| SourceFile {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            content: text(&path),
        })
        .collect();
    assert_eq!(sources.len(), agents().len() + 1);
    let manifests = Manifests::read(&sources).unwrap();
    let (mut findings, objects) =
        validate(&manifests, &built_in().unwrap(), PodSecurity::Restricted);
    manifests.syntax(&mut findings);
    let (found, counts, _) = findings.into_sorted();
    let errors: Vec<_> = found
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty() && counts.error == 0, "{errors:#?}");
    assert!(objects > 60, "{objects}");
}
