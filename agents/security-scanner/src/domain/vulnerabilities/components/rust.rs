//! `Cargo.lock`, versions 1 to 4.

use serde::Deserialize;

use super::{Component, Inventory};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    source: Option<String>,
}

pub(super) fn read(content: &str) -> Result<Inventory, String> {
    let lock: Lock = toml::from_str(content).map_err(|e| e.message().to_owned())?;
    let (public, local): (Vec<_>, Vec<_>) = lock.package.into_iter().partition(|package| {
        package
            .source
            .as_deref()
            .is_some_and(|source| source.starts_with("registry+") || source.starts_with("sparse+"))
    });
    let components = public
        .iter()
        .map(|package| Component::language("crates.io", &package.name, &package.version))
        .collect();
    Ok(Inventory {
        components,
        not_public: local.len(),
    })
}
