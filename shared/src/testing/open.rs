//! An agent outside of any mesh: plain HTTP, memory store, no auditor. For conformance kits, other people's clients,
//! and benchmarks; no daemon is built like this.

use std::{collections::HashMap, fmt::Write as _, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    http::{HeaderValue, Response, StatusCode, header, request::Parts},
    serve::ListenerExt as _,
};
use identity::{Principal, SigningKey};
use manifest::{Document, Fleet, Manifest, Mesh};
use prometheus_client::registry::Registry as MetricsRegistry;
use serde_json::json;
use store::{Store, memory::MemoryStore};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    Skill,
    a2a::{
        Offers,
        card::{Cards, Profile},
        client::{Peers, ProxyConnector},
        endpoint::{self, Callers, Endpoint},
        fault::{Fault, Kind},
    },
    access::{Access, RateLimits},
    backplane::Plane,
    converse::{AskForSkill, Converse},
    engine::Engine,
    push::{Outcomes, Policy, Push, Setup},
    readiness::Readiness,
    registry::Registry,
    streams::Streams,
    tasks::Tasks,
    telemetry::metrics::Metrics,
    trail::Trail,
    upkeep::{self, Keep},
};

const NAMESPACE: &str = "open";

/// An agent that anybody may call.
pub struct OpenAgent {
    name: String,
    skills: Registry,
    converse: Option<Box<dyn Converse>>,
    offers: Offers,
    required_extensions: Vec<String>,
    input_modes: Vec<String>,
    loopback_webhooks: bool,
    tokens: HashMap<String, bool>,
    max_tasks: u64,
    store: Arc<dyn Store>,
    key: Option<SigningKey>,
    always_idempotent: bool,
}

impl std::fmt::Debug for OpenAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAgent")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl OpenAgent {
    /// An agent of this name, without any skill yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            skills: Registry::default(),
            converse: None,
            offers: Offers::default(),
            required_extensions: Vec::new(),
            input_modes: vec!["text/plain".into(), "application/json".into()],
            loopback_webhooks: false,
            tokens: HashMap::new(),
            max_tasks: 20_000,
            store: Arc::new(MemoryStore::default()),
            key: None,
            always_idempotent: true,
        }
    }

    /// Adds a skill.
    #[must_use]
    pub fn skill<S: Skill>(mut self, skill: S) -> Self {
        self.skills.add(skill);
        self
    }

    /// Answers messages that name no skill.
    #[must_use]
    pub fn converse(mut self, converse: impl Converse) -> Self {
        self.converse = Some(Box::new(converse));
        self
    }

    /// Which optional parts of the protocol it offers.
    #[must_use]
    pub fn offers(mut self, offers: Offers) -> Self {
        self.offers = offers;
        self
    }

    /// Offers no streams.
    #[must_use]
    pub fn without_streaming(mut self) -> Self {
        self.offers.streaming = false;
        self
    }

    /// Sends no push notifications.
    #[must_use]
    pub fn without_push(mut self) -> Self {
        self.offers.push = false;
        self
    }

    /// Has no extended card.
    #[must_use]
    pub fn without_extended_card(mut self) -> Self {
        self.offers.extended_card = false;
        self
    }

    /// Refuses callers that do not declare this extension.
    #[must_use]
    pub fn require_extension(mut self, uri: &str) -> Self {
        self.required_extensions.push(uri.to_owned());
        self
    }

    /// Media types that messages may have.
    #[must_use]
    pub fn input_modes(mut self, modes: &[&str]) -> Self {
        self.input_modes = modes.iter().map(|&mode| mode.to_owned()).collect();
        self
    }

    /// Pushes to webhooks on loopback as well.
    #[must_use]
    pub fn loopback_webhooks(mut self, allowed: bool) -> Self {
        self.loopback_webhooks = allowed;
        self
    }

    /// Knows callers by bearer tokens from now on; each is a principal of its own, and not all may do everything.
    #[must_use]
    pub fn bearer(mut self, token: &str, allowed: bool) -> Self {
        self.tokens.insert(token.to_owned(), allowed);
        self
    }

    /// Keeps at most so many ended tasks.
    #[must_use]
    pub fn max_tasks(mut self, max_tasks: u64) -> Self {
        self.max_tasks = max_tasks;
        self
    }

    /// Keeps its state here instead of in memory.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// Signs its card and its audit records (which nobody fetches) with this key.
    #[must_use]
    pub fn signing_key(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Takes a repeated message id for a repeated message only from callers that declare the extension: the official
    /// test kit gives one id to different messages.
    #[must_use]
    pub fn idempotent_on_request(mut self) -> Self {
        self.always_idempotent = false;
        self
    }

    /// Its routes; `url` is where they are mounted. The loops run until `stop`.
    ///
    /// # Errors
    /// When a skill's name cannot stand in a manifest, or the store does not answer.
    pub async fn router(self, url: &str, stop: CancellationToken) -> anyhow::Result<Router> {
        let tokens = self.tokens.clone();
        let keep = Keep {
            age: time::Duration::days(1),
            tasks: self.max_tasks,
        };
        let key = self.key.clone();
        let profile = self.profile(url);
        let engine = Arc::new(self.engine().await?);
        let left = engine.tasks.left_behind().await?;
        upkeep::take_up(&engine, left).await?;
        tokio::spawn(upkeep::evict(engine.clone(), keep, stop.clone()));
        tokio::spawn(engine.push.clone().run(stop.clone()));
        let closing = engine.closing.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            closing.cancel();
        });
        let cards = Arc::new(Cards::new(profile, &engine.registry, key));
        let bearer = !tokens.is_empty();
        let router = endpoint::router(Endpoint {
            engine,
            cards,
            callers: Arc::new(Anybody { tokens }),
        });
        Ok(if bearer {
            router.layer(axum::middleware::map_response(challenge))
        } else {
            router
        })
    }

    /// Serves on a listener until `stop`.
    ///
    /// # Errors
    /// As [`Self::router`], or when the listener breaks.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let address: SocketAddr = listener.local_addr()?;
        let router = self
            .router(&format!("http://{address}"), stop.clone())
            .await?;
        // Without this an answer in two parts waits for the client's delayed acknowledgement.
        let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .context("the listener broke")
    }

    fn profile(&self, url: &str) -> Profile {
        let scheme = json!({"httpAuthSecurityScheme": {"scheme": "Bearer"}});
        Profile {
            name: self.name.clone(),
            description: "An agent that anybody may call.".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            url: url.to_owned(),
            offers: self.offers,
            input_modes: self.input_modes.clone(),
            output_modes: vec!["text/plain".into(), "application/json".into()],
            security: (!self.tokens.is_empty()).then(|| ("bearer".into(), scheme)),
            required_extensions: self.required_extensions.clone(),
        }
    }

    fn push(&self, tasks: &Tasks) -> anyhow::Result<Push> {
        let setup = Setup {
            store: self.store.clone(),
            tasks: tasks.clone(),
            key: &self.key.clone().unwrap_or_else(SigningKey::generate),
            policy: Policy {
                loopback: self.loopback_webhooks,
                allow: Vec::new(),
            },
            outcomes: Outcomes::default(),
        };
        Ok(Push::open(setup)?)
    }

    async fn engine(self) -> anyhow::Result<Engine> {
        let fleet = Arc::new(fleet(&self.name, &self.skills)?);
        let manifest = fleet
            .manifest(&self.name)
            .context("it is in its own mesh")?;
        let manifest = Arc::new(manifest.clone());
        let metrics = Metrics::register(&mut MetricsRegistry::default());
        let access = Access::new(fleet, manifest)?;
        let tasks = Tasks::new(self.store.clone());
        let trail = match &self.key {
            Some(key) => {
                let own = access.own().context("it is in its own mesh")?.id;
                let depth = metrics.outbox_depth.clone();
                Trail::open(self.store.clone(), key.clone(), &own, u64::MAX, depth).await?
            }
            None => Trail::nowhere(self.store.clone()),
        };
        let push = self.push(&tasks)?;
        let peers = Peers::new(
            &self.name,
            HashMap::new(),
            Box::new(ProxyConnector),
            metrics.clone(),
        );
        let plane = Plane {
            access: access.clone(),
            peers,
            trail: trail.clone(),
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            store: self.store,
        };
        let names = self.skills.iter().map(|skill| skill.id).collect();
        Ok(Engine {
            name: self.name,
            always_idempotent: self.always_idempotent,
            registry: self.skills,
            converse: self
                .converse
                .unwrap_or_else(|| Box::new(AskForSkill(names))),
            push,
            tasks,
            access,
            rates: RateLimits::new(u32::MAX, u32::MAX),
            trail,
            metrics,
            readiness: Readiness::default(),
            slots: Arc::new(Semaphore::new(1_024)),
            timeouts: std::collections::BTreeMap::new(),
            plane: Arc::new(plane),
            streams: Streams::default(),
            closing: CancellationToken::new(),
        })
    }
}

/// The mesh of one agent, whose operator may do everything.
fn fleet(name: &str, skills: &Registry) -> anyhow::Result<Fleet> {
    let mut mesh = format!(
        "trust_domain: open.local\nagents:\n  {name}: {{namespace: {NAMESPACE}, port: 1}}\n"
    );
    // An agent without skills has nothing that a caller could be allowed.
    if skills.iter().next().is_some() {
        mesh += "callers:\n  operator: {identities: [{spiffe: \"spiffe://open.local/external/operator\"}], skills: all}\n";
    }
    let mut text = format!(
        "apiVersion: ossa/v0.3.6\nkind: Agent\nmetadata: {{name: {name}, namespace: {NAMESPACE}, version: \"0.1.0\"}}\n\
         spec:\n  type: operator\n  role: An agent that anybody may call.\n  access: {{tier: tier_2_write_limited}}\n"
    );
    let ids = || skills.iter().map(|skill| skill.id);
    let commands: Vec<String> = ids()
        .map(|id| format!("{{name: {id}, description: {id}}}"))
        .collect();
    let allowed: Vec<&str> = ids().collect();
    writeln!(text, "  messaging: {{commands: [{}]}}", commands.join(", "))?;
    writeln!(
        text,
        "  autonomy: {{level: autonomous, allowed_actions: [{}]}}",
        allowed.join(", ")
    )?;
    let document = Document::parse(&text).context("the manifest is acceptable YAML")?;
    let manifest = Manifest::decode(&document, &text)?;
    Ok(Fleet::new(vec![manifest], Mesh::parse(&mesh)?)?)
}

/// Callers by bearer token; without any token, everybody is the operator.
#[derive(Debug)]
struct Anybody {
    tokens: HashMap<String, bool>,
}

impl Callers for Anybody {
    fn principal(&self, _: &Engine, request: &Parts) -> Result<Principal, Fault> {
        if self.tokens.is_empty() {
            return Ok(Principal::external("operator", "open.local"));
        }
        let header = request.headers.get(header::AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("Bearer "))
            .unwrap_or_default();
        match self.tokens.get(token) {
            Some(true) => {
                let name = crate::digest::of_bytes(token.as_bytes());
                let short = name.get(..16).unwrap_or_default();
                Ok(Principal::external(
                    &format!("caller-{short}"),
                    "open.local",
                ))
            }
            Some(false) => Err(Fault::new(
                Kind::PermissionDenied,
                "the token does not suffice",
            )),
            None => Err(Fault::new(
                Kind::Unauthenticated,
                "a bearer token is needed",
            )),
        }
    }
}

/// Says which scheme a caller without credentials should use.
async fn challenge<B>(mut response: Response<B>) -> Response<B> {
    if response.status() == StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
