//! The four ways to change an object in part.

use json_patch::PatchOperation;
use serde_json::Value;

use super::refusal::Refusal;
use super::state::{MAX_DEPTH, check_size};

pub mod apply;
mod strategic;

pub use strategic::strategic_merge;

/// Most operations of one JSON Patch, as kube-apiserver limits it.
const MAX_OPERATIONS: usize = 10_000;
/// Most operations of one JSON Patch that repeat a part of the object, which could otherwise
/// double it again and again.
const MAX_COPIES: usize = 100;

/// A patch, as its media type says.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' merge of lists by key.
    Strategic(Value),
    /// Server-side apply by a field manager.
    Apply {
        /// The whole intent of the manager.
        object: Value,
        /// Whose intent it is.
        manager: String,
    },
}

/// Applies an RFC 6902 patch.
///
/// # Errors
/// 400 for what is no patch, 413 for one that makes the object too large or too deep, 422 for one
/// that does not fit the object.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, Refusal> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
    let copies = |operation: &&PatchOperation| {
        matches!(operation, PatchOperation::Copy(_) | PatchOperation::Move(_))
    };
    if patch.0.len() > MAX_OPERATIONS {
        return Err(Refusal::too_large(MAX_OPERATIONS));
    }
    if patch.0.iter().filter(copies).count() > MAX_COPIES {
        return Err(Refusal::too_large(MAX_COPIES));
    }
    let mut patched = object.clone();
    for operation in patch.0 {
        if operation.path().tokens().count() > MAX_DEPTH {
            return Err(Refusal::too_deep(MAX_DEPTH));
        }
        let repeats = copies(&&operation);
        json_patch::patch(&mut patched, &[operation]).map_err(|error| {
            let message =
                format!("the server rejected our request due to an error in our request: {error}");
            Refusal::unprocessable(&message)
        })?;
        if repeats {
            check_size(&patched)?;
        }
    }
    Ok(patched)
}

/// Applies an RFC 7396 patch.
pub fn merge_patch(object: &mut Value, patch: &Value) {
    json_patch::merge(object, patch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn follows_the_example_of_rfc_7396() {
        let mut object = json!({"a": "b", "c": {"d": "e", "f": "g"}});
        merge_patch(&mut object, &json!({"a": "z", "c": {"f": null}}));
        assert_eq!(object, json!({"a": "z", "c": {"d": "e"}}));
    }

    #[test]
    fn refuses_a_patch_whose_test_fails_and_one_that_is_none() {
        let object = json!({"a": 1});
        let test = json!([{"op": "test", "path": "/a", "value": 2}]);
        assert_eq!(json_patch(&object, &test).unwrap_err().code, 422);
        assert_eq!(json_patch(&object, &json!({"a": 1})).unwrap_err().code, 400);
    }

    #[test]
    fn refuses_a_patch_that_doubles_or_deepens_without_end() {
        let object = json!({"a": {"b": "x".repeat(1_000)}});
        let copy = |n: usize| json!({"op": "copy", "from": "/a", "path": format!("/a/{n}")});
        for times in [30, 101] {
            let copies: Value = (0..times).map(copy).collect();
            let code = json_patch(&object, &copies)
                .err()
                .map(|refusal| refusal.code);
            assert_eq!(code, Some(413), "{times}");
        }
        let deep = json!([{"op": "add", "path": "/a".repeat(101), "value": 1}]);
        assert_eq!(json_patch(&object, &deep).unwrap_err().code, 413);
        let many = vec![json!({"op": "test", "path": "/a/b", "value": 1}); 10_001];
        assert_eq!(json_patch(&object, &many.into()).unwrap_err().code, 413);
    }
}
