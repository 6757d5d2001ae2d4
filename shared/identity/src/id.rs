//! SPIFFE ids and the agent URIs derived from them.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Bytes that a SPIFFE id may have (SPIFFE-ID standard, section 2.3).
pub const MAX_ID_LENGTH: usize = 2048;
/// Bytes that a trust domain may have (SPIFFE-ID standard, section 2.1).
pub const MAX_TRUST_DOMAIN_LENGTH: usize = 255;
/// Characters of a DNS label (RFC 1123), which namespaces and agent names are.
const MAX_LABEL_LENGTH: usize = 63;
/// Characters of a DNS subdomain (RFC 1123), which Kubernetes service account names are.
const MAX_SUBDOMAIN_LENGTH: usize = 253;

const SCHEME: &str = "spiffe://";
const AGENT_SCHEME: &str = "agent://";

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text does not begin with `spiffe://`.
    #[error("id does not begin with {SCHEME}")]
    Scheme,
    /// The text does not begin with `agent://`.
    #[error("agent URI does not begin with {AGENT_SCHEME}")]
    AgentScheme,
    /// The text is too long.
    #[error("id is longer than {MAX_ID_LENGTH} bytes")]
    TooLong,
    /// The trust domain is missing, too long, or has characters beyond `a-z 0-9 . - _`.
    #[error(
        "trust domain is not 1 to {MAX_TRUST_DOMAIN_LENGTH} characters of a-z, 0-9, '.', '-' and '_'"
    )]
    TrustDomain,
    /// A path segment is empty (also by a slash at the end), `.`, `..`, or has characters beyond `a-z A-Z 0-9 . - _`.
    #[error(
        "path segment is empty, '.', '..', or has characters beyond letters, digits, '.', '-' and '_'"
    )]
    PathSegment,
    /// The namespace is no DNS label.
    #[error("namespace is not a DNS label")]
    Namespace,
    /// The name of the agent, service account or external caller is no DNS name.
    #[error("name is not a DNS name")]
    Name,
}

/// A SPIFFE id, for example `spiffe://mesh.local/ns/data-system/sa/db-migrator`.
///
/// Every value follows the SPIFFE-ID standard, section 2: lower-case scheme and trust domain, no
/// port, user, query, fragment or percent-encoding, no empty or dot segments, at most 2048 bytes.
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Arc<str>);

/// What the path of a SPIFFE id says in this mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind<'a> {
    /// `/ns/<namespace>/sa/<service account>`: a workload, agents among them.
    Workload {
        /// Kubernetes namespace.
        namespace: &'a str,
        /// Kubernetes service account; an agent's is named like the agent.
        service_account: &'a str,
    },
    /// `/external/<name>`: a caller of mesh.yaml.
    External {
        /// Name in mesh.yaml.
        name: &'a str,
    },
    /// Any other path: nobody this mesh knows.
    Other,
}

impl SpiffeId {
    /// The id of a workload by its Kubernetes namespace and service account.
    ///
    /// # Errors
    /// [`IdError::TrustDomain`], [`IdError::Namespace`], [`IdError::Name`].
    pub fn workload(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdError> {
        check_trust_domain(trust_domain)?;
        check_workload(namespace, service_account)?;
        Ok(Self(
            format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").into(),
        ))
    }

    /// The id of an external caller by its name in mesh.yaml.
    ///
    /// # Errors
    /// [`IdError::TrustDomain`], [`IdError::Name`].
    pub fn external(trust_domain: &str, name: &str) -> Result<Self, IdError> {
        check_trust_domain(trust_domain)?;
        if !is_subdomain(name) {
            return Err(IdError::Name);
        }
        Ok(Self(
            format!("{SCHEME}{trust_domain}/external/{name}").into(),
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part between `spiffe://` and the path.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// The path with its leading slash, or nothing for the id of a trust domain.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    /// What the path says in this mesh. Names that are no DNS names make it [`IdKind::Other`].
    pub fn kind(&self) -> IdKind<'_> {
        let mut segments = self.path().split('/').skip(1);
        let parts = (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        );
        match parts {
            (Some("ns"), Some(namespace), Some("sa"), Some(service_account), None)
                if check_workload(namespace, service_account).is_ok() =>
            {
                IdKind::Workload {
                    namespace,
                    service_account,
                }
            }
            (Some("external"), Some(name), None, None, None) if is_subdomain(name) => {
                IdKind::External { name }
            }
            _ => IdKind::Other,
        }
    }

    /// The Kubernetes namespace of a workload's id.
    pub fn namespace(&self) -> Option<&str> {
        match self.kind() {
            IdKind::Workload { namespace, .. } => Some(namespace),
            IdKind::External { .. } | IdKind::Other => None,
        }
    }

    /// The Kubernetes service account of a workload's id: the agent's name.
    pub fn service_account(&self) -> Option<&str> {
        match self.kind() {
            IdKind::Workload {
                service_account, ..
            } => Some(service_account),
            IdKind::External { .. } | IdKind::Other => None,
        }
    }

    /// The name of an external caller's id.
    pub fn external_name(&self) -> Option<&str> {
        match self.kind() {
            IdKind::External { name } => Some(name),
            IdKind::Workload { .. } | IdKind::Other => None,
        }
    }

    /// The agent URI `agent://<namespace>/<agent>` of a workload's id.
    pub fn agent_uri(&self) -> Option<AgentUri> {
        match self.kind() {
            IdKind::Workload {
                namespace,
                service_account,
            } => AgentUri::new(namespace, service_account).ok(),
            IdKind::External { .. } | IdKind::Other => None,
        }
    }

    /// Trust domain and path.
    fn parts(&self) -> (&str, &str) {
        let rest = self.0.get(SCHEME.len()..).unwrap_or_default();
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_ID_LENGTH {
            return Err(IdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdError::Scheme)?;
        let mut parts = rest.split('/');
        check_trust_domain(parts.next().unwrap_or_default())?;
        if parts.all(is_path_segment) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::PathSegment)
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for SpiffeId {
    fn schema_name() -> Cow<'static, str> {
        "SpiffeId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "SPIFFE id, for example spiffe://mesh.local/ns/data-system/sa/db-migrator.",
            "maxLength": MAX_ID_LENGTH,
            "pattern": "^spiffe://[a-z0-9._-]{1,255}(/[a-zA-Z0-9._-]+)*$",
        })
    }
}

/// The address of an agent, `agent://<namespace>/<agent>`: one to one with its SPIFFE id within a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentUri {
    namespace: String,
    agent: String,
}

impl AgentUri {
    /// Puts the URI together.
    ///
    /// # Errors
    /// [`IdError::Namespace`], [`IdError::Name`].
    pub fn new(namespace: &str, agent: &str) -> Result<Self, IdError> {
        check_workload(namespace, agent)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            agent: agent.to_owned(),
        })
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The agent's name, which is also its service account.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The SPIFFE id that this URI was derived from.
    ///
    /// # Errors
    /// [`IdError::TrustDomain`].
    pub fn spiffe_id(&self, trust_domain: &str) -> Result<SpiffeId, IdError> {
        SpiffeId::workload(trust_domain, &self.namespace, &self.agent)
    }
}

impl FromStr for AgentUri {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix(AGENT_SCHEME)
            .ok_or(IdError::AgentScheme)?;
        let (namespace, agent) = rest.split_once('/').ok_or(IdError::Name)?;
        Self::new(namespace, agent)
    }
}

impl TryFrom<String> for AgentUri {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AgentUri> for String {
    fn from(uri: AgentUri) -> Self {
        uri.to_string()
    }
}

impl fmt::Display for AgentUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, agent } = self;
        write!(f, "{AGENT_SCHEME}{namespace}/{agent}")
    }
}

/// Checks a trust domain by itself, for example the one of mesh.yaml.
///
/// # Errors
/// [`IdError::TrustDomain`].
pub fn check_trust_domain(text: &str) -> Result<(), IdError> {
    let allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if (1..=MAX_TRUST_DOMAIN_LENGTH).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(IdError::TrustDomain)
    }
}

fn check_workload(namespace: &str, service_account: &str) -> Result<(), IdError> {
    if !is_label(namespace) {
        return Err(IdError::Namespace);
    }
    if is_subdomain(service_account) {
        Ok(())
    } else {
        Err(IdError::Name)
    }
}

fn is_path_segment(segment: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

/// A lower-case DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    let allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Lower-case DNS labels joined by dots (RFC 1123).
fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN_LENGTH && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), IdError>) {
        let got = text.parse::<SpiffeId>();
        let got = got
            .as_ref()
            .map(|id| (id.trust_domain(), id.path()))
            .map_err(|e| *e);
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_what_the_standard_allows() {
        check(
            "spiffe://mesh.local/ns/data-system/sa/db-migrator",
            Ok(("mesh.local", "/ns/data-system/sa/db-migrator")),
        );
        check("spiffe://mesh.local", Ok(("mesh.local", "")));
        check("spiffe://1.2.3.4/a", Ok(("1.2.3.4", "/a")));
        check(
            "spiffe://under_score-dash.x/Path_1/-/...",
            Ok(("under_score-dash.x", "/Path_1/-/...")),
        );
        check(
            &format!("spiffe://{}/a", "x".repeat(255)),
            Ok((&"x".repeat(255), "/a")),
        );
        check(
            &format!("spiffe://td/{}", "x".repeat(2048 - 12)),
            Ok(("td", &format!("/{}", "x".repeat(2048 - 12)))),
        );
    }

    #[test]
    fn refuses_what_the_standard_forbids() {
        for text in [
            "",
            "spiffe:/td/a",
            "http://td/a",
            "SPIFFE://td/a",
            "Spiffe://td/a",
            " spiffe://td/a",
            "//td/a",
        ] {
            check(text, Err(IdError::Scheme));
        }
        for text in [
            "spiffe://",
            "spiffe:///a",
            "spiffe://TD/a",
            "spiffe://td:80/a",
            "spiffe://u@td/a",
            "spiffe://t%41/a",
            "spiffe://[::1]/a",
            "spiffe://tд/a",
            "spiffe://td?q",
            "spiffe://td#f",
            "spiffe://td\0/a",
        ] {
            check(text, Err(IdError::TrustDomain));
        }
        check(
            &format!("spiffe://{}/a", "x".repeat(256)),
            Err(IdError::TrustDomain),
        );
        for text in [
            "spiffe://td/",
            "spiffe://td/a/",
            "spiffe://td//a",
            "spiffe://td/./a",
            "spiffe://td/a/..",
            "spiffe://td/a?q",
            "spiffe://td/a#f",
            "spiffe://td/%41",
            "spiffe://td/a b",
            "spiffe://td/ä",
            "spiffe://td/a,b",
            "spiffe://td/a\n",
        ] {
            check(text, Err(IdError::PathSegment));
        }
        check(
            &format!("spiffe://td/{}", "x".repeat(2049 - 12)),
            Err(IdError::TooLong),
        );
    }

    #[test]
    fn knows_workloads_and_external_callers() {
        let agent: SpiffeId = "spiffe://td/ns/data-system/sa/db-migrator".parse().unwrap();
        assert_eq!(
            (
                agent.namespace(),
                agent.service_account(),
                agent.external_name()
            ),
            (Some("data-system"), Some("db-migrator"), None)
        );
        let external: SpiffeId = "spiffe://td/external/gitlab-runner".parse().unwrap();
        assert_eq!(
            (
                external.namespace(),
                external.service_account(),
                external.external_name()
            ),
            (None, None, Some("gitlab-runner"))
        );
        for other in [
            "spiffe://td",
            "spiffe://td/ns/a/sa",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td/ns/A/sa/b",
            "spiffe://td/ns/a.b/sa/c",
            "spiffe://td/ns/a/sa/_b",
            "spiffe://td/external",
            "spiffe://td/external/a/b",
            "spiffe://td/External/a",
            "spiffe://td/external/-a",
        ] {
            assert_eq!(
                other.parse::<SpiffeId>().unwrap().kind(),
                IdKind::Other,
                "{other}"
            );
        }
    }

    #[test]
    fn refuses_to_put_together_what_it_would_not_read() {
        assert_eq!(
            SpiffeId::workload("TD", "a", "b"),
            Err(IdError::TrustDomain)
        );
        assert_eq!(
            SpiffeId::workload("td", "a/sa/x", "b"),
            Err(IdError::Namespace)
        );
        assert_eq!(SpiffeId::workload("td", "a", "b/../c"), Err(IdError::Name));
        assert_eq!(SpiffeId::external("td", ""), Err(IdError::Name));
    }

    #[test]
    fn refuses_bad_json() {
        assert!(serde_json::from_str::<SpiffeId>("\"spiffe://td/a\"").is_ok());
        assert!(serde_json::from_str::<SpiffeId>("\"spiffe://td/a/\"").is_err());
        assert!(serde_json::from_str::<AgentUri>("\"agent://a/b\"").is_ok());
        assert!(serde_json::from_str::<AgentUri>("\"agent://a\"").is_err());
    }

    proptest! {
        #[test]
        fn agent_uris_and_ids_are_one_to_one(namespace in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", agent in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?") {
            let id = SpiffeId::workload("mesh.local", &namespace, &agent).unwrap();
            let uri = id.agent_uri().unwrap();
            prop_assert_eq!(uri.to_string(), format!("agent://{namespace}/{agent}"));
            prop_assert_eq!(&uri.to_string().parse::<AgentUri>().unwrap(), &uri);
            prop_assert_eq!(uri.spiffe_id("mesh.local").unwrap(), id);
        }

        #[test]
        fn whatever_is_read_is_written_back(text in "(spiffe://)?[a-zA-Z0-9./_%?#: -]{0,40}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
            }
        }

        #[test]
        fn any_text_gets_an_answer(text in "\\PC{0,200}") {
            let _ignored = text.parse::<SpiffeId>();
            let _ignored = text.parse::<AgentUri>();
        }
    }
}
