//! CPU and memory in the wire form of Kubernetes: `250m`, `256Mi`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::SkillError;
use usage::{Resources, quantity};

/// CPU and memory as Kubernetes quantities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantities {
    /// CPU, for example `250m` or `1.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory, for example `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

impl Quantities {
    /// Reads them; `field` is named when one is wrong.
    ///
    /// # Errors
    /// `Rejected` for what is not a quantity, or not above zero, or beyond any machine.
    pub fn read(&self, field: &str) -> Result<Resources, SkillError> {
        let read = |text: &Option<String>, name: &str, most: f64| match text {
            None => Ok(None),
            Some(text) => match quantity::parse(text) {
                Ok(value) if value > 0.0 && value <= most => Ok(Some(value)),
                Ok(_) => Err(SkillError::rejected(
                    format!("{field}.{name}"),
                    "a quantity above 0 that a machine can have",
                    text,
                )),
                Err(error) => Err(SkillError::rejected(
                    format!("{field}.{name}"),
                    "a Kubernetes quantity such as 250m or 256Mi",
                    error.0,
                )),
            },
        };
        Ok(Resources {
            cpu: read(&self.cpu, "cpu", 10_000.0)?,
            memory: read(&self.memory, "memory", 1e15)?,
        })
    }

    /// Writes them, rounded up to a millicore and a mebibyte.
    pub fn write(resources: &Resources) -> Self {
        Self {
            cpu: resources.cpu.map(quantity::cpu),
            memory: resources.memory.map(quantity::memory),
        }
    }
}
