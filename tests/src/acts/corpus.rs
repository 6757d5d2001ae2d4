//! The corpus as it stands in its files. Unknown members are errors: a test half understood proves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The manifest that names all other files.
const MANIFEST: &str = "suite.acts.yaml";

/// How binding a requirement is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Without it an agent does not conform.
    Must,
    /// Recommended.
    Should,
    /// Optional.
    May,
}

/// All tests.
#[derive(Debug)]
pub struct Corpus {
    /// The tests in the order of the files.
    pub tests: Vec<Test>,
    /// Defaults of the documents; what the runner provides goes before them.
    pub variables: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "acts_version")]
    _acts_version: String,
    spec_version: String,
    #[serde(rename = "spec_ref")]
    _spec_ref: Option<String>,
    #[serde(rename = "metadata")]
    _metadata: Option<Value>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    suites: Vec<Suite>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "tags")]
    _tags: Option<Value>,
    tests: Vec<Test>,
}

/// One conformance test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// For example `CORE-SEND-001`.
    pub id: String,
    /// What it shows.
    pub name: String,
    /// More about it.
    #[serde(default)]
    pub description: String,
    /// Section of the protocol.
    pub spec_ref: Option<String>,
    /// How binding it is.
    pub level: Level,
    /// Search words; `runner-special` means that the steps are not all of it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Bindings it is about; empty means all.
    #[serde(default)]
    pub transport: Vec<String>,
    /// What the card has to say for the test to apply.
    #[serde(default)]
    pub preconditions: Preconditions,
    /// Text prefixes that the agent acts upon.
    #[serde(default)]
    pub requires_behaviors: Vec<String>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// What the card has to say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preconditions {
    /// Capability by name; `authentication` stands for security requirements.
    #[serde(default)]
    pub capabilities: BTreeMap<String, bool>,
}

/// One action and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique within the test.
    pub id: String,
    /// An operation of the protocol...
    pub operation: Option<String>,
    /// ...and its parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Or an HTTP request as it stands.
    pub raw: Option<Raw>,
    /// Or an answer for a client to read.
    pub client_response: Option<ClientResponse>,
    /// `status` and `body`.
    pub expect: Option<Map<String, Value>>,
    /// The error that must come.
    pub expect_error: Option<Map<String, Value>>,
    /// The events that must come.
    pub expect_stream: Option<ExpectStream>,
    /// What the client must have read.
    pub expect_parsed: Option<Value>,
    /// Variable by name, from a path in the answer.
    #[serde(default)]
    pub capture: BTreeMap<String, String>,
    /// Do it again until something holds.
    pub repeat: Option<Repeat>,
    /// What must hold for elements of lists.
    #[serde(default)]
    pub assertions: Vec<Collection>,
}

/// An HTTP request as it stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// HTTP method.
    pub method: String,
    /// Relative to the interface.
    pub path: String,
    /// All headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// JSON body.
    pub body: Option<Value>,
    /// Or a body that need not be JSON.
    pub body_raw: Option<String>,
}

/// An answer for a client to read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientResponse {
    /// What the client called.
    pub operation: String,
    /// What it gets.
    pub wire_payload: Value,
}

/// What must hold for a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectStream {
    /// At least so many events.
    pub min_count: Option<usize>,
    /// `monotonic_state`: no terminal state is left, none goes back to submitted.
    pub ordering: Option<Ordering>,
    /// Some of the events.
    #[serde(default)]
    pub events: Vec<EventAssertion>,
    /// The last event.
    pub final_event: Option<Value>,
    /// Every event.
    pub each_event: Option<Value>,
}

/// Rules for the order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// Task states never regress.
    MonotonicState,
}

/// Which event, and what must hold for it.
#[derive(Debug, Clone, Deserialize)]
pub struct EventAssertion {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// `any_position`, or the position given by `index`.
    #[serde(rename = "match")]
    pub position: Option<String>,
    /// From 0.
    pub index: Option<usize>,
    /// What must hold.
    #[serde(flatten)]
    pub body: Map<String, Value>,
}

/// Do a step again until something holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// `path == value` or `path in [value, ...]`.
    pub until: String,
    /// At most so often.
    pub max_attempts: u32,
    /// Pause between two.
    pub delay_ms: u64,
}

/// What must hold for elements of lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// `{{step.response}}`.
    pub source: String,
    /// At least one element.
    pub any: ElementMatch,
}

/// Elements, and what must hold for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementMatch {
    /// With `[*]` for every element of a list.
    pub path: String,
    /// What must hold.
    #[serde(rename = "match")]
    pub matching: Value,
}

impl Test {
    /// Whether the steps are not all of it: the rest stands in its description.
    pub fn is_special(&self) -> bool {
        self.tags.iter().any(|tag| tag == "runner-special")
    }
}

impl Corpus {
    /// Reads the manifest of a folder and the files it names.
    ///
    /// # Errors
    /// A file that is missing or not understood; two tests of one id.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let manifest = document(&folder.join(MANIFEST))?;
        let mut corpus = Self {
            tests: Vec::new(),
            variables: manifest.variables,
        };
        for name in &manifest.include {
            let file = document(&folder.join(name))?;
            corpus.variables.extend(file.variables);
            corpus
                .tests
                .extend(file.suites.into_iter().flat_map(|suite| suite.tests));
        }
        let ids: BTreeSet<_> = corpus.tests.iter().map(|test| &test.id).collect();
        ensure!(ids.len() == corpus.tests.len(), "two tests have one id");
        Ok(corpus)
    }

    /// The tests that are about JSON-RPC or about every binding.
    pub fn applicable(&self) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(|test| {
            test.transport.is_empty() || test.transport.iter().any(|name| name == "jsonrpc")
        })
    }
}

fn document(path: &Path) -> anyhow::Result<Document> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let document: Document = serde_saphyr::from_str(&text)
        .with_context(|| format!("cannot understand {}", path.display()))?;
    ensure!(
        document.spec_version == "1.0",
        "{} is about another version of A2A",
        path.display()
    );
    Ok(document)
}

/// Where the corpus is: the folder `acts` of the test data, when it is there.
pub fn folder() -> Option<PathBuf> {
    let data = std::env::var_os("MESH_TEST_DATA")
        .map_or_else(|| crate::tools::root().join("../shared"), PathBuf::from);
    Some(data.join("acts")).filter(|folder| folder.join(MANIFEST).is_file())
}
