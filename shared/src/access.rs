//! Who a peer is, what it may call, and how often. Everything undeclared is denied.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};
use identity::{Principal, PrincipalKind, SpiffeId};
use manifest::{Caller, Edges, Fleet, Manifest, MeshIdentity};

use crate::{
    a2a::fault::{Fault, Kind},
    registry::DELIVERY_SKILL,
};

/// Requests a minute of one principal when the manifest says nothing.
const DEFAULT_RATE: u32 = 6_000;

/// The compiled edges as one agent sees them.
#[derive(Debug, Clone)]
pub struct Access {
    name: String,
    manifest: Arc<Manifest>,
    edges: Arc<Edges>,
    principals: Arc<HashMap<String, Principal>>,
    linkerd: Arc<HashMap<String, Principal>>,
    fleet: Arc<Fleet>,
}

impl Access {
    /// Compiles what `manifest`'s agent has to enforce.
    ///
    /// # Errors
    /// When a SPIFFE id of mesh.yaml is none.
    pub fn new(fleet: Arc<Fleet>, manifest: Arc<Manifest>) -> Result<Self, identity::IdError> {
        let (mut principals, mut linkerd) = (HashMap::new(), HashMap::new());
        for name in fleet.mesh.agents.keys() {
            let Some(id) = fleet.mesh.spiffe_id(name) else {
                continue;
            };
            let principal = Principal {
                kind: PrincipalKind::Agent,
                name: name.clone(),
                id: id.parse()?,
            };
            principals.insert(id, principal);
        }
        for (name, caller) in &fleet.mesh.callers {
            for known in &caller.identities {
                let principal = Principal {
                    kind: PrincipalKind::External,
                    name: name.clone(),
                    id: SpiffeId::external(&fleet.mesh.trust_domain, name)?,
                };
                match known {
                    MeshIdentity::Spiffe(id) => drop(principals.insert(id.clone(), principal)),
                    MeshIdentity::Linkerd(id) => drop(linkerd.insert(id.clone(), principal)),
                    // Bearer tokens are verified in front of the agent; an unverified claim is no identity.
                    MeshIdentity::Oidc { .. } => {}
                }
            }
        }
        let edges = Arc::new(fleet.edges().clone());
        Ok(Self {
            name: manifest.name.clone(),
            manifest,
            edges,
            principals: Arc::new(principals),
            linkerd: Arc::new(linkerd),
            fleet,
        })
    }

    /// The principal behind a verified identity.
    pub fn principal(&self, id: &SpiffeId) -> Option<Principal> {
        self.principals
            .get(id.as_str())
            .or_else(|| self.linkerd.get(id.as_str()))
            .cloned()
    }

    /// A stored caller as a principal again.
    pub fn restored(&self, agent: bool, name: &str, id: &str) -> Option<Principal> {
        let kind = if agent {
            PrincipalKind::Agent
        } else {
            PrincipalKind::External
        };
        Some(Principal {
            kind,
            name: name.to_owned(),
            id: id.parse().ok()?,
        })
    }

    /// Whether a principal may call a skill of this agent: a declared edge to an allowed action.
    pub fn allows(&self, principal: &Principal, skill: &str) -> bool {
        // The auditor delivers its own records to itself; no other agent has the skill.
        let own = principal.kind == PrincipalKind::Agent && principal.name == self.name;
        if own && skill == DELIVERY_SKILL {
            return true;
        }
        let runtime = manifest::RUNTIME_METHODS.contains(&skill);
        let declared = self.edges.allows(&caller(principal), &self.name, skill);
        declared && (runtime || self.manifest.permits(skill))
    }

    /// Whether this agent may call a skill of another one.
    pub fn may_call(&self, agent: &str, skill: &str) -> bool {
        self.edges.allows(&Caller::agent(&self.name), agent, skill)
    }

    /// Whether this agent may touch a namespace.
    pub fn may_touch(&self, namespace: &str) -> bool {
        self.fleet.mesh.may_touch(&self.name, namespace)
    }

    /// The agent's own principal.
    pub fn own(&self) -> Option<Principal> {
        self.principals
            .get(&self.fleet.mesh.spiffe_id(&self.name)?)
            .cloned()
    }

    /// The whole mesh.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The agent's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

fn caller(principal: &Principal) -> Caller {
    match principal.kind {
        PrincipalKind::Agent => Caller::agent(&principal.name),
        PrincipalKind::External => Caller::external(&principal.name),
    }
}

/// Looking at tasks is cheaper than starting them: this many times the manifest's rate.
const READ_FACTOR: u32 = 10;

/// Requests a minute of each principal (`safety.rate_limiting` of the manifest).
pub struct RateLimits {
    work: DefaultKeyedRateLimiter<String>,
    reads: DefaultKeyedRateLimiter<String>,
}

impl std::fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimits")
            .field("principals", &self.work.len())
            .finish_non_exhaustive()
    }
}

impl RateLimits {
    /// The limits of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let declared = manifest.guardrails.rate_limit;
        let (rate, burst) = declared.map_or((DEFAULT_RATE, DEFAULT_RATE), |limit| {
            (limit.requests_per_minute, limit.burst)
        });
        Self::new(rate, burst)
    }

    /// So many requests a minute that start work, and so many at once.
    pub fn new(rate: u32, burst: u32) -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let limiter = |factor: u32| {
            let rate = at_least_one(rate.saturating_mul(factor));
            let burst = at_least_one(burst.saturating_mul(factor));
            DefaultKeyedRateLimiter::keyed(Quota::per_minute(rate).allow_burst(burst))
        };
        Self {
            work: limiter(1),
            reads: limiter(READ_FACTOR),
        }
    }

    /// Takes one request of a principal. Principals are the declared ones, so the tables stay small.
    ///
    /// # Errors
    /// `RateLimited`, with the time after which there is room again.
    pub fn check(&self, principal: &str, reads: bool) -> Result<(), Fault> {
        let limiter = if reads { &self.reads } else { &self.work };
        limiter.check_key(&principal.to_owned()).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let said = format!("{principal} sends more requests than the manifest allows");
            Fault::new(Kind::RateLimited, said).retry_after(wait.as_secs() + 1)
        })
    }
}
