//! Whether schema, rows and workload are as they have to be after a scene.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use serde_json::Value;

use super::{
    app::{Version, Written},
    scene::{Expect, OLD, Scene, Then},
    stage::{Stage, session},
};

/// What a rollback may not change when there is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Still {
    head: Value,
    fingerprint: Value,
    rows: BTreeMap<String, String>,
    template: Value,
    replicas: Option<i32>,
    paused: Option<bool>,
}

/// The version that has to be in force in the end.
pub fn in_force(scene: &Scene) -> &'static str {
    let again = scene
        .then
        .iter()
        .any(|then| matches!(then, Then::ReleasedAgain));
    match scene.expect {
        Expect::AppOnly | Expect::Reverted(_) | Expect::Approved(..) => "1",
        _ if again => "3",
        Expect::Refused(_) | Expect::Waits(_) | Expect::Undone(_) => "2",
    }
}

/// How things stand.
pub async fn still(stage: &Stage, scene: &Scene) -> anyhow::Result<Still> {
    let status = stage.status(scene.name).await?;
    let spec = stage.deployments().get(scene.name).await?.spec;
    let client = session(&stage.url(scene.name)).await?;
    let mut rows = scene.new.read(&client).await.unwrap_or_default();
    if scene.last_words {
        rows.clear();
    }
    Ok(Still {
        head: status["head"].clone(),
        fingerprint: status["drift"]["fingerprint"].clone(),
        rows,
        template: serde_json::to_value(spec.template)?,
        replicas: spec.replicas,
        paused: spec.paused.filter(|paused| *paused),
    })
}

/// Whether schema and workload stand where they have to.
pub async fn stands(
    stage: &Stage,
    scene: &Scene,
    (before, after): (Still, Still),
) -> anyhow::Result<()> {
    match scene.expect {
        Expect::Refused(_) | Expect::Waits(_) | Expect::Undone(_) => {
            ensure!(before == after, "it changed {before:#?} to {after:#?}");
        }
        Expect::AppOnly => {
            ensure!(
                (&before.head, &before.fingerprint, &before.rows)
                    == (&after.head, &after.fingerprint, &after.rows),
                "the database changed: {before:#?} {after:#?}"
            );
        }
        Expect::Reverted(versions) | Expect::Approved(versions, _) => {
            let status = stage.status(scene.name).await?;
            let applied = status["applied"].as_array().cloned().unwrap_or_default();
            let left = applied.iter().any(|one| {
                let in_force = one["state"] == "applied";
                in_force && versions.iter().any(|version| one["version"] == *version)
            });
            ensure!(!left, "not all of {versions:?} are reverted: {status}");
            ensure!(after.head == scene.schema.0.unwrap_or_default(), "{status}");
            ensure!(
                status["drift"]["catalog_changed"] == false
                    || scene.then.iter().any(|then| matches!(then, Then::Sql(_))),
                "{status}"
            );
        }
    }
    ensure!(
        (after.replicas, after.paused) == (Some(2), None),
        "{after:?}"
    );
    Ok(())
}

/// Whether every acknowledged row is there, with what its writer and the others saw of it.
pub async fn rows(stage: &Stage, scene: &Scene, written: &[Written]) -> anyhow::Result<()> {
    let client = session(&stage.url(scene.name)).await?;
    let back = matches!(scene.expect, Expect::Reverted(_) | Expect::Approved(..));
    // A schema that did not move still shows version 2 all that it wrote; version 1 sees its rows where it runs.
    let mut readers: Vec<(&str, Version)> = Vec::new();
    if in_force(scene) == "1" {
        readers.push(("1", OLD));
    }
    if !back {
        readers.push(("2", scene.new));
    }
    for (version, reader) in readers {
        let now = reader.read(&client).await?;
        for row in written {
            let Some(content) = now.get(&row.key) else {
                bail!("version {version} does not find the row {}", row.key);
            };
            let own = row.version == version && (version == "2" || scene.restored);
            if own || (scene.alike && scene.restored) {
                ensure!(
                    *content == row.content,
                    "version {version} reads {content}, not {row:?}"
                );
            }
        }
        let strangers = now
            .keys()
            .filter(|key| !written.iter().any(|row| row.key == **key));
        let strangers: Vec<_> = strangers.collect();
        ensure!(strangers.is_empty(), "nobody wrote {strangers:?}");
    }
    Ok(())
}
