//! `find_idle_resources`: what could be switched off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use usage::{
    Detail, NamespaceUsage, Service, Volume, WorkloadUsage, count,
    gather::{Gather, WindowInput, WindowRead, gather, rfc3339},
    quantity, seconds, whole,
};

use super::Tools;
use crate::{
    domain::{
        cost::cents,
        idle::{Confidence, IdleTime, idle_time},
        leftovers::{GROWTH_ROOM, VolumeFinding, is_unused_service, judge_volume},
    },
    metrics::Category,
};

/// Finds idle workloads, volumes and Services.
#[derive(Debug, Clone)]
pub struct FindIdleResources(pub Tools);

/// Where to look.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace.
    pub namespace: String,
    /// From when to when; at least as long as the idle days (7).
    pub window: Option<WindowInput>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace.
    pub namespace: String,
    /// What was read.
    pub window: WindowRead,
    /// Dearest first.
    pub findings: Vec<Finding>,
    /// Workloads that could not be judged.
    pub not_judged: Vec<NotJudged>,
    /// What all workloads of the namespace cost, US dollars a month.
    pub monthly_cost_usd: f64,
    /// Sum of the findings, US dollars a month. It becomes money when a node can go for it.
    pub potential_savings_usd: f64,
    /// Where the prices come from.
    pub prices: String,
}

/// What kind of thing is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A workload below the share of its requests.
    IdleWorkload,
    /// A claim that no pod mounts.
    UnmountedVolume,
    /// A claim that is mostly empty.
    OversizedVolume,
    /// A Service without endpoints.
    UnusedService,
}

/// One thing that could be switched off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// Kind and name in Kubernetes, for example `Deployment/report-batch`.
    pub resource: String,
    /// What was seen.
    pub evidence: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// What it costs that could be saved, US dollars a month.
    pub monthly_savings_usd: f64,
    /// What to do.
    pub action: String,
    /// How to take it back.
    pub undo: String,
}

/// A workload that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotJudged {
    /// Kind and name.
    pub resource: String,
    /// Why.
    pub reason: String,
}

impl Skill for FindIdleResources {
    const ID: &'static str = "find_idle_resources";
    const NAME: &'static str = "Find idle resources";
    const DESCRIPTION: &'static str = "Workloads that stayed below 20 % of their CPU and memory requests for 7 days, volumes that nothing mounts or fills, and Services without endpoints: with evidence, savings a month and undo.";
    const TAGS: &'static [&'static str] = &["cost", "finops", "idle", "waste"];
    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let wanted = Gather {
            namespace: &input.namespace,
            workload: None,
            kind: None,
            window: input.window.as_ref(),
            detail: Detail::Everything,
        };
        let usage = gather(context, self.0.usage.as_ref(), wanted).await?;
        if usage.window.length() < self.0.idle.seconds() {
            let expected = format!("at least the {} idle days", self.0.idle.days);
            return Err(SkillError::rejected(
                "window.days",
                expected,
                format!("{:.2}", seconds(usage.window.length()) / 86_400.0),
            ));
        }
        let costs = self.0.costs(&usage);
        let (mut findings, not_judged) = self.workloads(&usage, &costs);
        findings.extend(self.volumes(&usage));
        findings.extend(self.services(&usage));
        findings.sort_by(|a, b| b.monthly_savings_usd.total_cmp(&a.monthly_savings_usd));
        let savings = cents(findings.iter().map(|f| f.monthly_savings_usd).sum());
        self.0
            .metrics
            .savings(&usage.namespace, Category::Idle, savings);
        Ok(Output {
            window: usage.window.into(),
            namespace: usage.namespace,
            findings,
            not_judged,
            monthly_cost_usd: cents(costs.iter().sum()),
            potential_savings_usd: savings,
            prices: self.0.prices.source.clone(),
        })
    }
}

impl FindIdleResources {
    fn workloads(&self, usage: &NamespaceUsage, costs: &[f64]) -> (Vec<Finding>, Vec<NotJudged>) {
        let (mut findings, mut not_judged) = (Vec::new(), Vec::new());
        for (workload, cost) in usage.workloads.iter().zip(costs) {
            match idle_time(usage, workload, &self.0.idle) {
                Ok(Some(idle)) => findings.push(self.idle_workload(usage, workload, &idle, *cost)),
                Ok(None) => {}
                Err(why) => not_judged.push(NotJudged {
                    resource: name(workload),
                    reason: why.reason().to_owned(),
                }),
            }
        }
        (findings, not_judged)
    }

    fn idle_workload(
        &self,
        usage: &NamespaceUsage,
        workload: &WorkloadUsage,
        idle: &IdleTime,
        cost: f64,
    ) -> Finding {
        let end = usage.window.end();
        let replicas = workload
            .containers
            .iter()
            .filter_map(|c| c.replicas().into_values().last())
            .max()
            .unwrap_or(0);
        let (action, undo) = if workload.kind.is_scalable() {
            (
                String::from("scale to 0 replicas"),
                format!("scale to {replicas} replicas"),
            )
        } else {
            (
                String::from("remove it, or lower its requests"),
                String::from("apply its manifest again"),
            )
        };
        Finding {
            kind: FindingKind::IdleWorkload,
            resource: name(workload),
            evidence: format!(
                "since {} ({:.1} days) at most {:.1} % of the requested cpu and {:.1} % of the memory",
                rfc3339(idle.since),
                seconds(end - idle.since) / 86_400.0,
                idle.cpu_share * 100.0,
                idle.memory_share * 100.0
            ),
            confidence: idle.confidence(&self.0.idle),
            monthly_savings_usd: cents(cost),
            action,
            undo,
        }
    }

    fn volumes(&self, usage: &NamespaceUsage) -> Vec<Finding> {
        let idle_from = usage.window.end() - self.0.idle.seconds();
        let mounts_known = usage.volumes.iter().any(|v| v.last_mounted.is_some());
        let judge = |volume: &Volume| {
            judge_volume(volume, idle_from, mounts_known).map(|found| self.volume(volume, found))
        };
        usage.volumes.iter().filter_map(judge).collect()
    }

    fn volume(&self, volume: &Volume, found: VolumeFinding) -> Finding {
        let resource = format!("PersistentVolumeClaim/{}", volume.claim);
        match found {
            VolumeFinding::Unmounted { bytes } => Finding {
                kind: FindingKind::UnmountedVolume,
                resource,
                evidence: format!(
                    "{} that no pod mounted in the last {} days",
                    gibibytes(bytes),
                    self.0.idle.days
                ),
                confidence: Confidence::High,
                monthly_savings_usd: cents(self.0.prices.monthly_storage(bytes)),
                action: String::from("snapshot it, then delete the claim"),
                undo: String::from("restore the snapshot into a new claim"),
            },
            VolumeFinding::Oversized {
                bytes,
                peak,
                enough,
            } => Finding {
                kind: FindingKind::OversizedVolume,
                resource,
                evidence: format!(
                    "at most {} of {} were used",
                    gibibytes(peak),
                    gibibytes(bytes)
                ),
                confidence: Confidence::Medium,
                monthly_savings_usd: cents(self.0.prices.monthly_storage(bytes - enough)),
                action: format!(
                    "move the data to a claim of {} ({GROWTH_ROOM} times its peak)",
                    gibibytes(enough)
                ),
                undo: String::from("expand the new claim"),
            },
        }
    }

    fn services(&self, usage: &NamespaceUsage) -> Vec<Finding> {
        let idle_from = usage.window.end() - self.0.idle.seconds();
        usage
            .services
            .iter()
            .filter(|s| is_unused_service(s, idle_from))
            .map(|s| self.service(s))
            .collect()
    }

    fn service(&self, service: &Service) -> Finding {
        let is_balancer = service.service_type == "LoadBalancer";
        Finding {
            kind: FindingKind::UnusedService,
            resource: format!("Service/{}", service.name),
            evidence: format!(
                "{} without an endpoint in the last {} days",
                service.service_type, self.0.idle.days
            ),
            confidence: Confidence::High,
            monthly_savings_usd: if is_balancer {
                cents(self.0.prices.monthly_load_balancer())
            } else {
                0.0
            },
            action: String::from("delete the Service"),
            undo: String::from(if is_balancer {
                "apply it again: its address may change"
            } else {
                "apply it again"
            }),
        }
    }
}

fn name(workload: &WorkloadUsage) -> String {
    format!("{}/{}", workload.kind, workload.name)
}

fn gibibytes(bytes: f64) -> String {
    let mebibytes = quantity::memory(bytes);
    let gibibytes = bytes / 1_073_741_824.0;
    if gibibytes.fract().abs() < 1e-9 {
        format!(
            "{}Gi",
            count(usize::try_from(whole(gibibytes)).unwrap_or(0))
        )
    } else {
        mebibytes
    }
}
