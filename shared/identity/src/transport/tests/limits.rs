//! What ends a connection: silence, age, crowds, shutdown.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::any};
use http_body_util::BodyExt;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use super::super::{Limits, Mode, ServeError};
use super::SHORT;
use crate::{
    fixture::{
        HOUR, Mesh, agent, call, call_http1, connect, request, soon, start, start_router, write,
    },
    tls::TlsIdentity,
};

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
