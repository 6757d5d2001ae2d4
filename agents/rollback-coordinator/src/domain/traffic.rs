//! Weights of traffic between versions: where they are, and how they move off the bad one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::helm::ObjectId;

/// How traffic leaves the bad version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// At once.
    #[default]
    Immediate,
    /// Step by step, as long as those that take it over are healthy.
    Gradual,
}

/// A kind of route with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// `HTTPRoute` of the Gateway API: each backend is a Service.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// `VirtualService` of Istio: each destination is a host, and perhaps a subset of its pods.
    VirtualService,
}

impl RouteKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::HttpRoute, Self::VirtualService];

    /// Its `apiVersion` and its kind.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::HttpRoute => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            Self::VirtualService => ("networking.istio.io/v1", "VirtualService"),
        }
    }

    /// Where its rules are, and in each of them its backends.
    fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::HttpRoute => ("rules", "backendRefs"),
            Self::VirtualService => ("http", "route"),
        }
    }
}

/// One backend of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Name of its Service.
    pub service: String,
    /// Subset of its pods, which a `DestinationRule` describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Its share, in whatever the other weights of the rule are.
    pub weight: u32,
    /// Whether the bad version answers there.
    pub bad: bool,
}

/// One rule that splits traffic between the bad version and others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Split {
    /// Kind of the route.
    pub kind: RouteKind,
    /// The route.
    pub route: ObjectId,
    /// Number of the rule in it, from 0.
    pub rule: usize,
    /// Its backends, with the weights before the rollback.
    pub backends: Vec<Backend>,
}

impl Split {
    /// The weights before the rollback.
    pub fn before(&self) -> Vec<u32> {
        self.backends.iter().map(|one| one.weight).collect()
    }

    /// The weights when this share of its traffic, in percent, is left to the bad version. What it loses goes to the
    /// others in proportion to what they have; the sum stays.
    pub fn with_share(&self, percent: u32) -> Vec<u32> {
        let bad: Vec<u64> = self.part(true).map(u64::from).collect();
        let left: Vec<u64> = bad
            .iter()
            .map(|weight| weight * u64::from(percent.min(100)) / 100)
            .collect();
        let freed = bad.iter().sum::<u64>() - left.iter().sum::<u64>();
        let good = spread(&self.part(false).map(u64::from).collect::<Vec<_>>(), freed);
        let (mut left, mut good) = (left.into_iter(), good.into_iter());
        let weights = self
            .backends
            .iter()
            .map(|one| if one.bad { left.next() } else { good.next() });
        weights
            .map(|weight| u32::try_from(weight.unwrap_or(0)).unwrap_or(u32::MAX))
            .collect()
    }

    fn part(&self, bad: bool) -> impl Iterator<Item = u32> {
        let wanted = self.backends.iter().filter(move |one| one.bad == bad);
        wanted.map(|one| one.weight)
    }

    /// The weights that a route has now in this rule; `None` when it is not the rule of the plan any more.
    pub fn now(&self, route: &Value) -> Option<Vec<u32>> {
        let found = backends(self.kind, route).into_iter().nth(self.rule)?;
        let names = |one: &Backend| (one.service.clone(), one.subset.clone());
        let same = found.iter().map(names).eq(self.backends.iter().map(names));
        same.then(|| found.iter().map(|one| one.weight).collect())
    }

    /// The weights as JSON Patch operations. `add` replaces a member that is there.
    pub fn operations(&self, weights: &[u32]) -> Vec<Value> {
        let (rules, list) = self.kind.members();
        let one = |(index, weight): (usize, &u32)| {
            let path = format!("/spec/{rules}/{}/{list}/{index}/weight", self.rule);
            json!({"op": "add", "path": path, "value": weight})
        };
        weights.iter().enumerate().map(one).collect()
    }
}

/// Adds an amount to weights in proportion to them, to the last one; to weights that are all zero, evenly.
fn spread(weights: &[u64], amount: u64) -> Vec<u64> {
    let sum: u64 = weights.iter().sum();
    let count = weights.len() as u64;
    let (parts, whole) = if sum == 0 {
        (vec![1; weights.len()], count.max(1))
    } else {
        (weights.to_vec(), sum)
    };
    let mut given = 0;
    let mut before = 0;
    let mut result = Vec::new();
    for (weight, part) in weights.iter().zip(parts) {
        // Rounded from the running sum, so that nothing is lost at the end.
        before += part;
        let up_to = amount * before / whole;
        result.push(weight + up_to - given);
        given = up_to;
    }
    result
}

/// The backends of each rule of a route, none of them known to be bad.
fn backends(kind: RouteKind, route: &Value) -> Vec<Vec<Backend>> {
    let (rules, list) = kind.members();
    let rules = route
        .pointer(&format!("/spec/{rules}"))
        .and_then(Value::as_array);
    let of_rule = |rule: &Value| -> Vec<Backend> {
        let all = rule.get(list).and_then(Value::as_array);
        let all: Vec<&Value> = all.into_iter().flatten().collect();
        all.iter()
            .map(|one| backend(kind, one, all.len() == 1))
            .collect()
    };
    rules.into_iter().flatten().map(of_rule).collect()
}

fn backend(kind: RouteKind, backend: &Value, alone: bool) -> Backend {
    let text = |pointer: &str| backend.pointer(pointer).and_then(Value::as_str);
    let weight = backend.get("weight").and_then(Value::as_u64);
    let weight = weight.map(|weight| u32::try_from(weight).unwrap_or(u32::MAX));
    let (service, subset, default) = match kind {
        // The Gateway API gives 1 to a backend without weight.
        RouteKind::HttpRoute => (text("/name"), None, 1),
        // Istio gives everything to a lone destination, and nothing to one of several without weight.
        RouteKind::VirtualService => {
            let host = text("/destination/host").map(|host| host.split('.').next().unwrap_or(host));
            (
                host,
                text("/destination/subset"),
                if alone { 100 } else { 0 },
            )
        }
    };
    Backend {
        service: service.unwrap_or_default().to_owned(),
        subset: subset.map(str::to_owned),
        weight: weight.unwrap_or(default),
        bad: false,
    }
}

/// What is known of the pods behind a backend.
#[derive(Debug, Clone, Default)]
pub struct Pods<'a> {
    /// Services of the namespace.
    pub services: &'a [Value],
    /// `DestinationRules` of the namespace.
    pub rules: &'a [Value],
    /// Labels of the bad version's pods.
    pub labels: Map<String, Value>,
}

impl Pods<'_> {
    /// Whether the bad version answers at a backend.
    fn are_behind(&self, backend: &Backend) -> bool {
        let named = |object: &&Value| {
            object
                .pointer("/metadata/name")
                .is_some_and(|name| *name == backend.service)
        };
        let selector = self
            .services
            .iter()
            .find(named)
            .and_then(|one| one.pointer("/spec/selector"));
        let selected = selector
            .and_then(Value::as_object)
            .is_some_and(|selector| !selector.is_empty() && self.have(selector));
        let in_subset = backend.subset.as_ref().is_none_or(|subset| {
            self.subset(&backend.service, subset)
                .is_some_and(|labels| self.have(&labels))
        });
        selected && in_subset
    }

    fn have(&self, wanted: &Map<String, Value>) -> bool {
        wanted
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }

    fn subset(&self, service: &str, subset: &str) -> Option<Map<String, Value>> {
        let of_service = |rule: &&Value| {
            let host = rule.pointer("/spec/host").and_then(Value::as_str);
            host.and_then(|host| host.split('.').next()) == Some(service)
        };
        let subsets = self
            .rules
            .iter()
            .find(of_service)?
            .pointer("/spec/subsets")?
            .as_array()?;
        let named = subsets
            .iter()
            .find(|one| one.get("name").is_some_and(|name| name == subset))?;
        named.get("labels")?.as_object().cloned()
    }
}

/// The rules of a route that send some traffic to the bad version and could send it elsewhere.
pub fn splits(kind: RouteKind, id: &ObjectId, route: &Value, pods: &Pods<'_>) -> Vec<Split> {
    let judged = |mut backends: Vec<Backend>| {
        for backend in &mut backends {
            backend.bad = pods.are_behind(backend);
        }
        backends
    };
    let all = backends(kind, route).into_iter().map(judged).enumerate();
    let divided = all.filter(|(_, backends)| {
        backends.iter().any(|one| one.bad && one.weight > 0) && backends.iter().any(|one| !one.bad)
    });
    let split = |(rule, backends)| Split {
        kind,
        route: id.clone(),
        rule,
        backends,
    };
    divided.map(split).collect()
}

/// How traffic leaves the bad version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shift {
    /// The rules that are changed.
    pub splits: Vec<Split>,
    /// Shares of its traffic that are left to the bad version, in percent, step by step; the last is 0.
    pub shares: Vec<u32>,
    /// Pause between two steps, in seconds.
    pub pause_seconds: u64,
    /// Deployments that the others' traffic goes to; their health is looked at between two steps.
    pub stable: Vec<String>,
}

impl Shift {
    /// The shift in steps, or at once.
    pub fn new(
        splits: Vec<Split>,
        gradual: Option<(&[u32], u64)>,
        stable: Vec<String>,
    ) -> Option<Self> {
        if splits.is_empty() {
            return None;
        }
        let (steps, pause_seconds) = gradual.unwrap_or((&[], 0));
        let mut shares: Vec<u32> = steps
            .iter()
            .copied()
            .filter(|share| (1..100).contains(share))
            .collect();
        shares.sort_unstable_by(|a, b| b.cmp(a));
        shares.dedup();
        shares.push(0);
        Some(Self {
            splits,
            shares,
            pause_seconds,
            stable,
        })
    }

    /// What it means, in a sentence.
    pub fn reason(&self) -> String {
        let routes: Vec<String> = self
            .splits
            .iter()
            .map(|split| split.route.to_string())
            .collect();
        let shares: Vec<String> = self
            .shares
            .iter()
            .map(|share| format!("{share} %"))
            .collect();
        format!(
            "traffic leaves the bad version first: {} of it stay, by {}",
            shares.join(", then "),
            routes.join(", ")
        )
    }

    /// The step that comes next, by the weights that are in force: those whose weights are not yet as low. `None` when
    /// nothing is left to do.
    pub fn next(&self, split: &Split, now: &[u32]) -> Option<Vec<u32>> {
        let is_left = |weights: &Vec<u32>| bad_sum(split, weights) < bad_sum(split, now);
        self.shares
            .iter()
            .map(|share| split.with_share(*share))
            .find(is_left)
    }
}

/// What the bad version has of some weights.
fn bad_sum(split: &Split, weights: &[u32]) -> u64 {
    let pairs = split.backends.iter().zip(weights);
    pairs
        .filter(|(one, _)| one.bad)
        .map(|(_, weight)| u64::from(*weight))
        .sum()
}

#[cfg(test)]
mod tests;
