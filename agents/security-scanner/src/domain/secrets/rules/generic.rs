//! Forms that belong to no single provider: keys, URLs with passwords, assignments.

use super::{Reach, Rule};
use crate::domain::{
    Severity::{Critical, High, Medium},
    secrets::{Confidence, checksum, guard},
};

const URL: &str = "change the password, and build the address at run time from a secret store";

/// Names of assignments that hold a key or token.
const TOKEN_NAMES: &str = r#"(?i)["'`]?(?P<name>[\w.-]{0,40}(?:api[_-]?key|access[_-]?key|private[_-]?key|secret|token|credentials?|auth[_-]?key|signing[_-]?key|encryption[_-]?key|master[_-]?key|bearer)[\w.-]{0,20})["'`\]]{0,2}[ \t]{0,8}(?::=|=>|=|:)[ \t]{0,8}(?:["'`](?P<quoted>[^"'`\s]{10,200})["'`]|([^\s"'`,;(){}\[\]<>#]{16,200}))"#;
/// Names of assignments that hold a password.
const PASSWORD_NAMES: &str = r#"(?i)["'`]?(?P<name>[\w.-]{0,40}(?:passw(?:or)?d|passphrase|passwd|pwd)[\w.-]{0,20})["'`\]]{0,2}[ \t]{0,8}(?::=|=>|=|:)[ \t]{0,8}(?:["'`](?P<quoted>[^"'`\s]{6,200})["'`]|([^\s"'`,;(){}\[\]<>#]{6,200}))"#;

/// What no provider's prefix marks.
pub(super) static RULES: &[Rule] = &[
    Rule::token(
        "private-key",
        "Private key",
        &["private key"],
        r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----((?:\s*Proc-Type:[^\n]*\n\s*DEK-Info:[^\n]*\n)?[^-]{40,})",
    )
    .severity(Critical)
    .entropy(3.5)
    .reach(Reach::Block(8192))
    .verify(checksum::pem_body)
    .remediation("treat the key as lost: make a new pair, replace certificates or authorised keys that trust it, and keep the new one outside the repository"),
    Rule::token("jwt", "JSON Web Token", &["eyj"], r"\beyJ[0-9A-Za-z_-]{10,2000}\.eyJ[0-9A-Za-z_-]{10,4000}\.[0-9A-Za-z_-]{20,1000}")
        .severity(Medium)
        .reach(Reach::Block(7168))
        .verify(checksum::jwt)
        .remediation("end the session or rotate the signing key; a signed token is valid for whoever holds it until it expires"),
    Rule::token(
        "database-url",
        "Database or broker address with a password",
        &[
            "postgres://", "postgresql://", "mysql://", "mariadb://", "mongodb://", "mongodb+srv://", "redis://", "rediss://",
            "amqp://", "amqps://", "mssql://", "sqlserver://", "clickhouse://", "cockroachdb://",
        ],
        r#"(?i)\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|mssql|sqlserver|clickhouse|cockroachdb)(?:\+\w+)?://[^\s:@/"'<>]{0,100}:([^\s@/"'<>]{3,200})@[\w.\[-]"#,
    )
    .entropy(1.5)
    .verify(guard::password)
    .remediation(URL),
    Rule::token(
        "url-credentials",
        "Address with a password in it",
        &["http://", "https://", "ftp://", "ftps://", "sftp://", "smtp://", "smtps://", "ldap://", "ldaps://"],
        r#"(?i)\b(?:https?|s?ftps?|smtps?|ldaps?)://[^\s:@/"'<>]{1,100}:([^\s@/"'<>]{3,200})@[\w.\[-]"#,
    )
    .severity(Medium)
    .confidence(Confidence::Medium)
    .entropy(1.5)
    .verify(guard::password)
    .remediation(URL),
    Rule::token(
        "jdbc-password",
        "JDBC or ADO connection string with a password",
        &["jdbc:", "server=", "host=", "data source="],
        r#"(?i)(?:jdbc:|server=|host=|data source=)[^\r\n"']{0,200}[;?&\s](?:password|pwd)=([^\s;&"'<>]{4,100})"#,
    )
    .entropy(2.0)
    .verify(guard::password)
    .remediation(URL),
    Rule::token(
        "docker-config-auth",
        "Registry credentials in a Docker configuration",
        &["\"auth\""],
        r#""auth"\s*:\s*"([0-9A-Za-z+/]{12,400}={0,2})""#,
    )
    .verify(checksum::basic_auth),
    Rule::token(
        "authorization-header",
        "Authorization header with a credential",
        &["authorization"],
        r#"(?i)authorization["'\]]{0,2}\s{0,4}(?::|=|,)\s{0,4}["'`]?(?:basic|bearer|token)\s+([0-9A-Za-z+/=_.~-]{16,400})"#,
    )
    .confidence(Confidence::Medium)
    .entropy(3.2)
    .verify(guard::mixed_token),
    Rule::token("netrc-password", "Password in a .netrc file", &["machine"], r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(\S{4,200})")
        .entropy(2.0)
        .reach(Reach::Block(512))
        .verify(guard::password),
    Rule::token("htpasswd-hash", "Password hash", &["$2y$", "$2a$", "$2b$", "$apr1$", "$6$", "$argon2"], r"\$(?:2[aby]\$\d\d\$[./0-9A-Za-z]{53}|apr1\$[./0-9A-Za-z]{8}\$[./0-9A-Za-z]{22}|6\$(?:rounds=\d+\$)?[./0-9A-Za-z]{8,16}\$[./0-9A-Za-z]{86}|argon2i?d?\$v=\d+\$[^\s\x22']{40,200})")
        .severity(Medium)
        .remediation("a hash can be attacked without limit once it is public: change the password and keep the file outside the repository"),
    Rule::token("generic-secret", "Secret in an assignment", &["key", "secret", "token", "credential", "bearer"], TOKEN_NAMES)
        .severity(High)
        .confidence(Confidence::Medium)
        .entropy(3.3)
        .verify(guard::assigned_secret)
        .remediation("change the value at its issuer, and read it at run time from the environment or a secret store"),
    Rule::token("generic-password", "Password in an assignment", &["passw", "passphrase", "pwd"], PASSWORD_NAMES)
        .severity(High)
        .confidence(Confidence::Medium)
        .entropy(2.5)
        .verify(guard::assigned_password)
        .remediation("change the password, and read it at run time from the environment or a secret store"),
];
