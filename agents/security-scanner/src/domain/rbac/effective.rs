//! What a subject can really do: roles resolved through bindings, aggregation and group membership.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    builtin,
    objects::{Objects, Role, Rule, SubjectRef, role_key},
};

/// Who is bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A service account of a namespace.
    ServiceAccount {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// A user by name.
    User(String),
    /// A group by name.
    Group(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount { namespace, name } => {
                write!(f, "ServiceAccount:{namespace}/{name}")
            }
            Self::User(name) => write!(f, "User:{name}"),
            Self::Group(name) => write!(f, "Group:{name}"),
        }
    }
}

/// The text names no subject.
#[derive(Debug, thiserror::Error)]
#[error("expected ServiceAccount:NAMESPACE/NAME, User:NAME or Group:NAME")]
pub struct ParseSubjectError;

impl FromStr for Subject {
    type Err = ParseSubjectError;

    fn from_str(text: &str) -> Result<Self, ParseSubjectError> {
        let (kind, name) = text
            .split_once(':')
            .filter(|(_, name)| !name.is_empty())
            .ok_or(ParseSubjectError)?;
        match kind {
            "User" => Ok(Self::user(name)),
            "Group" => Ok(Self::Group(name.to_owned())),
            "ServiceAccount" => {
                let (namespace, name) = name
                    .split_once('/')
                    .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
                    .ok_or(ParseSubjectError)?;
                Ok(Self::ServiceAccount {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(ParseSubjectError),
        }
    }
}

impl Subject {
    /// `system:serviceaccount:ns:name` is a service account under its user name.
    fn user(name: &str) -> Self {
        match name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
        {
            Some((namespace, name)) => Self::ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            None => Self::User(name.to_owned()),
        }
    }

    fn of(subject: &SubjectRef, binding_namespace: Option<&str>) -> Self {
        match subject.kind.as_str() {
            "ServiceAccount" => Self::ServiceAccount {
                namespace: subject
                    .namespace
                    .as_deref()
                    .or(binding_namespace)
                    .unwrap_or("default")
                    .to_owned(),
                name: subject.name.clone(),
            },
            "Group" => Self::Group(subject.name.clone()),
            _ => Self::user(&subject.name),
        }
    }

    /// Whether it belongs to Kubernetes itself.
    pub fn is_system(&self) -> bool {
        match self {
            Self::ServiceAccount { namespace, .. } => namespace == "kube-system",
            Self::User(name) | Self::Group(name) => {
                name.starts_with("system:") && !self.is_everybody()
            }
        }
    }

    /// Whether it stands for everybody, or for every service account.
    pub fn is_everybody(&self) -> bool {
        match self {
            Self::ServiceAccount { .. } => false,
            Self::User(name) | Self::Group(name) => {
                matches!(
                    name.as_str(),
                    "system:anonymous" | "system:unauthenticated" | "system:authenticated"
                ) || name.starts_with("system:serviceaccounts")
            }
        }
    }

    /// Groups that it is in by its nature. Source: Kubernetes documentation, "Authenticating",
    /// sections "Service account tokens" and "Anonymous requests".
    fn groups(&self) -> Vec<String> {
        match self {
            Self::ServiceAccount { namespace, .. } => {
                vec![
                    String::from("system:serviceaccounts"),
                    format!("system:serviceaccounts:{namespace}"),
                    String::from("system:authenticated"),
                ]
            }
            Self::User(name) if name == "system:anonymous" => {
                vec![String::from("system:unauthenticated")]
            }
            Self::User(_) => vec![String::from("system:authenticated")],
            Self::Group(_) => Vec::new(),
        }
    }
}

/// One binding of one subject, with the rules it gives.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who.
    pub subject: Subject,
    /// `ClusterRole/name` or `Role/namespace/name`.
    pub role: String,
    /// `ClusterRoleBinding/name` or `RoleBinding/namespace/name`.
    pub binding: String,
    /// Namespace; none for the whole cluster.
    pub namespace: Option<String>,
    /// The role's rules after aggregation.
    pub rules: Vec<Rule>,
}

impl Grant {
    /// `cluster`, or the namespace.
    pub fn scope(&self) -> &str {
        self.namespace.as_deref().unwrap_or("cluster")
    }

    /// Whether the grant reaches a namespace (with `None`: the whole cluster).
    pub fn reaches(&self, namespace: Option<&str>) -> bool {
        self.namespace.is_none() || self.namespace.as_deref() == namespace
    }
}

/// A permission in the answer to "what can this subject do".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// `cluster`, or the namespace.
    pub scope: String,
    /// `verbs resources in apiGroups [named names]`.
    pub rule: String,
    /// The binding it comes from, and the group where it comes through one.
    pub via: String,
}

/// All grants of a cluster or of a set of manifests.
#[derive(Debug)]
pub struct Access {
    grants: Vec<Grant>,
    unresolved: Vec<String>,
}

impl Access {
    /// Resolves every binding.
    pub fn resolve(objects: &Objects) -> Self {
        let known: BTreeMap<String, &Role> = objects
            .roles
            .iter()
            .map(|role| (role.key(), role))
            .collect();
        let mut unresolved = BTreeSet::new();
        let mut grants = Vec::new();
        for binding in &objects.bindings {
            let key = role_key(
                if binding.cluster_role {
                    None
                } else {
                    binding.namespace.as_deref()
                },
                &binding.role,
            );
            let given = known.get(&key).map(|role| aggregated(role, objects));
            let rules = given.or_else(|| {
                binding
                    .cluster_role
                    .then(|| builtin::rules(&binding.role))
                    .flatten()
            });
            let Some(rules) = rules else {
                unresolved.insert(key);
                continue;
            };
            let binding_key = binding.namespace.as_ref().map_or_else(
                || format!("ClusterRoleBinding/{}", binding.name),
                |ns| format!("RoleBinding/{ns}/{}", binding.name),
            );
            grants.extend(binding.subjects.iter().map(|subject| Grant {
                subject: Subject::of(subject, binding.namespace.as_deref()),
                role: key.clone(),
                binding: binding_key.clone(),
                namespace: binding.namespace.clone(),
                rules: rules.clone(),
            }));
        }
        Self {
            grants,
            unresolved: unresolved.into_iter().collect(),
        }
    }

    /// Every grant.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Roles that were named but not there.
    pub fn unresolved(&self) -> &[String] {
        &self.unresolved
    }

    /// Every subject of a binding.
    pub fn subjects(&self) -> BTreeSet<&Subject> {
        self.grants.iter().map(|grant| &grant.subject).collect()
    }

    /// The grants of a subject, its own and those of its groups.
    pub fn of(&self, subject: &Subject) -> impl Iterator<Item = &Grant> {
        let groups = subject.groups();
        self.grants.iter().filter(move |grant| {
            grant.subject == *subject
                || matches!(&grant.subject, Subject::Group(name) if groups.contains(name))
        })
    }

    /// What a subject can do, sorted.
    pub fn permissions(&self, subject: &Subject) -> BTreeSet<Permission> {
        self.of(subject)
            .flat_map(|grant| {
                let via = if grant.subject == *subject {
                    grant.binding.clone()
                } else {
                    format!("{} ({})", grant.binding, grant.subject)
                };
                grant.rules.iter().map(move |rule| Permission {
                    scope: grant.scope().to_owned(),
                    rule: rule.to_line(),
                    via: via.clone(),
                })
            })
            .collect()
    }
}

/// A role's rules with those of the `ClusterRoles` it aggregates. A controller writes them into
/// `rules` in a cluster; manifests in Git do not have them yet.
pub(super) fn aggregated(role: &Role, objects: &Objects) -> Vec<Rule> {
    let mut rules = role.rules.clone();
    for other in objects
        .roles
        .iter()
        .filter(|other| other.namespace.is_none() && other.name != role.name)
    {
        if role
            .aggregates
            .iter()
            .any(|selector| selector.selects(&other.labels))
        {
            rules.extend(
                other
                    .rules
                    .iter()
                    .filter(|rule| !role.rules.contains(rule))
                    .cloned(),
            );
        }
    }
    rules
}
