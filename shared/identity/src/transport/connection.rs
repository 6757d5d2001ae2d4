//! One connection, from the handshake to its graceful end.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::debug;

use super::{Limits, Mode, peer::Caller, peer::PeerAddress};
use crate::tls::{TlsEvent, TlsIdentity, svid};

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) mode: Mode,
    pub(super) router: Router,
    pub(super) limits: Limits,
    /// Ends connections gracefully.
    pub(super) shutdown: CancellationToken,
}

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    /// Agreed upon in the handshake.
    Http1,
    /// Agreed upon in the handshake.
    Http2,
    /// To be seen from the first bytes.
    Detect,
}

impl Server {
    /// Serves one connection to its end.
    pub(super) async fn run(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "connection ended before it began");
            return;
        }
        match &self.mode {
            Mode::Mtls(identity) => self.run_tls(stream, peer, identity).await,
            Mode::Mesh { .. } | Mode::PlainWithoutIdentity => {
                let peer = (peer, Caller::of_plain(&self.mode, peer));
                let old = sleep(self.limits.max_connection_age);
                self.run_http(stream, Protocol::Detect, peer, old).await;
            }
        }
    }

    async fn run_tls(&self, stream: TcpStream, peer: SocketAddr, identity: &TlsIdentity) {
        // Subscribed before the handshake: a bundle that changes during it counts.
        let mut trust = identity.trust_changes();
        let handshake = timeout(
            self.limits.handshake_timeout,
            TlsAcceptor::from(identity.server_config()).accept(stream),
        );
        let Some(result) = self.shutdown.run_until_cancelled(handshake).await else {
            return;
        };
        let stream = result.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "handshake took too long",
            ))
        });
        let (stream, svid) = match stream
            .and_then(|stream| read_peer(&stream, identity).map(|svid| (stream, svid)))
        {
            Ok(verified) => verified,
            Err(error) => {
                debug!(%peer, %error, "handshake failed");
                identity.tell(&TlsEvent::HandshakeFailed {
                    peer,
                    error: &error,
                });
                return;
            }
        };
        let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        let left = Duration::try_from(svid.not_after - OffsetDateTime::now_utc());
        let age = left.unwrap_or_default().min(self.limits.max_connection_age);
        let old = async {
            tokio::select! {
                () = sleep(age) => {}
                _ = trust.changed() => {}
            }
        };
        let peer = (peer, Caller::Verified(svid.id));
        self.run_http(stream, protocol, peer, old).await;
    }

    /// Serves requests until the client goes, the connection is `old`, or the process shuts down; the latter
    /// two let requests in flight finish. An old connection that is about to send its first request may
    /// still send it, and one that sends no request at all is cut off.
    async fn run_http<S>(
        &self,
        stream: S,
        protocol: Protocol,
        (peer, caller): (SocketAddr, Caller),
        old: impl Future<Output = ()>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let requested = CancellationToken::new();
        let service = {
            let (requested, router) = (requested.clone(), self.router.clone());
            service_fn(move |request: Request<Incoming>| {
                requested.cancel();
                answer(router.clone(), request, &caller, peer)
            })
        };
        let silent = async {
            let first = timeout(self.limits.first_request_timeout, requested.cancelled());
            if first.await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let retired = async {
            old.await;
            requested.cancelled().await;
        };
        let builder = builder(protocol, &self.limits);
        let mut connection =
            pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::select! {
            result = connection.as_mut() => return log_end(peer, result),
            () = silent => return debug!(%peer, "no request came"),
            () = retired => debug!(%peer, "connection retired"),
            () = self.shutdown.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        log_end(peer, connection.await);
    }
}

/// Marks the request with its caller and hands it to the router.
fn answer(
    mut router: Router,
    mut request: Request<Incoming>,
    caller: &Caller,
    peer: SocketAddr,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    caller.mark(&mut request);
    request.extensions_mut().insert(PeerAddress(peer));
    router.call(request)
}

fn builder(protocol: Protocol, limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(limits.max_header_bytes as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_bytes);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
        Protocol::Detect => builder,
    }
}

fn read_peer(stream: &TlsStream<TcpStream>, identity: &TlsIdentity) -> io::Result<svid::Svid> {
    let certificates = stream.get_ref().1.peer_certificates();
    let leaf = certificates
        .and_then(<[_]>::first)
        .ok_or_else(|| io::Error::other("no client certificate"))?;
    svid::read_in(leaf, identity.id().trust_domain()).map_err(io::Error::other)
}

fn log_end(peer: SocketAddr, result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        debug!(%peer, %error, "connection ended badly");
    }
}
