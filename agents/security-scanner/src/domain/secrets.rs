//! Finding credentials in text: which rule, where, how sure; never the credential itself.

mod candidate;
pub mod checksum;
mod detector;
mod fingerprint;
mod guard;
mod kubernetes;
mod rules;

pub use detector::{Detection, Detector};
pub use fingerprint::Fingerprints;
pub use guard::shannon_entropy;
pub use rules::{Rule, all_rules};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How sure a detection is. Ordered from least to most.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The form fits, but the checksum inside the token is wrong: edited, or made up.
    #[default]
    Low,
    /// An assignment to a name that says "secret", with a value that looks like one.
    Medium,
    /// A provider's own token form, or a form with a right checksum.
    High,
}
