//! Where hooks may reach out to, and the one HTTP request that they make.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{AUTHORIZATION, HeaderName, HeaderValue},
    redirect,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::domain::hooks::{Hook, RunKind};

/// Longest answer of an HTTP hook that is read, in bytes.
const MAX_ANSWER: usize = 16 << 10;
/// The draft `The Idempotency-Key HTTP Header Field` of the IETF.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Pause between two notes about a lock.
const LOCK_NOTE: Duration = Duration::from_secs(1);

/// `HOST[:PORT]` that hooks may post to; any port when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: String,
    port: Option<u16>,
}

/// Why a host or a secret cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookFlagError {
    /// No host, or a URL.
    #[error("expected HOST or HOST:PORT")]
    Host,
    /// Not `NAME=FILE`.
    #[error("expected NAME=FILE, with 1 to 63 of a-z, 0-9, - and _ as the name")]
    Secret,
}

impl FromStr for AllowedHost {
    type Err = HookFlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The same parser reads the hooks' URLs, so both see one host.
        let url = Url::parse(&format!("http://{text}/")).map_err(|_| HookFlagError::Host)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.path() == "/";
        let port = text
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        match url.host_str().filter(|host| !host.is_empty()) {
            Some(host) if plain && url.query().is_none() && !text.contains('/') => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(HookFlagError::Host),
        }
    }
}

/// `NAME=FILE`: a file whose text is sent as an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    name: String,
    file: std::path::PathBuf,
}

impl FromStr for SecretFile {
    type Err = HookFlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, file) = text.split_once('=').ok_or(HookFlagError::Secret)?;
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 63 || !name.chars().all(valid) || file.is_empty() {
            return Err(HookFlagError::Secret);
        }
        Ok(Self {
            name: name.to_owned(),
            file: file.into(),
        })
    }
}

impl SecretFile {
    /// Reads the header's value.
    ///
    /// # Errors
    /// When the file cannot be read or holds no header value.
    pub fn read(&self) -> anyhow::Result<(String, HeaderValue)> {
        use anyhow::Context as _;
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let mut value = HeaderValue::from_str(text.trim())
            .ok()
            .with_context(|| format!("{} holds no header value", self.file.display()))?;
        value.set_sensitive(true);
        Ok((self.name.clone(), value))
    }
}

/// Everything that hooks may reach. Its `Debug` shows no secret.
#[derive(Debug, Default)]
pub struct Outlets {
    hosts: Vec<AllowedHost>,
    secrets: BTreeMap<String, HeaderValue>,
    edges: Vec<(&'static str, Vec<String>)>,
    client: OnceLock<Client>,
}

/// Why an HTTP hook failed. Never shows path, header or answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The URL is not among what the operator allows.
    #[error("{0} is not allowed by --hook-allow")]
    NotAllowed(String),
    /// The secret is not configured.
    #[error("its secret is not configured")]
    NoSecret,
    /// It answered, but not with 2xx.
    #[error("{host} answered {status}")]
    Status {
        /// Scheme and host.
        host: String,
        /// HTTP status; redirects are not followed.
        status: u16,
    },
    /// It did not answer in time.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// It cannot be reached, or broke off.
    #[error("cannot reach {0}")]
    Unreachable(String),
    /// The answer is too long.
    #[error("{0} answered with more than 16 KiB")]
    TooLong(String),
}

impl Outlets {
    /// What flags and manifest allow.
    pub fn new(
        hosts: Vec<AllowedHost>,
        secrets: impl IntoIterator<Item = (String, HeaderValue)>,
        edges: Vec<(&'static str, Vec<String>)>,
    ) -> Self {
        Self {
            hosts,
            secrets: secrets.into_iter().collect(),
            edges,
            client: OnceLock::new(),
        }
    }

    /// Whether hooks may post there; else what is wrong, without the URL's path.
    ///
    /// # Errors
    /// The reason.
    pub fn check_url(&self, text: &str) -> Result<(), String> {
        let url = Url::parse(text).map_err(|_| "no URL".to_owned())?;
        let shown = shown(&url);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the scheme {}", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("a query or fragment on {shown}"));
        }
        let allowed = self.hosts.iter().any(|allowed| {
            url.host_str() == Some(&allowed.host)
                && allowed
                    .port
                    .is_none_or(|port| url.port_or_known_default() == Some(port))
        });
        if allowed { Ok(()) } else { Err(shown) }
    }

    /// Whether a secret of this name is configured.
    pub fn has_secret(&self, name: &str) -> bool {
        self.secrets.contains_key(name)
    }

    /// The agent's name with the lifetime that a call wants, when the manifest declares the edge.
    pub fn edge(&self, agent: &str, skill: &str) -> Option<&'static str> {
        self.edges
            .iter()
            .find(|(name, skills)| *name == agent && skills.iter().any(|known| known == skill))
            .map(|(name, _)| *name)
    }

    /// Posts JSON and returns the `result` of a JSON answer.
    ///
    /// # Errors
    /// Every variant of [`PostError`].
    pub async fn post(&self, letter: Letter<'_>) -> Result<Option<String>, PostError> {
        self.check_url(letter.url).map_err(PostError::NotAllowed)?;
        let url = Url::parse(letter.url).map_err(|_| PostError::NotAllowed("no URL".into()))?;
        let host = shown(&url);
        let unreachable = |error: reqwest::Error| {
            if error.is_timeout() {
                PostError::Timeout(host.clone())
            } else {
                tracing::debug!(error = %error.without_url(), "an HTTP hook failed");
                PostError::Unreachable(host.clone())
            }
        };
        let mut request = self
            .client()
            .map_err(unreachable)?
            .post(url)
            .timeout(letter.patience)
            .header(KEY, letter.key)
            .json(letter.body);
        if let Some(name) = letter.authorization {
            let secret = self.secrets.get(name).ok_or(PostError::NoSecret)?;
            request = request.header(AUTHORIZATION, secret.clone());
        }
        let mut response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(PostError::Status { host, status });
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(PostError::TooLong(host));
            }
            answer.extend_from_slice(&chunk);
        }
        let answer: Option<Value> = serde_json::from_slice(&answer).ok();
        Ok(answer.and_then(|answer| Some(answer.get("result")?.as_str()?.to_owned())))
    }

    fn client(&self) -> Result<&Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .dns_resolver(Arc::new(Screen))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("db-migrator/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// One request of a hook.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Where to.
    pub url: &'a str,
    /// The secret's name.
    pub authorization: Option<&'a str>,
    /// The key of this invocation.
    pub key: &'a str,
    /// What it says.
    pub body: &'a Value,
    /// How long it may take.
    pub patience: Duration,
}

fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Names may stand for private addresses, since the operator allowed the name; but never for link-local ones, where the
/// metadata services of clouds are, nor for nothing in particular.
struct Screen;

impl Resolve for Screen {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if found.iter().any(|address| is_forbidden(address.ip())) {
                return Err("the name leads to a link-local address".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn is_forbidden(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_unspecified() || address.is_multicast()
}

/// The hooks of the run that works on one database. One is enough: a run holds the database's lock.
#[derive(Default)]
pub struct Desk {
    outlets: Arc<Outlets>,
    open: Mutex<Open>,
}

/// What a run has open.
#[derive(Debug, Clone, Default)]
struct Open {
    run: String,
    kind: Option<RunKind>,
    hooks: Arc<[Hook]>,
    backup_before: Option<String>,
    noted: Option<Instant>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk that reaches what these outlets allow.
    pub fn new(outlets: Arc<Outlets>) -> Self {
        Self {
            outlets,
            open: Mutex::default(),
        }
    }

    /// What hooks may reach.
    pub fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// Lays out the hooks of a run.
    pub(crate) fn open(&self, run: &str, kind: RunKind, hooks: Vec<Hook>, backup: Option<String>) {
        *self.lock() = Open {
            run: run.to_owned(),
            kind: Some(kind),
            hooks: hooks.into(),
            backup_before: backup,
            noted: None,
        };
    }

    /// The hooks of this run, when there are any.
    pub(crate) fn hooks(&self, run: &str) -> Option<(RunKind, Arc<[Hook]>)> {
        let open = self.lock();
        let kind = open.kind.filter(|_| open.run == run)?;
        (!open.hooks.is_empty()).then(|| (kind, open.hooks.clone()))
    }

    /// Whether the backup is due before this migration.
    pub(crate) fn backs_up_before(&self, run: &str, version: &str) -> bool {
        let open = self.lock();
        open.run == run && open.backup_before.as_deref() == Some(version)
    }

    /// Whether a lock may be noted now: at most once a second.
    pub(crate) fn may_note(&self, now: Instant) -> bool {
        let mut open = self.lock();
        let due = open.noted.is_none_or(|last| now >= last + LOCK_NOTE);
        if due {
            open.noted = Some(now);
        }
        due
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlets(hosts: &[&str]) -> Outlets {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        Outlets::new(hosts, [], vec![("compliance-auditor", vec!["a".into()])])
    }

    #[test]
    fn reaches_only_allowed_hosts() {
        let outlets = outlets(&["hooks.example:8443", "10.1.2.3", "[::1]:9000"]);
        for url in [
            "https://hooks.example:8443/a/b",
            "http://10.1.2.3/x",
            "https://10.1.2.3:99/",
            "http://[::1]:9000/",
        ] {
            assert_eq!(outlets.check_url(url), Ok(()), "{url}");
        }
        for (url, got) in [
            ("https://hooks.example/a/s3cret", "https://hooks.example"),
            (
                "https://hooks.example.evil:8443/",
                "https://hooks.example.evil:8443",
            ),
            ("https://hooks.example:8443@evil/", "a user name"),
            ("https://evil\\@hooks.example:8443/", "https://evil"),
            ("ftp://10.1.2.3/", "the scheme ftp"),
            (
                "https://10.1.2.3/?t=s3cret",
                "a query or fragment on https://10.1.2.3",
            ),
            ("http://0x0a010204/", "http://10.1.2.4"),
            ("nonsense", "no URL"),
        ] {
            assert_eq!(outlets.check_url(url), Err(got.to_owned()), "{url}");
        }
        assert_eq!(
            outlets.edge("compliance-auditor", "a"),
            Some("compliance-auditor")
        );
        assert_eq!(outlets.edge("compliance-auditor", "b"), None);
    }

    #[test]
    fn refuses_flags_that_are_no_host_or_secret() {
        for bad in ["", "https://x/", "a/b", "u@h", "h:x"] {
            assert!(bad.parse::<AllowedHost>().is_err(), "{bad}");
        }
        for bad in ["", "x", "=f", "A=f", "a="] {
            assert!(bad.parse::<SecretFile>().is_err(), "{bad}");
        }
        assert!("a=b=c".parse::<SecretFile>().is_ok());
    }

    #[test]
    fn never_speaks_to_link_local_addresses() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("0.0.0.0", true),
            ("10.0.0.1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(
                is_forbidden(address.parse().unwrap()),
                forbidden,
                "{address}"
            );
        }
    }

    #[test]
    fn notes_a_lock_once_a_second() {
        let (desk, now) = (Desk::default(), Instant::now());
        assert!(desk.may_note(now) && !desk.may_note(now));
        assert!(desk.may_note(now + LOCK_NOTE));
    }
}
