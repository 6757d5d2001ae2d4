//! Listener and callers over real sockets.

mod admission;
mod limits;
mod rotation;

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, client::ResolvesClientCert};

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
