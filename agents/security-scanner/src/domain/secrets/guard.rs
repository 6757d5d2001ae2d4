//! Telling secrets from what only looks like one: placeholders, names, references, hashes.

use super::candidate::{Candidate, FileKind, Verdict};

/// Shannon entropy in bits a character: `-sum(p * log2 p)` over the frequencies of the characters.
pub fn shannon_entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| f64::from(count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

/// A provider's token: out when it spells a placeholder, doubtful when it counts up.
pub(super) fn token(candidate: &Candidate<'_>) -> Verdict {
    let lower = candidate.secret.to_ascii_lowercase();
    if longest_run(&lower, |a, b| a == b) >= 6
        || TOKEN_PLACEHOLDERS.iter().any(|word| lower.contains(word))
    {
        Verdict::Reject
    } else if counts_up(&lower) {
        Verdict::Doubtful
    } else {
        Verdict::Keep
    }
}

/// A token that must mix letters and digits.
pub(super) fn mixed_token(candidate: &Candidate<'_>) -> Verdict {
    if mixed(candidate.secret) && !is_reference(candidate.secret) {
        token(candidate)
    } else {
        Verdict::Reject
    }
}

/// A password inside an address.
pub(super) fn password(candidate: &Candidate<'_>) -> Verdict {
    if is_reference(candidate.secret) || is_placeholder(candidate.secret) {
        Verdict::Reject
    } else {
        Verdict::Keep
    }
}

/// The right side of `some_token = ...`.
pub(super) fn assigned_secret(candidate: &Candidate<'_>) -> Verdict {
    let secret = candidate.secret;
    if !plausible(candidate)
        || !(mixed(secret) || scrambled(secret))
        || looks_like_path(secret)
        || is_uuid(secret)
        || is_identifier_path(secret)
    {
        return Verdict::Reject;
    }
    let words_with_number = secret
        .split(['-', '_', '.', ':'])
        .all(|part| part.bytes().all(|b| b.is_ascii_alphabetic()) || part.len() <= 3);
    let lower = secret.to_ascii_lowercase();
    if words_with_number && !scrambled(secret)
        || longest_run(&lower, |a, b| a == b) >= 6
        || counts_up(&lower)
    {
        return Verdict::Reject;
    }
    Verdict::Keep
}

/// The right side of `some_password = ...`.
pub(super) fn assigned_password(candidate: &Candidate<'_>) -> Verdict {
    let secret = candidate.secret;
    let only_words = secret
        .bytes()
        .all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/'));
    if !plausible(candidate)
        || only_words && !scrambled(secret)
        || looks_like_path(secret)
        || is_uuid(secret)
        || is_identifier_path(secret)
    {
        return Verdict::Reject;
    }
    Verdict::Keep
}

/// A decoded value of a Kubernetes Secret under this key.
pub(super) fn secret_value(key: &str, value: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let public = [
        "crt",
        "cert",
        "ca",
        "username",
        "user",
        "host",
        "hostname",
        "port",
        "database",
        "dbname",
        "namespace",
        "url",
        "email",
        "type",
    ];
    let last = key.rsplit(['.', '-', '_']).next().unwrap_or(&key);
    !public.contains(&last)
        && value.len() >= 6
        && !is_placeholder(value)
        && !is_reference(value)
        && shannon_entropy(value) >= 2.0
}

fn plausible(candidate: &Candidate<'_>) -> bool {
    let Candidate {
        secret,
        name,
        quoted,
        file,
    } = *candidate;
    let literal = match file {
        FileKind::Code => quoted,
        FileKind::Text => true,
        FileKind::Generated => false,
    };
    literal
        && !name.is_some_and(|name| names_no_secret(name) || name.eq_ignore_ascii_case(secret))
        && !is_reference(secret)
        && !is_placeholder(secret)
}

/// Endings of names whose values are not secrets although the name says "token" or "key".
const HARMLESS_ENDINGS: &[&str] = &[
    "id",
    "ids",
    "name",
    "names",
    "file",
    "files",
    "filename",
    "path",
    "dir",
    "url",
    "uri",
    "endpoint",
    "type",
    "kind",
    "count",
    "length",
    "len",
    "size",
    "limit",
    "limits",
    "ttl",
    "expiry",
    "expires",
    "expiration",
    "ref",
    "refs",
    "version",
    "header",
    "prefix",
    "suffix",
    "format",
    "field",
    "column",
    "label",
    "class",
    "index",
    "hash",
    "digest",
    "checksum",
    "algorithm",
    "alg",
    "policy",
    "regex",
    "pattern",
    "provider",
    "issuer",
    "audience",
    "scope",
    "scopes",
    "namespace",
    "manager",
    "store",
    "env",
    "var",
    "variable",
    "description",
    "title",
    "placeholder",
    "hint",
    "usage",
    "fingerprint",
    "address",
    "mode",
    "enabled",
    "required",
    "rotation",
    "days",
    "sha256",
    "text",
    "message",
];
/// Parts of names that turn the meaning.
const HARMLESS_PARTS: &[&str] = &[
    "public",
    "keyref",
    "tokeniz",
    "keyboard",
    "keyword",
    "max_token",
    "maxtoken",
    "num_token",
    "example",
];

fn names_no_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    HARMLESS_PARTS.iter().any(|part| lower.contains(part))
        || HARMLESS_ENDINGS
            .iter()
            .any(|ending| ends_with_word(name, &lower, ending))
}

/// Whether the last word of `secret_name`, `secret-name` or `secretName` is `ending`.
fn ends_with_word(name: &str, lower: &str, ending: &str) -> bool {
    let Some(start) = lower
        .len()
        .checked_sub(ending.len())
        .filter(|_| lower.ends_with(ending))
    else {
        return false;
    };
    let (before, word) = name.split_at(start);
    let separated = before.ends_with(['_', '-', '.']);
    let camel = word.starts_with(|c: char| c.is_ascii_uppercase())
        && before.ends_with(|c: char| c.is_ascii_lowercase());
    separated || camel
}

/// Text that stands for a value that comes from elsewhere: `${VAR}`, `{{ .Values.x }}`, `$(cmd)`, `<here>`, `%VAR%`.
fn is_reference(value: &str) -> bool {
    [
        "${",
        "{{",
        "$(",
        "#{",
        "%(",
        "<%",
        "[%",
        "process.env",
        "os.environ",
        "getenv",
        "secretKeyRef",
        "vault:",
        "file://",
        "env:",
        "arn:aws",
        "secretsmanager",
    ]
    .iter()
    .any(|mark| value.contains(mark))
        || value.starts_with(['$', '<', '%', '@', '&', '*', '{', '\\'])
        || (value.starts_with("op://") || value.starts_with("ssm:"))
}

/// Words of six letters or more that no generated token holds by chance.
const TOKEN_PLACEHOLDERS: &[&str] = &[
    "example",
    "placeholder",
    "changeme",
    "change_me",
    "redacted",
    "your_",
    "your-",
    "yourtoken",
    "insert",
];
const PLACEHOLDERS: &[&str] = &[
    "example",
    "placeholder",
    "changeme",
    "change-me",
    "change_me",
    "changeit",
    "replace",
    "redacted",
    "your",
    "xxxx",
    "****",
    "....",
    "dummy",
    "fake",
    "sample",
    "todo",
    "fixme",
    "insert",
    "mysecret",
    "my-secret",
    "my_secret",
    "not-a-secret",
    "notasecret",
    "undefined",
    "foobar",
    "lorem",
    "s3cr3t-here",
    "_here",
    "-here",
];
const PLACEHOLDER_VALUES: &[&str] = &[
    "password",
    "passw0rd",
    "pass",
    "passwd",
    "secret",
    "token",
    "test",
    "tests",
    "testing",
    "none",
    "null",
    "true",
    "false",
    "empty",
    "string",
    "value",
    "unset",
    "default",
    "user",
    "admin",
    "root",
    "guest",
    "postgres",
    "mysql",
    "pwd",
    "credentials",
];

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| lower.contains(word))
        || PLACEHOLDER_VALUES.contains(&lower.as_str())
        || longest_run(&lower, |a, b| a == b) >= lower.len().clamp(4, 8)
}

/// Letters that change their case at random: two of five neighbours or more. `camelCase` words change
/// twice in a word of five or six letters.
fn scrambled(value: &str) -> bool {
    let changes = value
        .as_bytes()
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.is_ascii_uppercase() != b.is_ascii_uppercase()))
        .count();
    value.len() >= 8
        && value.bytes().all(|b| b.is_ascii_alphabetic())
        && changes * 5 >= (value.len() - 1) * 2
}

fn mixed(value: &str) -> bool {
    value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Whether runs that count up (`abcdef`, `123456`) make up half of the text or more.
fn counts_up(lower: &str) -> bool {
    let bytes = lower.as_bytes();
    let mut covered = 0;
    let mut run = 1;
    for pair in bytes.windows(2) {
        let steps =
            matches!(pair, [a, b] if a.checked_add(1) == Some(*b) || (*a, *b) == (b'9', b'0'));
        if steps {
            run += 1;
        } else {
            covered += if run >= 4 { run } else { 0 };
            run = 1;
        }
    }
    covered += if run >= 4 { run } else { 0 };
    covered * 2 >= bytes.len()
}

fn longest_run(text: &str, continues: impl Fn(u8, u8) -> bool) -> usize {
    let mut longest = usize::from(!text.is_empty());
    let mut run = longest;
    for pair in text.as_bytes().windows(2) {
        run = if matches!(pair, [a, b] if continues(*a, *b)) {
            run + 1
        } else {
            1
        };
        longest = longest.max(run);
    }
    longest
}

fn looks_like_path(value: &str) -> bool {
    let rooted = ["/", "./", "../", "~/", "http://", "https://"]
        .iter()
        .any(|start| value.starts_with(start));
    let parts = value.split('/').count();
    // Base64 has slashes too, but seldom only between words.
    rooted && (value.contains("://") || parts >= 3)
        || parts >= 3
            && value.split('/').all(|part| {
                part.bytes()
                    .all(|b| b.is_ascii_lowercase() || b"-_.0123456789".contains(&b))
            })
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| {
            if [8, 13, 18, 23].contains(&i) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

/// `config.database.password1`, `Self::TOKEN_2`, `self.token`: two or more names joined by dots or colons.
fn is_identifier_path(value: &str) -> bool {
    let parts: Vec<&str> = value
        .split(['.', ':', '!', '?'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.len() >= 2
        && parts.iter().all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && part.len() <= 24
                && shannon_entropy(part) < 3.6
        })
}

#[cfg(test)]
mod tests;
