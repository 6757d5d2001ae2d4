//! Artifacts of OCI registries, as `oras push` makes them: a folder in a tar, or a layer a file.

use std::{collections::BTreeMap, fmt, io::Cursor, sync::Arc, time::Duration};

use base64::Engine as _;
use futures::TryStreamExt;
use oci_client::{
    Client, Reference,
    annotations::ORG_OPENCONTAINERS_IMAGE_TITLE,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciEnvelope, OciErrorCode},
    manifest::{OciDescriptor, OciManifest},
    secrets::RegistryAuth,
};
use serde::Deserialize;

use super::{
    ArchiveError, Gathered,
    archive::{Packing, below, unpack},
    is_wanted,
};
use crate::domain::source::{MAX_FILES, SourceFile};

/// Most bytes of all layers together, packed.
const MAX_PACKED_BYTES: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for a whole artifact.
const PULL_TIMEOUT: Duration = Duration::from_mins(1);
/// oras says with it that a layer is a folder.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The registries that an operator allows, by host and port as references name them.
#[derive(Clone, Default)]
pub struct OciRegistries {
    allowed: Vec<String>,
    credentials: Arc<BTreeMap<String, RegistryAuth>>,
    client: Client,
}

impl fmt::Debug for OciRegistries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciRegistries")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The reference cannot be read.
    #[error(
        "it is no reference of the form REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST"
    )]
    Reference,
    /// The operator does not allow the registry.
    #[error("the registry {0} is not allowed (--oci-allow)")]
    NotAllowed(String),
    /// The registry does not answer in time.
    #[error("the registry does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The registry wants other credentials.
    #[error("the registry refuses the credentials")]
    Unauthorized,
    /// There is no such artifact.
    #[error("there is no such artifact")]
    Missing,
    /// Content that is not what its digest says.
    #[error("the content does not have its digest")]
    Digest,
    /// A list of images, or an answer that cannot be read.
    #[error("it is no artifact with layers")]
    NoArtifact,
    /// Too many layers or bytes.
    #[error("it has more than {MAX_FILES} layers or {MAX_PACKED_BYTES} bytes")]
    TooLarge,
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl From<OciDistributionError> for OciError {
    fn from(error: OciDistributionError) -> Self {
        use OciDistributionError as E;
        match error {
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => Self::Unauthorized,
            E::RegistryError { envelope, .. } if refuses(&envelope) => Self::Unauthorized,
            E::ImageManifestNotFoundError(_)
            | E::RegistryError { .. }
            | E::ServerError { code: 404, .. } => Self::Missing,
            E::DigestError(_) => Self::Digest,
            E::RequestError(_) | E::ServerError { .. } => Self::Unreachable(Box::new(error)),
            E::IoError(error) => error.into(),
            _ => Self::NoArtifact,
        }
    }
}

fn refuses(envelope: &OciEnvelope) -> bool {
    envelope.errors.iter().any(|error| {
        matches!(
            error.code,
            OciErrorCode::Unauthorized | OciErrorCode::Denied
        )
    })
}

/// While a blob streams, a wrong digest arrives as an error of the stream.
impl From<std::io::Error> for OciError {
    fn from(error: std::io::Error) -> Self {
        let is_digest = error
            .get_ref()
            .is_some_and(|inner| inner.to_string().to_ascii_lowercase().contains("digest"));
        if is_digest {
            Self::Digest
        } else {
            Self::Unreachable(error.into())
        }
    }
}

/// Why a file of credentials cannot be used. Never shows what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {{\"auths\": {{HOST: {{\"auth\": BASE64}}}}}}, as docker writes it")]
pub struct CredentialsError;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

fn credentials(text: &str) -> Result<BTreeMap<String, RegistryAuth>, CredentialsError> {
    let config = serde_json::from_str::<DockerConfig>(text).map_err(|_| CredentialsError)?;
    let read = config.auths.into_iter().map(|(host, auth)| {
        let host = host
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default().to_owned();
        let pair = match (auth.auth, auth.username, auth.password) {
            (Some(encoded), _, _) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
                let text = String::from_utf8(bytes.map_err(|_| CredentialsError)?);
                let text = text.map_err(|_| CredentialsError)?;
                let (user, password) = text.split_once(':').ok_or(CredentialsError)?;
                (user.to_owned(), password.to_owned())
            }
            (None, Some(user), Some(password)) => (user, password),
            _ => return Err(CredentialsError),
        };
        Ok((host, RegistryAuth::Basic(pair.0, pair.1)))
    });
    read.collect()
}

impl OciRegistries {
    /// Registries to reach by TLS, and those to reach without; `docker` is the text of a docker configuration.
    ///
    /// # Errors
    /// [`CredentialsError`] when that text cannot be read.
    pub fn new(
        tls: impl IntoIterator<Item = String>,
        plain: impl IntoIterator<Item = String>,
        docker: Option<&str>,
    ) -> Result<Self, CredentialsError> {
        let plain = plain.into_iter().collect::<Vec<_>>();
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(plain.clone()),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            platform_resolver: None,
            user_agent: "db-migrator",
            ..ClientConfig::default()
        };
        Ok(Self {
            allowed: tls.into_iter().chain(plain).collect(),
            credentials: Arc::new(docker.map_or(Ok(BTreeMap::new()), credentials)?),
            client: Client::new(config),
        })
    }

    /// The artifact that a reference names, in a registry that is allowed. Asks nobody.
    ///
    /// # Errors
    /// `Reference` and `NotAllowed`.
    pub fn locate(&self, reference: &str) -> Result<Reference, OciError> {
        let reference = reference
            .parse::<Reference>()
            .map_err(|_| OciError::Reference)?;
        let host = reference.registry();
        if !self.allowed.iter().any(|allowed| allowed == host) {
            return Err(OciError::NotAllowed(host.to_owned()));
        }
        Ok(reference)
    }

    /// The migration files of an artifact below a folder of it.
    ///
    /// # Errors
    /// Every variant of [`OciError`].
    pub async fn pull(
        &self,
        reference: &Reference,
        subfolder: &str,
    ) -> Result<Vec<SourceFile>, OciError> {
        tokio::time::timeout(PULL_TIMEOUT, self.layers(reference, subfolder))
            .await
            .map_err(|error| OciError::Unreachable(error.into()))?
    }

    async fn layers(
        &self,
        reference: &Reference,
        subfolder: &str,
    ) -> Result<Vec<SourceFile>, OciError> {
        let anonymous = RegistryAuth::Anonymous;
        let auth = self
            .credentials
            .get(reference.registry())
            .unwrap_or(&anonymous);
        let (manifest, _) = self.client.pull_manifest(reference, auth).await?;
        let OciManifest::Image(manifest) = manifest else {
            return Err(OciError::NoArtifact);
        };
        let size = |layer: &OciDescriptor| u64::try_from(layer.size).unwrap_or(u64::MAX);
        let total = manifest
            .layers
            .iter()
            .map(size)
            .fold(0, u64::saturating_add);
        if manifest.layers.len() > MAX_FILES || total > MAX_PACKED_BYTES {
            return Err(OciError::TooLarge);
        }
        let mut gathered = Gathered::default();
        for layer in &manifest.layers {
            let title = title(layer);
            if packing(layer).is_none() && !title.is_some_and(is_wanted) {
                continue;
            }
            let bytes = self.blob(reference, layer).await?;
            read_layer(layer, bytes, subfolder, &mut gathered)?;
        }
        Ok(gathered.finish())
    }

    /// A blob, no longer than its descriptor says; the client checks its digest.
    async fn blob(
        &self,
        reference: &Reference,
        layer: &OciDescriptor,
    ) -> Result<Vec<u8>, OciError> {
        let mut stream = self.client.pull_blob_stream(reference, layer).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > u64::try_from(layer.size).unwrap_or_default() {
                return Err(OciError::TooLarge);
            }
        }
        Ok(bytes)
    }
}

fn annotation<'a>(layer: &'a OciDescriptor, key: &str) -> Option<&'a str> {
    Some(layer.annotations.as_ref()?.get(key)?.as_str())
}

fn title(layer: &OciDescriptor) -> Option<&str> {
    annotation(layer, ORG_OPENCONTAINERS_IMAGE_TITLE)
}

/// How a layer is packed. oras gives a single file the media type of a tar too, so the name of what was pushed counts
/// before it.
fn packing(layer: &OciDescriptor) -> Option<Packing> {
    let kind = layer.media_type.as_str();
    let by_kind = if kind.ends_with("tar+gzip") || kind.ends_with("tar.gzip") {
        Some(Packing::TarGzip)
    } else {
        kind.ends_with("layer.v1.tar").then_some(Packing::Tar)
    };
    let is_folder = annotation(layer, UNPACK) == Some("true");
    match title(layer).filter(|_| !is_folder) {
        Some(title) => Packing::of(title),
        None => by_kind,
    }
}

fn read_layer(
    layer: &OciDescriptor,
    bytes: Vec<u8>,
    subfolder: &str,
    gathered: &mut Gathered,
) -> Result<(), OciError> {
    let Some(packing) = packing(layer) else {
        let title = title(layer).unwrap_or_default();
        if let Some(place) = below(title, subfolder)? {
            gathered.take(place, bytes).map_err(ArchiveError::from)?;
        }
        return Ok(());
    };
    // The entries of a folder that oras packed start with the folder's name.
    let folder = annotation(layer, UNPACK)
        .filter(|unpack| *unpack == "true")
        .and_then(|_| title(layer))
        .unwrap_or_default();
    let size = bytes.len() as u64;
    let root = format!("{folder}/{subfolder}");
    for file in unpack(Cursor::new(bytes), size, packing, &root)? {
        gathered
            .take(file.name, file.content.into_bytes())
            .map_err(ArchiveError::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_credentials_as_docker_writes_them_and_hides_them() {
        let text = r#"{"auths": {"https://r.example/v1/": {"auth": "YWxpY2U6czNjcmV0"}, "q.example": {"username": "bob", "password": "p"}}}"#;
        let read = credentials(text).unwrap();
        let alice = RegistryAuth::Basic("alice".into(), "s3cret".into());
        assert_eq!(read.get("r.example"), Some(&alice));
        assert!(read.contains_key("q.example"));
        let registries = OciRegistries::new(["r.example".into()], [], Some(text)).unwrap();
        assert!(!format!("{registries:?}").contains("s3cret"));
        for bad in [
            "",
            "7",
            r#"{"auths": {"a": {"auth": "?"}}}"#,
            r#"{"auths": {"a": {}}}"#,
        ] {
            assert_eq!(credentials(bad), Err(CredentialsError), "{bad}");
        }
    }

    #[test]
    fn reaches_only_registries_that_are_allowed() {
        let registries = OciRegistries::new(["r.example".into()], [], None).unwrap();
        for other in [
            "q.example/a:1",
            "r.example:5000/a:1",
            "r.example.evil/a:1",
            "a:1",
        ] {
            let located = registries.locate(other);
            assert!(matches!(located, Err(OciError::NotAllowed(_))), "{other}");
        }
        assert!(matches!(
            registries.locate("R E F"),
            Err(OciError::Reference)
        ));
    }
}
