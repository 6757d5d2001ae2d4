//! TLS to a real PostgreSQL server, as libpq means its modes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use store::{
    StoreError,
    postgres::{Address, ConnectError},
    testing::TemporaryPostgres,
};
use tokio_postgres::Client;

const RULES: &str = "local all all trust\nhostssl all by_certificate all cert\nhostssl all by_password all scram-sha-256\n\
    hostssl all all all trust\nhost plain all all trust\n";

/// A certificate authority whose key signs server and client certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key of a name, in PEM form.
    fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server that is called localhost, its authority's file, and the folder of that file.
struct Lab {
    server: TemporaryPostgres,
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Lab {
    fn start() -> Self {
        let authority = Authority::new("the right one");
        let (certificate, key) = authority.sign("localhost");
        let root = authority.0.pem();
        let server = TemporaryPostgres::start_with_files(
            &["fsync=off", "ssl=on", "ssl_ca_file=root.crt"],
            &[
                ("server.crt", &certificate),
                ("server.key", &key),
                ("root.crt", &root),
                ("pg_hba.conf", RULES),
            ],
        )
        .unwrap();
        let lab = Self {
            server,
            folder: tempfile::tempdir().unwrap(),
            authority,
        };
        lab.write("ca.pem", &root);
        lab.write("other.pem", &Authority::new("another one").0.pem());
        lab
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// An address with parameters, in which `{}` stands for the folder of the files.
    fn url(&self, user: &str, host: &str, parameters: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let parameters = parameters.replace("{}", &folder);
        let port = self.server.port();
        format!("postgres://{user}@{host}:{port}/postgres?{parameters}")
    }

    async fn connect(&self, host: &str, parameters: &str) -> Result<Client, ConnectError> {
        connect(&self.url("postgres", host, parameters)).await
    }
}

async fn connect(url: &str) -> Result<Client, ConnectError> {
    let address: Address = url.parse()?;
    let (client, connection) = address.connect().await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn one(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Version of TLS as the server sees it, or that there is none.
async fn tls(client: &Client) -> String {
    let sql = "SELECT coalesce(version, 'none') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    one(client, sql).await
}

/// The error with its causes.
fn chain(error: &ConnectError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

#[tokio::test]
async fn secures_the_way_as_the_address_says() {
    let lab = Lab::start();
    let right = "sslrootcert={}/ca.pem";
    let verify_full = format!("sslmode=verify-full&{right}");
    for (host, parameters) in [
        ("127.0.0.1", ""),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", &format!("sslmode=require&{right}")),
        ("127.0.0.1", &format!("sslmode=verify-ca&{right}")),
        ("localhost", &verify_full),
        ("localhost", &format!("sslmode=prefer&{right}")),
    ] {
        let client = lab.connect(host, parameters).await;
        let client = client.unwrap_or_else(|e| panic!("{parameters}: {}", chain(&e)));
        assert_eq!(tls(&client).await, "TLSv1.3", "{parameters}");
    }
    for (host, parameters, expected) in [
        ("127.0.0.1", verify_full.as_str(), "NotValidForName"),
        (
            "localhost",
            "sslmode=verify-ca&sslrootcert={}/other.pem",
            "UnknownIssuer",
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert={}/other.pem",
            "UnknownIssuer",
        ),
        (
            "localhost",
            "sslmode=require&sslrootcert={}/other.pem",
            "UnknownIssuer",
        ),
        (
            "localhost",
            "sslmode=prefer&sslrootcert={}/other.pem",
            "UnknownIssuer",
        ),
        ("localhost", "sslrootcert=system", "UnknownIssuer"),
        (
            "localhost",
            "sslmode=require&sslrootcert={}/none.pem",
            "sslrootcert: its file cannot be read",
        ),
    ] {
        let Err(error) = lab.connect(host, parameters).await else {
            panic!("{parameters} was accepted")
        };
        let said = chain(&error);
        let system_without_roots =
            parameters.ends_with("system") && said.contains("trusts no root");
        assert!(
            said.contains(expected) || system_without_roots,
            "{parameters}: {said}"
        );
    }
}

#[tokio::test]
async fn makes_no_plain_connection_to_a_server_that_takes_none() {
    let lab = Lab::start();
    let refused = lab.connect("localhost", "sslmode=disable").await;
    let said = chain(&refused.unwrap_err());
    assert!(said.contains("no encryption"), "{said}");
}

#[tokio::test]
async fn accepts_no_plain_server_where_tls_is_required() {
    let server = TemporaryPostgres::start().unwrap();
    let url = server.url("postgres");
    for mode in ["require", "verify-ca&sslrootcert=system"] {
        let refused = connect(&format!("{url}?sslmode={mode}")).await;
        assert!(refused.is_err(), "{mode}");
    }
    let said = chain(
        &connect(&format!("{url}?sslmode=require"))
            .await
            .err()
            .unwrap(),
    );
    assert!(said.contains("server does not support TLS"), "{said}");
    for parameters in ["", "?sslmode=prefer", "?sslmode=disable"] {
        let client = connect(&format!("{url}{parameters}")).await.unwrap();
        assert_eq!(tls(&client).await, "none", "{parameters}");
    }
    let socket = server
        .socket_folder()
        .display()
        .to_string()
        .replace('/', "%2F");
    let url = format!("postgres://postgres@{socket}:{}/postgres", server.port());
    let client = connect(&url).await.unwrap();
    assert_eq!(one(&client, "SELECT 'a'").await, "a");
    let address: Address = url.parse().unwrap();
    address.cancel(&client.cancel_token()).await.unwrap();
}

#[tokio::test]
async fn shows_a_certificate_and_binds_a_password_to_the_channel() {
    let lab = Lab::start();
    let admin = lab.connect("localhost", "sslmode=require").await.unwrap();
    admin
        .batch_execute(
            "CREATE ROLE by_certificate LOGIN; CREATE ROLE by_password LOGIN PASSWORD 'hunter2'",
        )
        .await
        .unwrap();
    let bound = "sslmode=require&channel_binding=require";
    connect(&lab.url("by_password:hunter2", "localhost", bound))
        .await
        .unwrap();

    let (certificate, key) = lab.authority.sign("by_certificate");
    lab.write("client.pem", &certificate);
    lab.write("client.key", &key);
    let own = "sslmode=require&sslcert={}/client.pem&sslkey={}/client.key";
    let url = lab.url("by_certificate", "localhost", own);
    let client = connect(&url).await.unwrap();
    assert_eq!(
        one(&client, "SELECT current_user::text").await,
        "by_certificate"
    );
    let without = connect(&lab.url("by_certificate", "localhost", "sslmode=require")).await;
    assert!(without.is_err());

    // What was renewed since counts for the next connection.
    let address: Address = url.parse().unwrap();
    lab.write("client.key", "no key");
    let said = connect(&url).await.unwrap_err().to_string();
    assert_eq!(said, "sslkey: its file holds no private key in PEM form");
    lab.write("client.key", &lab.authority.sign("by_certificate").1);
    let said = address.check().unwrap_err().to_string();
    assert!(
        said.starts_with("sslkey: its file cannot be used"),
        "{said}"
    );
}

#[tokio::test]
async fn cancels_over_a_secured_way() {
    let lab = Lab::start();
    let url = lab.url(
        "postgres",
        "localhost",
        "sslmode=verify-full&sslrootcert={}/ca.pem",
    );
    let address: Address = url.parse().unwrap();
    let (client, connection) = address.connect().await.unwrap();
    tokio::spawn(connection);
    let token = client.cancel_token();
    let sleeping = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(600)").await });
    let admin = lab.connect("localhost", "sslmode=require").await.unwrap();
    let asleep = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    while one(&admin, asleep).await == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    address.cancel(&token).await.unwrap();
    let ended = sleeping.await.unwrap().unwrap_err();
    assert_eq!(ended.code().unwrap().code(), "57014");
    // The wrong authority also stands in the way of a cancel request.
    let other = lab.url(
        "postgres",
        "localhost",
        "sslmode=verify-full&sslrootcert={}/other.pem",
    );
    assert!(
        other
            .parse::<Address>()
            .unwrap()
            .cancel(&token)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn opens_a_store_over_tls_and_names_what_is_wrong() {
    let lab = Lab::start();
    let url = |parameters: &str| lab.url("postgres", "localhost", parameters);
    let store = store::open(&url("sslmode=verify-full&sslrootcert={}/ca.pem")).await;
    assert_eq!(store.unwrap().count("things", None).await, Ok(0));
    for (parameters, expected) in [
        ("sslmode=verify-full", "sslrootcert: expected a file"),
        ("sslmode=strict", "sslmode: expected disable, prefer"),
        (
            "sslmode=verify-full&sslrootcert={}/other.pem",
            "UnknownIssuer",
        ),
    ] {
        let Err(StoreError::Unavailable(said)) = store::open(&url(parameters)).await else {
            panic!("{parameters} was accepted")
        };
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("localhost"), "{said}");
    }
}
