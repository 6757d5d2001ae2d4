//! Who gets in: certificates, proxies, spoofed headers.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls::{ClientConfig, client::ResolvesClientCert};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::super::{HeaderFamily, Limits, Mode};
use super::with_certificate;
use crate::{
    authority::{Authority, CertificatePair, leaf},
    fixture::{HOUR, Mesh, agent, call, call_http1, connect, presents, request, start},
    tls::TlsEvent,
};

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Spoils a good certificate.
type Mistake = fn(&mut CertificateParams);

/// What may be wrong with a certificate of the right authority and time.
const MISTAKES: [(&str, Mistake); 9] = [
    ("two URIs", |p| {
        p.subject_alt_names
            .push(uri("spiffe://mesh.local/external/operator"));
    }),
    ("same URI twice", |p| {
        p.subject_alt_names.extend(p.subject_alt_names.clone());
    }),
    ("no URI", |p| {
        p.subject_alt_names = vec![SanType::DnsName("agent".try_into().unwrap())];
    }),
    ("no name", |p| {
        p.subject_alt_names.clear();
        p.distinguished_name.push(DnType::CommonName, "agent");
    }),
    ("no SPIFFE URI", |p| {
        p.subject_alt_names = vec![uri("https://mesh.local/agent")];
    }),
    ("trust domain only", |p| {
        p.subject_alt_names = vec![uri("spiffe://mesh.local")];
    }),
    ("foreign trust domain", |p| {
        p.subject_alt_names = vec![uri("spiffe://other.local/ns/a/sa/b")];
    }),
    ("no purpose", |p| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    }),
    ("may sign", |p| {
        p.key_usages.push(KeyUsagePurpose::KeyCertSign);
    }),
];

/// Certificates that no peer may accept, by what is wrong with them.
fn wrong_certificates(mesh: &Mesh, name: &str) -> Vec<(&'static str, CertificatePair)> {
    let (id, now) = (agent(name), OffsetDateTime::now_utc());
    let mistaken = MISTAKES.iter().map(|(what, make)| {
        let mut params = leaf(now - time::Duration::MINUTE, now + time::Duration::HOUR);
        params.subject_alt_names = vec![uri(id.as_str())];
        make(&mut params);
        (*what, mesh.authority.sign(&params).unwrap())
    });
    let between = |from, to| {
        mesh.authority
            .issue_between(&id, now + from, now + to)
            .unwrap()
    };
    let expired = between(-time::Duration::HOUR, -time::Duration::SECOND);
    let early = between(time::Duration::HOUR, time::Duration::DAY);
    let foreign = Authority::generate("mesh.local")
        .unwrap()
        .issue(&id, HOUR)
        .unwrap();
    let untimely = [
        ("expired", expired),
        ("not yet valid", early),
        ("other authority", foreign),
    ];
    mistaken.chain(untimely).collect()
}

#[tokio::test]
async fn the_right_caller_arrives_with_its_identity_over_http1_and_http2() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server), Limits::default()).await;
    let config = client.client_config(agent("server"));
    let expected = format!("{} 0", agent("client"));
    assert_eq!(
        call(running.address, config.clone(), &[]).await.unwrap(),
        expected
    );

    let mut http1 = ClientConfig::clone(&config);
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = connect(running.address, Arc::new(http1)).await.unwrap();
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(call_http1(stream, &[]).await.unwrap(), expected);
}

#[tokio::test]
async fn callers_with_a_wrong_certificate_are_refused() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let refused = Arc::new(Mutex::new(0));
    server.observe({
        let refused = refused.clone();
        move |event| {
            if matches!(event, TlsEvent::HandshakeFailed { .. }) {
                *refused.lock().unwrap() += 1;
            }
        }
    });
    let running = start(Mode::Mtls(server), Limits::default()).await;
    let config = client.client_config(agent("server"));
    let wrong = wrong_certificates(&mesh, "client");
    for (what, pair) in &wrong {
        let answer = call(
            running.address,
            with_certificate(&config, presents(pair)),
            &[],
        )
        .await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    let good = mesh.authority.issue(&agent("client"), HOUR).unwrap();
    call(
        running.address,
        with_certificate(&config, presents(&good)),
        &[],
    )
    .await
    .unwrap();
    assert_eq!(*refused.lock().unwrap(), wrong.len());
}

#[tokio::test]
async fn callers_without_certificate_or_without_tls_are_refused() {
    #[derive(Debug)]
    struct Nothing;
    impl ResolvesClientCert for Nothing {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server), Limits::default()).await;
    let config = client.client_config(agent("server"));
    assert!(
        call(
            running.address,
            with_certificate(&config, Arc::new(Nothing)),
            &[]
        )
        .await
        .is_err()
    );

    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: agent\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The end may come as a reset, since the request was not read.
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(
        call_http1(TcpStream::connect(running.address).await.unwrap(), &[])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn servers_that_are_not_the_expected_one_are_refused() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server.clone()), Limits::default()).await;
    call(running.address, client.client_config(agent("server")), &[])
        .await
        .unwrap();
    assert!(
        connect(running.address, client.client_config(agent("other")))
            .await
            .is_err()
    );

    let config = client.client_config(agent("server"));
    for (what, pair) in wrong_certificates(&mesh, "server") {
        let mut wrong = rustls::ServerConfig::clone(&server.server_config());
        wrong.cert_resolver = presents(&pair);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = tokio::spawn(async move {
            TlsAcceptor::from(Arc::new(wrong))
                .accept(listener.accept().await.unwrap().0)
                .await
                .is_ok()
        });
        assert!(connect(address, config.clone()).await.is_err(), "{what}");
        assert!(!accept.await.unwrap(), "{what}");
    }
}

#[tokio::test]
async fn spoofed_identity_headers_never_arrive() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let by_envoy = format!("By={};URI={}", agent("server"), agent("proxied"));
    let headers = [
        ("X-Forwarded-Client-Cert", by_envoy.as_str()),
        ("x-forwarded-client-cert", "second"),
        (
            "L5d-Client-Id",
            "proxied.test-system.serviceaccount.identity.linkerd.mesh.local",
        ),
    ];
    let mtls = start(Mode::Mtls(server), Limits::default()).await;
    assert_eq!(
        call(
            mtls.address,
            client.client_config(agent("server")),
            &headers
        )
        .await
        .unwrap(),
        format!("{} 0", agent("client"))
    );

    let plain = start(Mode::PlainWithoutIdentity, Limits::default()).await;
    assert_eq!(
        call_http1(TcpStream::connect(plain.address).await.unwrap(), &headers)
            .await
            .unwrap(),
        "nobody 0"
    );
}

#[tokio::test]
async fn behind_a_proxy_only_its_own_header_counts() {
    let by_envoy = format!("By={};URI={}", agent("server"), agent("proxied"));
    let (xfcc, l5d) = (
        ("x-forwarded-client-cert", by_envoy.as_str()),
        (
            "l5d-client-id",
            "proxied.test-system.serviceaccount.identity.linkerd.mesh.local",
        ),
    );
    let expected = format!("{} 0", agent("proxied"));
    let mesh = |family, network: &str| Mode::Mesh {
        family,
        trusted: vec![network.parse().unwrap()],
        own: agent("server"),
    };
    let check = async |mode, headers: &[(&str, &str)], expected: &str| {
        let running = start(mode, Limits::default()).await;
        let answer = call_http1(TcpStream::connect(running.address).await.unwrap(), headers)
            .await
            .unwrap();
        assert_eq!(answer, expected, "{headers:?}");
    };
    check(mesh(HeaderFamily::Xfcc, "127.0.0.1"), &[xfcc], &expected).await;
    check(mesh(HeaderFamily::L5d, "127.0.0.1"), &[l5d], &expected).await;
    check(mesh(HeaderFamily::L5d, "127.0.0.1"), &[xfcc], "missing 0").await;
    check(
        mesh(HeaderFamily::Xfcc, "127.0.0.1"),
        &[xfcc, xfcc],
        "duplicate 0",
    )
    .await;
    check(
        mesh(HeaderFamily::Xfcc, "10.0.0.0/8"),
        &[xfcc],
        "untrusted_proxy 0",
    )
    .await;
    check(mesh(HeaderFamily::Xfcc, "127.0.0.1"), &[], "missing 0").await;
}

#[tokio::test]
async fn without_tls_http2_works_by_prior_knowledge() {
    let running = start(Mode::PlainWithoutIdentity, Limits::default()).await;
    let stream = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = sender
        .send_request(request(&[]))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(answer, "nobody 0");
}
