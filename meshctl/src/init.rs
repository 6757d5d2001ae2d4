//! `meshctl init`: authority, certificates, signing keys and directory for agents that something else runs,
//! such as Compose or a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use identity::SpiffeId;
use serde_json::{Value, json};

use crate::ground::Ground;

const DAY: Duration = Duration::from_hours(24);

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder that keeps the authority, the keys and the external callers' certificates.
    #[arg(long, value_name = "DIR", default_value = ".mesh")]
    state: PathBuf,
    /// Folder with all manifests and mesh.yaml.
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,
    /// Also write DIR/public (manifests, directory.json) and DIR/agents/<agent> (tls, signing key), so that each agent
    /// can be given its own folder only.
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// Also write the Secrets and `ConfigMap`s that deploy/kubernetes mounts, as one YAML file.
    #[arg(long, value_name = "FILE")]
    kubernetes: Option<PathBuf>,
    /// Days that certificates are valid; run again to renew them, running agents take them over.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=398))]
    validity_days: u32,
}

/// Fills the folders; keys that are there stay, certificates are made anew.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ground = Ground::prepare(
        &args.state,
        &args.manifests,
        std::collections::BTreeMap::new(),
    )?;
    let names: Vec<&String> = ground.fleet.mesh.agents.keys().collect();
    let validity = DAY * args.validity_days;
    for agent in &names {
        certify(&ground, agent, validity)?;
    }
    for caller in ground.fleet.mesh.callers.keys() {
        let id = SpiffeId::external(&ground.fleet.mesh.trust_domain, caller)?;
        let folder = ground.root.join("callers").join(caller);
        ground.authority.issue_to(&folder, &id, validity)?;
    }
    if let Some(share) = &args.share {
        publish(&ground, &share.join("public"))?;
        for agent in &names {
            copy_tree(&ground.agent_dir(agent), &share.join("agents").join(agent))?;
        }
    }
    if let Some(file) = &args.kubernetes {
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": objects(&ground)?});
        private(file, &serde_saphyr::to_string(&objects)?)?;
    }
    crate::say(format_args!(
        "{} agents have an identity in {}",
        names.len(),
        args.state.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A certificate that also names the hosts under which people reach the agent.
fn certify(ground: &Ground, agent: &str, validity: Duration) -> anyhow::Result<()> {
    let mesh = &ground.fleet.mesh;
    let id: SpiffeId = mesh.spiffe_id(agent).unwrap_or_default().parse()?;
    let namespace = mesh
        .agents
        .get(agent)
        .map_or("", |member| member.namespace.as_str());
    let service = format!("{agent}.{namespace}.svc");
    let folder = ground.agent_dir(agent).join("tls");
    let hosts = ["localhost", "127.0.0.1", agent, &service];
    let issued = ground
        .authority
        .issue_for_hosts(&folder, &id, validity, &hosts);
    issued.with_context(|| format!("cannot issue a certificate into {}", folder.display()))?;
    Ok(())
}

/// What every agent may read.
fn publish(ground: &Ground, folder: &Path) -> anyhow::Result<()> {
    copy_tree(&ground.root.join("manifests"), &folder.join("manifests"))?;
    copy(
        &ground.root.join("directory.json"),
        &folder.join("directory.json"),
    )
}

/// Copies the files that an agent reads. What else lies there, such as a store of `meshctl up`, is not copied.
fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let wanted = path
            .extension()
            .is_some_and(|end| end == "pem" || end == "yaml");
        if entry.file_type()?.is_dir() {
            copy_tree(&path, &target)?;
        } else if wanted {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Replaces a file in one step, with the permissions of the original.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(failed)?;
    fs::rename(&fresh, to).with_context(failed)
}

/// The Secrets of each agent, and the directory in each namespace.
fn objects(ground: &Ground) -> anyhow::Result<Vec<Value>> {
    let directory = read(&ground.root.join("directory.json"))?;
    let mut objects = Vec::new();
    let mut namespaces = std::collections::BTreeSet::new();
    for (agent, member) in &ground.fleet.mesh.agents {
        let folder = ground.agent_dir(agent);
        let mut tls = serde_json::Map::new();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            tls.insert(name.into(), read(&folder.join("tls").join(name))?.into());
        }
        let key = json!({"signing-key.pem": read(&folder.join("signing-key.pem"))?});
        objects.push(secret(
            &format!("{agent}-tls"),
            &member.namespace,
            &tls.into(),
        ));
        objects.push(secret(
            &format!("{agent}-signing-key"),
            &member.namespace,
            &key,
        ));
        if namespaces.insert(&member.namespace) {
            objects.push(json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "agent-directory", "namespace": member.namespace},
                "data": {"directory.json": directory},
            }));
        }
    }
    Ok(objects)
}

fn secret(name: &str, namespace: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "stringData": data,
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file that its owner alone may read, whatever was there before.
fn private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

    let failed = || format!("cannot write {}", path.display());
    let fresh = path.with_extension("new");
    let _absent = fs::remove_file(&fresh);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(failed)?;
    fs::rename(&fresh, path).with_context(failed)
}
