//! Measures the objectives of a file, for the skill and, every few seconds, for the watch.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use serde_json::Value;
use shared::{Context, SkillError, telemetry::Chain};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    clients::{Prometheus, RequestSource},
    domain::{
        At, Key, Requests, Thresholds,
        slo::{
            self, Measured, Objective, Samples, Span,
            objective::{Counted, with_window},
            verdict::{Plan, plan},
        },
    },
    metrics::Metrics,
    watch::now,
};

/// Largest file of objectives.
const MAX_FILE: u64 = 1024 * 1024;
/// Most objectives.
const MOST: usize = 500;
/// Queries at a time.
const AT_ONCE: usize = 8;
/// A percentile of latency is taken over this window, once in each.
const LATENCY_STEP_MS: i64 = 30_000;

/// Where requests are measured, and what is promised of them.
#[derive(Debug, Clone, clap::Args)]
pub struct ObjectiveArgs {
    /// Prometheus server that has the metrics of the objectives.
    #[arg(long, env = "AGENT_PROMETHEUS", value_name = "URL")]
    pub prometheus: Option<Url>,
    /// File with a bearer token for Prometheus, read again for every query.
    #[arg(
        long,
        env = "AGENT_PROMETHEUS_TOKEN_FILE",
        value_name = "FILE",
        requires = "prometheus"
    )]
    pub prometheus_token_file: Option<PathBuf>,
    /// How long a query may take.
    #[arg(long, env = "MONITORING_AGENT_PROMETHEUS_TIMEOUT", default_value = "10s", value_parser = humantime::parse_duration)]
    pub prometheus_timeout: Duration,
    /// File of objectives, `OpenSLO` v1 documents, or a folder of such files (`*.yaml`, `*.yml`).
    #[arg(
        long,
        env = "MONITORING_AGENT_OBJECTIVES",
        value_name = "PATH",
        requires = "prometheus"
    )]
    pub objectives: Option<PathBuf>,
    /// How often objectives are measured.
    #[arg(long, env = "MONITORING_AGENT_OBJECTIVES_EVERY", default_value = "15s", value_parser = humantime::parse_duration)]
    pub objectives_every: Duration,
}

/// Objectives, and where their requests are counted.
pub type Loaded = (Vec<Objective>, Arc<dyn RequestSource>);

impl ObjectiveArgs {
    /// Reads the objectives and names the server; `None` without objectives.
    ///
    /// # Errors
    /// When a file is no list of objectives.
    pub fn load(&self) -> anyhow::Result<Option<Loaded>> {
        let (Some(path), Some(url)) = (&self.objectives, &self.prometheus) else {
            return Ok(None);
        };
        let objectives = read(path)
            .with_context(|| format!("cannot read the objectives in {}", path.display()))?;
        if objectives.is_empty() {
            return Ok(None);
        }
        let token = self.prometheus_token_file.clone();
        let source = Prometheus::new(url.clone(), token, self.prometheus_timeout);
        Ok(Some((objectives, Arc::new(source))))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Objective>> {
    let texts = files(path)?
        .iter()
        .map(|file| text(file).with_context(|| format!("in {}", file.display())))
        .collect::<anyhow::Result<Vec<_>>>()?;
    from_texts(&texts)
}

/// The file itself, or the YAML files of a folder in order. What a mounted `ConfigMap` keeps beside them starts with a
/// dot.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_yaml = |file: &PathBuf| {
        let hidden = file
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        yaml && !hidden && file.is_file()
    };
    let entries = std::fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().filter(is_yaml).collect();
    files.sort();
    Ok(files)
}

fn text(file: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(file)?.len();
    anyhow::ensure!(
        size <= MAX_FILE,
        "it has {size} bytes, at most {MAX_FILE} are read"
    );
    Ok(std::fs::read_to_string(file)?)
}

/// Objectives of YAML texts of one or more `OpenSLO` documents; documents of other kinds are passed over.
///
/// # Errors
/// When one is no YAML, an objective lacks something, or two have one name.
pub fn from_texts<T: AsRef<str>>(texts: &[T]) -> anyhow::Result<Vec<Objective>> {
    let mut documents: Vec<Value> = Vec::new();
    for text in texts {
        documents.extend(serde_saphyr::from_multiple::<Value>(text.as_ref())?);
    }
    let mut objectives: BTreeMap<String, Objective> = BTreeMap::new();
    for document in &documents {
        let Some(objective) = slo::parse(document)? else {
            continue;
        };
        let name = objective.name.clone();
        anyhow::ensure!(
            objectives.insert(name.clone(), objective).is_none(),
            "objective {name:?} is there twice"
        );
    }
    anyhow::ensure!(objectives.len() <= MOST, "more than {MOST} objectives");
    Ok(objectives.into_values().collect())
}

/// Measures objectives.
#[derive(Debug, Clone)]
pub struct Meter {
    /// What is promised.
    pub objectives: Arc<[Objective]>,
    /// Where requests are counted.
    pub source: Arc<dyn RequestSource>,
    /// Where the time of changes is, and where trouble is told.
    pub board: Board,
    /// The numbers in use.
    pub thresholds: Thresholds,
}

impl Meter {
    /// Measures an objective and judges it.
    ///
    /// # Errors
    /// When the server does not answer, or refuses a query.
    pub async fn measure(&self, objective: &Objective, now: At) -> Result<Measured, SkillError> {
        let changed = self.board.changed_at(&objective.workload);
        let plan = plan(objective, now, changed, &self.thresholds);
        let samples = self.samples(objective, &plan).await?;
        Ok(slo::judge(objective, &samples, now, &self.thresholds))
    }

    async fn samples(&self, objective: &Objective, plan: &Plan) -> Result<Samples, SkillError> {
        let mut spans = vec![plan.period, plan.recent, plan.after, plan.before];
        spans.extend(plan.rules.iter().flat_map(|(long, short)| [*long, *short]));
        let counted = stream::iter(spans.clone()).map(|span| self.counts(objective, span));
        let counts: Vec<slo::Counts> = counted.buffered(AT_ONCE).try_collect().await?;
        let found: HashMap<Span, slo::Counts> = spans.into_iter().zip(counts).collect();
        let of = |span: &Span| found.get(span).copied().unwrap_or_default();
        let latency = self.latency(objective, plan.latency);
        let before = self.latency(objective, plan.latency_before);
        let (latency, latency_before) = futures::try_join!(latency, before)?;
        Ok(Samples {
            rules: plan.rules.iter().map(|(l, s)| (of(l), of(s))).collect(),
            period: of(&plan.period),
            recent: of(&plan.recent),
            after: of(&plan.after),
            before: of(&plan.before),
            latency,
            latency_before,
        })
    }

    /// Requests of a span: a rate over it, times its length.
    #[expect(
        clippy::cast_precision_loss,
        reason = "windows of milliseconds are far below 2^52"
    )]
    async fn counts(&self, objective: &Objective, span: Span) -> Result<slo::Counts, SkillError> {
        let seconds = span.window_ms as f64 / 1_000.0;
        let ask = async |query: &str| {
            let query = with_window(query, span.window_ms);
            let rate = self.source.value(&query, span.at).await?;
            Ok::<_, SkillError>((rate.unwrap_or(0.0) * seconds).max(0.0))
        };
        let total = ask(&objective.total).await?;
        let counted = ask(objective.counted.query()).await?;
        let bad = match objective.counted {
            Counted::Bad(_) => counted,
            Counted::Good(_) => (total - counted).max(0.0),
        };
        Ok(slo::Counts { bad, total })
    }

    async fn latency(&self, objective: &Objective, span: Span) -> Result<Vec<f64>, SkillError> {
        let Some(query) = &objective.latency else {
            return Ok(Vec::new());
        };
        let query = with_window(query, LATENCY_STEP_MS);
        self.source.values(&query, span, LATENCY_STEP_MS).await
    }
}

/// Measures all objectives at every tick, and tells the watch which workloads' requests are in trouble. What cannot
/// be measured stays as it was: a silent server ends no incident.
///
/// # Errors
/// Never; the signature is that of a loop.
pub async fn run(
    meter: Meter,
    every: Duration,
    metrics: Metrics,
    (_, shutdown): (Context, CancellationToken),
) -> anyhow::Result<()> {
    let mut ticks = interval(every.max(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: BTreeMap<String, Option<Requests>> = BTreeMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        for objective in &*meter.objectives {
            match meter.measure(objective, now()).await {
                Ok(measured) => {
                    metrics.measured(&objective.name, &measured.budget);
                    let before = known.remove(&objective.name).flatten();
                    if before.is_none() && measured.trouble.is_some() {
                        metrics.violated(&objective.name);
                    }
                    let trouble = continued(before.as_ref(), measured.trouble);
                    known.insert(objective.name.clone(), trouble);
                }
                Err(error) => {
                    tracing::warn!(objective = objective.name, error = %Chain(&error), "cannot measure an objective");
                }
            }
        }
        meter.board.report(worst(&meter.objectives, &known));
    }
}

/// Trouble that was there before began then.
fn continued(before: Option<&Requests>, now: Option<Requests>) -> Option<Requests> {
    now.map(|now| Requests {
        since: before.map_or(now.since, |before| before.since.min(now.since)),
        ..now
    })
}

/// The worst trouble of each workload.
fn worst(
    objectives: &[Objective],
    known: &BTreeMap<String, Option<Requests>>,
) -> BTreeMap<Key, Requests> {
    let mut worst: BTreeMap<Key, Requests> = BTreeMap::new();
    for objective in objectives {
        let Some(Some(trouble)) = known.get(&objective.name) else {
            continue;
        };
        let other = worst.get(&objective.workload);
        if other.is_none_or(|other| trouble.sign > other.sign) {
            worst.insert(objective.workload.clone(), trouble.clone());
        }
    }
    worst
}
