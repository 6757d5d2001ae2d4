//! Requests as a Prometheus server has counted them: instant and range queries of its HTTP API.

use std::{path::PathBuf, time::Duration};

use reqwest::{Client, Url};
use serde::Deserialize;
use shared::SkillError;

use crate::domain::{At, slo::Span};

/// Longest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;
/// Most samples of one range.
const MOST_SAMPLES: i64 = 240;

/// Answers queries over windows.
#[async_trait::async_trait]
pub trait RequestSource: std::fmt::Debug + Send + Sync + 'static {
    /// The one value of a query at a time; `None` when nothing was measured.
    async fn value(&self, query: &str, at: At) -> Result<Option<f64>, SkillError>;
    /// Values of a query over a span, at this step.
    async fn values(&self, query: &str, span: Span, step_ms: i64) -> Result<Vec<f64>, SkillError>;
}

/// A Prometheus server, or anything that speaks its API.
#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    base: Url,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

impl Prometheus {
    /// A client of the server at `base`, for example `http://prometheus.monitoring:9090`.
    pub fn new(base: Url, token_file: Option<PathBuf>, timeout: Duration) -> Self {
        Self {
            client: Client::new(),
            base,
            token_file,
            timeout,
        }
    }

    async fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Vec<Row>, SkillError> {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/api/v1/{path}",
            url.path().trim_end_matches('/')
        ));
        let mut request = self.client.post(url).timeout(self.timeout).form(form);
        if let Some(path) = &self.token_file {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|error| SkillError::unavailable("prometheus", error))?;
            request = request.bearer_auth(token.trim());
        }
        // The address may hold a password, so it is taken out of every error.
        let unreachable =
            |error: reqwest::Error| SkillError::unavailable("prometheus", error.without_url());
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                let why = "prometheus answers with more than a megabyte; an objective's query has to give one series";
                return Err(SkillError::failed(why));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_server_error() {
            let error = std::io::Error::other(format!("status {status}"));
            return Err(SkillError::unavailable("prometheus", error));
        }
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        let data = answer.and_then(|answer| answer.data);
        let data = data.filter(|_| status.is_success()).ok_or_else(|| {
            SkillError::failed(format!("prometheus refuses a query with status {status}"))
        })?;
        if data.result.len() > 1 {
            let why = "an objective's query gives several series: sum it";
            return Err(SkillError::failed(why));
        }
        Ok(data.result)
    }
}

/// Seconds since the epoch, as the API takes them.
fn seconds(at: At) -> String {
    format!("{}.{:03}", at.millis() / 1_000, at.millis() % 1_000)
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[async_trait::async_trait]
impl RequestSource for Prometheus {
    async fn value(&self, query: &str, at: At) -> Result<Option<f64>, SkillError> {
        let form = [("query", query.to_owned()), ("time", seconds(at))];
        let rows = self.ask("query", &form).await?;
        let value = rows.into_iter().next().and_then(|row| row.value);
        Ok(value.and_then(|(_, text)| number(&text)))
    }

    async fn values(&self, query: &str, span: Span, step_ms: i64) -> Result<Vec<f64>, SkillError> {
        let step = step_ms.max(span.window_ms / MOST_SAMPLES).max(1_000);
        let form = [
            ("query", query.to_owned()),
            ("start", seconds(span.at.plus(step - span.window_ms))),
            ("end", seconds(span.at)),
            ("step", format!("{}", step / 1_000)),
        ];
        let rows = self.ask("query_range", &form).await?;
        let values = rows.into_iter().flat_map(|row| row.values);
        Ok(values.filter_map(|(_, text)| number(&text)).collect())
    }
}
