//! Names and labels, as `k8s.io/apimachinery/pkg/util/validation` and the kinds' own strategies have them.

/// Longest DNS label (RFC 1123).
const LABEL_LENGTH: usize = 63;
/// Longest DNS subdomain (RFC 1123).
const SUBDOMAIN_LENGTH: usize = 253;

/// The form that names of a kind must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// Letters, digits, `-` and `.`; parts begin and end with a letter or digit; at most 253 characters.
    Subdomain,
    /// The same without `.`, at most 63 characters.
    Label,
    /// A label that begins with a letter (RFC 1035), for Services before Kubernetes 1.34.
    Service,
    /// Anything usable as one segment of a path: not `.`, not `..`, no `/` and no `%`.
    PathSegment,
}

impl NameRule {
    /// The rule for a kind.
    pub fn of(group: &str, kind: &str) -> Self {
        match (group, kind) {
            ("rbac.authorization.k8s.io", _)
            | ("certificates.k8s.io", "ClusterTrustBundle")
            | ("networking.k8s.io", "IPAddress") => Self::PathSegment,
            ("", "Namespace") => Self::Label,
            ("", "Service") => Self::Service,
            _ => Self::Subdomain,
        }
    }

    /// Whether the name has the form.
    pub fn accepts(self, name: &str) -> bool {
        match self {
            Self::Subdomain => name.len() <= SUBDOMAIN_LENGTH && name.split('.').all(dns_part),
            Self::Label => name.len() <= LABEL_LENGTH && dns_part(name),
            Self::Service => {
                Self::Label.accepts(name) && name.starts_with(|c: char| c.is_ascii_lowercase())
            }
            Self::PathSegment => !matches!(name, "" | "." | "..") && !name.contains(['/', '%']),
        }
    }

    /// What to say was expected.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Subdomain => {
                "lower case letters, digits, '-' and '.', each part beginning and ending with a letter or digit, at most 253 characters"
            }
            Self::Label => {
                "lower case letters, digits and '-', beginning and ending with a letter or digit, at most 63 characters"
            }
            Self::Service => {
                "lower case letters, digits and '-', beginning with a letter, ending with a letter or digit, at most 63 characters"
            }
            Self::PathSegment => "a name other than '.' and '..', without '/' and '%'",
        }
    }
}

/// A label's or annotation's key: an optional DNS subdomain and `/`, then a name of up to 63 characters.
pub fn qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => NameRule::Subdomain.accepts(prefix) && label_part(name),
        None => label_part(key),
    }
}

/// A label's value: empty, or up to 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
pub fn label_value(value: &str) -> bool {
    value.is_empty() || label_part(value)
}

/// A port's name (IANA service name): up to 15 of lower case letters, digits and single `-`, with a letter.
pub fn port_name(name: &str) -> bool {
    name.len() <= 15
        && dns_part(name)
        && !name.contains("--")
        && name.contains(|c: char| c.is_ascii_lowercase())
}

fn dns_part(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || c == '-')
}

fn label_part(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    part.len() <= LABEL_LENGTH
        && part.starts_with(edge)
        && part.ends_with(edge)
        && part
            .chars()
            .all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_kind() {
        for (group, kind, name, good) in [
            ("apps", "Deployment", "web.v1-2", true),
            ("apps", "Deployment", "Web", false),
            ("apps", "Deployment", "web_1", false),
            ("apps", "Deployment", "-web", false),
            ("apps", "Deployment", "a..b", false),
            ("", "Service", "1web", false),
            ("", "Service", "web", true),
            ("", "Namespace", "a.b", false),
            (
                "rbac.authorization.k8s.io",
                "ClusterRole",
                "system:node/x",
                false,
            ),
            (
                "rbac.authorization.k8s.io",
                "ClusterRole",
                "system:Node",
                true,
            ),
        ] {
            assert_eq!(
                NameRule::of(group, kind).accepts(name),
                good,
                "{kind} {name}"
            );
        }
        assert!(!NameRule::Label.accepts(&"a".repeat(64)));
        assert!(NameRule::Subdomain.accepts(&"a".repeat(253)));
    }

    #[test]
    fn labels_and_ports() {
        assert!(
            qualified("app.kubernetes.io/name")
                && qualified("A_b.c")
                && !qualified("a/b/c")
                && !qualified("/x")
                && !qualified("")
        );
        assert!(
            label_value("") && label_value("v1.0_x") && !label_value("-a") && !label_value("a b")
        );
        assert!(
            port_name("http-web")
                && !port_name("8080")
                && !port_name("a-very-long-port")
                && !port_name("a--b")
        );
    }
}
