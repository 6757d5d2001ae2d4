//! Helm against the control plane.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use crate::ControlPlane;

/// Helm, bound to a control plane.
#[derive(Debug)]
pub struct Helm<'a> {
    plane: &'a ControlPlane,
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl<'a> Helm<'a> {
    pub(crate) fn new(plane: &'a ControlPlane, program: PathBuf) -> Self {
        Self {
            plane,
            program,
            kubeconfig: plane.kubeconfig(),
        }
    }

    /// The same with the rights of another kubeconfig.
    #[must_use]
    pub fn with(self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            ..self
        }
    }

    /// A call of Helm that is killed when its value is dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.plane.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs Helm to its end; answers whether it succeeded and what it printed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn run(&self, arguments: &[&str]) -> std::io::Result<(bool, String)> {
        let output = self.command(arguments).output().await?;
        let printed = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&printed).into_owned(),
        ))
    }
}
