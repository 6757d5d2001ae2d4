use std::fmt;
use std::sync::Arc;

use http::Request;
use kube::core::{ApiResource, DynamicObject, Selector, SelectorExt};
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::error::ClusterError;
use crate::live::Live;
use crate::snapshot::{Snapshot, SnapshotError};
use crate::source::{ClusterArgs, ClusterSource};

/// Objects asked of the API server at once.
const PAGE: usize = 500;
/// Most objects of one list; a larger one is refused rather than held in memory.
const MAX_LIST: usize = 100_000;
/// Longest name or namespace that Kubernetes allows.
const MAX_NAME: usize = 253;

/// A live cluster or a snapshot of one. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) source: ClusterSource,
    pub(crate) backend: Backend,
}

#[derive(Clone)]
pub(crate) enum Backend {
    Live(Live),
    Snapshot(Arc<OnceCell<Snapshot>>),
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster")
            .field(&self.source.to_string())
            .finish()
    }
}

impl Cluster {
    /// Makes a cluster from the flag. Nothing is read and nobody is called before the first use.
    ///
    /// # Errors
    /// [`ClusterError::Snapshot`] when the snapshot's folder is not a folder.
    pub fn connect(args: &ClusterArgs) -> Result<Self, ClusterError> {
        let source = args.cluster.clone();
        let backend = match &source {
            ClusterSource::Snapshot(folder) if !folder.is_dir() => {
                return Err(SnapshotError::NotAFolder(folder.clone()).into());
            }
            ClusterSource::Snapshot(_) => Backend::Snapshot(Arc::default()),
            ClusterSource::Kubeconfig { .. } | ClusterSource::InCluster => {
                Backend::Live(Live::new(source.clone()))
            }
        };
        Ok(Self { source, backend })
    }

    /// Where the objects come from.
    pub fn source(&self) -> &ClusterSource {
        &self.source
    }

    /// Says whether writes are refused because this is a snapshot.
    pub fn is_snapshot(&self) -> bool {
        matches!(self.backend, Backend::Snapshot(_))
    }

    /// The kube client of a live cluster, for calls that this crate does not have.
    ///
    /// # Errors
    /// [`ClusterError::ReadOnly`] for a snapshot, [`ClusterError::Unavailable`] when the
    /// configuration cannot be read.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        self.live("open a client")?.client().await
    }

    /// Asks the API server for its version: the cheapest proof that it answers.
    /// A snapshot answers `snapshot` once its folder is read.
    ///
    /// # Errors
    /// Any of [`ClusterError`].
    pub async fn version(&self) -> Result<String, ClusterError> {
        match &self.backend {
            Backend::Snapshot(_) => {
                self.snapshot().await?;
                Ok("snapshot".to_owned())
            }
            Backend::Live(live) => {
                let action = "read the version";
                let request = request(action, http::Method::GET, "/version", Vec::new())?;
                let version: Version = live.call(action, "Version", request).await?;
                Ok(version.git_version)
            }
        }
    }

    /// Lists the objects of a kind in one namespace, or everywhere with `None`.
    ///
    /// # Errors
    /// Any of [`ClusterError`] except `ReadOnly` and `Conflict`.
    pub async fn list<K>(&self, namespace: Option<&str>) -> Result<Vec<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let url = K::url_path(&(), namespace);
        self.list_all(&kind, &url, namespace, None).await
    }

    /// Lists the objects whose labels satisfy a selector.
    ///
    /// # Errors
    /// As [`Cluster::list`].
    pub async fn list_matching<K>(
        &self,
        namespace: Option<&str>,
        labels: &Selector,
    ) -> Result<Vec<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let url = K::url_path(&(), namespace);
        self.list_all(&kind, &url, namespace, Some(labels)).await
    }

    /// Lists the objects of a kind that is known at run time only.
    ///
    /// # Errors
    /// As [`Cluster::list`].
    pub async fn list_dynamic(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
    ) -> Result<Vec<DynamicObject>, ClusterError> {
        let url = DynamicObject::url_path(kind, namespace);
        self.list_all(kind, &url, namespace, None).await
    }

    /// Reads one object; `None` when it does not exist. Cluster-scoped kinds take no namespace.
    ///
    /// # Errors
    /// Any of [`ClusterError`] except `ReadOnly` and `Conflict`.
    pub async fn get<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let url = K::url_path(&(), namespace);
        self.get_one(&kind, &url, namespace, name).await
    }

    /// Reads one object of a kind that is known at run time only.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn get_dynamic(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<DynamicObject>, ClusterError> {
        let url = DynamicObject::url_path(kind, namespace);
        self.get_one(kind, &url, namespace, name).await
    }

    pub(crate) fn live(&self, action: &str) -> Result<&Live, ClusterError> {
        match &self.backend {
            Backend::Live(live) => Ok(live),
            Backend::Snapshot(_) => Err(ClusterError::ReadOnly {
                action: action.to_owned(),
            }),
        }
    }

    async fn list_all<T: DeserializeOwned>(
        &self,
        kind: &ApiResource,
        url: &str,
        namespace: Option<&str>,
        labels: Option<&Selector>,
    ) -> Result<Vec<T>, ClusterError> {
        let action = action("list", kind, namespace, None);
        check_name(&action, namespace)?;
        match &self.backend {
            Backend::Live(live) => list_live(live, &action, kind, url, labels).await,
            Backend::Snapshot(_) => {
                let found = self.snapshot().await?.find(kind, namespace);
                found
                    .filter(|object| labels.is_none_or(|labels| labels.matches(&labels_of(object))))
                    .map(|object| decode(&action, kind, object))
                    .collect()
            }
        }
    }

    async fn get_one<T: DeserializeOwned>(
        &self,
        kind: &ApiResource,
        url: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<T>, ClusterError> {
        let action = action("get", kind, namespace, Some(name));
        check_name(&action, namespace)?;
        check_name(&action, Some(name))?;
        match &self.backend {
            Backend::Live(live) => {
                let url = format!("{url}/{name}");
                let request = request(&action, http::Method::GET, &url, Vec::new())?;
                match live.call(&action, &kind.kind, request).await {
                    Ok(object) => Ok(Some(object)),
                    Err(ClusterError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Backend::Snapshot(_) => {
                let mut found = self.snapshot().await?.find(kind, namespace);
                found
                    .find(|object| object.pointer("/metadata/name") == Some(&Value::from(name)))
                    .map(|object| decode(&action, kind, object))
                    .transpose()
            }
        }
    }

    async fn snapshot(&self) -> Result<&Snapshot, ClusterError> {
        match (&self.backend, &self.source) {
            (Backend::Snapshot(cell), ClusterSource::Snapshot(folder)) => {
                let load = || Snapshot::load(folder.clone());
                Ok(cell.get_or_try_init(load).await?)
            }
            _ => Err(ClusterError::NotFound {
                action: "read a snapshot of a live cluster".to_owned(),
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default)]
    metadata: PageMeta,
}

#[derive(Deserialize, Default)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

async fn list_live<T: DeserializeOwned>(
    live: &Live,
    action: &str,
    kind: &ApiResource,
    url: &str,
    labels: Option<&Selector>,
) -> Result<Vec<T>, ClusterError> {
    let selector = labels.map(ToString::to_string).unwrap_or_default();
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let url = format!(
            "{url}?limit={PAGE}&labelSelector={}&continue={}",
            escape(&selector),
            escape(&next)
        );
        let request = request(action, http::Method::GET, &url, Vec::new())?;
        let page: Page<T> = live
            .call(action, &format!("{}List", kind.kind), request)
            .await?;
        all.extend(page.items);
        if all.len() > MAX_LIST {
            return Err(ClusterError::Invalid {
                action: action.to_owned(),
                message: format!("more than {MAX_LIST} objects"),
            });
        }
        match page.metadata.next.filter(|next| !next.is_empty()) {
            Some(token) => next = token,
            None => return Ok(all),
        }
    }
}

/// Names a call for errors: `get deployments web in shop`.
pub(crate) fn action(
    verb: &str,
    kind: &ApiResource,
    namespace: Option<&str>,
    name: Option<&str>,
) -> String {
    let mut text = format!("{verb} {}", kind.plural);
    if let Some(name) = name {
        text.push(' ');
        text.push_str(&shown(name));
    }
    if let Some(namespace) = namespace {
        text.push_str(" in ");
        text.push_str(&shown(namespace));
    }
    text
}

fn shown(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control())
        .take(MAX_NAME)
        .collect()
}

/// Refuses a name that could change the path of the request.
pub(crate) fn check_name(action: &str, name: Option<&str>) -> Result<(), ClusterError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let ok = name.is_none_or(|name| {
        (1..=MAX_NAME).contains(&name.len())
            && name.chars().all(allowed)
            && name != "."
            && name != ".."
    });
    if ok {
        return Ok(());
    }
    Err(ClusterError::Invalid {
        action: action.to_owned(),
        message: "not a name that Kubernetes allows".to_owned(),
    })
}

pub(crate) fn request(
    action: &str,
    method: http::Method,
    url: &str,
    body: Vec<u8>,
) -> Result<Request<Vec<u8>>, ClusterError> {
    Request::builder()
        .method(method)
        .uri(url)
        .header(http::header::ACCEPT, "application/json")
        .body(body)
        .map_err(|error| ClusterError::Invalid {
            action: action.to_owned(),
            message: error.to_string(),
        })
}

/// Percent-encodes one query value.
pub(crate) fn escape(text: &str) -> String {
    use fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every write");
        }
        out
    })
}

fn labels_of(object: &Value) -> std::collections::BTreeMap<String, String> {
    object
        .pointer("/metadata/labels")
        .and_then(|labels| Deserialize::deserialize(labels).ok())
        .unwrap_or_default()
}

fn decode<T: DeserializeOwned>(
    action: &str,
    kind: &ApiResource,
    object: &Value,
) -> Result<T, ClusterError> {
    T::deserialize(object).map_err(|_| ClusterError::Decode {
        action: action.to_owned(),
        kind: kind.kind.clone(),
    })
}
