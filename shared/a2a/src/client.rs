//! A client of A2A 1.0 over JSON-RPC, for any agent.

mod backoff;
mod breaker;
mod cards;
mod error;
mod exchange;
mod methods;
mod session;
mod sse;
mod stream;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use tokio::time::{Instant, sleep, timeout_at};

pub use backoff::{Backoff, jitter};
pub use breaker::{Breaker, CircuitOpen, FAILURES, OPEN_FOR, Outcome};
pub use cards::CardCache;
pub use error::{
    CallError, DEPENDENCY_UNAVAILABLE, FieldViolation, HttpAnswer, OVERLOADED, RpcError,
    TASK_NOT_FOUND, UNSUPPORTED_OPERATION,
};
pub use session::DiscoverError;
pub use stream::{Event, Events};

use crate::{card::AgentCard, signature::KeySource};
use error::Repeat;
use session::Session;

/// Where an agent's public card is.
pub const CARD_PATH: &str = "/.well-known/agent-card.json";
/// Longest wait for an answer, for callers without a deadline: a blocking `SendMessage` waits until the task settles.
pub const LONGEST_WAIT: Duration = Duration::from_mins(30);
/// Largest answer, bytes: what an agent of this mesh sends at most.
pub const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Largest event of a stream, bytes.
pub const MAX_EVENT: usize = 4 * 1024 * 1024;
/// How long a stream may be silent before it counts as lost. Servers send a comment every 15 to 30 seconds.
pub const STREAM_SILENCE: Duration = Duration::from_mins(2);

/// Whether the signature of a card is looked at.
#[derive(Clone, Default)]
pub enum SignaturePolicy {
    /// No.
    #[default]
    Off,
    /// A card with signatures needs a valid one. Whoever can change the card can also take its signatures away.
    WhenPresent(Arc<dyn KeySource + Send + Sync>),
    /// Every card needs a valid signature.
    Required(Arc<dyn KeySource + Send + Sync>),
}

impl fmt::Debug for SignaturePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::WhenPresent(_) => "WhenPresent",
            Self::Required(_) => "Required",
        })
    }
}

/// How a client works.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Extensions that the caller knows, by URI. Those that the agent offers are declared with every request, and an
    /// agent that requires others is refused. The idempotency extension needs no mention.
    pub extensions: Vec<String>,
    /// Whether the card's signature is looked at.
    pub signatures: SignaturePolicy,
    /// Where cards are kept; give clients the same one to fetch a card once.
    pub cards: CardCache,
    /// Sent with every request, the card's included: credentials.
    pub headers: HeaderMap,
    /// When a call is tried again.
    pub backoff: Backoff,
    /// Largest answer, bytes.
    pub max_answer: usize,
    /// Largest event of a stream, bytes.
    pub max_event: usize,
    /// How long a stream may be silent before it counts as lost.
    pub stream_silence: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            extensions: Vec::new(),
            signatures: SignaturePolicy::default(),
            cards: CardCache::default(),
            headers: HeaderMap::new(),
            backoff: Backoff::default(),
            max_answer: MAX_ANSWER,
            max_event: MAX_EVENT,
            stream_silence: STREAM_SILENCE,
        }
    }
}

/// What is special about one call.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// When the caller stops waiting. Of a stream: for its end. Default: [`LONGEST_WAIT`], and none for a stream.
    pub deadline: Option<Instant>,
    /// Sent with the request: trace context, credentials.
    pub headers: HeaderMap,
    /// For [`Client::call`]: the method may run twice without harm, so it is tried again when its answer was lost.
    pub repeatable: bool,
}

/// A client of one agent. Clones share the card, the connections and the circuit breaker.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    card_url: String,
    options: ClientOptions,
    session: Mutex<Arc<Session>>,
    breaker: Mutex<Breaker>,
    ids: AtomicU64,
}

impl Client {
    /// Fetches an agent's card from its base URL and picks the first interface that speaks JSON-RPC and A2A 1.0.
    ///
    /// # Errors
    /// [`DiscoverError`]: never falls back to another version.
    pub async fn discover(
        http: reqwest::Client,
        base_url: &str,
        options: ClientOptions,
    ) -> Result<Self, DiscoverError> {
        let card_url = format!("{}{CARD_PATH}", base_url.trim_end_matches('/'));
        let session = session::discover(&http, &card_url, &options).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                card_url,
                options,
                session: Mutex::new(Arc::new(session)),
                breaker: Mutex::default(),
                ids: AtomicU64::new(1),
            }),
        })
    }

    /// The agent's card: the extended one once it was fetched.
    pub fn card(&self) -> AgentCard {
        self.session().card.clone()
    }

    /// Where requests go.
    pub fn url(&self) -> String {
        self.session().url.clone()
    }

    /// Fetches the public card again where HTTP's cache rules ask for it, and goes by what it says now.
    ///
    /// # Errors
    /// [`DiscoverError`]; the client stays as it was.
    pub async fn refresh(&self) -> Result<(), DiscoverError> {
        let Inner {
            http,
            card_url,
            options,
            ..
        } = &*self.inner;
        let session = session::discover(http, card_url, options).await?;
        self.replace(session);
        Ok(())
    }

    /// Whether the circuit breaker lets calls pass freely.
    pub fn is_healthy(&self) -> bool {
        self.breaker(|breaker| breaker.is_closed())
    }

    fn session(&self) -> Arc<Session> {
        let session = self.inner.session.lock();
        Arc::clone(&session.unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, session: Session) {
        let current = self.inner.session.lock();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(session);
    }

    fn breaker<T>(&self, ask: impl FnOnce(&mut Breaker) -> T) -> T {
        let breaker = self.inner.breaker.lock();
        ask(&mut breaker.unwrap_or_else(PoisonError::into_inner))
    }

    fn next_id(&self) -> u64 {
        self.inner.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// One try behind the circuit breaker, until the deadline.
    async fn guarded<T>(
        &self,
        url: &str,
        deadline: Instant,
        attempt: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        self.breaker(|breaker| breaker.admit(Instant::now()))
            .map_err(|source| CallError::Suspended {
                url: url.to_owned(),
                source,
            })?;
        let result = before(deadline, url, attempt).await;
        let outcome = result
            .as_ref()
            .map_or_else(CallError::outcome, |_| Outcome::Success);
        self.breaker(|breaker| breaker.record(outcome, Instant::now()));
        result
    }
}

/// When and how often a request may be tried again.
#[derive(Debug, Clone, Copy)]
struct Tries {
    backoff: Backoff,
    repeat: Repeat,
    deadline: Instant,
}

impl Tries {
    /// Tries until an answer comes, a repeat might do the work twice, or time or tries are used up.
    async fn run<T, F>(self, url: &str, mut attempt: impl FnMut() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut failed = 0;
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed += 1;
            let Some(pause) = self.pause(failed, &error) else {
                return Err(error);
            };
            tracing::debug!(url, failed, pause_ms = pause.as_millis(), error = %error, "trying again");
            sleep(pause).await;
        }
    }

    fn pause(&self, failed: u32, error: &CallError) -> Option<Duration> {
        let at_least = error.repeat_after(self.repeat)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.backoff.pause(failed, jitter(), at_least, left)
    }
}

/// The result, unless the deadline comes first.
async fn before<T>(
    deadline: Instant,
    url: &str,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let late = || CallError::Deadline {
        url: url.to_owned(),
    };
    timeout_at(deadline, work).await.map_err(|_| late())?
}

#[cfg(test)]
mod tests;
