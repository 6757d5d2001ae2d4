//! All checks over all files of a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    finding::{Counts, Finding, Findings},
    object::{Object, SourceFile},
    objects, pod_security,
    pod_security::{Pod, PodSecurity},
    references, rules,
    schema::{Schema, custom_kinds},
    workload,
    yaml::{ComposeError, Composed, Position, compose},
};

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No error was found.
    Accepted,
    /// At least one error was found.
    Refused,
}

impl Verdict {
    /// Refused as soon as there is an error.
    pub fn of(counts: Counts) -> Self {
        if counts.error == 0 {
            Self::Accepted
        } else {
            Self::Refused
        }
    }

    /// The word in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

/// A file that cannot be looked at, by its index in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("file {index} cannot be read")]
pub struct ReadError {
    /// Index in the request.
    pub index: usize,
    /// Why.
    #[source]
    pub source: ComposeError,
}

/// Files as trees, with what was wrong with their YAML.
#[derive(Debug)]
pub struct Manifests<'a> {
    files: Vec<(&'a str, Composed)>,
}

impl<'a> Manifests<'a> {
    /// Reads all files.
    ///
    /// # Errors
    /// Only for files that are built to exhaust.
    pub fn read(files: &'a [SourceFile]) -> Result<Self, ReadError> {
        let read = |(index, file): (usize, &'a SourceFile)| {
            let composed = compose(&file.content).map_err(|source| ReadError { index, source })?;
            Ok((file.name.as_str(), composed))
        };
        let files = files
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// The objects of all files.
    pub fn objects(&self) -> Vec<Object<'_>> {
        let documents = self.files.iter().flat_map(|(file, c)| {
            c.documents
                .iter()
                .enumerate()
                .map(move |(i, d)| (*file, i, d))
        });
        documents
            .flat_map(|(file, i, document)| Object::all_in(file, i, document))
            .collect()
    }

    /// What is wrong with the files as YAML.
    pub fn syntax(&self, findings: &mut Findings) {
        for (file, composed) in &self.files {
            for (name, at) in &composed.duplicates {
                let message = format!("field `{name}` is given twice; only one of them can count");
                findings.push(Finding::in_file(
                    &rules::YAML_DUPLICATE_FIELD,
                    file,
                    *at,
                    message,
                ));
            }
            if let Some((at, why)) = &composed.broken {
                findings.push(Finding::in_file(
                    &rules::YAML_SYNTAX,
                    file,
                    *at,
                    format!("not YAML: {why}"),
                ));
            } else if composed.documents.is_empty() {
                findings.push(Finding::in_file(
                    &rules::YAML_NO_OBJECT,
                    file,
                    Position::START,
                    "the file holds no object",
                ));
            }
        }
    }
}

/// Every check of this agent; those of other agents are added by the caller.
pub fn validate(
    manifests: &Manifests<'_>,
    schema: &Schema,
    level: PodSecurity,
) -> (Findings, usize) {
    let mut findings = Findings::default();
    manifests.syntax(&mut findings);
    let objects = manifests.objects();
    let schema = schema.clone().with(custom_kinds(&objects));
    for object in &objects {
        objects::check_kind(&schema, object, &mut findings);
        objects::check_metadata(&schema, object, &mut findings);
        workload::check_selector(object, &mut findings);
        workload::check_ports(object, &mut findings);
        workload::advise_role(object, &mut findings);
        if let Some(pod) = Pod::of(object) {
            pod_security::check(object, &pod, level, &mut findings);
            workload::check_pod(object, &pod, &mut findings);
            workload::advise_pod(object, &pod, &mut findings);
        }
    }
    objects::check_duplicates(&objects, &mut findings);
    references::check(&objects, &mut findings);
    (findings, objects.len())
}
