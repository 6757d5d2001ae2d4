//! What a node tells beside its pods.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::support::{plane, until};

/// Else the node controller takes it, and its pods with it, for not ready.
#[tokio::test]
async fn a_node_goes_on_telling_that_it_lives() {
    let (_, client) = plane().await;
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let renewed = |lease: &Lease| lease.spec.as_ref()?.renew_time.clone();
    let first = until(&leases, "node-1", |lease| renewed(lease).is_some()).await;
    assert_eq!(
        first.spec.as_ref().unwrap().lease_duration_seconds,
        Some(40)
    );
    until(&leases, "node-1", |lease| renewed(lease) > renewed(&first)).await;
}
