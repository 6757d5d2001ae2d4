//! What tests and benchmarks need: a private PostgreSQL server, and a store whose writes go wrong.

mod faulty;

use std::{
    fs, io,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

pub use faulty::FaultyStore;

/// Stops the server when its standard input closes, which also happens when the test process is killed.
/// Arguments: the folder, then the server's command line. QUIT stops a running server at once; one that
/// just starts still ignores it (as every background process of a shell does), but not TERM.
const KEEPER: &str = r#"folder=$1; shift; "$@" >>"$folder/log" 2>&1 & server=$!; read -r _; kill -TERM $server; kill -QUIT $server; wait $server; rm -rf "$folder""#;

/// How often the start is looked at, every 20 ms.
const START_CHECKS: usize = 1500;

/// Where the distribution keeps its servers, by version.
const DISTRIBUTION: &str = "/usr/lib/postgresql";
/// Where the test command keeps servers of other versions than the distribution's.
const OTHER_VERSIONS: &str = "/opt/agent-mesh/postgresql";

/// A PostgreSQL server in a temporary folder, on a free port of 127.0.0.1 and a unix socket.
/// It stops and its files go when this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct TemporaryPostgres {
    keeper: Child,
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
}

/// Why no server could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartPostgresError {
    /// The server's programs are not there.
    #[error(
        "cannot find initdb in PATH or /usr/lib/postgresql/*/bin: install the package `postgresql`"
    )]
    NotInstalled,
    /// A version is not there.
    #[error("cannot find PostgreSQL {0}: the test command installs it in {OTHER_VERSIONS}")]
    NoVersion(u32),
    /// The operating system refused.
    #[error("cannot start a temporary PostgreSQL server")]
    Io(#[from] io::Error),
    /// A program of the server failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// What it printed.
        output: String,
    },
}

impl TemporaryPostgres {
    /// Starts a server without fsync, for tests.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self, StartPostgresError> {
        Self::start_with(&["fsync=off"])
    }

    /// Starts a server with settings of `postgresql.conf`, for example `fsync=on`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start_with(settings: &[&str]) -> Result<Self, StartPostgresError> {
        Self::start_with_files(settings, &[])
    }

    /// Starts a server with settings and with files in its data folder, for example `server.crt`, `server.key` and
    /// `pg_hba.conf`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start_with_files(
        settings: &[&str],
        files: &[(&str, &str)],
    ) -> Result<Self, StartPostgresError> {
        let bin = programs().ok_or(StartPostgresError::NotInstalled)?;
        Self::start_programs(bin, settings, files)
    }

    /// Starts a server of a major version, as the test command installs it or the distribution has it.
    ///
    /// # Errors
    /// When that version is not installed or does not start.
    pub fn start_version(version: u32, settings: &[&str]) -> Result<Self, StartPostgresError> {
        let known = [OTHER_VERSIONS, DISTRIBUTION]
            .map(|root| Path::new(root).join(version.to_string()).join("bin"));
        let bin = known
            .into_iter()
            .find(|bin| bin.join("postgres").is_file())
            .ok_or(StartPostgresError::NoVersion(version))?;
        Self::start_programs(bin, settings, &[])
    }

    fn start_programs(
        bin: PathBuf,
        settings: &[&str],
        files: &[(&str, &str)],
    ) -> Result<Self, StartPostgresError> {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        if let Some((uid, gid)) = server_user() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))?;
        }
        let data = folder.path().join("data");
        let mut initdb = as_server_user(&bin.join("initdb"));
        initdb.arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        finish("initdb", initdb.output()?)?;
        for (name, content) in files {
            place(&data.join(name), content)?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut keeper = as_server_user(Path::new("/bin/sh"));
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(folder.path())
            .arg(bin.join("postgres"))
            .arg("-D")
            .arg(&data);
        keeper
            .arg("-k")
            .arg(folder.path())
            .args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        keeper.args(settings.iter().flat_map(|setting| ["-c", setting]));
        let keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // From here on the keeper removes the folder, as the user that owns its files.
        let server = Self {
            keeper,
            bin,
            folder: folder.keep(),
            port,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Address of a database over TCP; `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Folder of the unix socket, usable as `host`.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Port of 127.0.0.1, and of the unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database and returns its address.
    ///
    /// # Errors
    /// When the name is taken or the server is gone.
    pub fn create_database(&self, name: &str) -> Result<String, StartPostgresError> {
        let output = self.client("createdb").arg(name).output()?;
        finish("createdb", output)?;
        Ok(self.url(name))
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-p",
            &self.port.to_string(),
        ]);
        command
    }

    fn wait_until_ready(&self) -> Result<(), StartPostgresError> {
        for _ in 0..START_CHECKS {
            if self.client("pg_isready").output()?.status.success() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(StartPostgresError::Failed {
            program: "postgres",
            output,
        })
    }
}

impl Drop for TemporaryPostgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            tracing::warn!(%error, "the temporary PostgreSQL server did not stop");
        }
    }
}

/// Writes a file that only the server's user may read, as it demands of keys.
fn place(path: &Path, content: &str) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}

fn finish(program: &'static str, output: Output) -> Result<(), StartPostgresError> {
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(StartPostgresError::Failed {
        program,
        output: String::from_utf8_lossy(&printed).into_owned(),
    })
}

/// Folder of the server's programs: those of `PATH`, else of the newest version that is installed.
/// A link is followed, because its folder may lack the other programs.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let versions = fs::read_dir(DISTRIBUTION)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort_by_key(|path| version_of(path));
    let folders = on_path.chain(versions.into_iter().rev());
    let mut real = folders.filter_map(|folder| {
        folder
            .join("initdb")
            .canonicalize()
            .ok()?
            .parent()
            .map(Path::to_owned)
    });
    real.find(|bin| {
        ["postgres", "createdb", "pg_isready"]
            .iter()
            .all(|program| bin.join(program).is_file())
    })
}

fn version_of(bin: &Path) -> u32 {
    let version = bin
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str()?.parse().ok());
    version.unwrap_or_default()
}

/// A command as the user `postgres` when this process is root: the server refuses to run as root.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

/// User and group id of `postgres` when this process is root.
fn server_user() -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    let users = if is_root {
        fs::read_to_string("/etc/passwd").unwrap_or_default()
    } else {
        String::new()
    };
    let line = users
        .lines()
        .find_map(|line| line.strip_prefix("postgres:"))?;
    let mut ids = line.split(':').skip(1);
    Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
}
