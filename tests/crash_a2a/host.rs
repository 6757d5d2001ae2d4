//! The agent as a process that is killed and started again.

use std::{
    fs::OpenOptions,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub(crate) struct Host {
    listen: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Host {
    pub(crate) fn start(folder: &Path) -> Self {
        let listen = free();
        Self {
            child: spawn(folder, listen),
            folder: folder.to_owned(),
            listen,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// SIGKILL, and a new process on the same store and port at once.
    pub(crate) async fn kill_and_restart(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the agent ended by itself, {status}:\n{}", self.log());
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.folder, self.listen);
        tokio::task::yield_now().await;
    }

    pub(crate) fn journal(&self) -> String {
        std::fs::read_to_string(self.folder.join("journal")).unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It has ended already when the test fails because of that.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(folder: &Path, listen: SocketAddr) -> Child {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    Command::new(env!("CARGO_BIN_EXE_crash-agent"))
        .arg("--listen")
        .arg(listen.to_string())
        .arg("--store")
        .arg(folder.join("tasks.db"))
        .arg("--journal")
        .arg(folder.join("journal"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// An address below the ports that the system gives to clients, which might take it while the agent is down.
fn free() -> SocketAddr {
    let offset = u16::try_from(std::process::id() % 12_000).unwrap();
    (0..12_000)
        .map(|n| SocketAddr::from(([127, 0, 0, 1], 20_000 + (offset + n) % 12_000)))
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap()
}
