//! Our schema verdict against a JSON Schema validator's, on the standard's own schema files.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use ossa::{
    Document,
    schema::{self, Version},
    testing,
};
use serde_json::{Map, Value, json};

const SCHEMAS: [(Version, &str); 3] = [
    (Version::V0_3, "ossa-0.3.6.schema.json"),
    (Version::V0_4, "ossa-0.4.5.schema.json"),
    (Version::V0_5, "ossa-main-2026-03.schema.json"),
];

fn validators(data: &Path) -> Vec<(Version, Validator)> {
    let load = |file: &str| {
        let text = std::fs::read_to_string(data.join("schemas").join(file)).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap()
    };
    SCHEMAS
        .iter()
        .map(|(version, file)| (*version, load(file)))
        .collect()
}

/// Whether both say the same for each version; the verdicts.
fn agree(validators: &[(Version, Validator)], value: &Value, what: &str) -> [bool; 3] {
    let document =
        Document::parse(&value.to_string()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(document.root(), value, "{what}");
    let mut verdicts = [false; 3];
    for ((version, validator), verdict) in validators.iter().zip(&mut verdicts) {
        let ours = schema::check_as(&document, *version);
        *verdict = validator.is_valid(value);
        let theirs: Vec<String> = validator
            .iter_errors(value)
            .map(|e| format!("{} {e}", e.instance_path()))
            .collect();
        assert_eq!(
            ours.is_valid(),
            *verdict,
            "{what} under {version}\nours: {ours:#?}\ntheirs: {theirs:#?}"
        );
    }
    verdicts
}

/// Both give each of these documents, of which there are at least the eight agents', this verdict three times.
fn agree_on_all(data: &Path, files: &[PathBuf], valid: bool) {
    assert!(files.len() >= 8, "{files:?}");
    let validators = validators(data);
    for path in files {
        let name = path.display().to_string();
        let verdicts = agree(&validators, testing::document(path).root(), &name);
        assert_eq!(verdicts, [valid; 3], "{name}");
    }
}

#[test]
fn agrees_on_our_manifests_which_are_valid_under_all_three() {
    let Some(data) = testing::test_data() else {
        return;
    };
    let files = testing::files(&testing::manifests(), ".ossa.yaml");
    agree_on_all(&data, &files, true);
}

#[test]
fn agrees_on_the_reference_manifests() {
    let Some(data) = testing::test_data() else {
        return;
    };
    let files = testing::files(&data.join("reference-manifests"), ".ossa.yaml");
    agree_on_all(&data, &files, true);
}

#[test]
fn agrees_on_the_conformance_fixtures_which_all_fail() {
    let Some(data) = testing::test_data() else {
        return;
    };
    let files = testing::files(&data.join("conformance/tests"), ".yaml");
    agree_on_all(&data, &files, false);
}

#[test]
fn agrees_on_500_mutations_of_our_manifests() {
    let Some(data) = testing::test_data() else {
        return;
    };
    let documents = testing::files(&testing::manifests(), ".ossa.yaml");
    let (valid, invalid) = mutate(&validators(&data), &documents, 500);
    assert!(
        valid > 300 && invalid > 300,
        "{valid} valid and {invalid} invalid verdicts"
    );
}

#[test]
fn agrees_on_500_mutations_of_the_reference_manifests_and_fixtures() {
    let Some(data) = testing::test_data() else {
        return;
    };
    let mut documents = testing::files(&data.join("reference-manifests"), ".ossa.yaml");
    documents.extend(testing::files(&data.join("conformance/tests"), ".yaml"));
    let (valid, invalid) = mutate(&validators(&data), &documents, 500);
    assert!(
        valid > 200 && invalid > 200,
        "{valid} valid and {invalid} invalid verdicts"
    );
}

#[test]
fn agrees_on_documents_of_every_kind_and_extension() {
    let Some(data) = testing::test_data() else {
        return;
    };
    let validators = validators(&data);
    for (index, sample) in samples().iter().enumerate() {
        agree(&validators, sample, &format!("sample {index}: {sample}"));
    }
}

#[expect(clippy::too_many_lines, reason = "a list of samples")]
fn samples() -> Vec<Value> {
    let head = |kind: &str, spec: Value| json!({"apiVersion": "ossa/v0.3.6", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
    let step = json!({"id": "one", "kind": "Agent", "ref": "x"});
    vec![
        head("Task", json!({"execution": {"type": "deterministic"}})),
        head("Task", json!({"execution": {"type": "sometimes"}})),
        head("Task", json!({})),
        head("Workflow", json!({"steps": [step]})),
        head("Workflow", json!({"steps": [{"id": "One"}]})),
        head("Workflow", json!({"steps": []})),
        head(
            "Flow",
            json!({"flow_schema": {"initial_state": "a", "states": []}}),
        ),
        head("Flow", json!({"flow_schema": {}})),
        head(
            "Agent",
            json!({"llm": {"provider": "openai", "model": "m", "temperature": 3}}),
        ),
        head(
            "Agent",
            json!({"llm": {"provider": "${P:-openai}", "model": "m", "temperature": "${T:-0.1}"}}),
        ),
        head("Agent", json!({"prompts": {"system": {"template": "x"}}})),
        head("Agent", json!({"prompts": {"system": 5}})),
        head(
            "Agent",
            json!({"identity": {"did": "did:ossa:security-scanner-v1"}}),
        ),
        head(
            "Agent",
            json!({"identity": {"service_account": {"username": "a", "email": "a@b.example"}}}),
        ),
        head(
            "Agent",
            json!({"identity": {"service_account": {"username": "a", "email": "nobody"}}}),
        ),
        head(
            "Agent",
            json!({"token_efficiency": {"prompt_caching": {"enabled": true}}}),
        ),
        head("Agent", json!({"token_efficiency": {"routing": {}}})),
        head("Agent", json!({"team": {"name": "x"}, "handoffs": [{}]})),
        head(
            "Agent",
            json!({"checkpointing": {"storage": {"backend": "local", "location": "not a uri"}}}),
        ),
        head(
            "Agent",
            json!({"constraints": {"performance": {"maxConcurrentRequests": 2.0}}}),
        ),
        head(
            "Agent",
            json!({"constraints": {"performance": {"maxConcurrentRequests": 2.5}}}),
        ),
        head("Team", json!({})),
        json!({"apiVersion": "ossa/v0.4.0", "kind": "Agent", "metadata": {"name": "a"}, "spec": {}}),
        json!({"apiVersion": "ossa/v0.5.0", "kind": "Agent", "metadata": {"name": "a"}, "spec": {}}),
        json!({"apiVersion": "ossa/v0.4.0GARBAGE", "kind": "Agent", "metadata": {"name": "a"}, "spec": {}}),
        json!({"apiVersion": "ossa/v0.3.6", "metadata": {"name": "a"}, "spec": {"role": 5}}),
        json!(["a"]),
        Value::Null,
    ]
}

/// Changes one place of a document at a time; how many verdicts were valid and invalid.
fn mutate(
    validators: &[(Version, Validator)],
    documents: &[PathBuf],
    count: usize,
) -> (usize, usize) {
    let originals: Vec<Value> = documents
        .iter()
        .map(|path| testing::document(path).root().clone())
        .collect();
    let mut random = Random(0x5eed);
    let (mut valid, mut invalid) = (0, 0);
    for number in 0..count {
        let mut value = originals[number % originals.len()].clone();
        let mut places = Vec::new();
        pointers(&value, String::new(), &mut places);
        let place = places[random.below(places.len())].clone();
        let change = random.below(CHANGES.len());
        (CHANGES[change])(&mut value, &place, &mut random);
        let what = format!(
            "mutation {number}: change {change} at {place} of {}",
            documents[number % documents.len()].display()
        );
        for verdict in agree(validators, &value, &what) {
            if verdict { valid += 1 } else { invalid += 1 }
        }
    }
    (valid, invalid)
}

/// Knuth's linear congruential generator (MMIX): the same mutations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn pointers(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                pointers(
                    value,
                    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(pointer);
}

type Change = fn(&mut Value, &str, &mut Random);

const CHANGES: [Change; 7] = [
    replace,
    replace,
    remove,
    rename,
    add_unknown,
    repeat,
    disturb,
];

/// Puts something else there.
fn replace(value: &mut Value, place: &str, random: &mut Random) {
    let others = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(99_999),
        json!(""),
        json!("Not A Word!"),
        json!("x".repeat(300)),
        json!([]),
        json!([1]),
        json!({}),
        json!({"x": 1}),
        json!("did:ossa:0123456789abcdef0123456789abcdef01234567"),
    ];
    *value.pointer_mut(place).unwrap() = others[random.below(others.len())].clone();
}

fn parent<'a>(value: &'a mut Value, place: &'a str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = place.rsplit_once('/')?;
    Some((
        value.pointer_mut(parent).unwrap(),
        last.replace("~1", "/").replace("~0", "~"),
    ))
}

/// Takes the field or item away.
fn remove(value: &mut Value, place: &str, _: &mut Random) {
    match parent(value, place) {
        Some((Value::Object(members), key)) => drop(members.remove(&key)),
        Some((Value::Array(items), index)) => drop(items.remove(index.parse::<usize>().unwrap())),
        _ => *value = json!({}),
    }
}

/// Misspells the field's name.
fn rename(value: &mut Value, place: &str, random: &mut Random) {
    if let Some((Value::Object(members), key)) = parent(value, place) {
        let moved = members.remove(&key).unwrap();
        members.insert(format!("{key}_"), moved);
    } else {
        replace(value, place, random);
    }
}

/// Adds a field that nobody knows, to the mapping or the one around it.
fn add_unknown(value: &mut Value, place: &str, _: &mut Random) {
    let target = value.pointer_mut(place).unwrap();
    match target {
        Value::Object(members) => drop(members.insert("surprise".into(), json!(1))),
        _ => *target = Value::Object(Map::from_iter([("surprise".to_owned(), json!(1))])),
    }
}

/// Repeats a list's first item.
fn repeat(value: &mut Value, place: &str, random: &mut Random) {
    match value.pointer_mut(place).unwrap() {
        Value::Array(items) if !items.is_empty() => items.push(items[0].clone()),
        _ => replace(value, place, random),
    }
}

/// Changes a text or number a little.
fn disturb(value: &mut Value, place: &str, random: &mut Random) {
    match value.pointer_mut(place).unwrap() {
        Value::String(text) => match random.below(3) {
            0 => text.push('!'),
            1 => *text = text.to_uppercase(),
            _ => text.insert(0, '-'),
        },
        Value::Number(number) => *value.pointer_mut(place).unwrap() = json!(-number_of(number)),
        Value::Bool(truth) => *truth = !*truth,
        _ => replace(value, place, random),
    }
}

fn number_of(number: &serde_json::Number) -> f64 {
    number.as_f64().unwrap()
}
