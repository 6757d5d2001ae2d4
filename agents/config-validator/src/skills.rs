//! The skills, one a file.

mod evaluate_policies;
mod files;
mod validate_manifests;

pub use evaluate_policies::{
    EvaluatePolicies, Input as EvaluatePoliciesInput, Output as EvaluatePoliciesOutput,
};
pub use files::InputFile;
pub use validate_manifests::{
    Input as ValidateManifestsInput, Output as ValidateManifestsOutput, ValidateManifests,
};
