//! How well a container's requests and limits fit what it used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use usage::ContainerUsage;

use super::distribution::{Distribution, round};

/// From this share of the request on, p95 of CPU counts as saturated.
pub const SATURATED: f64 = 1.0;
/// From this share on it counts as tight: the usual ceiling of a scaling target.
pub const TIGHT: f64 = 0.8;
/// Below this share it counts as over-provisioned: a cut of 30 % (the least worth making) still leaves p95 at 57 % of it.
pub const OVER_PROVISIONED: f64 = 0.4;
/// From this share of the memory limit on, the largest peak counts as a high risk.
pub const OOM_HIGH: f64 = 0.95;
/// From this share on as an elevated one: less than VPA's 15 % margin is left (1 / 1.15).
pub const OOM_ELEVATED: f64 = 1.0 / 1.15;
/// From this mean share of throttled periods on, throttling is named: the alert `CPUThrottlingHigh` of kubernetes-mixin
/// fires at 25 %; a fifth of that already shows in tail latency.
pub const THROTTLED: f64 = 0.05;

/// How p95 of CPU relates to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Saturation {
    /// At or above the request.
    Saturated,
    /// From 80 % on.
    Tight,
    /// From 40 % to 80 %.
    Balanced,
    /// Below 40 %.
    OverProvisioned,
    /// No CPU is requested.
    NoRequest,
}

/// How likely a kill for memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OomRisk {
    /// It happened in the window, or the largest peak reached 95 % of the limit.
    High,
    /// The largest peak left less than 15 % of itself to the limit.
    Elevated,
    /// More is left.
    Low,
    /// No limit: the node's memory is the limit, and the kernel chooses.
    NoLimit,
}

/// What one container used, per pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerUtilization {
    /// Name of the container.
    pub container: String,
    /// Pods that ran in the window.
    pub pods: u64,
    /// Cores of one pod.
    pub cpu_cores: Distribution,
    /// Bytes of one pod (working set, peak of each step).
    pub memory_bytes: Distribution,
    /// p95 of CPU as a share of the request.
    pub cpu_p95_of_request: Option<f64>,
    /// p95 of memory as a share of the request.
    pub memory_p95_of_request: Option<f64>,
    /// Largest memory peak as a share of the limit.
    pub memory_max_of_limit: Option<f64>,
    /// Mean share of scheduler periods in which the container was throttled; missing without a CPU limit.
    pub throttled: Option<f64>,
    /// Kills for memory in the window.
    pub oom_kills: u64,
    /// How CPU relates to its request.
    pub saturation: Saturation,
    /// How likely a kill for memory is.
    pub oom_risk: OomRisk,
    /// What stands out, in words.
    pub findings: Vec<String>,
}

/// Describes a container.
pub fn describe(container: &ContainerUsage) -> ContainerUtilization {
    let (cpu, memory) = (
        Distribution::of(container.cpu()),
        Distribution::of(container.memory()),
    );
    let of = |value: f64, whole: Option<f64>| whole.filter(|w| *w > 0.0).map(|w| value / w);
    let throttled: Vec<f64> = container
        .pods
        .iter()
        .flat_map(|p| p.throttled.iter().map(|s| s.value))
        .collect();
    let oom_kills = usage::whole(usage::count(
        container.pods.iter().map(|p| p.ooms.len()).sum(),
    ));
    let cpu_p95_of_request = of(cpu.p95, container.requests.cpu);
    let memory_max_of_limit = of(memory.max, container.limits.memory);
    let mut described = ContainerUtilization {
        container: container.name.clone(),
        pods: usage::whole(usage::count(container.pods.len())),
        memory_p95_of_request: of(memory.p95, container.requests.memory),
        throttled: (!throttled.is_empty()).then(|| Distribution::of(throttled).mean),
        saturation: saturation(cpu_p95_of_request),
        oom_risk: oom_risk(memory_max_of_limit, oom_kills),
        cpu_cores: cpu,
        memory_bytes: memory,
        cpu_p95_of_request,
        memory_max_of_limit,
        oom_kills,
        findings: Vec::new(),
    };
    described.findings = findings(&described);
    described.rounded()
}

impl ContainerUtilization {
    /// Cores to a tenth of a millicore, bytes whole, shares to a hundredth of a percent.
    fn rounded(self) -> Self {
        let share = |value: Option<f64>| value.map(|v| round(v, 4));
        Self {
            cpu_cores: self.cpu_cores.rounded(4),
            memory_bytes: self.memory_bytes.rounded(0),
            cpu_p95_of_request: share(self.cpu_p95_of_request),
            memory_p95_of_request: share(self.memory_p95_of_request),
            memory_max_of_limit: share(self.memory_max_of_limit),
            throttled: share(self.throttled),
            ..self
        }
    }
}

fn saturation(p95_of_request: Option<f64>) -> Saturation {
    match p95_of_request {
        None => Saturation::NoRequest,
        Some(share) if share >= SATURATED => Saturation::Saturated,
        Some(share) if share >= TIGHT => Saturation::Tight,
        Some(share) if share >= OVER_PROVISIONED => Saturation::Balanced,
        Some(_) => Saturation::OverProvisioned,
    }
}

fn oom_risk(max_of_limit: Option<f64>, kills: u64) -> OomRisk {
    match max_of_limit {
        _ if kills > 0 => OomRisk::High,
        None => OomRisk::NoLimit,
        Some(share) if share >= OOM_HIGH => OomRisk::High,
        Some(share) if share > OOM_ELEVATED => OomRisk::Elevated,
        Some(_) => OomRisk::Low,
    }
}

fn findings(described: &ContainerUtilization) -> Vec<String> {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let mut findings = Vec::new();
    if let (Saturation::Saturated | Saturation::Tight | Saturation::OverProvisioned, Some(share)) =
        (described.saturation, described.cpu_p95_of_request)
    {
        findings.push(format!(
            "95 of 100 cpu samples stay below {} of the request",
            percent(share)
        ));
    }
    if described.saturation == Saturation::NoRequest {
        findings.push(String::from(
            "no cpu request: the scheduler packs it anywhere, and an autoscaler has no utilization",
        ));
    }
    if described.oom_kills > 0 {
        findings.push(format!("killed for memory {} times", described.oom_kills));
    }
    if let (OomRisk::High | OomRisk::Elevated, Some(share)) =
        (described.oom_risk, described.memory_max_of_limit)
    {
        findings.push(format!(
            "the largest memory peak is {} of the limit",
            percent(share)
        ));
    }
    if let Some(share) = described.throttled.filter(|share| *share >= THROTTLED) {
        findings.push(format!(
            "throttled in {} of the scheduler periods",
            percent(share)
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use usage::{PodUsage, Resources, Sample};

    use super::*;

    fn container(cpu: &[f64], memory: &[f64], ooms: usize) -> ContainerUsage {
        let samples = |values: &[f64]| {
            (1..)
                .zip(values)
                .map(|(i, value)| Sample {
                    at: i * 60,
                    value: *value,
                })
                .collect::<Vec<_>>()
        };
        let pod = PodUsage {
            cpu: samples(cpu),
            memory: samples(memory),
            throttled: samples(&[0.1, 0.3]),
            ooms: vec![60; ooms],
            ..PodUsage::default()
        };
        ContainerUsage {
            name: "app".into(),
            requests: Resources {
                cpu: Some(1.0),
                memory: Some(100.0),
            },
            limits: Resources {
                cpu: Some(2.0),
                memory: Some(200.0),
            },
            pods: vec![pod],
        }
    }

    #[test]
    fn shares_are_of_request_and_limit() {
        let described = describe(&container(&[0.2, 0.5], &[50.0, 100.0], 0));
        assert_eq!(
            (
                described.cpu_p95_of_request,
                described.memory_p95_of_request,
                described.memory_max_of_limit
            ),
            (Some(0.5), Some(1.0), Some(0.5))
        );
        assert_eq!(
            (
                described.throttled,
                described.saturation,
                described.oom_risk
            ),
            (Some(0.2), Saturation::Balanced, OomRisk::Low)
        );
        assert_eq!(
            described.findings,
            ["throttled in 20 % of the scheduler periods"]
        );
    }

    #[test]
    fn saturation_at_its_edges() {
        for (share, expected) in [
            (1.0, Saturation::Saturated),
            (0.99, Saturation::Tight),
            (0.8, Saturation::Tight),
            (0.4, Saturation::Balanced),
            (0.39, Saturation::OverProvisioned),
        ] {
            assert_eq!(saturation(Some(share)), expected, "{share}");
        }
        assert_eq!(saturation(None), Saturation::NoRequest);
    }

    #[test]
    fn a_kill_or_a_full_limit_is_a_high_risk() {
        assert_eq!(
            describe(&container(&[0.1], &[10.0], 1)).oom_risk,
            OomRisk::High
        );
        for (share, expected) in [
            (0.95, OomRisk::High),
            (0.90, OomRisk::Elevated),
            (0.86, OomRisk::Low),
        ] {
            assert_eq!(oom_risk(Some(share), 0), expected, "{share}");
        }
        assert_eq!(oom_risk(None, 0), OomRisk::NoLimit);
    }
}
