//! `go.sum` and `go.mod`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Component, Inventory};
use crate::domain::vulnerabilities::version::semver;

/// Modules whose content (not only `go.mod`) has a hash. Of several versions the highest counts:
/// minimal version selection never picks a lower one than any that is required.
pub(super) fn read_sum(content: &str) -> Result<Inventory, String> {
    let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
    for (number, line) in content
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let mut words = line.split_whitespace();
        let (Some(module), Some(version), Some(_)) = (words.next(), words.next(), words.next())
        else {
            return Err(format!("line {} is not module, version, hash", number + 1));
        };
        if version.ends_with("/go.mod") {
            continue;
        }
        let known = newest.entry(module).or_insert(version);
        if semver::compare(version, known).is_gt() {
            *known = version;
        }
    }
    Ok(Inventory {
        components: newest
            .into_iter()
            .map(|(module, version)| Component::language("Go", module, version))
            .collect(),
        not_public: 0,
    })
}

/// Required modules, and the standard library of the toolchain or of the `go` line.
pub(super) fn read_mod(content: &str) -> Inventory {
    let mut inventory = Inventory::default();
    let (mut language, mut toolchain) = (None, None);
    let mut block = "";
    let mut replaced = BTreeSet::new();
    let mut required = Vec::new();
    for line in content.lines() {
        let words: Vec<&str> = line
            .split("//")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        match (block, words.as_slice()) {
            (_, [")"]) => block = "",
            ("", [directive, "("]) => block = directive,
            ("", ["go", version]) => language = Some(*version),
            ("", ["toolchain", version]) => toolchain = version.strip_prefix("go"),
            ("", ["require", module, version]) | ("require", [module, version]) => {
                required.push((*module, *version));
            }
            ("", ["replace", module, ..]) | ("replace", [module, ..]) => {
                replaced.insert(*module);
            }
            _ => {}
        }
    }
    inventory.components.extend(
        toolchain
            .or(language)
            .map(|version| Component::language("Go", "stdlib", version)),
    );
    let (gone, kept): (Vec<_>, Vec<_>) = required
        .into_iter()
        .partition(|(module, _)| replaced.contains(module));
    inventory.components.extend(
        kept.into_iter()
            .map(|(module, version)| Component::language("Go", module, version)),
    );
    inventory.not_public = gone.len();
    inventory
}
