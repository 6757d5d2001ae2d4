//! How much input is accepted. Each bound is checked before the work it bounds.

/// Files in one request.
pub const MAX_FILES: usize = 500;
/// Bytes of one file. A Kubernetes object is at most 1.5 MiB in etcd (its default request limit), and most
/// are a thousand times smaller.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Bytes of all files of one request together.
pub const MAX_TOTAL_BYTES: usize = 8 * 1024 * 1024;
/// YAML nodes of one file after aliases are expanded (a node that has an anchor counts twice, as it is kept).
/// A megabyte of ordinary manifests has about 60,000; ten nested anchors of ten aliases each have 10^10.
pub const MAX_NODES: usize = 200_000;
/// Nesting of one document; the deepest path in the Kubernetes API has about 20 levels.
pub const MAX_DEPTH: usize = 100;
/// Findings of one answer; the counts in the answer go on beyond it.
pub const MAX_FINDINGS: usize = 1_000;
/// Bytes of one policy.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;
/// Policies of one request.
pub const MAX_POLICIES: usize = 200;
/// Results of one policy evaluation; the counts go on beyond it.
pub const MAX_RESULTS: usize = 1_000;
