//! How a command finds an agent: by the state folder of a mesh, or by its address and a folder of certificates.

use std::path::PathBuf;

use anyhow::Context as _;
use identity::SpiffeId;

use crate::{
    call::connect,
    client::{Caller, Target},
};

/// Flags of commands that call an agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Reach {
    /// External caller of mesh.yaml to call as.
    #[arg(long, default_value = "operator")]
    pub(crate) caller: String,
    /// State folder of the mesh.
    #[arg(long, default_value = ".mesh")]
    pub(crate) state: PathBuf,
    /// Base URL of the agent, where there is no state folder: in a pod, for example.
    #[arg(long, requires_all = ["tls_dir", "agent_id"])]
    url: Option<String>,
    /// Folder with the caller's ca.pem, cert.pem and key.pem.
    #[arg(long, value_name = "DIR", requires = "url")]
    tls_dir: Option<PathBuf>,
    /// SPIFFE id that the agent has to prove, for example `spiffe://mesh.local/ns/data-system/sa/db-migrator`.
    #[arg(long, value_name = "SPIFFE", requires = "url")]
    agent_id: Option<String>,
}

impl Reach {
    /// The caller with its certificate, and the agent's place.
    pub(crate) fn connect(&self, agent: &str) -> anyhow::Result<(Caller, Target)> {
        let (Some(url), Some(folder), Some(id)) = (&self.url, &self.tls_dir, &self.agent_id) else {
            return connect(&self.state, &self.caller, agent);
        };
        let id: SpiffeId = id.parse().context("--agent-id: not a SPIFFE id")?;
        let own = SpiffeId::external(id.trust_domain(), &self.caller)?;
        let target = Target {
            url: url.trim_end_matches('/').to_owned(),
            id,
        };
        Ok((Caller::in_folder(folder, &own)?, target))
    }
}
