//! The manifests of examples/shop/kubernetes: their very command lines against a real agent, before and after a migration.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail loudly"
)]

use std::{path::PathBuf, process::Stdio};

use meshctl::{
    agents::{Resources, flags},
    ground::{Ground, free_ports},
    processes::{Process, await_ready, programs, spawn},
};
use serde_json::Value;
use tests::tools::root;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

fn documents(file: &str) -> Vec<Value> {
    let path = root().join("examples/shop/kubernetes").join(file);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn object(file: &str, kind: &str) -> Value {
    let all = documents(file);
    let found = all.into_iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {file}"))
}

fn arguments(container: &Value) -> Vec<String> {
    let args = container["args"].as_array().unwrap();
    args.iter()
        .map(|arg| arg.as_str().unwrap().to_owned())
        .collect()
}

fn gate() -> Vec<String> {
    arguments(&object("gate.yaml", "Deployment")["spec"]["template"]["spec"]["initContainers"][0])
}

/// db-migrator on one `dev` database, so that nobody has to approve.
struct Agent {
    ground: Ground,
    meshctl: PathBuf,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Agent {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fleet = manifest::load_dir(&root().join("manifests")).unwrap();
        let state = folder.path().join("mesh");
        let ports = free_ports(&fleet).unwrap();
        let ground = Ground::prepare(&state, &root().join("manifests"), ports).unwrap();
        let resources = Resources {
            workspace: folder.path().to_owned(),
            databases: vec![format!(
                "shop=sqlite:{},dev",
                folder.path().join("shop.db").display()
            )],
            ..Resources::default()
        };
        let programs = programs(&["db-migrator", "meshctl"]).await.unwrap();
        let log = state.join("logs/db-migrator.log");
        let flags = flags(&ground, "db-migrator", &resources);
        let child = spawn(&programs.join("db-migrator"), &flags, &log, false).unwrap();
        let process = Process {
            name: "db-migrator".into(),
            pid: child.id().unwrap().try_into().unwrap(),
            url: ground.url("db-migrator"),
            ports: ground.ports.get("db-migrator").copied(),
            log,
        };
        let mut one = vec![(process, child)];
        await_ready(&mut one, |_| ()).await.unwrap();
        let (_, child) = one.remove(0);
        Self {
            ground,
            meshctl: programs.join("meshctl"),
            folder,
            _child: child,
        }
    }

    /// The command line of a manifest, with this agent's address and the caller's certificates.
    fn command(&self, mut args: Vec<String>) -> Command {
        let caller = value(&args, "--caller");
        *slot(&mut args, "--url") = self.ground.url("db-migrator");
        let tls = self.ground.root.join("callers").join(caller);
        *slot(&mut args, "--tls-dir") = tls.display().to_string();
        let mut command = Command::new(&self.meshctl);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: Vec<String>) -> (i32, String, String) {
        let output = self.command(args).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

fn slot<'a>(args: &'a mut [String], flag: &str) -> &'a mut String {
    let at = args.iter().position(|arg| arg == flag);
    &mut args[at.unwrap_or_else(|| panic!("no {flag}")) + 1]
}

fn value(args: &[String], flag: &str) -> String {
    slot(&mut args.to_vec(), flag).clone()
}

#[test]
fn the_job_carries_the_migrations_of_the_release() {
    let request = object("migrate.yaml", "ConfigMap")["data"]["request.json"].clone();
    let request: Value = serde_json::from_str(request.as_str().unwrap()).unwrap();
    let files = request["source"]["files"].as_array().unwrap();
    let folder = root().join("examples/shop/releases/1.1.0/migrations");
    assert_eq!(files.len(), std::fs::read_dir(&folder).unwrap().count());
    for file in files {
        let content = std::fs::read_to_string(folder.join(file["name"].as_str().unwrap())).unwrap();
        assert_eq!(file["content"], content);
    }
    let input: db_migrator::skills::ApplyMigrationInput = serde_json::from_value(request).unwrap();
    assert!(!input.dry_run);
    let mounted = &object("migrate.yaml", "Job")["spec"]["template"]["spec"]["volumes"][0]["configMap"]
        ["name"];
    assert_eq!(
        *mounted,
        object("migrate.yaml", "ConfigMap")["metadata"]["name"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_opens_when_the_job_is_done_and_not_before() {
    let agent = Agent::start().await;
    let mut waiting = agent.command(gate()).spawn().unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    assert_eq!(
        line,
        "waiting for release 1.1.0 on shop: it is not applied yet, head none"
    );

    let mut late = gate();
    *slot(&mut late, "--timeout") = "1s".into();
    let (code, _, err) = agent.run(late).await;
    assert_eq!(code, 1, "{err}");
    let sentence = "error: the schema of release 1.1.0 is not in force on shop after 1s: it is not applied yet, head none";
    assert!(err.contains(sentence), "{err}");

    let job = object("migrate.yaml", "Job");
    let mut args = arguments(&job["spec"]["template"]["spec"]["containers"][0]);
    let request = object("migrate.yaml", "ConfigMap")["data"]["request.json"].clone();
    let file = agent.folder.path().join("request.json");
    std::fs::write(&file, request.as_str().unwrap()).unwrap();
    *slot(&mut args, "--input") = file.display().to_string();
    let (code, out, err) = agent.run(args.clone()).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["head"], "0004");
    let (again, out, _) = agent.run(args).await;
    assert_eq!(
        (again, serde_json::from_str::<Value>(&out).unwrap()),
        (0, answer),
        "a Job that is started twice applies once"
    );

    let done = waiting.wait_with_output().await.unwrap();
    assert_eq!(done.status.code(), Some(0));
    let out = String::from_utf8(done.stdout).unwrap();
    assert_eq!(
        out,
        "the schema of release 1.1.0 is in force on shop: head 0004\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_gives_up_where_waiting_does_not_help_and_asks_on_while_the_agent_is_away() {
    let agent = Agent::start().await;
    let mut unknown = gate();
    *slot(&mut unknown, "--database") = "nowhere".into();
    let (code, _, err) = agent.run(unknown).await;
    assert_eq!(code, 1);
    assert!(
        err.contains("error: cannot wait for release 1.1.0 on nowhere"),
        "{err}"
    );
    let mut args = gate();
    *slot(&mut args, "--timeout") = "1s".into();
    let mut nobody = Command::new(&agent.meshctl);
    *slot(&mut args, "--url") = "https://127.0.0.1:1".into();
    *slot(&mut args, "--tls-dir") = agent
        .ground
        .root
        .join("callers/schema-gate")
        .display()
        .to_string();
    let output = nobody.args(&args).output().await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err.contains("waiting for release 1.1.0 on shop: cannot reach https://127.0.0.1:1"),
        "{err}"
    );
}
