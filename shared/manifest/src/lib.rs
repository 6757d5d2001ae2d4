//! OSSA agent manifests and mesh.yaml: validated types, the semantics verdict, and the list of edges
//! that both compile to.
//!
//! - [`Manifest`] is what an agent may rely on; [`Mesh`] is `mesh.yaml`.
//! - [`schema::check`] and [`semantics::check`] give the two verdicts; they never mix.
//! - [`load_dir`] reads a folder of manifests into a [`Fleet`], refusing anything invalid.
//! - [`compile_edges`] says who may call whom; what is not declared is denied.
//!
//! The standard itself (YAML, schema rules, profiles) is the crate `ossa`, whose types are exported here
//! too.

mod decode;
mod edges;
mod fleet;
mod mesh;
pub mod semantics;
mod types;

pub use decode::DecodeManifestError;
pub use edges::{
    Caller, CompileEdgesError, Edge, EdgeProblem, Edges, RUNTIME_METHODS, compile_edges,
};
pub use fleet::{Fleet, LoadError, load_dir};
pub use mesh::{
    Approver, ApproverKey, DecodeMeshError, Environment, ExternalCaller, GrantedSkills, Member,
    Mesh, MeshIdentity, Proxy, ProxyKind, StartOrderError,
};
pub use ossa::{
    Document, Finding, Position, Profile, Score, Severity, Standing, SyntaxError, Verdict, schema,
    score,
};
pub use types::{
    Access, Approval, AuditLevel, Autonomy, Call, Command, Compliance, Guardrails, KubernetesRule,
    KubernetesScope, Manifest, Metric, MetricKind, Observability, Overlay, RateLimit, Resources,
    Separation, Tier,
};
