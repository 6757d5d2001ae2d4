//! The processes of a local mesh: built when missing, started, awaited, stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::ground::Ports;

/// Longest start of all agents.
const START: Duration = Duration::from_secs(30);
/// Longest stop before a process is killed.
const STOP: Duration = Duration::from_secs(25);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(15);

/// A started process, as the state file remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// Agent, or `cluster-model`.
    pub name: String,
    /// Process id.
    pub pid: i32,
    /// Base URL.
    pub url: String,
    /// Its ports; an embedded cluster has none of these.
    pub ports: Option<Ports>,
    /// Its log.
    pub log: PathBuf,
}

/// The state file of a running mesh (`mesh.json`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Running {
    /// All processes, in the order of their start.
    pub processes: Vec<Process>,
    /// Kubeconfig of the embedded cluster.
    pub kubeconfig: Option<PathBuf>,
}

impl Running {
    const FILE: &'static str = "mesh.json";

    /// Reads the state of `root`; nothing when there is none or nothing of it is alive.
    pub fn load(root: &Path) -> Option<Self> {
        let running: Self = serde_json::from_slice(&fs::read(root.join(Self::FILE)).ok()?).ok()?;
        running
            .processes
            .iter()
            .any(Process::is_alive)
            .then_some(running)
    }

    /// Reads the state or says how to start.
    ///
    /// # Errors
    /// When nothing runs.
    pub fn require(root: &Path) -> anyhow::Result<Self> {
        Self::load(root).with_context(|| {
            format!(
                "no mesh runs from {} (start one with `meshctl up`)",
                root.display()
            )
        })
    }

    /// Writes the state.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, root: &Path) -> anyhow::Result<()> {
        // In one step: another meshctl may read it at any time.
        let fresh = root.join("mesh.json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&fresh, root.join(Self::FILE)))
            .context("cannot write mesh.json")
    }

    /// Removes the state.
    pub fn forget(root: &Path) {
        let _gone_is_fine = fs::remove_file(root.join(Self::FILE));
    }

    /// One process.
    ///
    /// # Errors
    /// Names those that there are.
    pub fn agent(&self, name: &str) -> anyhow::Result<&Process> {
        let known = || {
            let agents = self.processes.iter().filter(|p| p.ports.is_some());
            agents
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.processes
            .iter()
            .find(|process| process.name == name)
            .with_context(|| format!("no agent {name}; there are {}", known()))
    }
}

impl Process {
    /// Whether it runs. A process that only waits to be collected, or another one with its number, does not count.
    pub fn is_alive(&self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return false;
        };
        match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => runs(&stat, &self.name),
            // Systems without /proc can only say that the number is in use.
            Err(_) => !Path::new("/proc/self/stat").exists() && test_kill_process(pid).is_ok(),
        }
    }

    /// `running` or `ended`.
    pub(crate) fn standing(&self) -> &'static str {
        if self.is_alive() { "running" } else { "ended" }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it without asking.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            let _gone_is_fine = kill_process(pid, signal);
        }
    }
}

/// Reads `/proc/PID/stat`: whether this is a live process of a program called `name`.
fn runs(stat: &str, name: &str) -> bool {
    // The kernel keeps the first 15 bytes of a program's name.
    const KEPT: usize = 15;
    let Some((head, tail)) = stat.rsplit_once(')') else {
        return false;
    };
    let same = head
        .split_once('(')
        .is_some_and(|(_, comm)| comm == name.get(..KEPT).unwrap_or(name));
    same && !tail.trim_start().starts_with(['Z', 'X'])
}

/// Stops processes: asks all, waits, kills the rest.
pub async fn stop(processes: &[Process]) {
    processes.iter().for_each(Process::terminate);
    let all_gone = async {
        while processes.iter().any(Process::is_alive) {
            sleep(LOOK).await;
        }
    };
    if timeout(STOP, all_gone).await.is_err() {
        processes.iter().for_each(Process::kill);
    }
}

/// Starts a program whose output goes to `log`. A detached one outlives this process and its terminal.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(
    program: &Path,
    arguments: &[String],
    log: &Path,
    detached: bool,
) -> anyhow::Result<Child> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let output =
        fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        // As in the image: config-validator's allocator would otherwise begin with huge pages.
        .env("MIMALLOC_ALLOW_THP", "0")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(!detached);
    // Its own group: Ctrl-C reaches meshctl alone, which then stops everybody in order.
    command.process_group(0);
    command
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Waits until each process answers `/readyz`; `tell` hears of every one that does.
///
/// # Errors
/// Names the first that ended or was late, with the end of its log.
pub async fn await_ready(
    children: &mut [(Process, Child)],
    mut tell: impl FnMut(&Process),
) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(1))
        .build()?;
    let deadline = Instant::now() + START;
    let mut waiting: Vec<usize> = (0..children.len()).collect();
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for index in waiting {
            let Some((process, child)) = children.get_mut(index) else {
                continue;
            };
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status} while starting:\n{}",
                    process.name,
                    tail(&process.log)
                );
            }
            let Some(ports) = process.ports else { continue };
            let ready = client
                .get(format!("http://127.0.0.1:{}/readyz", ports.health))
                .send()
                .await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                tell(process);
            } else if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {} s:\n{}",
                    process.name,
                    START.as_secs(),
                    tail(&process.log)
                );
            } else {
                still.push(index);
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(8);
    let last = lines.get(start..).unwrap_or_default();
    last.iter().flat_map(|line| ["  ", line, "\n"]).collect()
}

/// Finds the programs beside this one and builds those that are missing from the source tree.
///
/// # Errors
/// When one is missing and cannot be built.
pub async fn programs(names: &[&str]) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut folder = own
        .parent()
        .context("this program has no folder")?
        .to_path_buf();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !folder.join(name).exists())
        .collect();
    if missing.is_empty() {
        return Ok(folder);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    if !root.join("Cargo.toml").exists() {
        bail!(
            "{} are missing beside {}",
            missing.join(", "),
            own.display()
        );
    }
    eprintln!("building {} (once)", missing.join(", "));
    let mut build = Command::new("cargo");
    // `--bin` rather than `-p`: features are then resolved for the whole workspace, as in every other build.
    build
        .current_dir(root)
        .arg("build")
        .args(missing.iter().flat_map(|name| ["--bin", name]));
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let status = build
        .stdout(Stdio::null())
        .status()
        .await
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo could not build {}", missing.join(", "));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::{Process, runs};

    #[test]
    fn a_process_is_known_by_state_and_name() {
        assert!(runs("7 (db-migrator) S 1 7 7", "db-migrator"));
        assert!(runs("7 (security-scanne) R 1 7 7", "security-scanner"));
        assert!(!runs("7 (db-migrator) Z 1 7 7", "db-migrator"));
        assert!(!runs("7 (bash) S 1 7 7", "db-migrator"));
        assert!(!runs("", "db-migrator"));
    }

    #[test]
    fn a_foreign_process_with_the_same_number_is_not_taken_for_an_agent() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process {
            name: "db-migrator".into(),
            pid,
            url: String::new(),
            ports: None,
            log: "none".into(),
        };
        assert!(!process.is_alive());
        process.kill();
    }
}
