//! `grafana/`: one dashboard an agent, from the metrics that all agents have and those its manifest declares.

use manifest::{Fleet, Manifest};
use serde_json::{Value, json};

use super::emit::json as text;

mod panels;

use panels::Panel;

/// Width of a dashboard in Grafana's grid.
const COLUMNS: usize = 24;
/// Panels beside each other.
const BESIDE: usize = 2;
const HEIGHT: usize = 8;

/// The files of the folder, by name.
pub(crate) fn files(fleet: &Fleet) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for manifest in &fleet.manifests {
        files.push((
            format!("{}.json", manifest.name),
            text(&dashboard(manifest))?,
        ));
    }
    Ok(files)
}

/// A dashboard that is not edited by hand, with a data source, a job and instances to choose.
fn dashboard(manifest: &Manifest) -> Value {
    let name = &manifest.name;
    json!({
        "uid": format!("agent-mesh-{name}"),
        "title": format!("Agent mesh / {name}"),
        "description": manifest.description,
        "tags": ["agent-mesh", manifest.namespace],
        "schemaVersion": 39,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{
            "type": "dashboards", "title": "Agents", "tags": ["agent-mesh"], "asDropdown": true,
            "includeVars": false, "keepTime": true, "targetBlank": false, "icon": "external link",
        }],
        "annotations": {"list": []},
        "templating": {"list": [data_source(), job(name), instance()]},
        "panels": grid(&panels::all(manifest)),
    })
}

fn data_source() -> Value {
    json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "hide": 0, "includeAll": false, "multi": false,
    })
}

/// The scrape job is called like the agent, unless the cluster names jobs otherwise.
fn job(agent: &str) -> Value {
    let mut variable = query("job", "label_values(agent_audit_outbox_depth, job)");
    if let Some(variable) = variable.as_object_mut() {
        variable.insert(
            "current".into(),
            json!({"selected": true, "text": agent, "value": agent}),
        );
    }
    variable
}

fn instance() -> Value {
    let mut variable = query(
        "instance",
        "label_values(agent_audit_outbox_depth{job=~\"$job\"}, instance)",
    );
    if let Some(variable) = variable.as_object_mut() {
        variable.insert("includeAll".into(), true.into());
        variable.insert("allValue".into(), ".+".into());
        variable.insert("multi".into(), true.into());
        variable.insert(
            "current".into(),
            json!({"selected": true, "text": ["All"], "value": ["$__all"]}),
        );
    }
    variable
}

fn query(name: &str, query: &str) -> Value {
    json!({
        "name": name, "label": name, "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "definition": query,
        "query": {"query": query, "refId": format!("{name}Variable")},
        "refresh": 2, "sort": 1, "hide": 0, "includeAll": false, "multi": false,
    })
}

/// Panels from left to right and downwards.
fn grid(panels: &[Panel]) -> Vec<Value> {
    let width = COLUMNS / BESIDE;
    let place = |(at, panel): (usize, &Panel)| {
        let (row, column) = (at / BESIDE, at % BESIDE);
        panel.json(
            at + 1,
            &json!({"h": HEIGHT, "w": width, "x": column * width, "y": row * HEIGHT}),
        )
    };
    panels.iter().enumerate().map(place).collect()
}
