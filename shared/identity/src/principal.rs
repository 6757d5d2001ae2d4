//! Callers.

use crate::id::{IdKind, SpiffeId};

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
    /// An agent by its namespace and name, which mesh.yaml or a test gives. For an id that arrived use [`Principal::from_id`].
    ///
    /// # Panics
    /// When the parts make no SPIFFE id.
    pub fn agent(namespace: &str, name: &str, trust_domain: &str) -> Self {
        let id = SpiffeId::workload(trust_domain, namespace, name)
            .expect("an agent's namespace and name are DNS names");
        Self {
            kind: PrincipalKind::Agent,
            name: name.into(),
            id,
        }
    }

    /// An external caller by its name in mesh.yaml. For an id that arrived use [`Principal::from_id`].
    ///
    /// # Panics
    /// When the parts make no SPIFFE id.
    pub fn external(name: &str, trust_domain: &str) -> Self {
        let id = SpiffeId::external(trust_domain, name)
            .expect("an external caller's name is a DNS name");
        Self {
            kind: PrincipalKind::External,
            name: name.into(),
            id,
        }
    }

    /// The caller that a verified id names, or nothing when its path is neither a workload's nor an external caller's.
    /// Whether the mesh knows that workload or caller is for the edge list to say.
    pub fn from_id(id: SpiffeId) -> Option<Self> {
        let (kind, name) = match id.kind() {
            IdKind::Workload {
                service_account, ..
            } => (PrincipalKind::Agent, service_account.to_owned()),
            IdKind::External { name } => (PrincipalKind::External, name.to_owned()),
            IdKind::Other => return None,
        };
        Some(Self { kind, name, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_principal_it_was_made_for() {
        for principal in [
            Principal::agent("data-system", "db-migrator", "mesh.local"),
            Principal::external("operator", "mesh.local"),
        ] {
            assert_eq!(Principal::from_id(principal.id.clone()), Some(principal));
        }
        assert_eq!(
            Principal::from_id("spiffe://mesh.local/somebody".parse().unwrap()),
            None
        );
    }
}
