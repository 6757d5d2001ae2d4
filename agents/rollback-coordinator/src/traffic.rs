//! Moves traffic off the bad version before its template changes, by the weights of routes.

use std::{sync::Arc, time::Duration};

use cluster::Patch;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall};
use tokio::time::sleep;

use crate::{
    clients::dynamic::{DynamicObjects, Hand, MANAGER, Place, Write, Written},
    domain::{
        Workload,
        helm::ObjectId,
        traffic::{Pods, RouteKind, Shift, Split, splits},
    },
    handover::hand_back,
};

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;

/// Shares of its traffic that a gradual rollback leaves to the bad version, in percent: half, then a tenth.
pub const SHARES: [u32; 2] = [50, 10];
/// Pause between two steps: 10 s, long enough for monitoring-agent to see pods fail under more traffic.
pub const PAUSE: &str = "10s";

/// Moves traffic.
#[derive(Debug, Clone)]
pub struct Traffic(pub Arc<dyn DynamicObjects>);

/// How traffic leaves the bad version when the caller wants it step by step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gradual {
    /// Shares that are left to the bad version, in percent.
    pub shares: Vec<u32>,
    /// Pause between two steps.
    pub pause: Duration,
}

#[derive(Debug, Deserialize)]
struct Health {
    verdict: String,
}

fn name(object: &Value) -> &str {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default()
}

impl Traffic {
    /// How traffic leaves a workload; `None` when no route sends a part of it elsewhere.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn plan(
        &self,
        context: &Context,
        workload: &Workload,
        gradual: Option<&Gradual>,
    ) -> Result<Option<Shift>, SkillError> {
        let namespace = workload.id.namespace.as_str();
        let call = ToolCall::read("kubernetes.list", [format!("routes/{namespace}")]);
        let splits = context.tool(call, self.find(namespace, workload)).await?;
        if splits.is_empty() {
            return Ok(None);
        }
        let mut stable = self.stable(namespace, &splits).await?;
        // A Service may select both versions, and its subsets tell them apart.
        stable.retain(|name| *name != workload.id.name);
        let steps = gradual.map(|gradual| (gradual.shares.as_slice(), gradual.pause.as_secs()));
        Ok(Shift::new(splits, steps, stable))
    }

    async fn find(&self, namespace: &str, workload: &Workload) -> Result<Vec<Split>, SkillError> {
        let at = |api_version, kind| Place::new(api_version, kind, (namespace, "any"));
        let mut routes = Vec::new();
        for kind in RouteKind::ALL {
            let (api_version, word) = kind.names();
            let found = self.0.list(&at(api_version, word), "").await?;
            routes.extend(found.into_iter().map(|route| (kind, route)));
        }
        if routes.is_empty() {
            return Ok(Vec::new());
        }
        let services = self.0.list(&at("v1", "Service"), "").await?;
        let rules = self
            .0
            .list(&at("networking.istio.io/v1", "DestinationRule"), "")
            .await?;
        let labels = workload
            .template
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        let pods = Pods {
            services: &services,
            rules: &rules,
            labels: labels.cloned().unwrap_or_default(),
        };
        let of_route = |(kind, route): &(RouteKind, Value)| {
            let (api_version, word) = kind.names();
            let id = Place::new(api_version, word, (namespace, name(route))).id;
            splits(*kind, &id, route, &pods)
        };
        Ok(routes.iter().flat_map(of_route).collect())
    }

    /// Deployments whose pods answer for the others.
    async fn stable(&self, namespace: &str, splits: &[Split]) -> Result<Vec<String>, SkillError> {
        let backends = splits.iter().flat_map(|split| &split.backends);
        let mut names: Vec<&str> = backends
            .filter(|one| !one.bad)
            .map(|one| one.service.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        let services = self
            .0
            .list(&Place::new("v1", "Service", (namespace, "any")), "")
            .await?;
        let workloads = self
            .0
            .list(&Place::new("apps/v1", "Deployment", (namespace, "any")), "")
            .await?;
        let selectors = services
            .iter()
            .filter(|service| names.contains(&name(service)));
        let selectors: Vec<&Value> = selectors
            .filter_map(|service| service.pointer("/spec/selector"))
            .collect();
        let serves = |workload: &&Value| {
            let labels = workload.pointer("/spec/template/metadata/labels");
            selectors.iter().any(|selector| {
                let mut wanted = selector.as_object().into_iter().flatten();
                wanted.all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
            })
        };
        Ok(workloads
            .iter()
            .filter(serves)
            .map(|one| name(one).to_owned())
            .collect())
    }

    /// Moves the traffic, step by step; between two of them those that take it over have to be healthy.
    ///
    /// # Errors
    /// `Failed` when a route is not the one of the plan any more, or when what takes over is not healthy.
    pub async fn shift(&self, context: &Context, shift: &Shift) -> Result<(), SkillError> {
        let mut first = true;
        loop {
            let mut moved = false;
            for split in &shift.splits {
                let now = self.now(split).await?;
                if let Some(weights) = shift.next(split, &now) {
                    if !first && !moved {
                        sleep(Duration::from_secs(shift.pause_seconds)).await;
                        self.check(context, shift).await?;
                    }
                    self.set(context, split, &weights).await?;
                    moved = true;
                }
            }
            if !moved {
                return self.hand_back(context, shift).await;
            }
            first = false;
        }
    }

    /// Brings the weights back that were there before.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn restore(&self, context: &Context, shift: &Shift) -> Result<(), SkillError> {
        for split in &shift.splits {
            self.set(context, split, &split.before()).await?;
        }
        self.hand_back(context, shift).await
    }

    async fn hand_back(&self, context: &Context, shift: &Shift) -> Result<(), SkillError> {
        for split in &shift.splits {
            let (place, _, _) = self.read(split).await?;
            hand_back(&*self.0, context, &place).await?;
        }
        Ok(())
    }

    async fn check(&self, context: &Context, shift: &Shift) -> Result<(), SkillError> {
        for stable in &shift.stable {
            let namespace = shift
                .splits
                .first()
                .map(|split| split.route.namespace.clone());
            let input =
                json!({"namespace": namespace, "workload": {"kind": "Deployment", "name": stable}});
            let Health { verdict } = context
                .call("monitoring-agent", "check_health", &input)
                .await?;
            if verdict != "healthy" {
                return Err(SkillError::failed(format!(
                    "{stable}, which takes the traffic over, is {verdict}"
                )));
            }
        }
        Ok(())
    }

    async fn read(&self, split: &Split) -> Result<(Place, Value, Vec<u32>), SkillError> {
        let ObjectId {
            namespace, name, ..
        } = &split.route;
        let (api_version, kind) = split.kind.names();
        let place = Place::new(api_version, kind, (namespace, name));
        let route = self.0.get(&place).await?.unwrap_or_default();
        let Some(now) = split.now(&route) else {
            return Err(SkillError::failed(format!(
                "{} was changed since the plan",
                place.id
            )));
        };
        Ok((place, route, now))
    }

    async fn now(&self, split: &Split) -> Result<Vec<u32>, SkillError> {
        self.read(split).await.map(|(_, _, now)| now)
    }

    async fn set(
        &self,
        context: &Context,
        split: &Split,
        weights: &[u32],
    ) -> Result<(), SkillError> {
        for _ in 0..ATTEMPTS {
            let (place, route, now) = self.read(split).await?;
            if now == weights {
                return Ok(());
            }
            let seen = route
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str);
            let patch = Patch::Json(split.operations(weights));
            let write = Write::Patch {
                patch,
                seen: seen.map(str::to_owned),
            };
            let call = ToolCall::write(write.action(), [place.resource()]);
            let hand = Hand {
                manager: MANAGER,
                dry_run: false,
            };
            if context
                .tool(call, self.0.write(&place, &write, hand))
                .await?
                != Written::Conflict
            {
                return Ok(());
            }
        }
        Err(SkillError::failed(format!("{} kept changing", split.route)))
    }
}
