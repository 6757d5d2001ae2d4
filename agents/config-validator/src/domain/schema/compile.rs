//! From an OpenAPI 2 document to shapes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use regex::Regex;
use serde::Deserialize;

use super::shape::{Format, Kind, Lifecycle, Rest, Shape, ShapeId, Table};
use crate::domain::object::Gvk;

/// Why a schema document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is no OpenAPI 2 document.
    #[error("not an OpenAPI 2 document with definitions")]
    Unreadable(#[from] serde_json::Error),
    /// It describes no kind.
    #[error("the document has no creatable kind")]
    NoKinds,
}

/// The kinds of a Kubernetes release, and of custom resources on top.
#[derive(Debug, Clone)]
pub struct Schema {
    release: String,
    tables: Vec<Arc<Table>>,
    lifecycles: Arc<HashMap<Gvk, Lifecycle>>,
}

impl Schema {
    /// Compiles a document such as Kubernetes' `swagger.json` or a cluster's `/openapi/v2`.
    ///
    /// # Errors
    /// When it is none.
    pub fn compile(document: &[u8]) -> Result<Self, SchemaError> {
        let document: Document = serde_json::from_slice(document)?;
        let mut builder = Builder::default();
        let named: Vec<(&String, &Raw)> = document.definitions.iter().collect();
        for (i, (name, _)) in named.iter().enumerate() {
            builder.names.insert(name.as_str(), ShapeId(i));
        }
        builder.shapes.resize(named.len(), Shape::Any);
        for (i, (name, raw)) in named.iter().enumerate() {
            let shape = builder.definition(name, raw);
            if let Some(place) = builder.shapes.get_mut(i) {
                *place = shape;
            }
        }
        let kinds = document.kinds(&builder.names);
        if kinds.is_empty() {
            return Err(SchemaError::NoKinds);
        }
        let table = Table {
            shapes: builder.shapes,
            kinds,
        };
        let lifecycles = document
            .lifecycles
            .into_iter()
            .map(LifecycleEntry::split)
            .collect();
        Ok(Self {
            release: document.info.version,
            tables: vec![Arc::new(table)],
            lifecycles: Arc::new(lifecycles),
        })
    }

    /// The same with custom resources.
    #[must_use]
    pub fn with(mut self, custom: Table) -> Self {
        if !custom.kinds.is_empty() {
            self.tables.push(Arc::new(custom));
        }
        self
    }

    /// Kubernetes release, such as `v1.37.2`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Number of kinds that can be created.
    pub fn kinds(&self) -> usize {
        self.tables.iter().map(|t| t.kinds.len()).sum()
    }

    /// A kind and the table of its shapes.
    pub fn find(&self, gvk: &Gvk) -> Option<(&Table, Kind)> {
        self.tables
            .iter()
            .find_map(|t| t.kinds.get(gvk).map(|kind| (t.as_ref(), *kind)))
    }

    /// Whether the group is known at all.
    pub fn knows_group(&self, group: &str) -> bool {
        self.all_kinds().any(|gvk| gvk.group == group)
    }

    /// All kinds.
    pub fn all_kinds(&self) -> impl Iterator<Item = &Gvk> {
        self.tables.iter().flat_map(|t| t.kinds.keys())
    }

    /// Since when an API version is deprecated or gone.
    pub fn lifecycle(&self, gvk: &Gvk) -> Option<&Lifecycle> {
        self.lifecycles.get(gvk)
    }
}

#[derive(Deserialize)]
struct Document {
    info: Info,
    definitions: BTreeMap<String, Raw>,
    #[serde(default)]
    paths: BTreeMap<String, PathItem>,
    #[serde(default, rename = "x-lifecycle")]
    lifecycles: Vec<LifecycleEntry>,
}

impl Document {
    /// Kinds with a `POST` on a collection. A document without paths counts every kind it describes, as namespaced.
    fn kinds(&self, names: &HashMap<&str, ShapeId>) -> HashMap<Gvk, Kind> {
        let mut described: HashMap<&Gvk_, ShapeId> = HashMap::new();
        for (name, raw) in &self.definitions {
            if let ([gvk], Some(id)) = (raw.gvks.as_slice(), names.get(name.as_str())) {
                described.insert(gvk, *id);
            }
        }
        if self.paths.is_empty() {
            return described
                .into_iter()
                .map(|(gvk, shape)| {
                    (
                        gvk.into(),
                        Kind {
                            shape,
                            namespaced: true,
                        },
                    )
                })
                .collect();
        }
        let posts = self
            .paths
            .iter()
            .filter(|(path, _)| !path.contains("{name}"));
        posts
            .filter_map(|(path, item)| {
                let gvk = item.post.as_ref()?.gvk.as_ref()?;
                Some((
                    gvk.into(),
                    Kind {
                        shape: *described.get(gvk)?,
                        namespaced: path.contains("{namespace}"),
                    },
                ))
            })
            .collect()
    }
}

#[derive(Deserialize, Default)]
struct Info {
    version: String,
}

#[derive(Deserialize)]
struct PathItem {
    post: Option<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "x-kubernetes-group-version-kind")]
    gvk: Option<Gvk_>,
}

#[derive(Deserialize, PartialEq, Eq, Hash, Clone)]
struct Gvk_ {
    group: String,
    version: String,
    kind: String,
}

impl From<&Gvk_> for Gvk {
    fn from(gvk: &Gvk_) -> Self {
        Self {
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            kind: gvk.kind.clone(),
        }
    }
}

#[derive(Deserialize)]
struct LifecycleEntry {
    #[serde(flatten)]
    gvk: Gvk_,
    deprecated: Option<String>,
    removed: Option<String>,
    replacement: Option<Gvk_>,
}

impl LifecycleEntry {
    fn split(self) -> (Gvk, Lifecycle) {
        let replacement = self.replacement.as_ref().map(Gvk::from);
        (
            (&self.gvk).into(),
            Lifecycle {
                deprecated: self.deprecated,
                removed: self.removed,
                replacement,
            },
        )
    }
}

/// A schema as written, in a cluster's document or in a `CustomResourceDefinition`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Raw {
    #[serde(rename = "type")]
    kind: Option<String>,
    format: Option<String>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
    items: Option<Box<Raw>>,
    properties: BTreeMap<String, Raw>,
    additional_properties: Option<Additional>,
    required: Vec<String>,
    #[serde(rename = "enum")]
    words: Vec<serde_json::Value>,
    pattern: Option<String>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    #[serde(rename = "x-kubernetes-group-version-kind")]
    gvks: Vec<Gvk_>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    open: bool,
    #[serde(rename = "x-kubernetes-int-or-string")]
    int_or_string: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Additional {
    Allowed(bool),
    Shaped(Box<Raw>),
}

/// Collects shapes; references are resolved by name.
#[derive(Default)]
pub(super) struct Builder<'a> {
    pub(super) shapes: Vec<Shape>,
    names: HashMap<&'a str, ShapeId>,
}

impl Builder<'_> {
    /// A named definition: two of them stand for more than they say.
    fn definition(&mut self, name: &str, raw: &Raw) -> Shape {
        if name.ends_with("pkg.api.resource.Quantity") {
            Shape::Quantity
        } else {
            self.shape(raw)
        }
    }

    /// Adds a shape, or finds the one that a reference names.
    pub(super) fn add(&mut self, raw: &Raw) -> ShapeId {
        if let Some(reference) = &raw.reference {
            let name = reference.rsplit('/').next().unwrap_or_default();
            if let Some(id) = self.names.get(name) {
                return *id;
            }
        }
        let shape = self.shape(raw);
        self.shapes.push(shape);
        ShapeId(self.shapes.len() - 1)
    }

    fn shape(&mut self, raw: &Raw) -> Shape {
        if raw.int_or_string || raw.format.as_deref() == Some("int-or-string") {
            return Shape::IntOrString;
        }
        match raw.kind.as_deref() {
            Some("object") => self.object(raw),
            Some("array") => raw
                .items
                .as_ref()
                .map_or(Shape::Any, |items| Shape::Array(self.add(items))),
            Some("string") => text(raw),
            Some("integer") => integer(raw),
            Some("number") => Shape::Number,
            Some("boolean") => Shape::Boolean,
            _ if !raw.properties.is_empty() => self.object(raw),
            _ => Shape::Any,
        }
    }

    fn object(&mut self, raw: &Raw) -> Shape {
        let fields: BTreeMap<_, _> = raw
            .properties
            .iter()
            .map(|(name, field)| (name.clone(), self.add(field)))
            .collect();
        let rest = match &raw.additional_properties {
            Some(Additional::Shaped(shape)) => Rest::Shaped(self.add(shape)),
            Some(Additional::Allowed(true)) => Rest::Free,
            _ if raw.open || fields.is_empty() => Rest::Free,
            Some(Additional::Allowed(false)) | None => Rest::Forbidden,
        };
        Shape::Object {
            fields,
            required: raw.required.clone(),
            rest,
        }
    }
}

fn text(raw: &Raw) -> Shape {
    let format = match raw.format.as_deref() {
        Some("byte") => Format::Byte,
        Some("date-time") => Format::DateTime,
        _ => Format::Plain,
    };
    let words = raw
        .words
        .iter()
        .filter_map(|w| w.as_str())
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect();
    // A pattern in ECMA syntax that this engine does not have is left out rather than guessed.
    let pattern = raw.pattern.as_deref().and_then(|p| Regex::new(p).ok());
    Shape::String {
        format,
        words,
        pattern,
    }
}

fn integer(raw: &Raw) -> Shape {
    let (min, max) = if raw.format.as_deref() == Some("int32") {
        (i32::MIN.into(), i32::MAX.into())
    } else {
        (i64::MIN, i64::MAX)
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounds in schemas are small whole numbers; `as` saturates"
    )]
    let bound = |given: Option<f64>, default: i64| given.map_or(default, |b| b as i64);
    Shape::Integer {
        min: bound(raw.minimum, min),
        max: bound(raw.maximum, max),
    }
}
