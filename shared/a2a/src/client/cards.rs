//! Agent cards, kept as HTTP's cache rules allow (RFC 9111).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Backoff, CallError, Tries, before, error::HttpAnswer, error::Repeat, exchange};

/// Largest card, bytes.
const MAX_CARD: usize = 1024 * 1024;
/// Longest wait for a card.
const CARD_WAIT: Duration = Duration::from_secs(30);

/// A cache of one client, whose answers may be meant for it alone. Without a word on age a card is never fresh.
const PRIVATE: CacheOptions = CacheOptions {
    shared: false,
    cache_heuristic: 0.0,
    immutable_min_time_to_live: Duration::ZERO,
    ignore_cargo_cult: false,
};

/// Cards by URL. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct CardCache {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    policy: CachePolicy,
    card: Arc<Value>,
}

impl CardCache {
    /// The card at a URL: the kept one while it is fresh; asks the server whether it still holds when it is stale.
    ///
    /// # Errors
    /// [`CallError`], also when the answer is no JSON.
    pub async fn fetch(
        &self,
        http: &reqwest::Client,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Arc<Value>, CallError> {
        let tries = Tries {
            backoff: Backoff::default(),
            repeat: Repeat::Safe,
            deadline: Instant::now() + CARD_WAIT,
        };
        let now = OffsetDateTime::now_utc().into();
        let request = request(url, headers)?;
        let attempt = || before(tries.deadline, url, self.fetch_at(http, url, &request, now));
        tries.run(url, attempt).await
    }

    async fn fetch_at(
        &self,
        http: &reqwest::Client,
        url: &str,
        request: &Request<()>,
        now: SystemTime,
    ) -> Result<Arc<Value>, CallError> {
        let kept = self.kept(url);
        let headers = match &kept {
            None => request.headers().clone(),
            Some(kept) => match kept.policy.before_request(request, now) {
                BeforeRequest::Fresh(_) => return Ok(Arc::clone(&kept.card)),
                BeforeRequest::Stale { request, .. } => request.headers,
            },
        };
        let sent = http.get(url).headers(headers).send().await;
        let response = sent.map_err(|source| exchange::sending(url, source))?;
        let mut head = http::Response::new(());
        *head.status_mut() = response.status();
        head.headers_mut().clone_from(response.headers());
        let (policy, card) = match (response.status(), kept) {
            (StatusCode::NOT_MODIFIED, Some(kept)) => {
                let policy = match kept.policy.after_response(request, &head, now) {
                    AfterResponse::NotModified(policy, _) => policy,
                    // A 304 with another validator, or none: the card holds, but has to be asked for again next time.
                    AfterResponse::Modified(..) => kept.policy,
                };
                (policy, kept.card)
            }
            (StatusCode::OK, _) => {
                let body = exchange::read(url, response, MAX_CARD).await?;
                let policy = CachePolicy::new_options(request, &head, now, PRIVATE);
                (policy, parse(url, &body)?)
            }
            (status, _) => {
                let http = HttpAnswer::new(status, head.headers());
                let url = url.to_owned();
                return Err(CallError::Http { url, http });
            }
        };
        self.keep(url, policy, &card);
        Ok(card)
    }

    fn kept(&self, url: &str) -> Option<Entry> {
        let entries = self.entries.lock();
        entries
            .unwrap_or_else(PoisonError::into_inner)
            .get(url)
            .cloned()
    }

    fn keep(&self, url: &str, policy: CachePolicy, card: &Arc<Value>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if policy.is_storable() {
            let card = Arc::clone(card);
            entries.insert(url.to_owned(), Entry { policy, card });
        } else {
            entries.remove(url);
        }
    }
}

fn request(url: &str, headers: &HeaderMap) -> Result<Request<()>, CallError> {
    let mut request = Request::get(url)
        .body(())
        .map_err(|error| CallError::Request(format!("{error} ({url})")))?;
    headers.clone_into(request.headers_mut());
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::ACCEPT, json);
    Ok(request)
}

fn parse(url: &str, body: &[u8]) -> Result<Arc<Value>, CallError> {
    serde_json::from_slice(body)
        .map(Arc::new)
        .map_err(|error| exchange::malformed(url, format!("the agent card is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use serde_json::json;

    use super::*;

    /// A card with a number that tells how often it was fetched.
    async fn serve(cache_control: &'static str) -> String {
        let fetched = Arc::new(Mutex::new(0));
        let card = move || {
            let mut fetched = fetched.lock().unwrap();
            *fetched += 1;
            let card = json!({"fetched": *fetched}).to_string();
            async move { ([(header::CACHE_CONTROL, cache_control)], card) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", get(card));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn fetches_again_once_the_age_is_reached() {
        let url = serve("max-age=60").await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (cards, start) = (CardCache::default(), SystemTime::UNIX_EPOCH);
        let plain = request(&url, &HeaderMap::new()).unwrap();
        let fetched = async |seconds| {
            let now = start + Duration::from_secs(seconds);
            let card = cards.fetch_at(&http, &url, &plain, now).await.unwrap();
            card["fetched"].as_u64().unwrap()
        };
        assert_eq!(fetched(0).await, 1);
        assert_eq!(fetched(59).await, 1);
        assert_eq!(fetched(61).await, 2);
        assert_eq!(fetched(62).await, 2);
    }

    #[tokio::test]
    async fn stores_only_what_may_be_stored() {
        for (cache_control, stored) in [("no-store", false), ("private, max-age=60", true)] {
            let url = serve(cache_control).await;
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let cards = CardCache::default();
            cards.fetch(&http, &url, &HeaderMap::new()).await.unwrap();
            assert_eq!(cards.kept(&url).is_some(), stored, "{cache_control}");
        }
    }
}
