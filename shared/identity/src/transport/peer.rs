//! Who is calling: what a request's extensions say, and how a proxy's header is judged.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName};

use super::{HeaderFamily, Mode, cidr::Cidr, linkerd, xfcc};
use crate::id::SpiffeId;

/// Envoy's header.
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// Linkerd's header.
const L5D: HeaderName = HeaderName::from_static("l5d-client-id");

/// Request extension: the verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity(pub SpiffeId);

/// Request extension: the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// Request extension in mesh mode: why there is no verified caller. To be answered with 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// The connection does not come from a trusted proxy.
    #[error("connection does not come from a trusted proxy")]
    UntrustedProxy,
    /// The proxy said nothing about the caller.
    #[error("proxy gave no identity")]
    Missing,
    /// The header occurs more than once.
    #[error("identity header occurs more than once")]
    Duplicate,
    /// The header cannot be read.
    #[error("identity header is malformed")]
    Malformed,
    /// The header was written by, or for, another workload than us.
    #[error("identity header was not written for this agent")]
    OtherReceiver,
    /// The header does not name exactly one URI.
    #[error("identity header does not name exactly one caller")]
    NotOneName,
    /// The name is no id of this mesh.
    #[error("identity header holds no id")]
    NotAnId,
    /// The id belongs to another trust domain, or to none of its workloads.
    #[error("identity belongs to another trust domain")]
    ForeignTrustDomain,
}

impl PeerRefused {
    /// A fixed word for metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::UntrustedProxy => "untrusted_proxy",
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::OtherReceiver => "other_receiver",
            Self::NotOneName => "not_one_name",
            Self::NotAnId => "not_an_id",
            Self::ForeignTrustDomain => "foreign_trust_domain",
        }
    }
}

/// What is known about the caller from the connection alone.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Verified in the handshake.
    Verified(SpiffeId),
    /// To be read from the header that a trusted proxy sets.
    Header { family: HeaderFamily, own: SpiffeId },
    /// The connection does not come from a trusted proxy.
    Refused(PeerRefused),
    /// Nobody asks.
    Unknown,
}

impl Caller {
    /// What a connection without TLS tells.
    pub(super) fn of_plain(mode: &Mode, peer: SocketAddr) -> Self {
        match mode {
            Mode::Mesh {
                family,
                trusted,
                own,
            } if is_trusted(trusted, peer) => Self::Header {
                family: *family,
                own: own.clone(),
            },
            Mode::Mesh { .. } => Self::Refused(PeerRefused::UntrustedProxy),
            Mode::Mtls(_) | Mode::PlainWithoutIdentity => Self::Unknown,
        }
    }

    /// Marks a request with its caller and removes all identity headers.
    pub(super) fn mark<B>(&self, request: &mut http::Request<B>) {
        let caller = match self {
            Self::Verified(id) => Some(Ok(id.clone())),
            Self::Header { family, own } => Some(family.read(request.headers(), own)),
            Self::Refused(reason) => Some(Err(*reason)),
            Self::Unknown => None,
        };
        for header in [XFCC, L5D] {
            request.headers_mut().remove(header);
        }
        match caller {
            Some(Ok(id)) => drop(request.extensions_mut().insert(PeerIdentity(id))),
            Some(Err(reason)) => drop(request.extensions_mut().insert(reason)),
            None => {}
        }
    }
}

fn is_trusted(trusted: &[Cidr], peer: SocketAddr) -> bool {
    trusted.iter().any(|network| network.contains(peer.ip()))
}

impl HeaderFamily {
    fn read(self, headers: &HeaderMap, own: &SpiffeId) -> Result<SpiffeId, PeerRefused> {
        let (name, read): (_, fn(&str, &SpiffeId) -> _) = match self {
            Self::Xfcc => (XFCC, xfcc::peer),
            Self::L5d => (L5D, linkerd::peer),
        };
        let mut values = headers.get_all(name).iter();
        let value = values.next().ok_or(PeerRefused::Missing)?;
        if values.next().is_some() {
            return Err(PeerRefused::Duplicate);
        }
        let id = read(value.to_str().map_err(|_| PeerRefused::Malformed)?, own)?;
        let is_ours = id.trust_domain() == own.trust_domain() && !id.path().is_empty();
        if is_ours {
            Ok(id)
        } else {
            Err(PeerRefused::ForeignTrustDomain)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const OWN: &str = "spiffe://mesh.local/ns/security-system/sa/security-scanner";
    const PEER: &str = "spiffe://mesh.local/ns/platform-system/sa/config-validator";
    const LINKERD_PEER: &str =
        "config-validator.platform-system.serviceaccount.identity.linkerd.mesh.local";

    fn mesh(family: HeaderFamily) -> Mode {
        Mode::Mesh {
            family,
            trusted: vec!["127.0.0.0/8".parse().unwrap()],
            own: OWN.parse().unwrap(),
        }
    }

    fn check(
        family: HeaderFamily,
        from: &str,
        headers: &[(&str, &str)],
        expected: Result<&str, PeerRefused>,
    ) {
        let mut request = Request::new(());
        for (name, value) in headers {
            request
                .headers_mut()
                .append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        Caller::of_plain(&mesh(family), from.parse().unwrap()).mark(&mut request);
        let extensions = request.extensions();
        let identity = extensions
            .get::<PeerIdentity>()
            .map(|identity| identity.0.as_str());
        assert_eq!(
            (identity, extensions.get::<PeerRefused>().copied()),
            (expected.ok(), expected.err()),
            "{headers:?}"
        );
        assert!(
            request.headers().get("x-forwarded-client-cert").is_none()
                && request.headers().get("l5d-client-id").is_none()
        );
    }

    #[test]
    fn reads_only_the_configured_header_and_removes_both() {
        let by_envoy = format!("By={OWN};URI={PEER}");
        check(
            HeaderFamily::Xfcc,
            "127.0.0.6:1",
            &[("x-forwarded-client-cert", &by_envoy)],
            Ok(PEER),
        );
        check(
            HeaderFamily::L5d,
            "127.0.0.1:1",
            &[("l5d-client-id", LINKERD_PEER)],
            Ok(PEER),
        );
        check(
            HeaderFamily::L5d,
            "127.0.0.1:1",
            &[("x-forwarded-client-cert", &by_envoy)],
            Err(PeerRefused::Missing),
        );
        check(
            HeaderFamily::Xfcc,
            "127.0.0.1:1",
            &[("l5d-client-id", LINKERD_PEER)],
            Err(PeerRefused::Missing),
        );
        check(
            HeaderFamily::Xfcc,
            "127.0.0.1:1",
            &[
                ("l5d-client-id", "x"),
                ("X-Forwarded-Client-Cert", &by_envoy),
            ],
            Ok(PEER),
        );
    }

    #[test]
    fn refuses_repeated_foreign_and_untrusted_claims() {
        let by_envoy = format!("By={OWN};URI={PEER}");
        let header = ("x-forwarded-client-cert", by_envoy.as_str());
        check(
            HeaderFamily::Xfcc,
            "10.0.0.1:1",
            &[header],
            Err(PeerRefused::UntrustedProxy),
        );
        check(
            HeaderFamily::Xfcc,
            "127.0.0.1:1",
            &[header, header],
            Err(PeerRefused::Duplicate),
        );
        check(
            HeaderFamily::L5d,
            "127.0.0.1:1",
            &[("l5d-client-id", LINKERD_PEER), ("l5d-client-id", "x")],
            Err(PeerRefused::Duplicate),
        );
        for id in ["spiffe://other/ns/a/sa/b", "spiffe://mesh.local"] {
            let foreign = format!("By={OWN};URI={id}");
            check(
                HeaderFamily::Xfcc,
                "127.0.0.1:1",
                &[("x-forwarded-client-cert", &foreign)],
                Err(PeerRefused::ForeignTrustDomain),
            );
        }
    }
}
