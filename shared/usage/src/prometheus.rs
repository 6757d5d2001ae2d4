//! Live metrics: the range queries of the Prometheus HTTP API.

use std::{path::PathBuf, time::Duration};

use reqwest::{Client, Response, Url};
use serde::Deserialize;

use crate::{
    MAX_SERIES, Sample, UsageError,
    signal::{Group, Over, Scope, Series, Signal, SignalSource, Times},
    whole,
};

/// Longest answer that is read.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// A Prometheus server, or anything that speaks its API (Thanos, Mimir, `VictoriaMetrics`).
#[derive(Debug)]
pub(crate) struct Prometheus {
    client: Client,
    query_range: Url,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: std::collections::HashMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Prometheus {
    /// A client of the server at `base`, for example `http://prometheus.monitoring:9090`.
    pub(crate) fn new(base: &Url, token_file: Option<PathBuf>, timeout: Duration) -> Self {
        let mut query_range = base.clone();
        let path = format!("{}/api/v1/query_range", base.path().trim_end_matches('/'));
        query_range.set_path(&path);
        Self {
            client: Client::new(),
            query_range,
            token_file,
            timeout,
        }
    }

    async fn send(&self, query: String, times: Times) -> Result<Response, UsageError> {
        let (start, end, step, _) = times.grid();
        let form = [
            ("query", query),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
            ("timeout", format!("{}ms", self.timeout.as_millis())),
        ];
        let mut request = self
            .client
            .post(self.query_range.clone())
            .timeout(self.timeout)
            .form(&form);
        if let Some(path) = &self.token_file {
            let token = tokio::fs::read_to_string(path)
                .await
                .map_err(|source| UsageError::Io {
                    path: path.clone(),
                    source,
                })?;
            request = request.bearer_auth(token.trim());
        }
        request.send().await.map_err(unreachable)
    }
}

fn unreachable(error: reqwest::Error) -> UsageError {
    UsageError::Unreachable(error.without_url().into())
}

/// Reads a body up to [`MAX_ANSWER`].
async fn body(mut response: Response) -> Result<Vec<u8>, UsageError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(UsageError::TooMuch {
                what: "bytes of an answer",
                got: body.len() + chunk.len(),
                limit: MAX_ANSWER,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[async_trait::async_trait]
impl SignalSource for Prometheus {
    async fn read(
        &self,
        signal: &Signal,
        scope: &Scope,
        times: Times,
    ) -> Result<Vec<Series>, UsageError> {
        let response = self.send(promql(signal, scope, times), times).await?;
        let status = response.status().as_u16();
        let answer: Answer = match serde_json::from_slice(&body(response).await?) {
            Ok(answer) => answer,
            Err(_) if status != 200 => {
                return Err(UsageError::Refused {
                    status,
                    message: String::from("no JSON answer"),
                });
            }
            Err(error) => return Err(UsageError::Unreachable(error.into())),
        };
        let Some(data) = answer.data.filter(|_| status == 200) else {
            return Err(UsageError::Refused {
                status,
                message: answer.error.chars().take(300).collect(),
            });
        };
        if data.result.len() > MAX_SERIES {
            return Err(UsageError::TooMuch {
                what: "series",
                got: data.result.len(),
                limit: MAX_SERIES,
            });
        }
        let mut series: Vec<_> = data
            .result
            .into_iter()
            .map(|row| to_series(row, signal))
            .collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    async fn latest(&self) -> Result<i64, UsageError> {
        Ok(time::OffsetDateTime::now_utc().unix_timestamp())
    }
}

fn to_series(mut row: Row, signal: &Signal) -> Series {
    let labels = signal
        .by
        .iter()
        .map(|name| row.metric.remove(*name).unwrap_or_default())
        .collect();
    let samples = row.values.iter().filter_map(|(at, value)| {
        let value = value.parse::<f64>().ok().filter(|v| !v.is_nan())?;
        Some(Sample {
            at: i64::try_from(whole(at.round())).ok()?,
            value,
        })
    });
    Series {
        labels,
        samples: samples.collect(),
    }
}

/// The query for a signal. Names are checked before they come here, so nothing has to be escaped
/// but the dots of pod names. The range is one millisecond short of the lookback, so that a sample
/// at its far end is outside in Prometheus 2 (closed ranges) as in 3 (half-open ranges).
fn promql(signal: &Signal, scope: &Scope, times: Times) -> String {
    let (.., lookback) = times.grid();
    let mut tests: Vec<String> = Vec::new();
    if signal.namespaced {
        tests.push(format!("namespace=\"{}\"", scope.namespace));
    }
    tests.extend(signal.only.iter().map(|(name, value, equal)| {
        format!("{name}{}\"{value}\"", if *equal { "=" } else { "!=" })
    }));
    if let Some(pods) = scope.pods.as_ref().filter(|_| signal.by.contains(&"pod")) {
        tests.push(format!("pod=~\"{}\"", pods.join("|").replace('.', "\\\\.")));
    }
    let group = match signal.group {
        Group::Max => "max",
        Group::Sum => "sum",
    };
    let over = match signal.over {
        Over::Last => "last_over_time",
        Over::Max => "max_over_time",
    };
    format!(
        "{group} by ({}) ({over}({}{{{}}}[{}ms]))",
        signal.by.join(","),
        signal.metric,
        tests.join(","),
        lookback * 1000 - 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Window, signal};

    #[test]
    fn a_query_names_namespace_pods_and_range() {
        let window = Times::Each(Window::new(6000, 3600, 300).unwrap());
        let scope = Scope {
            namespace: "shop".into(),
            pods: Some(vec!["web-0".into(), "web.1".into()]),
        };
        assert_eq!(
            promql(&signal::CPU, &scope, window),
            "max by (pod,container) (last_over_time(container_cpu_usage_seconds_total{namespace=\"shop\",container!=\"\",container!=\"POD\",pod=~\"web-0|web\\\\.1\"}[299999ms]))"
        );
        let scope = Scope {
            namespace: "shop".into(),
            pods: None,
        };
        assert!(promql(&signal::NODE_LABELS, &scope, window).starts_with("max by (node,label_"));
        assert!(!promql(&signal::NODE_LABELS, &scope, window).contains("namespace"));
    }

    #[test]
    fn the_path_of_the_base_is_kept() {
        let client = Prometheus::new(
            &Url::parse("http://host:9090/prom/").unwrap(),
            None,
            Duration::from_secs(1),
        );
        assert_eq!(
            client.query_range.as_str(),
            "http://host:9090/prom/api/v1/query_range"
        );
    }
}
