//! Where webhooks may be. A webhook's owner must not make the agent speak to machines that only the agent reaches, so
//! names are resolved here, and a connection goes to exactly the addresses that were looked at.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use identity::Cidr;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::address::is_public;
use crate::a2a::fault::Fault;

/// Longest URL, in bytes: what browsers and proxies take without trouble.
const MAX_URL: usize = 2_048;

/// What is allowed beyond public HTTPS addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    /// Loopback addresses and plain HTTP, for tests.
    pub(crate) loopback: bool,
    /// Networks whose addresses are not public, for example those of the cluster.
    pub(crate) allow: Vec<Cidr>,
}

/// An address that is none of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address")]
pub(super) struct Refused(pub(super) IpAddr);

impl Policy {
    /// Whether a webhook may have this address.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        is_public(address)
            || (self.loopback && address.to_canonical().is_loopback())
            || self.allow.iter().any(|network| network.contains(address))
    }

    /// Reads the URL of a webhook. Names are not resolved here: what they stand for may change until they are used.
    pub(super) fn url(&self, text: &str) -> Result<Url, Fault> {
        let wrong = |got: &str| {
            let http = if self.loopback { "http or " } else { "" };
            let expected = format!("an {http}https URL of a public host, without user name");
            Err(Fault::field("url", &expected, got))
        };
        if text.len() > MAX_URL {
            return wrong(&format!("{} bytes", text.len()));
        }
        // The parser drops them, so the URL would not be the one that is shown.
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return wrong("a control character or white space");
        }
        let Ok(url) = Url::parse(text) else {
            return wrong("no URL");
        };
        let named = url.host_str().map(|host| host.trim_end_matches('.'));
        match named {
            _ if url.scheme() != "https" && !(self.loopback && url.scheme() == "http") => {
                wrong(&format!("the scheme {}", crate::engine::clip(url.scheme())))
            }
            None | Some("") => wrong("no host"),
            _ if !url.username().is_empty() || url.password().is_some() => wrong("a user name"),
            _ if url.port() == Some(0) => wrong("port 0"),
            Some(name) if !self.loopback && is_local(name) => wrong("this machine"),
            _ => match literal(&url).filter(|address| !self.admits(*address)) {
                Some(refused) => wrong(&refused.to_string()),
                None => Ok(url),
            },
        }
    }

    /// Checks once more a URL that holds an address: no name is resolved for it.
    pub(super) fn check_literal(&self, url: &Url) -> Result<(), Refused> {
        let refused = literal(url).filter(|address| !self.admits(*address));
        refused.map_or(Ok(()), |address| Err(Refused(address)))
    }
}

fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

/// The resolver of the operating system.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Resolves names to addresses that the policy admits, or to nothing.
pub(super) struct Screen {
    pub(super) policy: Policy,
    pub(super) names: Arc<dyn Resolve>,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Resolve for Screen {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, names) = (self.policy.clone(), self.names.clone());
        Box::pin(async move {
            let found: Vec<SocketAddr> = names.resolve(name).await?.collect();
            // One bad address spoils the name: which one is connected to would be the resolver's choice.
            match found.iter().find(|found| !policy.admits(found.ip())) {
                Some(bad) => Err(Refused(bad.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Policy, url: &str, expected: Result<(), &str>) {
        match (policy.url(url), expected) {
            (Ok(_), Ok(())) => {}
            (Err(fault), Err(got)) => {
                assert_eq!(fault.kind.code(), -32602);
                assert!(fault.message().ends_with(got), "{url}: {}", fault.message());
                assert!(fault.message().starts_with("url: expected"));
            }
            (other, _) => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn takes_https_urls_of_public_hosts_only() {
        let strict = Policy::default();
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        for (url, expected) in [
            ("https://example.com/hook?key=1", Ok(())),
            ("https://example.com:8443/", Ok(())),
            ("https://8.8.8.8/", Ok(())),
            ("https://[2606:4700:4700::1111]/", Ok(())),
            ("http://example.com/", Err("the scheme http")),
            ("ftp://example.com/", Err("the scheme ftp")),
            ("file:///etc/passwd", Err("the scheme file")),
            ("example.com", Err("no URL")),
            ("https://", Err("no URL")),
            ("", Err("no URL")),
            ("https://exam\nple.com/", Err("white space")),
            ("https://a:b@example.com/", Err("a user name")),
            ("https://:b@example.com/", Err("a user name")),
            ("https://example.com:0/", Err("port 0")),
            ("https://localhost/", Err("this machine")),
            ("https://LOCALHOST./", Err("this machine")),
            ("https://x.localhost/", Err("this machine")),
            ("https://127.0.0.1/", Err("got 127.0.0.1")),
            ("https://127.1/", Err("got 127.0.0.1")),
            ("https://2130706433/", Err("got 127.0.0.1")),
            ("https://0x7f.0.0.1./", Err("got 127.0.0.1")),
            ("https://017700000001/", Err("got 127.0.0.1")),
            ("https://169.254.169.254/latest", Err("got 169.254.169.254")),
            ("https://[::1]/", Err("got ::1")),
            ("https://[::ffff:10.0.0.1]/", Err("got ::ffff:10.0.0.1")),
            ("https://[fd00:ec2::254]/", Err("got fd00:ec2::254")),
            (&long, Err("bytes")),
        ] {
            check(&strict, url, expected);
        }
    }

    #[test]
    fn the_operator_may_allow_loopback_and_networks() {
        let tests = Policy {
            loopback: true,
            allow: Vec::new(),
        };
        for (url, expected) in [
            ("http://127.0.0.1:9/", Ok(())),
            ("http://localhost:9/", Ok(())),
            ("https://[::1]/", Ok(())),
            ("http://10.0.0.1/", Err("got 10.0.0.1")),
        ] {
            check(&tests, url, expected);
        }
        let cluster = Policy {
            loopback: false,
            allow: vec!["10.96.0.0/12".parse().unwrap()],
        };
        for (url, expected) in [
            ("https://10.96.0.1/", Ok(())),
            ("http://10.96.0.1/", Err("the scheme http")),
            ("https://10.0.0.1/", Err("got 10.0.0.1")),
            ("https://127.0.0.1/", Err("got 127.0.0.1")),
        ] {
            check(&cluster, url, expected);
        }
    }

    /// A resolver that always gives the same addresses.
    struct Fixed(Vec<SocketAddr>);

    impl Resolve for Fixed {
        fn resolve(&self, _: Name) -> Resolving {
            let found = self.0.clone();
            Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
        }
    }

    #[tokio::test]
    async fn one_bad_address_spoils_a_name() {
        for (addresses, refused) in [
            (vec!["8.8.8.8:0"], None),
            (vec!["8.8.8.8:0", "10.0.0.1:0"], Some("10.0.0.1")),
            (vec!["[::ffff:127.0.0.1]:0"], Some("::ffff:127.0.0.1")),
        ] {
            let found = addresses.iter().map(|text| text.parse().unwrap());
            let screen = Screen {
                policy: Policy::default(),
                names: Arc::new(Fixed(found.collect())),
            };
            let resolved = screen.resolve("webhook.example".parse().unwrap()).await;
            let error = resolved.err();
            let error = error.map(|error| *error.downcast::<Refused>().unwrap());
            assert_eq!(error, refused.map(|text| Refused(text.parse().unwrap())));
        }
    }
}
