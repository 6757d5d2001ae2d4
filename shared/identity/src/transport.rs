//! The accept loop under every listener, and the identity of who connects.

mod cidr;
mod connection;
pub mod linkerd;
mod peer;
pub mod xfcc;

use std::{io, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{id::SpiffeId, tls::TlsIdentity};

pub use cidr::{Cidr, CidrError};
pub use peer::{PeerAddress, PeerIdentity, PeerRefused};

use connection::Server;

/// Pause after the system could not accept, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a listener knows who connects.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Mutual TLS 1.3 in this process. Each request carries [`PeerIdentity`].
    Mtls(Arc<TlsIdentity>),
    /// Plain HTTP behind a proxy that did mutual TLS. Each request carries [`PeerIdentity`] or [`PeerRefused`].
    Mesh {
        /// The one header that is believed.
        family: HeaderFamily,
        /// Where the proxy connects from.
        trusted: Vec<Cidr>,
        /// Who we are.
        own: SpiffeId,
    },
    /// Plain HTTP from anybody, for health, metrics and webhooks. No request carries an identity.
    PlainWithoutIdentity,
}

/// Which proxy's header names the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFamily {
    /// Istio and other Envoys: `x-forwarded-client-cert`.
    Xfcc,
    /// Linkerd: `l5d-client-id`.
    L5d,
}

/// The text is neither `xfcc` nor `l5d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not xfcc or l5d")]
pub struct HeaderFamilyError;

impl FromStr for HeaderFamily {
    type Err = HeaderFamilyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "xfcc" => Ok(Self::Xfcc),
            "l5d" => Ok(Self::L5d),
            _ => Err(HeaderFamilyError),
        }
    }
}

/// What one listener puts up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, those in their handshake included; more wait in the system's queue.
    pub max_connections: usize,
    /// Time for the TLS handshake.
    pub handshake_timeout: Duration,
    /// Time from the handshake to the first complete request head.
    pub first_request_timeout: Duration,
    /// Time for each later request head on an HTTP/1 connection, idling included. Longer than clients keep
    /// idle connections (90 s in reqwest), so that the client closes first and no request is lost.
    pub idle_timeout: Duration,
    /// Time within which a client has to take some more of an answer, before it is cut off.
    pub write_timeout: Duration,
    /// How often a silent HTTP/2 client is asked whether it is there.
    pub keep_alive_interval: Duration,
    /// Time to answer that question.
    pub keep_alive_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Size of a request head.
    pub max_header_bytes: u32,
    /// Age at which a connection ends gracefully, if the peer's certificate does not end earlier.
    pub max_connection_age: Duration,
    /// Time that requests in flight get at shutdown.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            handshake_timeout: Duration::from_secs(5),
            first_request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(2),
            write_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(20),
            max_concurrent_streams: 256,
            max_header_bytes: 64 << 10,
            max_connection_age: Duration::from_hours(1),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a listener stopped other than by a complete drain.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket is broken.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
    /// Connections were still busy when the drain ended, and were cut off.
    #[error("{connections} connections were still busy when the drain ended")]
    DrainTimeout {
        /// How many.
        connections: usize,
    },
}

/// Serves a router on a listener until `shutdown`; then accepts nothing more, lets requests in flight finish
/// within [`Limits::drain_timeout`], and cuts off the rest.
///
/// Each connection's handshake runs in its own task under a timeout, so that nobody waits for anybody else.
/// The identity headers of both mesh families are removed from every request, whatever the mode; what a
/// handler may believe stands in the request's extensions: [`PeerIdentity`], [`PeerRefused`] and [`PeerAddress`].
/// Long streams have to end by themselves at shutdown.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    mode: Mode,
    router: Router,
    shutdown: CancellationToken,
    limits: Limits,
) -> Result<(), ServeError> {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let server = Arc::new(Server {
        mode,
        router,
        limits,
        shutdown: shutdown.clone(),
    });
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let accept = async {
        loop {
            let slot = slot(&slots).await;
            let (stream, peer) = accept(&listener).await?;
            let (server, cut_off) = (server.clone(), cut_off.clone());
            connections.spawn(async move {
                cut_off.run_until_cancelled(server.run(stream, peer)).await;
                drop(slot);
            });
        }
    };
    let broken: Option<io::Result<()>> = shutdown.run_until_cancelled(accept).await;
    drop(listener);
    if let Some(Err(error)) = broken {
        shutdown.cancel();
        drain(&connections, &cut_off, limits.drain_timeout).await;
        return Err(ServeError::Accept(error));
    }
    match drain(&connections, &cut_off, limits.drain_timeout).await {
        0 => Ok(()),
        connections => Err(ServeError::DrainTimeout { connections }),
    }
}

/// Waits until one more connection is allowed.
async fn slot(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let slot = slots.clone().acquire_owned().await;
    slot.expect("nobody closes the semaphore")
}

/// Waits for connections to end; says how many had to be cut off.
async fn drain(connections: &TaskTracker, cut_off: &CancellationToken, limit: Duration) -> usize {
    connections.close();
    if timeout(limit, connections.wait()).await.is_ok() {
        return 0;
    }
    let busy = connections.len();
    cut_off.cancel();
    connections.wait().await;
    busy
}

/// The next connection. A client that left again, and a system short of something, are no reason to stop.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(connection) => return Ok(connection),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected
                ) =>
            {
                return Err(error);
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests;
