//! The header `l5d-client-id`, in which a Linkerd proxy says whose certificate it verified.

use crate::{id::SpiffeId, transport::peer::PeerRefused};

/// Between service account and namespace in front and the trust domain behind.
const MIDDLE: &str = ".serviceaccount.identity.linkerd.";

/// The workload that a Linkerd identity `<sa>.<ns>.serviceaccount.identity.linkerd.<trust domain>` names, as
/// the SPIFFE id this mesh knows it by. Nothing when the text is no such identity of this trust domain.
pub fn parse(identity: &str, trust_domain: &str) -> Option<SpiffeId> {
    let workload = identity.strip_suffix(trust_domain)?.strip_suffix(MIDDLE)?;
    // A namespace has no dots, a service account may have.
    let (service_account, namespace) = workload.rsplit_once('.')?;
    SpiffeId::workload(trust_domain, namespace, service_account).ok()
}

/// Who the proxy says is calling.
pub(crate) fn peer(header: &str, own: &SpiffeId) -> Result<SpiffeId, PeerRefused> {
    parse(header, own.trust_domain()).ok_or(PeerRefused::NotAnId)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(identity: &str, expected: Option<&str>) {
        let got = parse(identity, "mesh.local");
        assert_eq!(got.as_ref().map(SpiffeId::as_str), expected, "{identity}");
    }

    #[test]
    fn reads_identities_of_our_trust_domain_only() {
        check(
            "db-migrator.data-system.serviceaccount.identity.linkerd.mesh.local",
            Some("spiffe://mesh.local/ns/data-system/sa/db-migrator"),
        );
        check(
            "a.b.ns.serviceaccount.identity.linkerd.mesh.local",
            Some("spiffe://mesh.local/ns/ns/sa/a.b"),
        );
        for wrong in [
            "",
            "mesh.local",
            ".serviceaccount.identity.linkerd.mesh.local",
            "a.serviceaccount.identity.linkerd.mesh.local",
            ".ns.serviceaccount.identity.linkerd.mesh.local",
            "a..serviceaccount.identity.linkerd.mesh.local",
            "a.ns.serviceaccount.identity.linkerd.other.local",
            "a.ns.serviceaccount.identity.linkerd.xmesh.local",
            "a.ns.serviceaccount.identity.linkerd.mesh.local.",
            "a.ns.serviceaccount.identity.istio.mesh.local",
            "A.ns.serviceaccount.identity.linkerd.mesh.local",
            "a/b.ns.serviceaccount.identity.linkerd.mesh.local",
            "a.ns.serviceaccount.identity.linkerd.mesh.local, b.ns.serviceaccount.identity.linkerd.mesh.local",
            " a.ns.serviceaccount.identity.linkerd.mesh.local",
            "spiffe://mesh.local/ns/data-system/sa/db-migrator",
        ] {
            check(wrong, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in "\\PC{0,100}") {
            let _ignored = parse(&text, "mesh.local");
        }

        #[test]
        fn workloads_and_identities_are_one_to_one(account in "[a-z]([a-z.-]{0,9}[a-z])?", namespace in "[a-z]([a-z-]{0,9}[a-z])?") {
            if let Some(id) = parse(&format!("{account}.{namespace}.serviceaccount.identity.linkerd.td"), "td") {
                prop_assert_eq!((id.service_account(), id.namespace()), (Some(account.as_str()), Some(namespace.as_str())));
            }
        }
    }
}
