//! Values that must not be in a manifest, and must never be repeated.

use serde_json::Value;

/// Keys whose value is a secret unless it refers to one.
const NAMES: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "credential",
    "accesskey",
];

/// How known tokens begin, with the least length of the whole.
const PREFIXES: [(&str, usize, &str); 14] = [
    ("glpat-", 26, "a GitLab token"),
    ("gldt-", 25, "a GitLab deploy token"),
    ("glrt-", 25, "a GitLab runner token"),
    ("ghp_", 40, "a GitHub token"),
    ("gho_", 40, "a GitHub token"),
    ("ghs_", 40, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("AKIA", 20, "an AWS access key"),
    ("ASIA", 20, "an AWS access key"),
    ("xoxb-", 24, "a Slack token"),
    ("xoxp-", 24, "a Slack token"),
    ("sk-", 24, "an API key"),
    ("AIza", 39, "a Google API key"),
    ("eyJ", 60, "a JSON Web Token"),
];

/// What kind of secret a text is by itself.
pub fn kind(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    let known = words.into_iter().find_map(|word| {
        PREFIXES
            .iter()
            .find(|(prefix, length, _)| word.starts_with(prefix) && word.len() >= *length)
    });
    known
        .map(|(.., what)| *what)
        .or_else(|| has_password(text).then_some("a URL with a password"))
}

/// What kind of secret a text is under this key: anything that is not a reference.
pub fn kind_under(key: &str, text: &str) -> Option<&'static str> {
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let named = NAMES.iter().any(|name| {
        plain.ends_with(name) || plain.strip_suffix('s').is_some_and(|p| p.ends_with(name))
    });
    (named && !text.is_empty() && !is_reference(text)).then_some("a secret in plain text")
}

/// `${vault:..}`, `env:NAME`, a path, or a name in the manner of Kubernetes.
fn is_reference(text: &str) -> bool {
    let reference = ["${", "env:", "vault:", "file:", "k8s:", "/", "secret://"]
        .iter()
        .any(|p| text.starts_with(p));
    let environment = text
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let word = text.len() <= 40
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'_' | b' '));
    reference || environment || word
}

/// `scheme://user:password@host`, where the password is not a reference.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        user.split_once(':')
            .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with("${"))
    })
}

/// A value for a message: short, and never a secret.
pub fn describe(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Null => "nothing (null)".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => match kind(text) {
            Some(kind) => format!("{kind}, not shown"),
            None if text.chars().count() > LONGEST => {
                format!("a text of {} characters", text.chars().count())
            }
            None => format!("{text:?}"),
        },
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(members) => format!("a mapping of {}", members.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_secrets_by_their_form() {
        let token = format!("glpat-{}", "a1B2".repeat(5));
        assert_eq!(kind(&token), Some("a GitLab token"));
        assert_eq!(
            kind(&format!("curl -H 'PRIVATE-TOKEN: {token}'")),
            Some("a GitLab token")
        );
        assert_eq!(
            kind("postgres://app:hunter2@db/shop"),
            Some("a URL with a password")
        );
        assert_eq!(kind("postgres://app:${PGPASSWORD}@db/shop"), None);
        assert_eq!(kind("https://example.com/a:b@c"), None);
        assert_eq!(kind("glpat-short"), None);
        assert_eq!(kind("task-force of agents, sk-ip"), None);
    }

    #[test]
    fn knows_secrets_by_their_key() {
        assert!(kind_under("password", "Tr0ub4dor").is_some());
        assert!(kind_under("api_key", "0123abcd").is_some());
        assert!(kind_under("clientSecret", "s3cr3t").is_some());
        assert!(kind_under("tokenPath", "/var/secrets/token").is_none());
        assert!(kind_under("password", "${env:PGPASSWORD}").is_none());
        assert!(kind_under("token", "GITLAB_TOKEN").is_none());
        assert!(kind_under("maxTokens", "many").is_none());
    }

    #[test]
    fn messages_never_repeat_a_secret() {
        let token = format!("glpat-{}", "a1B2".repeat(5));
        assert_eq!(describe(&Value::String(token)), "a GitLab token, not shown");
        assert_eq!(
            describe(&Value::String("x".repeat(61))),
            "a text of 61 characters"
        );
    }
}
