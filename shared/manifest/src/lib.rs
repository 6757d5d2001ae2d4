//! OSSA agent manifests: loaded with YAML 1.2 rules into validated types, judged by schema and by
//! meaning, scored against conformance profiles, and compiled into the mesh's list of edges.
//!
//! - [`Document`] is a parsed YAML file that still knows lines and columns.
//! - [`schema::check`] and [`semantics::check`] give the two verdicts; they never mix.
//! - [`Manifest`] is what an agent may rely on; [`Mesh`] is `mesh.yaml`.
//! - [`load_dir`] reads a folder of manifests into a [`Fleet`], refusing anything invalid.
//! - [`compile_edges`] says who may call whom; what is not declared is denied.
//! - [`score`] measures a document against a conformance profile.

mod decode;
mod document;
mod edges;
mod finding;
mod fleet;
mod mesh;
pub mod schema;
mod score;
mod secret;
pub mod semantics;
mod types;

pub use decode::DecodeManifestError;
pub use document::{Document, Position, SyntaxError};
pub use edges::{
    Caller, CompileEdgesError, Edge, EdgeProblem, Edges, RUNTIME_METHODS, compile_edges,
};
pub use finding::{Finding, Severity, Verdict};
pub use fleet::{Fleet, LoadError, load_dir};
pub use mesh::{
    Approver, ApproverKey, DecodeMeshError, Environment, ExternalCaller, GrantedSkills, Member,
    Mesh, MeshIdentity, Proxy, ProxyKind, StartOrderError,
};
pub use score::{Features, Profile, Score, Standing, Thresholds, score};
pub use types::{
    Access, Approval, AuditLevel, Autonomy, Call, Command, Compliance, Guardrails, KubernetesRule,
    KubernetesScope, Manifest, Metric, MetricKind, Observability, Overlay, RateLimit, Resources,
    Separation, Tier,
};
