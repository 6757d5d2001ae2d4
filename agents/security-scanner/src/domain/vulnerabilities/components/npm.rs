//! `package-lock.json`, versions 1 to 3.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Component, Inventory};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: Option<Map<String, Value>>,
    #[serde(default)]
    dependencies: Map<String, Value>,
}

pub(super) fn read(content: &str) -> Result<Inventory, String> {
    let lock: Lock = serde_json::from_str(content).map_err(|e| e.to_string())?;
    let mut inventory = Inventory::default();
    match lock.packages {
        Some(packages) => packages
            .iter()
            .for_each(|(path, package)| add_package(path, package, &mut inventory)),
        None => add_tree(&lock.dependencies, &mut inventory),
    }
    Ok(inventory)
}

/// Versions 2 and 3: the key is the place in the tree, `node_modules/a/node_modules/b`.
fn add_package(path: &str, package: &Value, inventory: &mut Inventory) {
    if path.is_empty() || package.get("link").and_then(Value::as_bool) == Some(true) {
        return;
    }
    let installed = path.rsplit_once("node_modules/").map(|(_, name)| name);
    match (
        package.get("name").and_then(Value::as_str).or(installed),
        installed,
        text(package, "version"),
    ) {
        (Some(name), Some(_), Some(version)) => push(name, version, package, inventory),
        _ => inventory.not_public += 1,
    }
}

/// Version 1: a tree. The JSON reader's own depth limit bounds this recursion.
fn add_tree(dependencies: &Map<String, Value>, inventory: &mut Inventory) {
    for (name, package) in dependencies {
        match text(package, "version") {
            Some(version) => push(name, version, package, inventory),
            None => inventory.not_public += 1,
        }
        if let Some(Value::Object(inner)) = package.get("dependencies") {
            add_tree(inner, inventory);
        }
    }
}

fn push(name: &str, version: &str, package: &Value, inventory: &mut Inventory) {
    // Git and file sources stand where the version should.
    let (name, version) = match version
        .strip_prefix("npm:")
        .and_then(|alias| alias.rsplit_once('@'))
    {
        Some((real, version)) => (real, version),
        None if version.contains("://") || version.starts_with("file:") => {
            inventory.not_public += 1;
            return;
        }
        None => (name, version),
    };
    let dev = package.get("dev").and_then(Value::as_bool) == Some(true);
    inventory.components.push(Component {
        dev,
        ..Component::language("npm", name, version)
    });
}

fn text<'v>(package: &'v Value, key: &str) -> Option<&'v str> {
    package.get(key).and_then(Value::as_str)
}
