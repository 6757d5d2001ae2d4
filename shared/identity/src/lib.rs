//! Who is who: SPIFFE ids, certificates, decentralised identifiers, and the peers of a connection.

use std::fmt;

/// A SPIFFE id, for example `spiffe://mesh.local/ns/data-system/sa/db-migrator`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(String);

impl SpiffeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of caller a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// One of the mesh's agents.
    Agent,
    /// An external caller of mesh.yaml.
    External,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Agent or external caller.
    pub kind: PrincipalKind,
    /// Agent name or the external caller's name in mesh.yaml.
    pub name: String,
    /// The identity that was verified.
    pub id: SpiffeId,
}

impl Principal {
    /// An agent by its namespace and name.
    pub fn agent(namespace: &str, name: &str, trust_domain: &str) -> Self {
        Self { kind: PrincipalKind::Agent, name: name.into(), id: SpiffeId(format!("spiffe://{trust_domain}/ns/{namespace}/sa/{name}")) }
    }

    /// An external caller by its name in mesh.yaml.
    pub fn external(name: &str, trust_domain: &str) -> Self {
        Self { kind: PrincipalKind::External, name: name.into(), id: SpiffeId(format!("spiffe://{trust_domain}/external/{name}")) }
    }
}
