#![doc = include_str!("../README.md")]

mod args;
mod assemble;
mod error;
pub mod gather;
mod model;
mod numbers;
mod openmetrics;
mod prices;
mod prometheus;
pub mod quantity;
mod recorded;
mod signal;
mod source;

pub use args::UsageArgs;
pub use error::UsageError;
pub use model::{
    CapacityType, ContainerUsage, NamespaceUsage, Node, PodUsage, Resources, Sample, Service,
    Volume, Window, WindowError, WorkloadKind, WorkloadUsage,
};
pub use numbers::{count, seconds, whole};
pub use prices::{HOURS_PER_MONTH, LoadPricesError, Prices, Rate};
pub use source::{Detail, MAX_SAMPLES, MAX_SERIES, MAX_WORKLOADS, UsageQuery, UsageSource};
