//! The state folder of a local mesh: authority, certificates, keys, directory, a copy of the manifests.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use identity::{Authority, Directory, DirectoryEntry, ListedKey, SigningKey, SpiffeId, TlsFiles};
use manifest::{Approver, ApproverKey, Fleet, Mesh};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Certificates are made anew at every start.
const VALIDITY: Duration = Duration::from_hours(24);
/// How long a local signing key is listed.
const KEY_VALIDITY: time::Duration = time::Duration::days(3650);
/// The person whose key `meshctl approve` uses.
pub const APPROVER: &str = "local-approver";

/// The agent that takes webhooks.
const WEBHOOK_AGENT: &str = "monitoring-agent";

/// Ports of one agent on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// A2A.
    pub a2a: u16,
    /// Health.
    pub health: u16,
    /// Metrics.
    pub metrics: u16,
    /// Webhooks, for the agent that takes some.
    #[serde(default)]
    pub webhooks: u16,
}

/// A prepared state folder.
#[derive(Debug)]
pub struct Ground {
    /// The folder.
    pub root: PathBuf,
    /// The mesh it is for, with the local approver.
    pub fleet: Fleet,
    /// The throw-away authority.
    pub authority: Authority,
    /// Ports of each agent.
    pub ports: BTreeMap<String, Ports>,
}

impl Ground {
    /// Fills `root` for the mesh in `manifests`; keys that are there stay, certificates are made anew.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn prepare(
        root: &Path,
        manifests: &Path,
        ports: BTreeMap<String, Ports>,
    ) -> anyhow::Result<Self> {
        let root = &std::path::absolute(root)?;
        fs::create_dir_all(root.join("ca"))
            .with_context(|| format!("cannot make the state folder {}", root.display()))?;
        let fleet = manifest::load_dir(manifests)
            .with_context(|| format!("cannot load the manifests in {}", manifests.display()))?;
        let approver = signing_key(&root.join("approvers").join(format!("{APPROVER}.pem")))?;
        copy_manifests(manifests, &root.join("manifests"), &fleet.mesh, &approver)?;
        let authority = authority(&root.join("ca"), &fleet.mesh.trust_domain)?;
        let fleet = manifest::load_dir(&root.join("manifests"))
            .context("cannot load the copied manifests")?;
        let ground = Self {
            root: root.clone(),
            fleet,
            authority,
            ports,
        };
        ground.issue()?;
        Ok(ground)
    }

    /// Folder of one agent.
    pub fn agent_dir(&self, agent: &str) -> PathBuf {
        self.root.join("agents").join(agent)
    }

    /// Base URL of one agent.
    pub fn url(&self, agent: &str) -> String {
        format!(
            "https://127.0.0.1:{}",
            self.ports.get(agent).map_or(0, |ports| ports.a2a)
        )
    }

    /// Certificates for agents and external callers, and the directory of signing keys.
    fn issue(&self) -> anyhow::Result<()> {
        let mut entries = Vec::new();
        for agent in self.fleet.mesh.agents.keys() {
            let id: SpiffeId = self
                .fleet
                .mesh
                .spiffe_id(agent)
                .unwrap_or_default()
                .parse()?;
            let folder = self.agent_dir(agent);
            self.certificate(&folder.join("tls"), &id)?;
            let key = signing_key(&folder.join("signing-key.pem"))?;
            let now = OffsetDateTime::now_utc();
            let from = now - time::Duration::days(1);
            entries.push(DirectoryEntry::new(
                agent,
                id,
                ListedKey::new(key.public(), from, now + KEY_VALIDITY),
            ));
        }
        Directory::new(entries)?.save(&self.root.join("directory.json"))?;
        for caller in self.fleet.mesh.callers.keys() {
            let id = SpiffeId::external(&self.fleet.mesh.trust_domain, caller)?;
            self.certificate(&self.root.join("callers").join(caller), &id)?;
        }
        Ok(())
    }

    /// Issues a certificate into a folder. It also names loopback, so that `curl` can verify it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn certificate(&self, folder: &Path, id: &SpiffeId) -> anyhow::Result<TlsFiles> {
        fs::create_dir_all(folder)?;
        self.authority
            .issue_for_hosts(folder, id, VALIDITY, &["localhost", "127.0.0.1"])
            .with_context(|| format!("cannot issue a certificate into {}", folder.display()))
    }
}

fn authority(folder: &Path, trust_domain: &str) -> anyhow::Result<Authority> {
    if folder.join("ca-key.pem").exists() {
        let authority = Authority::load(folder).context("cannot load the local authority")?;
        if authority.trust_domain() == trust_domain {
            return Ok(authority);
        }
    }
    let authority = Authority::generate(trust_domain)?;
    authority
        .save(folder)
        .context("cannot save the local authority")?;
    Ok(authority)
}

fn signing_key(path: &Path) -> anyhow::Result<SigningKey> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    SigningKey::load_or_generate(path).with_context(|| format!("cannot use {}", path.display()))
}

/// Copies the manifests, with the local approver added to mesh.yaml.
fn copy_manifests(
    from: &Path,
    to: &Path,
    mesh: &Mesh,
    approver: &SigningKey,
) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        if file.file_name().to_string_lossy().ends_with(".ossa.yaml") {
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    let mut mesh = mesh.clone();
    mesh.approvers.retain(|known| known.name != APPROVER);
    mesh.approvers.push(Approver {
        name: APPROVER.into(),
        public_key: ApproverKey(*approver.public().as_bytes()),
    });
    fs::write(to.join("mesh.yaml"), serde_saphyr::to_string(&mesh)?)?;
    Ok(())
}

/// The ports of design §3: 71xx A2A, 72xx health, 73xx metrics, 74xx webhooks.
///
/// # Errors
/// Names the first port that is taken.
pub fn fixed_ports(fleet: &Fleet) -> anyhow::Result<BTreeMap<String, Ports>> {
    let mut all = BTreeMap::new();
    for (agent, member) in &fleet.mesh.agents {
        let ports = Ports {
            a2a: member.port,
            health: member.port + 100,
            metrics: member.port + 200,
            webhooks: member.port + 300,
        };
        let webhooks = (agent == WEBHOOK_AGENT).then_some((ports.webhooks, "webhooks"));
        let of_all = [
            (ports.a2a, "A2A"),
            (ports.health, "health"),
            (ports.metrics, "metrics"),
        ];
        for (port, what) in of_all.into_iter().chain(webhooks) {
            if TcpListener::bind(("127.0.0.1", port)).is_err() {
                bail!("port {port} ({agent}, {what}) is taken by another process");
            }
        }
        all.insert(agent.clone(), ports);
    }
    Ok(all)
}

/// Ports that are free now, below the range from which the system takes ports of outgoing connections.
///
/// # Errors
/// When there are none.
pub fn free_ports(fleet: &Fleet) -> anyhow::Result<BTreeMap<String, Ports>> {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    // Two meshes that start at once begin at different places.
    let offset = uuid::Uuid::new_v4().as_fields().1 % (RANGE.end - RANGE.start);
    let mut candidates = (offset..RANGE.end - RANGE.start)
        .chain(0..offset)
        .map(|n| RANGE.start + n);
    let mut free = || {
        candidates
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .context("no free port")
    };
    fleet
        .mesh
        .agents
        .keys()
        .map(|agent| {
            Ok((
                agent.clone(),
                Ports {
                    a2a: free()?,
                    health: free()?,
                    metrics: free()?,
                    webhooks: free()?,
                },
            ))
        })
        .collect()
}
