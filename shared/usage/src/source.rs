//! The port that skills see, and its one implementation over either kind of signals.

use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    NamespaceUsage, Service, UsageError, Volume, Window, WorkloadKind,
    assemble::{self, ContainerSeries, Owners},
    signal::{self, Scope, Series, Signal, SignalSource, Times},
};

/// Most series of one signal.
pub const MAX_SERIES: usize = 10_000;
/// Most samples of all signals of one question together.
pub const MAX_SAMPLES: usize = 4_000_000;
/// Most workloads of one namespace.
pub const MAX_WORKLOADS: usize = 500;
/// Queries under way at once.
const CONCURRENCY: usize = 4;

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Workloads only.
    Workloads,
    /// Volumes and Services too.
    Everything,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Namespace: a DNS label, checked by the caller.
    pub namespace: String,
    /// Only workloads of this name (and kind).
    pub workload: Option<(String, Option<WorkloadKind>)>,
    /// From when to when.
    pub window: Window,
    /// How much.
    pub detail: Detail,
}

/// Where usage comes from: a Prometheus server or a folder of recordings.
#[async_trait::async_trait]
pub trait UsageSource: std::fmt::Debug + Send + Sync + 'static {
    /// Reads one namespace.
    ///
    /// # Errors
    /// See [`UsageError`].
    async fn usage(&self, query: &UsageQuery) -> Result<NamespaceUsage, UsageError>;

    /// The source's present in Unix seconds: the clock of a live source, the newest sample of a recording.
    ///
    /// # Errors
    /// A recording that cannot be read.
    async fn latest(&self) -> Result<i64, UsageError>;
}

/// No source: every question is answered with [`UsageError::NotConfigured`].
#[derive(Debug)]
pub(crate) struct NoSource;

#[async_trait::async_trait]
impl UsageSource for NoSource {
    async fn usage(&self, _: &UsageQuery) -> Result<NamespaceUsage, UsageError> {
        Err(UsageError::NotConfigured)
    }

    async fn latest(&self) -> Result<i64, UsageError> {
        Err(UsageError::NotConfigured)
    }
}

/// Reads signals and puts them together.
#[derive(Debug)]
pub(crate) struct Reader<S>(pub(crate) S);

#[async_trait::async_trait]
impl<S: SignalSource + 'static> UsageSource for Reader<S> {
    async fn usage(&self, query: &UsageQuery) -> Result<NamespaceUsage, UsageError> {
        let window = query.window;
        let mut scope = Scope {
            namespace: query.namespace.clone(),
            pods: None,
        };
        let [pods, replicasets, jobs] = self
            .read(
                [
                    signal::POD_OWNER,
                    signal::REPLICASET_OWNER,
                    signal::JOB_OWNER,
                ],
                &scope,
                Times::Once(window),
            )
            .await?;
        let owners = Owners::new(&pods, &replicasets, &jobs);
        if let Some((name, kind)) = &query.workload {
            scope.pods = Some(owners.pods_of(name, *kind));
        }
        let workloads = match &scope.pods {
            Some(pods) if pods.is_empty() => Vec::new(),
            _ => assemble::workloads(&self.containers(&scope, window).await?, &owners, window),
        };
        if workloads.len() > MAX_WORKLOADS {
            return Err(UsageError::TooMuch {
                what: "workloads",
                got: workloads.len(),
                limit: MAX_WORKLOADS,
            });
        }
        let [labels] = self
            .read([signal::NODE_LABELS], &scope, Times::Once(window))
            .await?;
        let (volumes, services) = match query.detail {
            Detail::Workloads => (Vec::new(), Vec::new()),
            Detail::Everything => self.objects(&scope, window).await?,
        };
        Ok(NamespaceUsage {
            namespace: query.namespace.clone(),
            window,
            workloads,
            volumes,
            services,
            nodes: assemble::nodes(&labels),
        })
    }

    async fn latest(&self) -> Result<i64, UsageError> {
        self.0.latest().await
    }
}

impl<S: SignalSource> Reader<S> {
    async fn objects(
        &self,
        scope: &Scope,
        window: Window,
    ) -> Result<(Vec<Volume>, Vec<Service>), UsageError> {
        let [claims, services] = self
            .read(
                [signal::CLAIMS, signal::SERVICES],
                scope,
                Times::Once(window),
            )
            .await?;
        let each = [signal::MOUNTS, signal::VOLUME_USED, signal::ENDPOINTS];
        let [mounts, used, endpoints] = self.read(each, scope, Times::Each(window)).await?;
        Ok((
            assemble::volumes(&claims, &mounts, &used, window),
            assemble::services(&services, &endpoints),
        ))
    }

    async fn containers(
        &self,
        scope: &Scope,
        window: Window,
    ) -> Result<ContainerSeries, UsageError> {
        let [requests, limits, nodes] = self
            .read(
                [signal::REQUESTS, signal::LIMITS, signal::POD_NODE],
                scope,
                Times::Once(window),
            )
            .await?;
        let grid = [
            signal::CPU,
            signal::MEMORY,
            signal::PERIODS,
            signal::THROTTLED,
            signal::RESTARTS,
            signal::OOM_KILLED,
        ];
        let [cpu, memory, periods, throttled, restarts, oom_killed] =
            self.read(grid, scope, Times::Each(window)).await?;
        Ok(ContainerSeries {
            cpu,
            memory,
            periods,
            throttled,
            restarts,
            oom_killed,
            requests,
            limits,
            nodes,
        })
    }

    /// Reads several signals, a few at a time, within the limit of samples.
    async fn read<const N: usize>(
        &self,
        signals: [Signal; N],
        scope: &Scope,
        times: Times,
    ) -> Result<[Vec<Series>; N], UsageError> {
        let reads: Vec<_> = signals
            .iter()
            .map(|signal| self.0.read(signal, scope, times))
            .collect();
        let read: Vec<Vec<Series>> = stream::iter(reads)
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        let samples: usize = read.iter().flatten().map(|s| s.samples.len()).sum();
        if samples > MAX_SAMPLES {
            return Err(UsageError::TooMuch {
                what: "samples",
                got: samples,
                limit: MAX_SAMPLES,
            });
        }
        if let Some(series) = read.iter().map(Vec::len).find(|n| *n > MAX_SERIES) {
            return Err(UsageError::TooMuch {
                what: "series",
                got: series,
                limit: MAX_SERIES,
            });
        }
        let mut read = read.into_iter();
        Ok(std::array::from_fn(|_| read.next().unwrap_or_default()))
    }
}
