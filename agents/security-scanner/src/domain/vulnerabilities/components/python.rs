//! `requirements.txt`, `poetry.lock`, `uv.lock`.

use serde::Deserialize;

use super::{Component, Inventory};
use crate::domain::vulnerabilities::purl::normalize_pypi;

/// Requirements pinned with `==`; the others name no version and are only counted.
pub(super) fn read_requirements(content: &str) -> Inventory {
    let mut inventory = Inventory::default();
    for line in content.replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with(['#', '-']) {
            continue;
        }
        match pinned(line) {
            Some((name, version)) => inventory.components.push(Component::language(
                "PyPI",
                &normalize_pypi(name),
                version,
            )),
            None => inventory.not_public += 1,
        }
    }
    inventory
}

fn pinned(line: &str) -> Option<(&str, &str)> {
    let requirement = line
        .split([';', ' '])
        .next()
        .filter(|first| first.contains("=="))
        .unwrap_or_else(|| line.split(';').next().unwrap_or(line));
    let (name, version) = requirement.split_once("==")?;
    let name = name.split('[').next()?.trim();
    let version = version.trim_start_matches('=').split_whitespace().next()?;
    let exact = !version.contains(['*', ',', '<', '>'])
        && !name.is_empty()
        && !name.contains(['<', '>', '~', '!', ' ']);
    exact.then_some((name, version))
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    source: Option<toml::Table>,
}

impl Package {
    /// Poetry writes a source only where it is not the index; uv writes `registry` for the index.
    fn is_public(&self) -> bool {
        self.source.as_ref().is_none_or(|source| {
            source.contains_key("registry")
                || source.get("type").and_then(toml::Value::as_str) == Some("legacy")
        })
    }
}

pub(super) fn read_lock(content: &str) -> Result<Inventory, String> {
    let lock: Lock = toml::from_str(content).map_err(|e| e.message().to_owned())?;
    let mut inventory = Inventory::default();
    for package in lock.package {
        match &package.version {
            Some(version) if package.is_public() => {
                inventory.components.push(Component::language(
                    "PyPI",
                    &normalize_pypi(&package.name),
                    version,
                ));
            }
            _ => inventory.not_public += 1,
        }
    }
    Ok(inventory)
}
