//! CycloneDX 1.2 to 1.6 in JSON: only what names a component.

use serde::Deserialize;

use super::{Component, Inventory};
use crate::domain::vulnerabilities::purl::Purl;

#[derive(Deserialize)]
struct Bom {
    #[serde(rename = "bomFormat")]
    format: String,
    #[serde(default)]
    components: Vec<BomComponent>,
}

#[derive(Deserialize)]
struct BomComponent {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    group: Option<String>,
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    purl: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    components: Vec<BomComponent>,
}

pub(super) fn read(content: &str) -> Result<Inventory, String> {
    let bom: Bom = serde_json::from_str(content).map_err(|e| e.to_string())?;
    if bom.format != "CycloneDX" {
        return Err(String::from("bomFormat is not CycloneDX"));
    }
    let mut inventory = Inventory::default();
    for component in bom.components {
        add(component, &mut inventory);
    }
    Ok(inventory)
}

/// The JSON reader's own depth limit bounds this recursion.
fn add(component: BomComponent, inventory: &mut Inventory) {
    let BomComponent {
        kind,
        group,
        name,
        version,
        purl,
        scope,
        components,
    } = component;
    if kind != "file" {
        inventory.components.push(package(
            group,
            name,
            version,
            purl,
            scope.as_deref() == Some("excluded"),
        ));
    }
    for inner in components {
        add(inner, inventory);
    }
}

fn package(
    group: Option<String>,
    name: String,
    version: Option<String>,
    purl: Option<String>,
    dev: bool,
) -> Component {
    let parsed = purl.as_deref().and_then(Purl::parse);
    let osv = parsed.as_ref().and_then(Purl::osv_package);
    let version = parsed.as_ref().and_then(Purl::full_version).or(version);
    let full_name = match group {
        Some(group) if !group.is_empty() => format!("{group}/{name}"),
        _ => name,
    };
    let (ecosystem, name) = osv.map_or((None, full_name), |(ecosystem, name)| {
        (Some(ecosystem), name)
    });
    Component {
        ecosystem,
        name,
        version,
        purl: purl.unwrap_or_default(),
        dev,
    }
}
