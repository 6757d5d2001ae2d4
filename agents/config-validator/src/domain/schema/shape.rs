//! What a value may look like: the part of OpenAPI that Kubernetes uses, with references resolved.

use std::collections::{BTreeMap, HashMap};

use regex::Regex;

use crate::domain::object::Gvk;

/// Index of a [`Shape`] in its [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShapeId(pub(super) usize);

/// What a value may look like.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Anything.
    Any,
    /// A mapping.
    Object {
        /// Known fields.
        fields: BTreeMap<String, ShapeId>,
        /// Fields that must be there and not null.
        required: Vec<String>,
        /// What other fields may be.
        rest: Rest,
    },
    /// A list of one shape.
    Array(ShapeId),
    /// Text.
    String {
        /// What the text stands for.
        format: Format,
        /// The only words allowed besides the empty one; any when there are none.
        words: Vec<String>,
        /// What it must match.
        pattern: Option<Regex>,
    },
    /// A whole number within bounds.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number.
    Number,
    /// A truth value.
    Boolean,
    /// A whole number or text, such as a port or a percentage.
    IntOrString,
    /// A quantity such as `100m`, `1Gi` or `2`.
    Quantity,
}

/// Fields that a mapping's shape does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Are a mistake.
    Forbidden,
    /// Are fine.
    Free,
    /// Have this shape.
    Shaped(ShapeId),
}

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Itself.
    Plain,
    /// Bytes in base64.
    Byte,
    /// A moment, RFC 3339.
    DateTime,
}

/// A kind that can be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The shape of its objects.
    pub shape: ShapeId,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

/// Since when an API version is deprecated or gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// Release that deprecated it.
    pub deprecated: Option<String>,
    /// First release without it.
    pub removed: Option<String>,
    /// What to use instead.
    pub replacement: Option<Gvk>,
}

/// Shapes and the kinds that use them.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) shapes: Vec<Shape>,
    pub(super) kinds: HashMap<Gvk, Kind>,
}

impl Table {
    /// A shape; ids come from the same table, so it is always there.
    pub fn shape(&self, id: ShapeId) -> &Shape {
        self.shapes.get(id.0).unwrap_or(&Shape::Any)
    }
}
