//! Calls to the other agents: the right certificate, the caller's deadline and trace, retries that are safe.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use a2a::client::{Backoff, Breaker, Outcome, jitter};
use audit::record::timestamp;
use identity::SpiffeId;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span, field};

mod answer;

use crate::{
    SkillError,
    context::Work,
    registry::DELIVERY_SKILL,
    telemetry::{metrics::Metrics, traces},
};
use answer::{CallError, read};

/// Longest time to connect to a peer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for one answer, for callers without a deadline of their own.
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// How to reach one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Base URL, without `/a2a`.
    pub url: String,
    /// The identity it has to prove.
    pub id: SpiffeId,
}

/// Makes HTTP clients that accept exactly one peer.
pub trait Connector: std::fmt::Debug + Send + Sync {
    /// A client for a peer.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    fn connect(&self, id: &SpiffeId) -> Result<reqwest::Client, reqwest::Error>;
}

/// In-process mTLS.
#[derive(Debug)]
pub struct MtlsConnector(pub std::sync::Arc<identity::TlsIdentity>);

impl Connector for MtlsConnector {
    fn connect(&self, id: &SpiffeId) -> Result<reqwest::Client, reqwest::Error> {
        let config = rustls::ClientConfig::clone(&self.0.client_config(id.clone()));
        builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .build()
    }
}

/// Plain HTTP to the mesh's own proxy, which does mTLS.
#[derive(Debug)]
pub struct ProxyConnector;

impl Connector for ProxyConnector {
    fn connect(&self, _: &SpiffeId) -> Result<reqwest::Client, reqwest::Error> {
        builder().build()
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// All agents that this one may call.
#[derive(Debug)]
pub struct Peers {
    own: String,
    known: Mutex<HashMap<String, Peer>>,
    connector: Box<dyn Connector>,
    clients: Mutex<HashMap<String, reqwest::Client>>,
    /// One circuit to each peer. A call counts once, however often it was tried.
    breakers: Mutex<HashMap<String, Breaker>>,
    metrics: Metrics,
}

/// Tells the circuit how a call ended, also when its caller went away.
struct Verdict<'a> {
    peers: &'a Peers,
    agent: String,
    outcome: Option<Outcome>,
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            let now = Instant::now();
            self.peers
                .breaker(&self.agent, |breaker| breaker.record(outcome, now));
        }
    }
}

/// What a call says about the health of the peer: a refusal comes from a healthy one.
fn outcome(result: &Result<Value, CallError>) -> Outcome {
    match result {
        Ok(_) | Err(CallError::Waits(_)) => Outcome::Success,
        Err(CallError::Refused { code, .. }) if ![-32052, -32054].contains(code) => {
            Outcome::Success
        }
        Err(_) => Outcome::Failure,
    }
}

impl Peers {
    /// The peers of agent `own`.
    pub fn new(
        own: &str,
        peers: HashMap<String, Peer>,
        connector: Box<dyn Connector>,
        metrics: Metrics,
    ) -> Self {
        Self {
            own: own.to_owned(),
            known: Mutex::new(peers),
            connector,
            clients: Mutex::default(),
            breakers: Mutex::default(),
            metrics,
        }
    }

    /// Says where an agent is now.
    pub fn relocate(&self, agent: &str, url: &str) {
        if let Some(peer) = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(agent)
        {
            url.clone_into(&mut peer.url);
        }
    }

    fn peer(&self, agent: &str) -> Option<Peer> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(agent)
            .cloned()
    }

    /// Calls a skill by its direct method.
    ///
    /// # Errors
    /// `Denied` when the callee refuses the edge, `Unavailable` when it does not answer, `Failed` with its words otherwise.
    pub async fn call(
        &self,
        work: &Work,
        agent: &'static str,
        skill: &str,
        input: Value,
    ) -> Result<Value, SkillError> {
        let span = tracing::info_span!(
            "invoke_agent",
            "otel.name" = format!("invoke_agent {agent}"),
            "otel.kind" = "client",
            "gen_ai.operation.name" = "invoke_agent",
            "gen_ai.agent.name" = agent,
            "rpc.system.name" = "jsonrpc",
            "rpc.method" = skill,
            "rpc.status_code" = field::Empty,
            "error.type" = field::Empty,
        );
        self.traced(work, agent, skill, input)
            .instrument(span)
            .await
    }

    async fn traced(
        &self,
        work: &Work,
        agent: &'static str,
        skill: &str,
        input: Value,
    ) -> Result<Value, SkillError> {
        let started = Instant::now();
        let result = self.attempts(work, agent, skill, input).await;
        let status = match &result {
            Ok(_) => "ok",
            Err(CallError::Refused { code: -32050, .. }) => "denied",
            Err(_) => "error",
        };
        let trace_id = traces::ids(&Span::current()).map(|(trace, _)| trace);
        self.metrics.observe_call(
            (&self.own, agent),
            status,
            started.elapsed(),
            trace_id.as_deref(),
        );
        result.map_err(|error| self.skill_error(agent, error))
    }

    fn skill_error(&self, agent: &'static str, error: CallError) -> SkillError {
        Span::current().record("error.type", "call_failed");
        if let CallError::Waits(waits) = error {
            return SkillError::failed_with(format!("{} cannot use {agent} yet", self.own), waits);
        }
        let CallError::Refused { code, message, .. } = &error else {
            return SkillError::unavailable(agent, error);
        };
        Span::current().record("rpc.status_code", code.to_string());
        match code {
            -32050 => SkillError::Denied(format!("{agent}: {message}")),
            -32051 | -32052 | -32054 => SkillError::unavailable(agent, error),
            -32053 => SkillError::DeadlineExceeded,
            _ => SkillError::failed_with(format!("{} cannot use {agent}", self.own), error),
        }
    }

    async fn attempts(
        &self,
        work: &Work,
        agent: &str,
        skill: &str,
        input: Value,
    ) -> Result<Value, CallError> {
        // The outbox has a back-off of its own, and nothing else to do than to try.
        let guarded = skill != DELIVERY_SKILL;
        if guarded {
            let admitted = self.breaker(agent, |breaker| breaker.admit(Instant::now()));
            admitted.map_err(|source| CallError::Open {
                agent: agent.to_owned(),
                source,
            })?;
        }
        let mut verdict = Verdict {
            peers: self,
            agent: agent.to_owned(),
            outcome: guarded.then_some(Outcome::Unknown),
        };
        let result = self.tries(work, agent, &request(work, skill, input)).await;
        verdict.outcome = guarded.then(|| outcome(&result));
        result
    }

    async fn tries(&self, work: &Work, agent: &str, body: &Value) -> Result<Value, CallError> {
        let backoff = Backoff::default();
        for failed in 1.. {
            let error = match self.attempt(work, agent, body).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // Nothing ran when the connection failed or the callee was full, so a second try doubles nothing.
            let asked = match error {
                CallError::Connect { .. } => Some(Duration::ZERO),
                CallError::Refused {
                    code: -32051 | -32052,
                    retry_after,
                    ..
                } => Some(retry_after),
                _ => None,
            };
            let left = work.deadline.saturating_duration_since(Instant::now());
            let pause = asked.and_then(|asked| backoff.pause(failed, jitter(), asked, left));
            match pause {
                Some(pause) => sleep(pause).await,
                None => return Err(error),
            }
        }
        unreachable!("the loop returns")
    }

    fn breaker<T>(&self, agent: &str, f: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        f(breakers.entry(agent.to_owned()).or_default())
    }

    async fn attempt(&self, work: &Work, agent: &str, body: &Value) -> Result<Value, CallError> {
        let Some(peer) = self.peer(agent) else {
            return Err(CallError::Refused {
                agent: agent.to_owned(),
                code: -32050,
                message: "no such agent in mesh.yaml".into(),
                retry_after: Duration::ZERO,
            });
        };
        let url = format!("{}/a2a", peer.url);
        let client = self
            .client(agent, &peer)
            .map_err(|source| CallError::Connect {
                url: url.clone(),
                source,
            })?;
        let mut headers = HeaderMap::from_iter([(
            "a2a-version".parse().unwrap_or(reqwest::header::ACCEPT),
            HeaderValue::from_static("1.0"),
        )]);
        traces::propagate(&Span::current(), &mut headers);
        let left = work
            .deadline
            .saturating_duration_since(Instant::now())
            .min(LONGEST_WAIT);
        let sent = client
            .post(&url)
            .headers(headers)
            .timeout(left)
            .json(body)
            .send()
            .await;
        let response = sent.map_err(|source| {
            let url = url.clone();
            if source.is_connect() {
                CallError::Connect { url, source }
            } else {
                CallError::Exchange { url, source }
            }
        })?;
        read(agent, url, response).await
    }

    fn client(&self, agent: &str, peer: &Peer) -> Result<reqwest::Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(agent) {
            return Ok(client.clone());
        }
        let client = self.connector.connect(&peer.id)?;
        clients.insert(agent.to_owned(), client.clone());
        Ok(client)
    }
}

/// The request, with what is left of the caller's time.
fn request(work: &Work, skill: &str, mut input: Value) -> Value {
    let left = work
        .deadline
        .saturating_duration_since(Instant::now())
        .min(LONGEST_WAIT);
    let deadline = timestamp(OffsetDateTime::now_utc() + left);
    if let Some(input) = input.as_object_mut() {
        input.insert(
            "_meta".into(),
            json!({"deadline": deadline, "on_behalf_of": work.on_behalf_of}),
        );
    }
    json!({"jsonrpc": "2.0", "id": 1, "method": skill, "params": input})
}

#[cfg(test)]
mod tests {
    use identity::Principal;
    use prometheus_client::registry::Registry;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    use super::*;

    fn work() -> Work {
        Work {
            task_id: "t".into(),
            skill: "s".into(),
            caller: Principal::external("operator", "mesh.local"),
            on_behalf_of: None,
            deadline: Instant::now() + Duration::from_mins(1),
            tool_calls: Arc::default(),
            input_digest: String::new(),
        }
    }

    fn peers(url: String) -> Peers {
        let id = SpiffeId::external("mesh.local", "peer").unwrap();
        let known = HashMap::from([("peer".to_owned(), Peer { url, id })]);
        let metrics = Metrics::register(&mut Registry::default());
        Peers::new("own", known, Box::new(ProxyConnector), metrics)
    }

    /// A port on which nobody listens.
    async fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn a_peer_that_keeps_failing_is_left_alone_but_records_are_still_tried() {
        let peers = peers(nobody().await);
        for call in 0..7 {
            let error = peers.call(&work(), "peer", "echo", json!({})).await;
            let said = crate::telemetry::Chain(&error.unwrap_err()).to_string();
            assert_eq!(
                said.contains("the circuit is open"),
                call >= 5,
                "{call}: {said}"
            );
        }
        let error = peers.call(&work(), "peer", DELIVERY_SKILL, json!({})).await;
        let said = crate::telemetry::Chain(&error.unwrap_err()).to_string();
        assert!(said.contains("cannot reach"), "{said}");
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_taken_into_memory() {
        let endless = || async {
            let pieces =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
            axum::body::Body::from_stream(pieces)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/a2a", axum::routing::post(endless));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let error = peers(url).call(&work(), "peer", "echo", json!({})).await;
        let said = crate::telemetry::Chain(&error.unwrap_err()).to_string();
        assert!(said.contains("something else than JSON-RPC"), "{said}");
    }
}
