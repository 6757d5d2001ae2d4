//! The command line as a user runs it: the real program, real daemons on the fixed ports, real `curl`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
};

use meshctl::processes::programs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::tools::{agents, root};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::{Mutex, MutexGuard},
};

/// The fixed ports belong to one test at a time.
static PORTS: Mutex<()> = Mutex::const_new(());

/// Processes of a mesh: all agents and the embedded cluster.
fn processes() -> usize {
    agents().len() + 1
}

/// What is said when all of them have stopped.
fn stopped() -> String {
    format!("stopped {} processes", processes())
}

/// A user's folder with a workspace in it.
struct Desk {
    folder: TempDir,
    meshctl: PathBuf,
    _ports: MutexGuard<'static, ()>,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Refused, with these words on stderr.
    fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, 1, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word} in {self:?}");
        }
        self
    }
}

impl Desk {
    async fn new() -> Self {
        let ports = PORTS.lock().await;
        let folder = tempfile::Builder::new()
            .prefix("meshctl-")
            .tempdir()
            .unwrap();
        let shop = root().join("examples/shop/releases");
        let migrations = folder.path().join("workspace/migrations");
        fs::create_dir_all(&migrations).unwrap();
        for file in fs::read_dir(shop.join("1.0.0/migrations")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), migrations.join(file.file_name())).unwrap();
        }
        let planted = folder.path().join("workspace/it's configured.yaml");
        fs::copy(shop.join("1.0.0-rc.1/manifests/configmap.yaml"), planted).unwrap();
        let meshctl = programs(&["meshctl", "cluster-model"])
            .await
            .unwrap()
            .join("meshctl");
        Self {
            folder,
            meshctl,
            _ports: ports,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.meshctl);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments)).await
    }

    /// A line as the user copies it from the screen.
    async fn shell(&self, line: &str) -> Said {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        said(shell).await
    }

    fn up() -> Vec<String> {
        let manifests = root().join("manifests");
        let flags = [
            "up",
            "--workspace",
            "workspace",
            "--database",
            "shop=sqlite:shop.db",
            "--manifests",
        ];
        flags
            .into_iter()
            .map(str::to_owned)
            .chain([manifests.display().to_string()])
            .collect()
    }

    async fn up_detached(&self) -> Said {
        let mut up = Self::up();
        up.push("--detach".into());
        self.run(&up.iter().map(String::as_str).collect::<Vec<_>>())
            .await
    }

    /// A mesh in front, once it is ready.
    async fn up_in_front(&self) -> Child {
        let up = Self::up();
        let mut command = self.command(&up.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            match lines.next_line().await.unwrap() {
                Some(line) if line.contains("Ctrl-C stops them") => break,
                Some(_) => {}
                None => panic!("it ended: {}", end(child).await.err),
            }
        }
        // Keeps the pipe open for what is said at the end.
        child.stdout = Some(lines.into_inner().into_inner());
        assert_eq!(self.left().len(), processes());
        child
    }

    /// Command lines of the processes that were started from this folder, whatever mesh.json says.
    fn left(&self) -> Vec<String> {
        let state = self.folder.path().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        processes.filter(|line| line.contains(&state)).collect()
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder.path().join(".mesh/mesh.json")).unwrap())
            .unwrap()
    }

    fn pid(&self, agent: &str) -> Pid {
        let state = self.state();
        let mut processes = state["processes"].as_array().unwrap().iter();
        let process = processes.find(|process| process["name"] == agent).unwrap();
        Pid::from_raw(i32::try_from(process["pid"].as_i64().unwrap()).unwrap()).unwrap()
    }

    fn nothing_left(&self) {
        assert_eq!(self.left(), Vec::<String>::new());
        assert!(!self.folder.path().join(".mesh/mesh.json").exists());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let mut down = std::process::Command::new(&self.meshctl);
        let _nothing_runs = down.arg("down").current_dir(self.folder.path()).output();
    }
}

async fn said(mut command: Command) -> Said {
    end(command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap())
    .await
}

async fn end(child: Child) -> Said {
    let output = child.wait_with_output().await.unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_mesh_is_started_once_called_approved_and_stopped() {
    let desk = Desk::new().await;
    desk.run(&["status"])
        .await
        .refused(&["no mesh runs from .mesh", "meshctl up"]);

    let up = desk.up_detached().await.ok();
    for word in [
        "security-scanner",
        "https://127.0.0.1:7101",
        "http://127.0.0.1:7301/metrics",
        ".mesh/logs/security-scanner.log",
        "cluster-model",
        "down",
    ] {
        assert!(up.out.contains(word), "no {word} in {up:?}");
    }
    let again = desk.up_detached().await.ok();
    assert!(
        again.out.contains("already running from .mesh"),
        "{again:?}"
    );
    assert_eq!(desk.left().len(), processes());

    let status = desk.run(&["status", "--json"]).await.ok().json();
    assert_eq!(status["ready"], true, "{status}");
    let listed = status["processes"].as_array().unwrap();
    assert_eq!(listed.len(), processes());
    for line in up.out.lines().filter(|line| line.starts_with('┌')) {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
    let metrics = listed
        .iter()
        .filter_map(|process| process["metrics"].as_str());
    for url in metrics {
        let served = desk
            .shell(&format!("curl --silent --fail {url}"))
            .await
            .ok();
        assert!(served.out.contains("# TYPE"), "{url}: {served:?}");
    }
    let cut = desk
        .shell(&format!("{} status --json | true", desk.meshctl.display()))
        .await
        .ok();
    assert_eq!(cut.err, "");

    calls(&desk).await;
    approves(&desk).await;

    let down = desk.run(&["down"]).await.ok();
    assert!(down.out.contains(&stopped()), "{down:?}");
    desk.nothing_left();
    desk.run(&["status"])
        .await
        .refused(&["no mesh runs from .mesh", "meshctl up"]);
    desk.run(&["down"])
        .await
        .refused(&["no mesh runs from .mesh"]);
    desk.run(&["call", "security-scanner", "detect_secrets"])
        .await
        .refused(&["no mesh runs from .mesh"]);
}

/// `call`, and the `curl` that it prints.
async fn calls(desk: &Desk) {
    let input = json!({"paths": ["it's configured.yaml"]}).to_string();
    let call = ["call", "security-scanner", "detect_secrets", "--input"];
    let found = desk.run(&[&call[..], &[&input]].concat()).await.ok();
    assert!(
        !found.json()["findings"].as_array().unwrap().is_empty(),
        "{found:?}"
    );
    assert!(found.err.contains("task "), "{found:?}");

    let curl = found
        .err
        .lines()
        .find(|line| line.starts_with("curl "))
        .unwrap();
    let answer = desk
        .shell(&format!("{curl} --silent --show-error"))
        .await
        .ok()
        .json();
    assert_eq!(answer["jsonrpc"], "2.0");
    assert_eq!(
        answer["result"]["findings"],
        found.json()["findings"],
        "{answer}"
    );

    fs::write(desk.folder.path().join("input.json"), &input).unwrap();
    let line = format!(
        "{} call security-scanner detect_secrets --json --input",
        desk.meshctl.display()
    );
    for way in ["input.json", "- < input.json"] {
        let same = desk.shell(&format!("{line} {way}")).await.ok();
        assert_eq!(
            same.json()["findings"],
            found.json()["findings"],
            "{same:?}"
        );
        assert_eq!(same.err, "");
    }
    refuses(desk, &call).await;
}

/// What `call` says of input, agents and callers that do not fit.
async fn refuses(desk: &Desk, call: &[&str]) {
    for (bad, words) in [
        ("{\"paths\": ", "--input: not JSON"),
        ("[\"a\"]", "--input: expected a JSON object, got an array"),
        ("none.json", "--input: cannot read none.json"),
    ] {
        desk.run(&[call, &[bad]].concat()).await.refused(&[words]);
    }
    let wrong = desk
        .run(&[call, &["{\"path\": [\".\"]}"]].concat())
        .await
        .refused(&[]);
    assert_eq!(wrong.json()["code"], -32602, "{wrong:?}");
    let unknown = desk.run(&["call", "scanner", "detect_secrets"]).await;
    unknown.refused(&[
        "no agent scanner",
        "security-scanner",
        "rollback-coordinator",
    ]);
    let caller = desk
        .run(&[
            "call",
            "security-scanner",
            "detect_secrets",
            "--caller",
            "nobody",
        ])
        .await;
    caller.refused(&["no certificate of nobody"]);
    let denied = desk
        .run(&[
            "call",
            "security-scanner",
            "detect_secrets",
            "--caller",
            "dashboard",
        ])
        .await
        .refused(&[]);
    assert_eq!(denied.json()["code"], -32050, "{denied:?}");
}

/// A migration outside dev waits for a signature, and goes on with it.
async fn approves(desk: &Desk) {
    let none = desk.run(&["approve"]).await.ok();
    assert!(none.out.contains("nothing waits"), "{none:?}");
    let apply = json!({"database": "shop", "source": {"path": "migrations"}, "dry_run": false, "idempotency_key": "first"});
    let asks = desk
        .run(&[
            "call",
            "db-migrator",
            "apply_migration",
            "--input",
            &apply.to_string(),
        ])
        .await
        .refused(&[]);
    let error = asks.json();
    assert_eq!(error["data"][0]["reason"], "TASK_AUTH_REQUIRED", "{asks:?}");
    let task = error["data"][0]["metadata"]["task_id"].as_str().unwrap();

    let listed = desk
        .run(&["approve", "db-migrator", "--json"])
        .await
        .ok()
        .json();
    assert_eq!(listed["approvals"][0]["task_id"], task, "{listed}");
    desk.run(&["approve", "--task", "0"])
        .await
        .refused(&["task 0 does not wait"]);

    let shown = desk.run(&["approve"]).await.ok();
    let sign = shown
        .out
        .lines()
        .find_map(|line| line.strip_prefix("sign "))
        .unwrap();
    let signed = desk.shell(sign.trim()).await.ok();
    assert!(signed.out.starts_with(task), "{signed:?}");

    let id = json!({"id": task}).to_string();
    let mut state = String::new();
    for _ in 0..200 {
        let answer = desk
            .run(&["call", "db-migrator", "GetTask", "--json", "--input", &id])
            .await
            .ok()
            .json();
        answer["status"]["state"]
            .as_str()
            .unwrap()
            .clone_into(&mut state);
        if !["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"].contains(&state.as_str()) {
            break;
        }
    }
    assert_eq!(state, "TASK_STATE_COMPLETED");
    assert!(Path::new(&desk.folder.path().join("shop.db")).exists());
    assert!(
        desk.run(&["approve"])
            .await
            .ok()
            .out
            .contains("nothing waits")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_agent() {
    let desk = Desk::new().await;
    for (port, words) in [
        (7105, ["7105", "db-migrator", "A2A"]),
        (7302, ["7302", "compliance-auditor", "metrics"]),
    ] {
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        desk.up_detached().await.refused(&words);
        desk.nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_sigterm_and_a_closed_terminal_leave_no_process() {
    let desk = Desk::new().await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mesh = desk.up_in_front().await;
        kill_process(pid(&mesh), signal).unwrap();
        end(mesh).await.ok();
        desk.nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_during_the_start_leaves_no_process() {
    let desk = Desk::new().await;
    for detach in [&[][..], &["--detach"]] {
        let up = Desk::up();
        let flags: Vec<&str> = up
            .iter()
            .map(String::as_str)
            .chain(detach.iter().copied())
            .collect();
        let mut command = desk.command(&flags);
        let mesh = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while desk.left().is_empty() {
            tokio::task::yield_now().await;
        }
        kill_process(pid(&mesh), Signal::INT).unwrap();
        end(mesh).await.refused(&["stopped while starting"]);
        desk.nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_is_named_with_its_log_and_the_others_stop() {
    let desk = Desk::new().await;
    let mesh = desk.up_in_front().await;
    kill_process(desk.pid("cost-analyzer"), Signal::KILL).unwrap();
    let said = end(mesh).await.refused(&[
        "cost-analyzer ended",
        "signal: 9",
        ".mesh/logs/cost-analyzer.log",
    ]);
    assert!(
        said.err.contains("\"level\":\"INFO\""),
        "the end of its log: {said:?}"
    );
    desk.nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_start_is_named_and_nothing_is_left() {
    let desk = Desk::new().await;
    let mut up = Desk::up();
    up.extend(["--database", "broken=gopher://nowhere", "--detach"].map(str::to_owned));
    let said = desk
        .run(&up.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    said.refused(&["db-migrator ended", "gopher"]);
    desk.nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn down_stops_what_a_killed_meshctl_left_behind() {
    let desk = Desk::new().await;
    let mut mesh = desk.up_in_front().await;
    mesh.kill().await.unwrap();
    assert_eq!(desk.left().len(), processes());
    let again = desk.up_detached().await.ok();
    assert!(again.out.contains("already running"), "{again:?}");
    desk.run(&["down"]).await.ok();
    desk.nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_leaves_a_mesh_when_asked_and_nothing_when_stopped() {
    let desk = Desk::new().await;
    let mut kept = desk.command(&["demo", "--keep", "--json"]);
    kept.env("TMPDIR", desk.folder.path());
    let report = said(kept).await.ok().json();
    assert_eq!(desk.left().len(), processes());
    let links = report["links"].as_array().unwrap();
    for (name, words) in [
        ("agents", "compliance-auditor"),
        ("incident", "incidents"),
        ("rollback", "rolled_back"),
        ("audit", "execute_rollback"),
        ("stop", &stopped()),
    ] {
        let link = links.iter().find(|link| link["name"] == name).unwrap();
        let tried = desk.shell(link["target"].as_str().unwrap()).await.ok();
        assert!(tried.out.contains(words), "{name}: {tried:?}");
    }
    assert_eq!(desk.left(), Vec::<String>::new());

    for file in fs::read_dir(desk.folder.path()).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("mesh-demo-") {
            fs::remove_dir_all(file.path()).unwrap();
        }
    }
    let mut command = desk.command(&["demo"]);
    command.env("TMPDIR", desk.folder.path());
    let mut demo = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut story = BufReader::new(demo.stdout.take().unwrap()).lines();
    while let Some(line) = story.next_line().await.unwrap() {
        assert!(!line.contains('\x1b'), "no colours in a pipe: {line:?}");
        if line.contains("Act 2") {
            break;
        }
    }
    kill_process(pid(&demo), Signal::INT).unwrap();
    end(demo).await.refused(&["stopped"]);
    assert_eq!(desk.left(), Vec::<String>::new());
    let mut names = fs::read_dir(desk.folder.path())
        .unwrap()
        .flatten()
        .map(|file| file.file_name());
    assert!(!names.any(|name| name.to_string_lossy().starts_with("mesh-demo-")));
}
