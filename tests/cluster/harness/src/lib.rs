//! A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager and kube-scheduler on
//! loopback, with TLS and RBAC, and kwok in the place of kubelets.
//!
//! `tests/cluster/README.md` says what is real in it and what is simulated.

mod access;
mod apply;
mod certificates;
mod flags;
mod helm;
mod keeper;
mod nodes;
mod plane;
mod programs;
pub mod simulation;
mod stages;
mod volumes;

pub use helm::Helm;
pub use plane::ControlPlane;
