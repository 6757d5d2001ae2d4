//! Loading, refusing and replacing certificates.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{Either, Empty};
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use time::OffsetDateTime;
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::{LoadIdentityError, ReloadStatus, SvidError, TlsEvent, TlsFiles, TlsIdentity};
use crate::{
    authority::{Authority, CertificatePair},
    fixture::{HOUR, Mesh, agent, call, soon, start, write},
    transport::{Limits, Mode},
};

fn load(mesh: &Mesh, pair: &CertificatePair, bundle: &str) -> Result<(), LoadIdentityError> {
    let files = write(&mesh.folder("case"), pair, bundle);
    TlsIdentity::from_files(files, &agent("server")).map(drop)
}

#[test]
fn refuses_certificates_that_peers_would_refuse() {
    let mesh = Mesh::new();
    let ca = mesh.authority.ca_pem();
    let now = OffsetDateTime::now_utc();
    let good = mesh.authority.issue(&agent("server"), HOUR).unwrap();
    load(&mesh, &good, ca).unwrap();

    let other = mesh.authority.issue(&agent("other"), HOUR).unwrap();
    let refused = load(&mesh, &other, ca).unwrap_err();
    assert!(matches!(
        &refused,
        LoadIdentityError::Svid {
            source: SvidError::OtherWorkload,
            ..
        }
    ));
    assert_eq!(refused.kind(), "other_workload");
    let expired = (now - time::Duration::HOUR, now - time::Duration::MINUTE);
    let expired = mesh
        .authority
        .issue_between(&agent("server"), expired.0, expired.1)
        .unwrap();
    assert_eq!(load(&mesh, &expired, ca).unwrap_err().kind(), "chain");
    let foreign = Authority::generate("mesh.local").unwrap();
    assert_eq!(
        load(&mesh, &good, foreign.ca_pem()).unwrap_err().kind(),
        "chain"
    );
}

#[test]
fn refuses_files_that_do_not_belong_together() {
    let mesh = Mesh::new();
    let ca = mesh.authority.ca_pem();
    let pair = || mesh.authority.issue(&agent("server"), HOUR).unwrap();
    let check = |pair: CertificatePair, bundle: &str, expected: &str| {
        assert_eq!(load(&mesh, &pair, bundle).unwrap_err().kind(), expected);
    };
    check(
        CertificatePair {
            key_pem: pair().key_pem,
            ..pair()
        },
        ca,
        "key",
    );
    check(pair(), "", "trust_bundle");
    check(
        CertificatePair {
            cert_pem: String::new(),
            ..pair()
        },
        ca,
        "no_certificate",
    );
    check(
        CertificatePair {
            key_pem: String::new(),
            ..pair()
        },
        ca,
        "pem",
    );
    check(
        CertificatePair {
            key_pem: pair().cert_pem,
            ..pair()
        },
        ca,
        "pem",
    );
    let none = TlsFiles::in_folder(&mesh.folder("empty"));
    assert_eq!(
        TlsIdentity::from_files(none, &agent("server"))
            .unwrap_err()
            .kind(),
        "read"
    );
}

#[test]
fn a_bad_set_keeps_the_old_one_and_is_reported_once() {
    let mesh = Mesh::new();
    let identity = mesh.identity("server");
    let (folder, expires_at) = (mesh.folder("server"), identity.expires_at());
    let (sender, events) = std::sync::mpsc::channel();
    identity.observe(move |event| {
        sender
            .send(matches!(event, TlsEvent::Reloaded { .. }))
            .unwrap();
    });
    let good = mesh.authority.issue(&agent("server"), 2 * HOUR).unwrap();
    let status =
        |reloads, failures| assert_eq!(identity.status(), ReloadStatus { reloads, failures });

    // Half written: the key is there, the certificate not yet.
    std::fs::write(folder.join("key.pem"), &good.key_pem).unwrap();
    identity.poll();
    status(0, 0);
    std::fs::write(folder.join("cert.pem"), &good.cert_pem).unwrap();
    identity.poll();
    status(1, 0);
    assert!(identity.expires_at() > expires_at);

    std::fs::write(folder.join("cert.pem"), "nonsense").unwrap();
    for _ in 0..4 {
        identity.poll();
    }
    status(1, 1);
    std::fs::remove_file(folder.join("ca.pem")).unwrap();
    for _ in 0..4 {
        identity.poll();
    }
    status(1, 2);
    assert!(identity.reload().is_err());
    status(1, 3);

    write(&folder, &good, mesh.authority.ca_pem());
    identity.poll();
    status(1, 3);
    write(
        &folder,
        &mesh.authority.issue(&agent("server"), HOUR).unwrap(),
        mesh.authority.ca_pem(),
    );
    assert!(identity.reload().unwrap());
    assert!(!identity.reload().unwrap());
    status(2, 3);
    assert_eq!(
        events.try_iter().collect::<Vec<_>>(),
        [true, false, false, false, true]
    );
}

#[tokio::test]
async fn watching_takes_over_new_files_by_itself() {
    let mesh = Mesh::new();
    let identity = mesh.identity("server");
    let (sender, mut events) = mpsc::unbounded_channel();
    identity.observe(move |event| {
        sender
            .send(matches!(event, TlsEvent::Reloaded { .. }))
            .unwrap();
    });
    let stop = CancellationToken::new();
    let watching = tokio::spawn(identity.clone().watch(stop.clone()));
    mesh.authority
        .issue_to(&mesh.folder("server"), &agent("server"), 3 * HOUR)
        .unwrap();
    assert_eq!(soon(events.recv()).await, Some(true));
    assert!(identity.expires_at() > OffsetDateTime::now_utc() + 2 * HOUR);
    stop.cancel();
    watching.await.unwrap();
}

/// Field of a protobuf message, wire type 2.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        encoded.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    encoded.push(u8::try_from(length).unwrap());
    encoded.extend(bytes);
    encoded
}

/// `X509SVIDResponse` of the SPIFFE Workload API with one or more SVIDs, as a gRPC message.
fn svid_response(svids: &[(&str, &CertificatePair, &str)]) -> Bytes {
    let svid = |(id, pair, ca): &(&str, &CertificatePair, &str)| {
        let certificate = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
        let bundle: Vec<u8> = CertificateDer::pem_slice_iter(ca.as_bytes())
            .flat_map(|der| der.unwrap().to_vec())
            .collect();
        let parts = [
            field(1, id.as_bytes()),
            field(2, &certificate),
            field(3, key.secret_der()),
            field(4, &bundle),
        ];
        field(1, &parts.concat())
    };
    let message: Vec<u8> = svids.iter().flat_map(svid).collect();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), &message].concat().into()
}

/// A gRPC answer that goes on for as long as the sender lives.
struct Messages(mpsc::UnboundedReceiver<Bytes>);

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Serves a Workload API: on each stream of X.509 SVIDs the newest state and then every change, and nothing else.
async fn workload_api(listener: UnixListener, state: watch::Receiver<Bytes>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let marked = request
                .headers()
                .get("workload.spiffe.io")
                .is_some_and(|value| value == "true");
            let known = marked && request.uri().path() == "/SpiffeWorkloadAPI/FetchX509SVID";
            let response = Response::builder().header("content-type", "application/grpc");
            let answer = if known {
                response.body(Either::Left(stream_of(state.clone())))
            } else {
                response
                    .header("grpc-status", "12")
                    .body(Either::Right(Empty::new()))
            };
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

fn stream_of(mut state: watch::Receiver<Bytes>) -> Messages {
    let (sender, messages) = mpsc::unbounded_channel();
    state.mark_changed();
    tokio::spawn(async move {
        while state.changed().await.is_ok()
            && sender.send(state.borrow_and_update().clone()).is_ok()
        {}
    });
    Messages(messages)
}

#[tokio::test]
async fn certificates_come_from_a_workload_api_and_are_replaced_by_it() {
    let mesh = Mesh::new();
    let ca = mesh.authority.ca_pem();
    let socket = mesh.folder("api").join("workload.sock");

    // Ours is not the first.
    let (other, first) = (
        mesh.authority.issue(&agent("other"), HOUR).unwrap(),
        mesh.authority.issue(&agent("server"), HOUR).unwrap(),
    );
    let own = agent("server");
    let state = watch::Sender::new(svid_response(&[
        (agent("other").as_str(), &other, ca),
        (own.as_str(), &first, ca),
    ]));
    tokio::spawn(workload_api(
        UnixListener::bind(&socket).unwrap(),
        state.subscribe(),
    ));
    let endpoint = format!("unix:{}", socket.display());
    let identity = TlsIdentity::from_workload_api(Some(&endpoint), &own)
        .await
        .unwrap();
    let running = start(Mode::Mtls(identity.clone()), Limits::default()).await;
    let config = mesh.identity("client").client_config(own.clone());
    assert_eq!(
        call(running.address, config.clone(), &[]).await.unwrap(),
        format!("{} 0", agent("client"))
    );

    let (reloaded, mut events) = mpsc::unbounded_channel();
    identity.observe(move |event| {
        if matches!(event, TlsEvent::Reloaded { .. }) {
            reloaded.send(()).unwrap();
        }
    });
    let stop = CancellationToken::new();
    let watching = tokio::spawn(identity.clone().watch(stop.clone()));
    let second = mesh.authority.issue(&own, 3 * HOUR).unwrap();
    state
        .send(svid_response(&[(own.as_str(), &second, ca)]))
        .unwrap();
    soon(events.recv()).await.unwrap();
    assert!(identity.expires_at() > OffsetDateTime::now_utc() + 2 * HOUR);
    call(running.address, config, &[]).await.unwrap();
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn a_workload_api_without_our_certificate_is_no_source() {
    let mesh = Mesh::new();
    let socket = mesh.folder("api").join("workload.sock");
    let other = mesh.authority.issue(&agent("other"), HOUR).unwrap();
    let state = watch::Sender::new(svid_response(&[(
        agent("other").as_str(),
        &other,
        mesh.authority.ca_pem(),
    )]));
    tokio::spawn(workload_api(
        UnixListener::bind(&socket).unwrap(),
        state.subscribe(),
    ));
    let endpoint = format!("unix:{}", socket.display());
    let refused = tokio::time::timeout(
        Duration::from_millis(500),
        TlsIdentity::from_workload_api(Some(&endpoint), &agent("server")),
    )
    .await;
    // The source goes on asking until its own time is over; what matters is that it hands out nothing.
    assert!(!matches!(refused, Ok(Ok(_))));
}
