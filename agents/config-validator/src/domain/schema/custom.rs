//! Kinds from `CustomResourceDefinitions` among the given manifests.

use std::collections::HashMap;

use super::{
    compile::{Builder, Raw},
    shape::{Kind, Shape, ShapeId, Table},
};
use crate::domain::object::{Gvk, Object};

/// The kinds that these objects define. Checked are types, unknown fields, required fields, `enum`,
/// `pattern`, `minimum` and `maximum`; not `anyOf`, `oneOf`, `not` and CEL rules.
pub fn custom_kinds<'a>(objects: impl IntoIterator<Item = &'a Object<'a>>) -> Table {
    let mut builder = Builder::default();
    let mut kinds = HashMap::new();
    for object in objects {
        if object.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            add(object, &mut builder, &mut kinds);
        }
    }
    Table {
        shapes: builder.shapes,
        kinds,
    }
}

fn add(definition: &Object<'_>, builder: &mut Builder<'_>, kinds: &mut HashMap<Gvk, Kind>) {
    let Some(spec) = definition.root.get("spec") else {
        return;
    };
    let (Some(group), Some(kind)) = (
        spec.text("group"),
        spec.get("names").and_then(|n| n.text("kind")),
    ) else {
        return;
    };
    let namespaced = spec.text("scope") == Some("Namespaced");
    for version in spec.list("versions") {
        let Some(name) = version.text("name") else {
            continue;
        };
        let schema = version.path(&["schema", "openAPIV3Schema"]);
        let raw = schema.and_then(|s| serde_json::from_value::<Raw>(s.node().to_json()).ok());
        let shape = builder.add(&raw.unwrap_or_default());
        allow_object_fields(builder, shape);
        let gvk = Gvk {
            group: group.to_owned(),
            version: name.to_owned(),
            kind: kind.to_owned(),
        };
        kinds.insert(gvk, Kind { shape, namespaced });
    }
}

/// Every custom resource has `apiVersion`, `kind` and `metadata`, whether its schema says so or not.
fn allow_object_fields(builder: &mut Builder<'_>, root: ShapeId) {
    builder.shapes.push(Shape::Any);
    let any = ShapeId(builder.shapes.len() - 1);
    if let Some(Shape::Object { fields, .. }) = builder.shapes.get_mut(root.0) {
        for name in ["apiVersion", "kind", "metadata"] {
            fields.insert(name.to_owned(), any);
        }
    }
}
