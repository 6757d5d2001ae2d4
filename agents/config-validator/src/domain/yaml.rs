//! YAML as the Kubernetes API server reads it, with the place of every node.
//!
//! Syntax is YAML 1.2 (saphyr-parser); plain scalars follow `sigs.k8s.io/yaml`, which kubectl and the API
//! server use and which keeps the YAML 1.1 booleans: `yes`, `on`, `y` are `true`.

mod compose;
mod cursor;
mod node;
mod resolve;

pub use compose::{ComposeError, Composed, compose};
pub use cursor::Cursor;
pub use node::{Entry, Node, Position, Value};
pub use resolve::resolve_plain;
