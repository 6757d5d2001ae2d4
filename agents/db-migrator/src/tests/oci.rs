//! A registry that speaks the distribution API, with artifacts as `oras push` makes them.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use shared::{Skill, SkillError, testing::FakeAgent};

use crate::{
    Metrics,
    clients::{
        Databases, OciRegistries, Workspace,
        source::{ArchiveError, OciError},
    },
    skills::{LintMigration, Workbench},
};

/// Blobs and manifests by digest, manifests by tag, and the password that is asked for.
#[derive(Default, Clone)]
struct Content {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    password: Option<String>,
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Content {
    fn layer(&mut self, bytes: &[u8], kind: &str, annotations: &Value) -> Value {
        self.blobs.insert(digest(bytes), bytes.to_vec());
        json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len(), "annotations": annotations })
    }

    fn manifest(&mut self, tag: &str, layers: &[Value]) -> String {
        let config = self.layer(b"{}", "application/vnd.oci.empty.v1+json", &json!({}));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.unknown.artifact.v1",
            "config": config,
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = digest(&bytes);
        self.manifests.insert(tag.into(), bytes.clone());
        self.manifests.insert(digest.clone(), bytes);
        digest
    }
}

async fn serve(content: Content) -> String {
    let app = Router::new()
        .route("/v2/", get(version))
        .route("/v2/shop/migrations/manifests/{reference}", get(manifest))
        .route("/v2/shop/migrations/blobs/{digest}", get(blob))
        .with_state(Arc::new(content));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address.to_string()
}

fn denied(content: &Content, headers: &HeaderMap) -> Option<Response> {
    use base64::Engine as _;
    let password = content.password.as_ref()?;
    let pair = format!("ci:{password}");
    let expected = base64::engine::general_purpose::STANDARD.encode(pair);
    let sent = headers.get(header::AUTHORIZATION);
    let right = sent.is_some_and(|sent| sent.as_bytes() == format!("Basic {expected}").as_bytes());
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"registry\"")];
    (!right).then(|| (StatusCode::UNAUTHORIZED, challenge).into_response())
}

/// Says how to authenticate, as registries do.
async fn version(State(content): State<Arc<Content>>, headers: HeaderMap) -> Response {
    denied(&content, &headers).unwrap_or_else(|| StatusCode::OK.into_response())
}

async fn manifest(
    State(content): State<Arc<Content>>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(denied) = denied(&content, &headers) {
        return denied;
    }
    match content.manifests.get(&reference) {
        Some(bytes) => (
            [
                (
                    header::CONTENT_TYPE,
                    "application/vnd.oci.image.manifest.v1+json".to_owned(),
                ),
                ("docker-content-digest".parse().unwrap(), digest(bytes)),
            ],
            bytes.clone(),
        )
            .into_response(),
        None => (
            StatusCode::NOT_FOUND,
            r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}"#,
        )
            .into_response(),
    }
}

async fn blob(State(content): State<Arc<Content>>, Path(digest): Path<String>) -> Response {
    match content.blobs.get(&digest) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn packed(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&builder.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A folder under the tag `folder`, single files under `files`, a blob that is not what it says under `forged`.
fn shop() -> (Content, String) {
    let mut content = Content::default();
    let folder = packed(&[
        ("migrations/1_a.up.sql", "select 1"),
        ("migrations/2_b.up.sql", "select 2"),
    ]);
    let unpack = json!({ "org.opencontainers.image.title": "migrations", "io.deis.oras.content.unpack": "true" });
    let layer = content.layer(&folder, TAR_GZIP, &unpack);
    let pinned = content.manifest("folder", &[layer]);
    let files = [
        ("db/1_a.up.sql", "select 1"),
        ("db/README.md", "hello"),
        ("seed.sql", "select 3"),
    ];
    let layers = files.map(|(name, text)| {
        content.layer(
            text.as_bytes(),
            TAR,
            &json!({ "org.opencontainers.image.title": name }),
        )
    });
    content.manifest("files", &layers);
    let escape = json!({ "org.opencontainers.image.title": "../1_a.up.sql" });
    let layer = content.layer(b"select 1", TAR, &escape);
    content.manifest("escape", &[layer]);
    let layer = content.layer(
        b"select 4",
        TAR,
        &json!({ "org.opencontainers.image.title": "1_a.sql" }),
    );
    content.blobs.insert(
        layer["digest"].as_str().unwrap().into(),
        b"select 5".to_vec(),
    );
    content.manifest("forged", &[layer]);
    let mut layer = content.layer(
        b"select 6",
        TAR,
        &json!({ "org.opencontainers.image.title": "1_a.sql" }),
    );
    layer["size"] = json!(3);
    content.manifest("longer", &[layer]);
    (content, pinned)
}

async fn names(
    registries: &OciRegistries,
    reference: &str,
    subfolder: &str,
) -> Result<Vec<String>, OciError> {
    let artifact = registries.locate(reference)?;
    let files = registries.pull(&artifact, subfolder).await?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

#[tokio::test]
async fn pulls_folders_and_files_by_tag_and_by_digest() {
    let (content, pinned) = shop();
    let host = serve(content).await;
    let registries = OciRegistries::new([], [host.clone()], None).unwrap();
    let repository = format!("{host}/shop/migrations");
    let both = ["1_a.up.sql", "2_b.up.sql"];
    let pull = async |suffix: &str, subfolder: &str| {
        names(&registries, &format!("{repository}{suffix}"), subfolder).await
    };
    assert_eq!(pull(":folder", "").await.unwrap(), both);
    assert_eq!(pull(&format!("@{pinned}"), "").await.unwrap(), both);
    assert_eq!(
        pull(":files", "").await.unwrap(),
        ["db/1_a.up.sql", "seed.sql"]
    );
    assert_eq!(pull(":files", "db").await.unwrap(), ["1_a.up.sql"]);
    let error = async |suffix: &str| pull(suffix, "").await.unwrap_err();
    assert!(matches!(error(":none").await, OciError::Missing));
    assert!(matches!(error(":forged").await, OciError::Digest));
    assert!(matches!(error(":longer").await, OciError::TooLarge));
    let outside = error(":escape").await;
    assert!(
        matches!(outside, OciError::Archive(ArchiveError::Outside(_))),
        "{outside}"
    );
    let (mut content, pinned) = shop();
    let other = content.manifests["files"].clone();
    content.manifests.insert(pinned.clone(), other);
    let host = serve(content).await;
    let registries = OciRegistries::new([], [host.clone()], None).unwrap();
    let pulled = names(&registries, &format!("{host}/shop/migrations@{pinned}"), "").await;
    assert!(
        matches!(pulled, Err(OciError::Digest)),
        "another manifest than was pinned"
    );
}

#[tokio::test]
async fn shows_its_credentials_to_their_registry_only() {
    let (mut content, _) = shop();
    content.password = Some("s3cret".into());
    let host = serve(content).await;
    let docker = |password: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("ci:{password}"));
        json!({ "auths": { &host: { "auth": auth } } }).to_string()
    };
    let reference = format!("{host}/shop/migrations:folder");
    let right = OciRegistries::new([], [host.clone()], Some(&docker("s3cret"))).unwrap();
    assert_eq!(names(&right, &reference, "").await.unwrap().len(), 2);
    let none = OciRegistries::new([], [host.clone()], None).unwrap();
    let refused = names(&none, &reference, "").await.unwrap_err();
    assert!(matches!(refused, OciError::Unauthorized), "{refused:?}");
    let wrong = OciRegistries::new([], [host.clone()], Some(&docker("guess"))).unwrap();
    let refused = names(&wrong, &reference, "").await.unwrap_err();
    assert!(matches!(refused, OciError::Unauthorized), "{refused:?}");
    let gone = OciRegistries::new([], ["127.0.0.1:1".into()], None).unwrap();
    let refused = names(&gone, "127.0.0.1:1/shop/migrations:folder", "").await;
    assert!(
        matches!(refused, Err(OciError::Unreachable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn each_pull_is_an_audited_call() {
    let host = serve(shop().0).await;
    let bench = Workbench {
        databases: Arc::new(Databases::default()),
        workspace: Workspace::new("."),
        registries: OciRegistries::new([], [host.clone()], None).unwrap(),
        metrics: Metrics::default(),
    };
    let lint = LintMigration(bench);
    let pull = async |tag: &str, host: &str| {
        let (context, agent) = FakeAgent::default().context();
        let source = json!({ "oci": format!("{host}/shop/migrations:{tag}") });
        let input = serde_json::from_value(json!({ "source": source })).unwrap();
        let answer = lint.run(&context, input).await;
        (answer.map(|answer| answer.files), agent.trail())
    };
    let (answer, trail) = pull("folder", &host).await;
    assert_eq!(answer.unwrap(), 2);
    let artifact = format!("{host}/shop/migrations:folder");
    assert_eq!(trail, [format!("outcome registry.pull {artifact} ok")]);
    let (answer, trail) = pull("none", &host).await;
    assert!(matches!(answer, Err(SkillError::Rejected { .. })));
    let artifact = format!("{host}/shop/migrations:none");
    assert_eq!(
        trail,
        [format!("outcome registry.pull {artifact} rejected")]
    );
    // Nobody is asked where nobody may be asked.
    let (answer, trail) = pull("folder", "other.example").await;
    assert!(matches!(answer, Err(SkillError::Rejected { .. })));
    assert_eq!(trail, Vec::<String>::new());
}
