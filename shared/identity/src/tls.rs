//! Certificates of this process, replaced while it runs, and the TLS configurations made of them.

mod error;
mod files;
mod material;
pub(crate) mod svid;
mod verify;
mod workload_api;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::{ClientConfig, ServerConfig};
use spiffe::X509Source;
use time::OffsetDateTime;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::id::SpiffeId;

pub use error::LoadIdentityError;
pub use files::TlsFiles;
pub use svid::SvidError;
pub(crate) use svid::authority_trust_domain;

use material::{Material, Raw, client_config};

/// How often files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// What happened to the certificates, or to a connection made with them.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsEvent<'a> {
    /// New certificates are in use.
    Reloaded {
        /// When they end.
        expires_at: OffsetDateTime,
    },
    /// New certificates could not be used; the old ones stay. Told once for each bad set.
    ReloadFailed(&'a LoadIdentityError),
    /// A peer did not complete the handshake: no, foreign or expired certificate, no TLS, or too slow.
    HandshakeFailed {
        /// Where the connection came from.
        peer: SocketAddr,
        /// What went wrong.
        error: &'a std::io::Error,
    },
}

/// Counters of reloads since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReloadStatus {
    /// Certificates taken into use after the first ones.
    pub reloads: u64,
    /// Bad sets that were refused.
    pub failures: u64,
}

type Observer = Box<dyn Fn(&TlsEvent<'_>) + Send + Sync>;

/// Where certificates come from.
enum Source {
    Files(TlsFiles),
    WorkloadApi(Box<X509Source>),
}

/// What the last looks at the source found.
#[derive(Default)]
struct Seen {
    /// Contents in use.
    loaded: Option<[u8; 32]>,
    /// Bad contents seen once: perhaps somebody is just writing.
    suspect: Option<[u8; 32]>,
    /// Bad contents that were reported.
    reported: Option<[u8; 32]>,
    status: ReloadStatus,
}

/// The certificates of this process: one SPIFFE id, replaced in one step while connections come and go.
///
/// A new set counts for the next handshake, in either direction; a set that peers would refuse (expired,
/// another id, a key that does not fit, an unknown authority) is reported and the old one stays in use.
pub struct TlsIdentity {
    own: SpiffeId,
    source: Source,
    current: Arc<ArcSwap<Material>>,
    seen: Mutex<Seen>,
    observer: OnceLock<Observer>,
    /// Counts changes of the trust bundle.
    trust_changes: watch::Sender<u64>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("own", &self.own)
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Loads certificates from files; `own` is who this process is by its manifest, and the only id
    /// that the certificate may carry. Run [`TlsIdentity::watch`] to follow the files.
    ///
    /// # Errors
    /// [`LoadIdentityError`].
    pub fn from_files(files: TlsFiles, own: &SpiffeId) -> Result<Arc<Self>, LoadIdentityError> {
        let contents = files.read()?;
        let material = Material::new(files.decode(&contents)?, own)?;
        Ok(Arc::new(Self::new(
            own,
            Source::Files(files),
            material,
            contents.fingerprint(),
        )))
    }

    /// Takes certificates from a SPIFFE Workload API, for example `unix:/run/spire/agent.sock`; without an
    /// endpoint from the one that `SPIFFE_ENDPOINT_SOCKET` names. Waits for the first certificate of `own`.
    /// Run [`TlsIdentity::watch`] to follow the updates.
    ///
    /// # Errors
    /// [`LoadIdentityError`].
    pub async fn from_workload_api(
        endpoint: Option<&str>,
        own: &SpiffeId,
    ) -> Result<Arc<Self>, LoadIdentityError> {
        let source = workload_api::connect(endpoint, own).await?;
        let raw = workload_api::read(&source, own)?;
        let fingerprint = raw.fingerprint();
        let material = Material::new(raw, own)?;
        Ok(Arc::new(Self::new(
            own,
            Source::WorkloadApi(Box::new(source)),
            material,
            fingerprint,
        )))
    }

    fn new(own: &SpiffeId, source: Source, material: Material, loaded: [u8; 32]) -> Self {
        Self {
            own: own.clone(),
            source,
            current: Arc::new(ArcSwap::from_pointee(material)),
            seen: Mutex::new(Seen {
                loaded: Some(loaded),
                ..Seen::default()
            }),
            observer: OnceLock::new(),
            trust_changes: watch::Sender::new(0),
        }
    }

    /// Who this process is.
    pub fn id(&self) -> &SpiffeId {
        &self.own
    }

    /// When the certificate in use ends.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.current.load().expires_at
    }

    /// Counters of reloads since the start.
    pub fn status(&self) -> ReloadStatus {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .status
    }

    /// Tells `observer` of every event from now on, for metrics. The first observer stays.
    pub fn observe(&self, observer: impl Fn(&TlsEvent<'_>) + Send + Sync + 'static) {
        // A second observer would be a mistake in the wiring; the first keeps counting.
        drop(self.observer.set(Box::new(observer)));
    }

    /// Looks at the source now and takes what is new into use. Says whether something was.
    /// Reads files, so async code calls it where blocking is allowed.
    ///
    /// # Errors
    /// [`LoadIdentityError`]; the old certificates stay in use.
    pub fn reload(&self) -> Result<bool, LoadIdentityError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut seen)
            .inspect_err(|failure| {
                seen.reported = Some(failure.fingerprint);
                self.report_failure(&mut seen, &failure.error);
            })
            .map_err(|failure| failure.error)
    }

    /// Follows the source until `shutdown`: files are looked at every second, the Workload API pushes.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        let follow = async {
            match &self.source {
                Source::Files(_) => self.follow_files().await,
                Source::WorkloadApi(source) => self.follow_workload_api(source).await,
            }
        };
        shutdown.run_until_cancelled(follow).await;
    }

    /// The server side with the current certificates: TLS 1.3, client certificates required, no resumption.
    /// Ask for it at each accept.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    /// The client side for connections to the one peer `expected`. It can be kept: each handshake uses the
    /// certificates of its moment. ALPN offers `h2` and `http/1.1`; the server's DNS name plays no part.
    pub fn client_config(&self, expected: SpiffeId) -> Arc<ClientConfig> {
        Arc::new(client_config(self.current.clone(), expected))
    }

    /// Changes whenever the trust bundle does.
    pub(crate) fn trust_changes(&self) -> watch::Receiver<u64> {
        self.trust_changes.subscribe()
    }

    /// Tells the observer.
    pub(crate) fn tell(&self, event: &TlsEvent<'_>) {
        if let Some(observer) = self.observer.get() {
            observer(event);
        }
    }

    async fn follow_files(self: &Arc<Self>) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let me = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || me.poll()).await {
                warn!(%error, "looking at the certificate files failed");
            }
        }
    }

    async fn follow_workload_api(&self, source: &X509Source) {
        let mut updates = source.updated();
        loop {
            // The first time for what came before the subscription. The observer and the log have any failure.
            drop(self.reload());
            // The source reconnects by itself and says nothing new meanwhile; it ends only when it is shut down.
            if updates.changed().await.is_err() {
                return;
            }
        }
    }

    /// One look at the files. Bad contents are reported at second sight, since the files may be in the middle of
    /// being written, and tried again at each look, since a certificate may become valid by itself.
    fn poll(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(failure) = self.refresh(&mut seen) else {
            return;
        };
        let found = Some(failure.fingerprint);
        if seen.reported == found {
            return;
        }
        if seen.suspect == found {
            seen.reported = found;
            self.report_failure(&mut seen, &failure.error);
        } else {
            seen.suspect = found;
        }
    }

    /// Loads what is new. Forgets about bad contents as soon as good ones are there.
    fn refresh(&self, seen: &mut Seen) -> Result<bool, Failure> {
        let (raw, fingerprint) = self.read()?;
        if seen.loaded == Some(fingerprint) {
            (seen.suspect, seen.reported) = (None, None);
            return Ok(false);
        }
        let material = raw
            .and_then(|raw| Material::new(raw, &self.own))
            .map_err(|error| Failure { error, fingerprint })?;
        self.take(material);
        *seen = Seen {
            loaded: Some(fingerprint),
            suspect: None,
            reported: None,
            status: seen.status,
        };
        seen.status.reloads += 1;
        Ok(true)
    }

    /// What the source has now, if it can be decoded, and what tells it from anything else.
    fn read(&self) -> Result<(Result<Raw, LoadIdentityError>, [u8; 32]), Failure> {
        match &self.source {
            Source::WorkloadApi(source) => {
                let raw = workload_api::read(source, &self.own).map_err(Failure::of)?;
                let fingerprint = raw.fingerprint();
                Ok((Ok(raw), fingerprint))
            }
            Source::Files(files) => {
                let contents = files.read().map_err(Failure::of)?;
                Ok((files.decode(&contents), contents.fingerprint()))
            }
        }
    }

    fn take(&self, material: Material) {
        let expires_at = material.expires_at;
        let old = self.current.swap(Arc::new(material));
        if old.trust != self.current.load().trust {
            self.trust_changes.send_modify(|count| *count += 1);
        }
        info!(id = %self.own, %expires_at, "certificates replaced");
        self.tell(&TlsEvent::Reloaded { expires_at });
    }

    fn report_failure(&self, seen: &mut Seen, error: &LoadIdentityError) {
        seen.status.failures += 1;
        warn!(id = %self.own, error = %chain(error), "new certificates refused, the old ones stay");
        self.tell(&TlsEvent::ReloadFailed(error));
    }
}

/// A set that could not be used.
struct Failure {
    error: LoadIdentityError,
    /// Which set.
    fingerprint: [u8; 32],
}

impl Failure {
    /// A set that could not even be read: told apart by the error's text.
    fn of(error: LoadIdentityError) -> Self {
        let fingerprint = fingerprint([chain(&error).as_bytes()]);
        Self { error, fingerprint }
    }
}

/// SHA-256 over parts, such that other parts give another digest.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}

#[cfg(test)]
mod tests;
