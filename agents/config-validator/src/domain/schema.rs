//! The Kubernetes API's own schema, compiled once, and the check of an object against it.

mod check;
mod compile;
mod custom;
mod format;
mod shape;
mod suggest;

pub use check::check;
pub use compile::{Schema, SchemaError};
pub use custom::custom_kinds;
pub use shape::{Kind, Lifecycle, Shape, ShapeId, Table};
pub use suggest::nearest;
