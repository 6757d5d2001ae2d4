//! Recorded metrics: a folder of OpenMetrics text (`*.om`, `*.om.gz`).

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use crate::{
    Sample, UsageError,
    openmetrics::{self, RawSeries},
    signal::{Group, Over, Scope, Series, Signal, SignalSource, Times},
};

/// Most text that is read from one folder, unpacked.
const MAX_TEXT: u64 = 256 * 1024 * 1024;

/// End of a recording's name, before an optional `.gz`.
const SUFFIX: &str = ".om";

type Fingerprint = Vec<(PathBuf, u64, SystemTime)>;

/// All series of a folder.
#[derive(Debug)]
struct Recording {
    fingerprint: Fingerprint,
    series: Vec<RawSeries>,
}

/// A folder of recorded metrics. It is read again when a file in it changed.
#[derive(Debug)]
pub(crate) struct Recorded {
    folder: PathBuf,
    cache: Arc<Mutex<Option<Arc<Recording>>>>,
}

impl Recorded {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            cache: Arc::default(),
        }
    }

    async fn recording(&self) -> Result<Arc<Recording>, UsageError> {
        let (folder, cache) = (self.folder.clone(), Arc::clone(&self.cache));
        let read = tokio::task::spawn_blocking(move || {
            let fingerprint = files(&folder)?;
            let mut kept = cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(recording) = kept.as_ref().filter(|r| r.fingerprint == fingerprint) {
                return Ok(Arc::clone(recording));
            }
            let recording = Arc::new(Recording {
                series: load(&fingerprint)?,
                fingerprint,
            });
            *kept = Some(Arc::clone(&recording));
            Ok(recording)
        });
        read.await
            .unwrap_or_else(|e| Err(io(&self.folder, std::io::Error::other(e))))
    }
}

#[async_trait::async_trait]
impl SignalSource for Recorded {
    async fn read(
        &self,
        signal: &Signal,
        scope: &Scope,
        times: Times,
    ) -> Result<Vec<Series>, UsageError> {
        let recording = self.recording().await?;
        Ok(evaluate(&recording.series, signal, scope, times))
    }

    async fn latest(&self) -> Result<i64, UsageError> {
        let recording = self.recording().await?;
        let newest = recording
            .series
            .iter()
            .filter_map(|s| s.samples.last())
            .map(|(at, _)| at / 1000)
            .max();
        newest.ok_or_else(|| {
            io(
                &self.folder,
                std::io::Error::other("no samples in *.om or *.om.gz files"),
            )
        })
    }
}

fn io(path: &Path, source: std::io::Error) -> UsageError {
    UsageError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The recordings of a folder in order of name, with size and time of change.
fn files(folder: &Path) -> Result<Fingerprint, UsageError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| io(folder, e))? {
        let path = entry.map_err(|e| io(folder, e))?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let is_recording = name.strip_suffix(".gz").unwrap_or(name).ends_with(SUFFIX);
        if is_recording {
            let meta = std::fs::metadata(&path).map_err(|e| io(&path, e))?;
            let changed = meta.modified().map_err(|e| io(&path, e))?;
            found.push((path, meta.len(), changed));
        }
    }
    found.sort();
    Ok(found)
}

fn load(files: &Fingerprint) -> Result<Vec<RawSeries>, UsageError> {
    let mut left = MAX_TEXT;
    let mut all = Vec::new();
    for (path, ..) in files {
        let text = unpack(path, left)?;
        left -= u64::try_from(text.len()).unwrap_or(left).min(left);
        all.extend(openmetrics::parse(&text).map_err(|e| e.in_file(path))?);
    }
    Ok(all)
}

fn unpack(path: &Path, left: u64) -> Result<String, UsageError> {
    let file = File::open(path).map_err(|e| io(path, e))?;
    let packed = path.extension().is_some_and(|e| e == "gz");
    let reader: Box<dyn Read> = if packed {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut text = String::new();
    let read = reader
        .take(left + 1)
        .read_to_string(&mut text)
        .map_err(|e| io(path, e))?;
    if u64::try_from(read).is_ok_and(|read| read > left) {
        return Err(UsageError::TooMuch {
            what: "bytes of recorded text",
            got: read,
            limit: usize::try_from(MAX_TEXT).unwrap_or(usize::MAX),
        });
    }
    Ok(text)
}

/// What Prometheus answers to the signal's query, computed here: fold each series within each
/// step, then fold the series that agree in their labels.
fn evaluate(all: &[RawSeries], signal: &Signal, scope: &Scope, times: Times) -> Vec<Series> {
    let mut groups: BTreeMap<Vec<String>, BTreeMap<i64, f64>> = BTreeMap::new();
    for raw in all.iter().filter(|s| selected(s, signal, scope)) {
        let labels = signal
            .by
            .iter()
            .map(|name| raw.label(name).to_owned())
            .collect();
        let group = groups.entry(labels).or_default();
        for sample in fold(&raw.samples, signal.over, times) {
            let joined = group
                .get(&sample.at)
                .map_or(sample.value, |old| match signal.group {
                    Group::Max => old.max(sample.value),
                    Group::Sum => old + sample.value,
                });
            group.insert(sample.at, joined);
        }
    }
    groups
        .into_iter()
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(labels, samples)| Series {
            labels,
            samples: samples
                .into_iter()
                .map(|(at, value)| Sample { at, value })
                .collect(),
        })
        .collect()
}

fn selected(series: &RawSeries, signal: &Signal, scope: &Scope) -> bool {
    series.name == signal.metric
        && (!signal.namespaced || series.label("namespace") == scope.namespace)
        && signal
            .only
            .iter()
            .all(|(name, value, equal)| (series.label(name) == *value) == *equal)
        && scope.pods.as_ref().is_none_or(|pods| {
            !signal.by.contains(&"pod") || pods.iter().any(|p| p == series.label("pod"))
        })
}

/// The samples of (t - lookback, t] folded into one, for each point t that has any.
fn fold(samples: &[(i64, f64)], over: Over, times: Times) -> Vec<Sample> {
    let (start, end, step, lookback) = times.grid();
    let mut folded = Vec::new();
    let mut at = start;
    while at <= end {
        let from = samples.partition_point(|(t, _)| *t <= (at - lookback) * 1000);
        let to = samples.partition_point(|(t, _)| *t <= at * 1000);
        let mut inside = samples
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(|(_, value)| *value)
            .filter(|v| !v.is_nan());
        let value = match over {
            Over::Last => inside.next_back(),
            Over::Max => inside.reduce(f64::max),
        };
        folded.extend(value.map(|value| Sample { at, value }));
        at += step;
    }
    folded
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{Window, signal};

    const TEXT: &str =
        "container_memory_working_set_bytes{namespace=\"shop\",pod=\"a\",container=\"app\"} 5 60
container_memory_working_set_bytes{namespace=\"shop\",pod=\"a\",container=\"app\"} 9 100
container_memory_working_set_bytes{namespace=\"shop\",pod=\"a\",container=\"app\"} 7 120
container_memory_working_set_bytes{namespace=\"shop\",pod=\"a\",container=\"\"} 99 120
container_memory_working_set_bytes{namespace=\"other\",pod=\"a\",container=\"app\"} 99 120
# EOF
";

    fn window() -> Window {
        Window::new(120, 120, 60).unwrap()
    }

    fn scope() -> Scope {
        Scope {
            namespace: "shop".into(),
            pods: None,
        }
    }

    #[test]
    fn folds_within_half_open_steps() {
        let all = openmetrics::parse(TEXT).unwrap();
        let series = evaluate(&all, &signal::MEMORY, &scope(), Times::Each(window()));
        assert_eq!(
            series,
            [Series {
                labels: vec!["a".into(), "app".into()],
                samples: vec![
                    Sample { at: 60, value: 5.0 },
                    Sample {
                        at: 120,
                        value: 9.0
                    }
                ]
            }]
        );
    }

    #[tokio::test]
    async fn reads_plain_and_packed_files_and_sees_changes() {
        let folder = tempfile::tempdir().unwrap();
        let mut packed = flate2::write::GzEncoder::new(
            File::create(folder.path().join("a.om.gz")).unwrap(),
            flate2::Compression::default(),
        );
        packed.write_all(TEXT.as_bytes()).unwrap();
        packed.finish().unwrap();
        let source = Recorded::new(folder.path().to_owned());
        assert_eq!(source.latest().await.unwrap(), 120);
        std::fs::write(folder.path().join("b.om"), "x 1 180\n# EOF\n").unwrap();
        assert_eq!(source.latest().await.unwrap(), 180);
    }

    #[tokio::test]
    async fn names_the_file_and_line_that_it_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.om"), "x 1 180\nx 1\n").unwrap();
        let error = Recorded::new(folder.path().to_owned())
            .latest()
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("a.om line 2: a recorded sample needs a timestamp in Unix seconds"),
            "{error}"
        );
    }
}
