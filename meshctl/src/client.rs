//! Calls to agents as an external caller, over mTLS.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use identity::{SpiffeId, TlsFiles, TlsIdentity};
use serde_json::{Value, json};

/// The id of one agent's SPIFFE identity, and where it is.
#[derive(Debug, Clone)]
pub struct Target {
    /// Base URL.
    pub url: String,
    /// The identity it has to prove.
    pub id: SpiffeId,
}

/// What a call was answered with.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The artifact or the error object.
    pub result: Result<Value, Value>,
    /// The task, when one was made.
    pub task_id: Option<String>,
}

impl Answer {
    /// The artifact.
    ///
    /// # Errors
    /// The agent's error as a sentence.
    pub fn ok(self) -> anyhow::Result<Value> {
        match self.result {
            Ok(value) => Ok(value),
            Err(error) => bail!(
                "{} ({})",
                error
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("the agent refused"),
                error.get("code").unwrap_or(&Value::Null)
            ),
        }
    }

    /// `ErrorInfo.reason` of a refusal.
    pub fn reason(&self) -> Option<&str> {
        self.result
            .as_ref()
            .err()?
            .pointer("/data/0/reason")?
            .as_str()
    }

    /// A string of `ErrorInfo.metadata` of a refusal.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.result
            .as_ref()
            .err()?
            .pointer("/data/0/metadata")?
            .get(key)?
            .as_str()
    }
}

/// An external caller with its certificate.
#[derive(Debug, Clone)]
pub struct Caller {
    identity: std::sync::Arc<TlsIdentity>,
    folder: PathBuf,
}

impl Caller {
    /// Loads the certificate of external caller `name` from the state folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn load(root: &Path, trust_domain: &str, name: &str) -> anyhow::Result<Self> {
        let folder = root.join("callers").join(name);
        Self::in_folder(&folder, &SpiffeId::external(trust_domain, name)?)
    }

    /// Loads the certificate of the caller `id` from a folder of its own.
    ///
    /// # Errors
    /// When there is none.
    pub fn in_folder(folder: &Path, id: &SpiffeId) -> anyhow::Result<Self> {
        let identity =
            TlsIdentity::from_files(TlsFiles::in_folder(folder), id).with_context(|| {
                let name = id.external_name().unwrap_or("the caller");
                format!("no certificate of {name} in {}", folder.display())
            })?;
        Ok(Self {
            identity,
            folder: folder.to_owned(),
        })
    }

    /// A client that accepts exactly this agent.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn connect(&self, target: &Target) -> anyhow::Result<reqwest::Client> {
        let config = rustls::ClientConfig::clone(&self.identity.client_config(target.id.clone()));
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .tcp_nodelay(true)
            .build()?)
    }

    /// Calls a method; `traceparent` continues a trace.
    ///
    /// # Errors
    /// When there is no JSON-RPC answer.
    pub async fn call(
        &self,
        target: &Target,
        method: &str,
        params: &Value,
        traceparent: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut post = self
            .connect(target)?
            .post(format!("{}/a2a", target.url))
            .header("A2A-Version", "1.0")
            .json(&request);
        if let Some(parent) = traceparent {
            post = post.header("traceparent", parent);
        }
        let response = post
            .send()
            .await
            .with_context(|| format!("cannot reach {}", target.url))?;
        let task = response
            .headers()
            .get(shared::a2a::TASK_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let status = response.status();
        let body: Value = response
            .json()
            .await
            .with_context(|| format!("{} answered HTTP {status} without JSON", target.url))?;
        let in_error = body
            .pointer("/error/data/0/metadata/task_id")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let result = match body.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(body.get("result").cloned().unwrap_or_default()),
        };
        Ok(Answer {
            result,
            task_id: task.or(in_error),
        })
    }

    /// The same call for `curl`, as a line for a shell.
    pub fn curl(&self, target: &Target, method: &str, params: &Value) -> String {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let file = |name: &str| quoted(&self.folder.join(name).display().to_string());
        format!(
            "curl --cacert {} --cert {} --key {} -H 'content-type: application/json' -H 'A2A-Version: 1.0' -d {} {}/a2a",
            file("ca.pem"),
            file("cert.pem"),
            file("key.pem"),
            quoted(&request.to_string()),
            target.url
        )
    }
}

/// A word, quoted for a shell where it has to be.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in [
            "/tmp/mesh/ca.pem",
            "a b",
            "it's",
            "$HOME `id` \"x\"",
            r#"{"a": "it's"}"#,
        ] {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
