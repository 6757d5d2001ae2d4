//! Other people's A2A libraries: their clients against our agent, their servers for our client.

mod steps;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

pub use steps::call_everything;

use crate::tools::{program, root};

/// How long an agent may take to listen: the first start of a Python program compiles its modules.
const STARTING: Duration = Duration::from_mins(1);

/// A language whose A2A library is installed by the test script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `a2a-sdk` of the Python package index.
    Python,
    /// `@a2a-js/sdk` of npm.
    JavaScript,
}

impl Language {
    /// A program of `tests/interop`, ready to run. It needs the folder for as long as it runs.
    fn command(self, script: &str) -> anyhow::Result<(Command, TempDir)> {
        let folder = tempfile::tempdir()?;
        let scripts = root().join("tests/interop");
        let command = match self {
            Self::Python => {
                let mut command = Command::new(program("interop/bin/python"));
                command.arg(scripts.join(format!("python/{script}.py")));
                command
            }
            Self::JavaScript => {
                // Node.js looks for libraries beside the script, and they are not installed into the source tree.
                let name = format!("{script}.mjs");
                let source = scripts.join("javascript").join(&name);
                std::fs::copy(&source, folder.path().join(&name))
                    .with_context(|| format!("cannot read {}", source.display()))?;
                link_libraries(folder.path())?;
                let mut command = Command::new(program("interop/bin/node"));
                command.arg(folder.path().join(name));
                command
            }
        };
        Ok((command, folder))
    }
}

fn link_libraries(folder: &Path) -> anyhow::Result<()> {
    let manifest = program("interop/node_modules/@a2a-js/sdk/package.json");
    let libraries = manifest
        .ancestors()
        .find(|path| path.ends_with("node_modules"))
        .context("the library is not among others")?;
    std::os::unix::fs::symlink(libraries, folder.join("node_modules"))?;
    Ok(())
}

/// An agent made with another library.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub url: String,
    log: PathBuf,
    _child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(language: Language) -> anyhow::Result<Self> {
        let (mut command, folder) = language.command("server")?;
        let log = folder.path().join("log");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("ready ") {
                    return Ok(url.to_owned());
                }
            }
            anyhow::bail!("it ended")
        };
        let url = tokio::time::timeout(STARTING, ready)
            .await
            .map_err(anyhow::Error::from)
            .flatten()
            .with_context(|| format!("the {language:?} agent does not listen: {}", read(&log)))?;
        // What it prints later is read and dropped, so that a full pipe never stops it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            url,
            log,
            _child: child,
            _folder: folder,
        })
    }

    /// Lets our client call everything that it has.
    ///
    /// # Errors
    /// The step that failed, with what the agent wrote meanwhile.
    pub async fn is_called_by_our_client(&self) -> anyhow::Result<()> {
        call_everything(&self.url)
            .await
            .with_context(|| format!("the agent wrote:\n{}", read(&self.log)))
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Lets another library's client call everything that the agent at `url` has.
///
/// # Errors
/// The step that failed, with what the client saw.
pub async fn run_client(language: Language, url: &str) -> anyhow::Result<()> {
    let (mut command, _folder) = language.command("client")?;
    let output = command.arg(url).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    print_steps(&said);
    ensure!(
        output.status.success(),
        "the {language:?} client failed:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        said.contains("step errors: ok"),
        "the {language:?} client skipped steps:\n{said}"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the steps are a test's output")]
fn print_steps(said: &str) {
    print!("{said}");
}
