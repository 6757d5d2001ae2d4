//! One request: token, tries, pages, unchanged answers.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER},
    redirect,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{GitlabError, Project};

const AGENT: &str = concat!("agent-mesh/", env!("CARGO_PKG_VERSION"));
/// Tries of one call.
const TRIES: u32 = 4;
/// First pause between tries; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that GitLab may ask for; beyond that the call fails and is made again later.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Entries of a page, the most that GitLab gives.
const PAGE: usize = 100;
/// Answers that are kept to be asked for again.
const KEPT: usize = 64;
/// Longest reason that is passed on, in characters.
const LONGEST_REASON: usize = 300;

/// Where GitLab is, and who we are there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the instance, for example `https://gitlab.example.com`.
    pub url: String,
    /// File with a project, group or personal access token of scope `api`.
    pub token_file: PathBuf,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A client of one instance; cheap to clone.
#[derive(Debug, Clone)]
pub struct Gitlab {
    http: Client,
    base: Url,
    token_file: PathBuf,
    kept: Arc<Mutex<HashMap<Url, Kept>>>,
}

#[derive(Debug, Clone)]
struct Kept {
    tag: HeaderValue,
    body: Value,
}

/// A request that can be sent again.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// What it does, for errors: `create a deployment`.
    pub(crate) what: &'static str,
    pub(crate) url: Url,
    pub(crate) body: Option<Value>,
}

impl Gitlab {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none, or TLS cannot be set up.
    pub fn new(settings: &Settings) -> Result<Self, GitlabError> {
        let base: Url = settings.url.parse().map_err(|_| GitlabError::Address)?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(GitlabError::Address);
        }
        let http = Client::builder()
            .user_agent(AGENT)
            .timeout(settings.timeout)
            // A token is sent to the configured instance alone.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(GitlabError::Unreachable)?;
        Ok(Self {
            http,
            base,
            token_file: settings.token_file.clone(),
            kept: Arc::default(),
        })
    }

    /// Address of something in a project; every part is encoded.
    pub(crate) fn url(&self, project: &Project, parts: &[&str]) -> Url {
        self.api(&[&["projects", project.as_str()], parts].concat())
    }

    /// Address of something of the instance; every part is encoded.
    pub(crate) fn api(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            path.extend(["api", "v4"]);
            path.extend(parts);
        }
        url
    }

    async fn token(&self) -> Result<HeaderValue, GitlabError> {
        let path = &self.token_file;
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|error| GitlabError::Token(path.clone(), error))?;
        let token = HeaderValue::from_str(text.trim())
            .ok()
            .filter(|token| !token.is_empty());
        let mut token = token.ok_or_else(|| GitlabError::NoToken(path.clone()))?;
        token.set_sensitive(true);
        Ok(token)
    }

    async fn request(&self, call: &Call) -> Result<RequestBuilder, GitlabError> {
        let request = self.http.request(call.method.clone(), call.url.clone());
        let request = request.header("PRIVATE-TOKEN", self.token().await?);
        Ok(match &call.body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    /// Sends a request until it is answered or its tries are used up. The answer may be of any status.
    async fn send(&self, call: &Call, headers: &HeaderMap) -> Result<Response, GitlabError> {
        let mut pause = FIRST_PAUSE;
        for left in (0..TRIES).rev() {
            let sent = self
                .request(call)
                .await?
                .headers(headers.clone())
                .send()
                .await;
            let wait = match sent {
                Ok(answer) if left > 0 && may_repeat(&call.method, answer.status()) => {
                    asked_pause(&answer).unwrap_or(pause)
                }
                Ok(answer) => return Ok(answer),
                Err(error) if left > 0 && (call.method != Method::POST || error.is_connect()) => {
                    pause
                }
                Err(error) => return Err(GitlabError::Unreachable(error.without_url())),
            };
            if wait > LONGEST_PAUSE {
                return Err(GitlabError::Busy(StatusCode::TOO_MANY_REQUESTS.as_u16()));
            }
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
        Err(GitlabError::Busy(StatusCode::SERVICE_UNAVAILABLE.as_u16()))
    }

    /// Sends a request and reads the object that it is answered with.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, GitlabError> {
        let answer = self.send(&call, &HeaderMap::new()).await?;
        let body = body_of(&call, answer).await?;
        serde_json::from_value(body).map_err(|error| GitlabError::Unreadable(call.what, error))
    }

    /// Sends a request whose answer says nothing.
    pub(crate) async fn tell(&self, call: Call) -> Result<(), GitlabError> {
        let answer = self.send(&call, &HeaderMap::new()).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        body_of(&call, answer).await.map(drop)
    }

    /// Reads a list page by page until it ends or enough is there. Pages are never taken from memory: an unchanged
    /// page does not tell whether another one follows by now.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: Url,
        limit: usize,
    ) -> Result<Vec<T>, GitlabError> {
        let mut found = Vec::new();
        let mut page = Some("1".to_owned());
        while let Some(number) = page.take().filter(|_| found.len() < limit) {
            let mut url = url.clone();
            url.query_pairs_mut()
                .append_pair("per_page", &PAGE.min(limit).to_string())
                .append_pair("page", &number);
            let call = Call {
                method: Method::GET,
                what,
                url,
                body: None,
            };
            let answer = self.send(&call, &HeaderMap::new()).await?;
            let next = answer
                .headers()
                .get("x-next-page")
                .and_then(|next| next.to_str().ok());
            page = next
                .filter(|next| !next.is_empty() && *next != number)
                .map(str::to_owned);
            let part: Vec<T> = serde_json::from_value(body_of(&call, answer).await?)
                .map_err(|error| GitlabError::Unreadable(what, error))?;
            found.extend(part);
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Reads one object, from memory when GitLab says that it did not change.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: Url,
    ) -> Result<T, GitlabError> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&url)
            .cloned();
        let mut headers = HeaderMap::new();
        if let Some(kept) = &kept {
            headers.insert(IF_NONE_MATCH, kept.tag.clone());
        }
        let call = Call {
            method: Method::GET,
            what,
            url,
            body: None,
        };
        let answer = self.send(&call, &headers).await?;
        let body = match kept {
            Some(kept) if answer.status() == StatusCode::NOT_MODIFIED => kept.body,
            _ => {
                let tag = answer.headers().get(ETAG).cloned();
                let body = body_of(&call, answer).await?;
                if let Some(tag) = tag {
                    self.keep(call.url, tag, body.clone());
                }
                body
            }
        };
        serde_json::from_value(body).map_err(|error| GitlabError::Unreadable(what, error))
    }

    fn keep(&self, url: Url, tag: HeaderValue, body: Value) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(url, Kept { tag, body });
    }
}

/// Whether a request may be sent again after this answer. GitLab did nothing when it answers 429.
fn may_repeat(method: &Method, status: StatusCode) -> bool {
    let gone = [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    status == StatusCode::TOO_MANY_REQUESTS || (*method != Method::POST && gone.contains(&status))
}

fn asked_pause(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

async fn body_of(call: &Call, answer: Response) -> Result<Value, GitlabError> {
    let status = answer.status();
    let text = answer
        .text()
        .await
        .map_err(|error| GitlabError::Unreachable(error.without_url()))?;
    if status.is_success() {
        return serde_json::from_str(&text)
            .map_err(|error| GitlabError::Unreadable(call.what, error));
    }
    let refused = |message: String| GitlabError::Refused {
        what: call.what,
        status: status.as_u16(),
        message,
    };
    Err(match status {
        // The token is fine, and the thing does not allow it: `403 Forbidden - Job is not retryable`.
        StatusCode::FORBIDDEN if reason(&text).contains(" - ") => refused(reason(&text)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => GitlabError::Denied(status.as_u16()),
        StatusCode::NOT_FOUND => GitlabError::NotFound("such thing, or the token may not see it"),
        StatusCode::TOO_MANY_REQUESTS => GitlabError::Busy(status.as_u16()),
        status if status.is_server_error() => GitlabError::Busy(status.as_u16()),
        _ => refused(reason(&text)),
    })
}

/// GitLab's `message` or `error`, which may be an object of lists.
fn reason(text: &str) -> String {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let reason = body.get("message").or_else(|| body.get("error"));
    let text = match reason {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "no reason given".to_owned(),
    };
    text.chars().take(LONGEST_REASON).collect()
}
