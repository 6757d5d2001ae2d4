//! Listener and callers over real sockets.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::any};
use http_body_util::BodyExt;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls::{ClientConfig, client::ResolvesClientCert};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{HeaderFamily, Limits, Mode, ServeError};
use crate::{
    authority::{Authority, CertificatePair, leaf},
    fixture::{
        Failure, HOUR, Mesh, agent, call, call_http1, connect, presents, request, soon, start,
        start_router, write,
    },
    tls::{TlsEvent, TlsIdentity},
};

/// Short enough for a test, for waits that always run out.
const SHORT: Duration = Duration::from_millis(50);

fn with_certificate(
    config: &ClientConfig,
    certificate: Arc<dyn ResolvesClientCert>,
) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.client_auth_cert_resolver = certificate;
    Arc::new(config)
}

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

#[tokio::test]
async fn stalled_handshakes_do_not_hold_up_others_and_are_cut_off() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let patient = start(
        Mode::Mtls(server.clone()),
        Limits {
            handshake_timeout: HOUR,
            ..Limits::default()
        },
    )
    .await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(patient.address).await.unwrap();
        // The beginning of a ClientHello.
        stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
        stalled.push(stream);
    }
    call(patient.address, client.client_config(agent("server")), &[])
        .await
        .unwrap();

    let strict = start(
        Mode::Mtls(server),
        Limits {
            handshake_timeout: SHORT,
            ..Limits::default()
        },
    )
    .await;
    let mut silent = TcpStream::connect(strict.address).await.unwrap();
    assert_eq!(soon(silent.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn clients_that_never_finish_a_request_are_cut_off() {
    let mesh = Mesh::new();
    let limits = Limits {
        first_request_timeout: SHORT,
        ..Limits::default()
    };
    let plain = start(Mode::PlainWithoutIdentity, limits).await;
    for beginning in [
        "",
        "G",
        "GET / HTTP/1.1\r\nhost: ag",
        "PRI * HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(plain.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        drop(soon(stream.read_to_end(&mut rest)).await);
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{beginning}");
    }
    let tls = start(Mode::Mtls(mesh.identity("server")), limits).await;
    let mut stream = connect(
        tls.address,
        mesh.identity("client").client_config(agent("server")),
    )
    .await
    .unwrap();
    let mut rest = Vec::new();
    drop(soon(stream.read_to_end(&mut rest)).await);
}

#[tokio::test]
async fn an_idle_http1_connection_ends() {
    let running = start(
        Mode::PlainWithoutIdentity,
        Limits {
            idle_timeout: 8 * SHORT,
            ..Limits::default()
        },
    )
    .await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: agent\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("nobody 0"),
        "{answer}"
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let running = start(
        Mode::PlainWithoutIdentity,
        Limits {
            max_connections: 1,
            ..Limits::default()
        },
    )
    .await;
    let first = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut sender, connection) = conn::http1::handshake(first).await.unwrap();
    tokio::spawn(connection);
    drop(
        sender
            .send_request(request(&[]))
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap(),
    );
    let mut second = Box::pin(call_http1(
        TcpStream::connect(running.address).await.unwrap(),
        &[],
    ));
    assert!(timeout(SHORT, second.as_mut()).await.is_err());
    drop(sender);
    assert_eq!(second.await.unwrap(), "nobody 0");
}

#[tokio::test]
async fn old_connections_end_after_their_last_answer() {
    let mesh = Mesh::new();
    let limits = Limits {
        max_connection_age: SHORT,
        ..Limits::default()
    };
    let running = start(Mode::Mtls(mesh.identity("server")), limits).await;
    let config = mesh.identity("client").client_config(agent("server"));
    let stream = connect(running.address, config).await.unwrap();
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    sender
        .send_request(request(&[]))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    soon(connection).await.unwrap().unwrap();
}

/// A handler that waits until the test lets it go.
struct Slow {
    entered: Arc<Notify>,
    leave: Arc<Notify>,
}

impl Slow {
    fn new() -> (Self, Router) {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (entered, leave) = (entered.clone(), leave.clone());
            move || async move {
                entered.notify_one();
                leave.notified().await;
                "done"
            }
        };
        (
            Self { entered, leave },
            Router::new().route("/", any(handler)),
        )
    }
}

#[tokio::test]
async fn shutdown_lets_requests_in_flight_finish_and_accepts_no_more() {
    for http2 in [false, true] {
        let mesh = Mesh::new();
        let (slow, router) = Slow::new();
        let running = start_router(
            Mode::Mtls(mesh.identity("server")),
            Limits::default(),
            router,
        )
        .await;
        let mut config =
            ClientConfig::clone(&mesh.identity("client").client_config(agent("server")));
        config.alpn_protocols = vec![if http2 {
            b"h2".to_vec()
        } else {
            b"http/1.1".to_vec()
        }];
        let config = Arc::new(config);
        let (address, call_config) = (running.address, config.clone());
        let call = tokio::spawn(async move {
            if http2 {
                call(address, call_config, &[]).await
            } else {
                call_http1(connect(address, call_config).await?, &[]).await
            }
        });
        slow.entered.notified().await;
        running.shutdown.cancel();
        // The listener is gone as soon as connecting fails.
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        slow.leave.notify_one();
        assert_eq!(call.await.unwrap().unwrap(), "done");
        soon(running.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn shutdown_cuts_off_what_does_not_finish_in_time() {
    let (slow, router) = Slow::new();
    let running = start_router(
        Mode::PlainWithoutIdentity,
        Limits {
            drain_timeout: SHORT,
            ..Limits::default()
        },
        router,
    )
    .await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let call = tokio::spawn(async move { call_http1(stream, &[]).await });
    slow.entered.notified().await;
    running.shutdown.cancel();
    assert!(matches!(
        soon(running.task).await.unwrap(),
        Err(ServeError::DrainTimeout { connections: 1 })
    ));
    assert!(call.await.unwrap().is_err());
}

/// Calls on fresh connections until told to stop; says how many went well.
async fn keep_calling(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
    stop: tokio_util::sync::CancellationToken,
) -> Result<u64, Failure> {
    let mut calls = 0;
    while !stop.is_cancelled() {
        call(address, config.clone(), &[]).await?;
        calls += 1;
    }
    Ok(calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rotations_on_both_sides_fail_no_call() {
    const ROTATIONS: u64 = 200;
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server.clone()), Limits::default()).await;
    let (config, stop) = (
        client.client_config(agent("server")),
        tokio_util::sync::CancellationToken::new(),
    );
    let callers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(keep_calling(running.address, config.clone(), stop.clone())))
        .collect();
    let rotated = tokio::task::spawn_blocking({
        let (server, client) = (server.clone(), client.clone());
        move || {
            for _ in 0..ROTATIONS {
                for (name, identity) in [("server", &server), ("client", &client)] {
                    mesh.authority
                        .issue_to(&mesh.folder(name), &agent(name), HOUR)
                        .unwrap();
                    assert!(identity.reload().unwrap());
                }
            }
            mesh
        }
    });
    let _mesh = rotated.await.unwrap();
    stop.cancel();
    for caller in callers {
        assert!(caller.await.unwrap().unwrap() > 0);
    }
    assert_eq!(
        (server.status().reloads, client.status().reloads),
        (ROTATIONS, ROTATIONS)
    );
    assert_eq!((server.status().failures, client.status().failures), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_authority_takes_over_without_a_failed_call() {
    let mesh = Mesh::new();
    let (server, client) = (mesh.identity("server"), mesh.identity("client"));
    let running = start(Mode::Mtls(server.clone()), Limits::default()).await;
    let config = client.client_config(agent("server"));
    let stop = tokio_util::sync::CancellationToken::new();
    let caller = tokio::spawn(keep_calling(running.address, config.clone(), stop.clone()));

    // A connection that stays open.
    let stream = connect(running.address, config.clone()).await.unwrap();
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    sender
        .send_request(request(&[]))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();

    let (old, new) = (&mesh.authority, Authority::generate("mesh.local").unwrap());
    let both = format!("{}{}", old.ca_pem(), new.ca_pem());
    let rotate = |authority: &Authority, bundle: &str| {
        for (name, identity) in [("server", &server), ("client", &client)] {
            write(
                &mesh.folder(name),
                &authority.issue(&agent(name), HOUR).unwrap(),
                bundle,
            );
            assert!(identity.reload().unwrap());
        }
    };
    rotate(old, &both);
    soon(connection).await.unwrap().unwrap();
    rotate(&new, &both);
    rotate(&new, new.ca_pem());
    call(running.address, config.clone(), &[]).await.unwrap();
    let outdated = old.issue(&agent("client"), HOUR).unwrap();
    assert!(
        call(
            running.address,
            with_certificate(&config, presents(&outdated)),
            &[]
        )
        .await
        .is_err()
    );
    stop.cancel();
    caller.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_becomes_old_before_its_first_request_still_serves_it() {
    let mesh = Mesh::new();
    let limits = Limits {
        max_connection_age: Duration::ZERO,
        ..Limits::default()
    };
    let running = start(Mode::Mtls(mesh.identity("server")), limits).await;
    let mut config = ClientConfig::clone(&mesh.identity("client").client_config(agent("server")));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect(running.address, Arc::new(config)).await.unwrap();
    // Closing an idle connection would take the server no longer than this.
    assert!(timeout(SHORT, stream.read_u8()).await.is_err());
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: agent\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("sa/client 0"), "{answer}");
}

#[tokio::test]
async fn a_connection_ends_with_its_clients_certificate() {
    let mesh = Mesh::new();
    let running = start(Mode::Mtls(mesh.identity("server")), Limits::default()).await;
    let brief = mesh
        .authority
        .issue(&agent("client"), Duration::from_secs(4))
        .unwrap();
    let files = write(&mesh.folder("client"), &brief, mesh.authority.ca_pem());
    let client = TlsIdentity::from_files(files, &agent("client")).unwrap();
    let stream = connect(running.address, client.client_config(agent("server")))
        .await
        .unwrap();
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    sender
        .send_request(request(&[]))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    soon(connection).await.unwrap().unwrap();
    assert!(OffsetDateTime::now_utc() >= client.expires_at());
}

/// An endless answer that says when its connection has let go of it.
fn endless() -> (Arc<Notify>, Router) {
    let gone = Arc::new(Notify::new());
    let told = gone.clone();
    let handler = move || {
        let guard = Gone(told.clone());
        async move {
            let pieces = futures::stream::repeat_with(move || {
                let _held_by_the_stream = &guard;
                Ok::<_, std::convert::Infallible>(vec![0_u8; 64 << 10])
            });
            axum::body::Body::from_stream(pieces)
        }
    };
    (gone, Router::new().route("/", any(handler)))
}

struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let limits = Limits {
        write_timeout: SHORT,
        ..Limits::default()
    };
    let (gone, router) = endless();
    let running = start_router(Mode::PlainWithoutIdentity, limits, router).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: agent\r\n\r\n";
    stream.write_all(request).await.unwrap();
    soon(gone.notified()).await;
}
