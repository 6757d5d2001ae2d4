use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The flag that says which cluster an agent works on.
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterArgs {
    /// Where Kubernetes is: `kubeconfig[:PATH[#CONTEXT]]`, `in-cluster` or `snapshot:DIR`.
    #[arg(
        long,
        env = "AGENT_CLUSTER",
        value_name = "SOURCE",
        default_value = "kubeconfig"
    )]
    pub cluster: ClusterSource,
}

impl Default for ClusterArgs {
    fn default() -> Self {
        Self {
            cluster: ClusterSource::Kubeconfig {
                path: None,
                context: None,
            },
        }
    }
}

/// Where the objects of a cluster come from; parses itself from the flag's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterSource {
    /// An API server named by a kubeconfig.
    Kubeconfig {
        /// The file; without one, `$KUBECONFIG` and then `~/.kube/config`.
        path: Option<PathBuf>,
        /// The context; without one, the file's current context.
        context: Option<String>,
    },
    /// The API server of the cluster in which this process is a pod.
    InCluster,
    /// A folder of objects.
    Snapshot(PathBuf),
}

/// Why a text names no cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseClusterSourceError {
    /// The word before the first colon is not known.
    #[error(
        "unknown cluster source {0:?}: expected kubeconfig[:PATH[#CONTEXT]], in-cluster or snapshot:DIR"
    )]
    Unknown(String),
    /// A path or a context is announced and empty.
    #[error("cluster source {0:?} names no {1}")]
    Empty(String, &'static str),
}

impl FromStr for ClusterSource {
    type Err = ParseClusterSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let empty = |what| ParseClusterSourceError::Empty(text.to_owned(), what);
        match text.split_once(':') {
            None if text == "kubeconfig" => Ok(ClusterArgs::default().cluster),
            None if text == "in-cluster" => Ok(Self::InCluster),
            Some(("snapshot", "")) => Err(empty("folder")),
            Some(("snapshot", folder)) => Ok(Self::Snapshot(folder.into())),
            Some(("kubeconfig", rest)) => match rest.rsplit_once('#') {
                Some(("", _)) => Err(empty("file")),
                Some((_, "")) => Err(empty("context")),
                Some((path, context)) => Ok(Self::Kubeconfig {
                    path: Some(path.into()),
                    context: Some(context.to_owned()),
                }),
                None if rest.is_empty() => Err(empty("file")),
                None => Ok(Self::Kubeconfig {
                    path: Some(rest.into()),
                    context: None,
                }),
            },
            _ => Err(ParseClusterSourceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for ClusterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubeconfig { path, context } => {
                f.write_str("kubeconfig")?;
                if let Some(path) = path {
                    write!(f, ":{}", path.display())?;
                }
                context
                    .iter()
                    .try_for_each(|context| write!(f, "#{context}"))
            }
            Self::InCluster => f.write_str("in-cluster"),
            Self::Snapshot(folder) => write!(f, "snapshot:{}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClusterSource, ParseClusterSourceError> {
        text.parse()
    }

    #[test]
    fn reads_every_documented_form_and_writes_it_back() {
        for text in [
            "kubeconfig",
            "kubeconfig:/home/me/.kube/config",
            "kubeconfig:config#kind-dev",
            "in-cluster",
            "snapshot:testdata/cluster",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn takes_the_last_hash_as_the_start_of_the_context() {
        assert_eq!(
            parse("kubeconfig:a#b#c"),
            Ok(ClusterSource::Kubeconfig {
                path: Some("a#b".into()),
                context: Some("c".to_owned()),
            })
        );
    }

    #[test]
    fn refuses_what_names_nothing() {
        for text in [
            "kubeconfig:",
            "kubeconfig:#ctx",
            "kubeconfig:a#",
            "snapshot:",
        ] {
            assert!(
                matches!(parse(text), Err(ParseClusterSourceError::Empty(..))),
                "{text}"
            );
        }
        for text in [
            "",
            "snapshot",
            "minikube",
            "https://10.0.0.1",
            "in-cluster:x",
        ] {
            assert!(
                matches!(parse(text), Err(ParseClusterSourceError::Unknown(_))),
                "{text}"
            );
        }
    }
}
