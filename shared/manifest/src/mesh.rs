//! `mesh.yaml`: what no single agent's manifest can say.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Document, Position, SyntaxError};

/// The mesh around the agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// The agents by name.
    pub agents: BTreeMap<String, Member>,
    /// Kubernetes namespaces that each agent may touch; none when it is not listed.
    #[serde(default)]
    pub targets: BTreeMap<String, Vec<String>>,
    /// Environments by name.
    #[serde(default)]
    pub environments: BTreeMap<String, Environment>,
    /// Who may call from outside, by name.
    #[serde(default)]
    pub callers: BTreeMap<String, ExternalCaller>,
    /// Who may approve plans.
    #[serde(default)]
    pub approvers: Vec<Approver>,
    /// Service-mesh proxies whose identity headers may be believed in `--transport mesh`.
    #[serde(default)]
    pub proxies: Vec<Proxy>,
}

/// One agent's place in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Kubernetes namespace; equal to the manifest's.
    pub namespace: String,
    /// A2A port of `meshctl up`. Health is 100 above, metrics 200 above.
    pub port: u16,
    /// Agents that are better up before this one. Only an order: no agent needs a peer to become ready.
    #[serde(default)]
    pub starts_after: Vec<String>,
}

/// A set of databases, and whether mistakes are cheap there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Whether migrations may be applied without an approval.
    #[serde(default)]
    pub dev: bool,
    /// Names of db-migrator's database targets that belong to it.
    #[serde(default)]
    pub databases: Vec<String>,
}

/// Somebody outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalCaller {
    /// What proves who it is; any one of them.
    pub identities: Vec<MeshIdentity>,
    /// What it may call.
    pub skills: GrantedSkills,
}

/// One way to prove an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MeshIdentity {
    /// SPIFFE id in the client certificate.
    Spiffe(String),
    /// Linkerd identity, a DNS name.
    Linkerd(String),
    /// OIDC bearer token, for example GitLab's `id_tokens`.
    Oidc {
        /// `iss`.
        issuer: String,
        /// `aud`.
        audience: String,
        /// `sub`; a `*` at the end stands for any rest.
        subject: String,
    },
}

/// What an external caller may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantedSkills {
    /// Every skill of every agent, and the runtime methods.
    All,
    /// These skills (or runtime methods), by agent.
    Some(BTreeMap<String, Vec<String>>),
}

/// A person who may approve plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Name, as audit records show it.
    pub name: String,
    /// Ed25519 public key.
    pub public_key: ApproverKey,
}

/// An Ed25519 public key: 64 hex digits in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApproverKey(pub [u8; 32]);

/// A proxy in front of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Whose header it sets.
    pub kind: ProxyKind,
    /// Addresses it connects from, in CIDR notation.
    pub cidr: String,
}

/// Family of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyKind {
    /// Envoy: `x-forwarded-client-cert`.
    Istio,
    /// `l5d-client-id`.
    Linkerd,
}

/// A `mesh.yaml` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeMeshError {
    /// Not acceptable YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A field that is unknown, missing or of another type.
    #[error("{field}: {message}{}", position.map_or_else(String::new, |at| format!(" (line {}, column {})", at.line, at.column)))]
    Field {
        /// Dotted path.
        field: String,
        /// What is wrong.
        message: String,
        /// Where it stands.
        position: Option<Position>,
    },
    /// Names that contradict each other.
    #[error("{field}: {message}")]
    Inconsistent {
        /// Dotted path.
        field: String,
        /// What contradicts what.
        message: String,
    },
}

/// No order of starting keeps every `starts_after`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these agents wait for each other in a circle: {}", agents.join(", "))]
pub struct StartOrderError {
    /// The agents that can never start.
    pub agents: Vec<String>,
}

impl Mesh {
    /// Reads `mesh.yaml`.
    ///
    /// # Errors
    /// Unacceptable YAML, a wrong field, or names that contradict each other.
    pub fn parse(text: &str) -> Result<Self, DecodeMeshError> {
        let document = Document::parse(text)?;
        let mesh: Self = serde_path_to_error::deserialize(document.root()).map_err(|error| {
            let field = error.path().to_string();
            let position = document.position(&format!(
                "/{}",
                field.replace('[', ".").replace(']', "").replace('.', "/")
            ));
            DecodeMeshError::Field {
                field,
                message: error.inner().to_string(),
                position,
            }
        })?;
        mesh.check()?;
        Ok(mesh)
    }

    /// The namespaces that an agent may touch.
    pub fn targets(&self, agent: &str) -> &[String] {
        self.targets.get(agent).map_or(&[], Vec::as_slice)
    }

    /// Whether an agent may touch a namespace.
    pub fn may_touch(&self, agent: &str, namespace: &str) -> bool {
        self.targets(agent).iter().any(|target| target == namespace)
    }

    /// Whether a database target belongs to an environment marked `dev`, and to none that is not.
    pub fn is_dev_database(&self, database: &str) -> bool {
        let mut environments = self
            .environments
            .values()
            .filter(|e| e.databases.iter().any(|d| d == database))
            .peekable();
        environments.peek().is_some() && environments.all(|environment| environment.dev)
    }

    /// The agent's SPIFFE id, its certificate's only URI.
    pub fn spiffe_id(&self, agent: &str) -> Option<String> {
        let member = self.agents.get(agent)?;
        Some(format!(
            "spiffe://{}/ns/{}/sa/{agent}",
            self.trust_domain, member.namespace
        ))
    }

    /// An order in which every agent comes after those it `starts_after`; by name where it is free.
    ///
    /// # Errors
    /// The agents of a circle.
    pub fn start_order(&self) -> Result<Vec<&str>, StartOrderError> {
        let mut order: Vec<&str> = Vec::new();
        let mut waiting: BTreeMap<&str, &Member> =
            self.agents.iter().map(|(n, m)| (n.as_str(), m)).collect();
        while !waiting.is_empty() {
            let ready = |member: &Member| {
                member
                    .starts_after
                    .iter()
                    .all(|name| !waiting.contains_key(name.as_str()))
            };
            let next: Vec<&str> = waiting
                .iter()
                .filter(|(_, member)| ready(member))
                .map(|(name, _)| *name)
                .collect();
            if next.is_empty() {
                return Err(StartOrderError {
                    agents: waiting.keys().map(|name| (*name).to_owned()).collect(),
                });
            }
            waiting.retain(|name, _| !next.contains(name));
            order.extend(next);
        }
        Ok(order)
    }

    fn check(&self) -> Result<(), DecodeMeshError> {
        let inconsistent =
            |field: String, message: String| Err(DecodeMeshError::Inconsistent { field, message });
        if !is_trust_domain(&self.trust_domain) {
            return inconsistent("trust_domain".into(), "is not a SPIFFE trust domain".into());
        }
        for (name, member) in &self.agents {
            if let Some(unknown) = member
                .starts_after
                .iter()
                .find(|other| !self.agents.contains_key(*other))
            {
                return inconsistent(
                    format!("agents.{name}.starts_after"),
                    format!("{unknown} is no agent of the mesh"),
                );
            }
        }
        let ports: BTreeSet<u16> = self.agents.values().map(|member| member.port).collect();
        if ports.len() != self.agents.len() {
            return inconsistent("agents".into(), "two agents have the same port".into());
        }
        if let Some(unknown) = self
            .targets
            .keys()
            .find(|name| !self.agents.contains_key(*name))
        {
            return inconsistent(
                format!("targets.{unknown}"),
                "is no agent of the mesh".into(),
            );
        }
        if let Some(name) = self
            .callers
            .keys()
            .find(|name| self.agents.contains_key(*name))
        {
            return inconsistent(
                format!("callers.{name}"),
                "is an agent of the mesh, not an external caller".into(),
            );
        }
        let approvers: BTreeSet<&str> = self
            .approvers
            .iter()
            .map(|approver| approver.name.as_str())
            .collect();
        if approvers.len() != self.approvers.len() {
            return inconsistent(
                "approvers".into(),
                "two approvers have the same name".into(),
            );
        }
        match self.start_order() {
            Ok(_) => Ok(()),
            Err(error) => inconsistent("agents".into(), error.to_string()),
        }
    }
}

/// SPIFFE-ID section 2.1: lower-case letters, digits, dots, dashes and underscores, at most 255 bytes.
fn is_trust_domain(text: &str) -> bool {
    let accepted =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(accepted)
}

impl Serialize for GrantedSkills {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Some(skills) => skills.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for GrantedSkills {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected `all` or a list of skills for each agent"
        )]
        enum Wire {
            Word(String),
            Skills(BTreeMap<String, Vec<String>>),
        }
        match Wire::deserialize(deserializer)? {
            Wire::Word(word) if word == "all" => Ok(Self::All),
            Wire::Word(_) => Err(de::Error::custom(
                "expected `all` or a list of skills for each agent",
            )),
            Wire::Skills(skills) => Ok(Self::Some(skills)),
        }
    }
}

impl Serialize for ApproverKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = self
            .0
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        serializer.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for ApproverKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom("expected an Ed25519 public key of 64 hex digits");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut key = [0; 32];
        for (byte, index) in key.iter_mut().zip((0..64).step_by(2)) {
            let digits = text.get(index..index + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(key))
    }
}
