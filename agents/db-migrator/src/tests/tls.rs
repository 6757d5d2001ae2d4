//! A server that takes nothing but TLS: target, shadow, second connections and cancel requests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use shared::SkillError;
use store::testing::TemporaryPostgres;
use tokio::time::Duration;

use super::support::*;
use crate::{
    clients::DatabaseSpec,
    domain::{Dialect, Version},
    engine::Goal,
};

/// A server called localhost, and the certificate of its authority.
fn secured() -> (TemporaryPostgres, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new([String::from("localhost")]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let files = [
        ("server.crt", server.pem()),
        ("server.key", key.serialize_pem()),
        (
            "pg_hba.conf",
            "local all all trust\nhostssl all all all trust\n".into(),
        ),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let server = TemporaryPostgres::start_with_files(&["fsync=off", "ssl=on"], &files).unwrap();
    (server, authority.pem())
}

#[tokio::test]
async fn proves_applies_and_rolls_back_over_tls() {
    let (server, root) = secured();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, root).unwrap();
    let url = |host: &str| {
        let (port, file) = (server.port(), file.display());
        format!("postgres://postgres@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={file}")
    };
    let database = database(&url("localhost"), true);
    let all = [
        (
            "orders",
            "CREATE TABLE orders (id int PRIMARY KEY)",
            "DROP TABLE orders",
        ),
        (
            "note",
            "ALTER TABLE orders ADD note text",
            "ALTER TABLE orders DROP note",
        ),
    ];
    let source = migrations(Dialect::Postgres, &all);
    let applied = apply(&database, &Caller::operator("up"), &source, None)
        .await
        .unwrap();
    assert_eq!(applied.migrations.len(), 2);
    let secured = "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    assert_eq!(count(&database, secured).await, 1);
    let goal = Goal::Version(Version::zero());
    rollback(&database, &Caller::operator("down"), goal)
        .await
        .unwrap();
    assert_eq!(
        count(
            &database,
            "SELECT count(*) FROM pg_class WHERE relname = 'orders'"
        )
        .await,
        0
    );

    // An address whose certificate has another name is no target.
    let other = super::support::database(&url("127.0.0.1"), true);
    let refused = apply(&other, &Caller::operator("up"), &source, None).await;
    assert!(matches!(refused, Err(SkillError::Unavailable { .. })));
}

#[tokio::test]
async fn cancels_a_statement_over_tls() {
    let (server, _root) = secured();
    let url = format!(
        "postgres://postgres@localhost:{}/postgres?sslmode=require",
        server.port()
    );
    let database = database(&url, true);
    let mut session = session(&database).await;
    let mut watch = session.watch().unwrap();
    watch.open().await.unwrap();
    let sleeping = tokio::spawn(async move { session.execute("SELECT pg_sleep(600)").await });
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'";
    while count(&database, asleep).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    watch.cancel().await.unwrap();
    let ended = sleeping.await.unwrap().unwrap_err();
    assert!(ended.to_string().contains("57014"), "{ended}");
}

#[test]
fn names_the_parameter_whose_file_cannot_be_used() {
    let spec = "shop=postgres://a:hunter2@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem,dev";
    let said = spec.parse::<DatabaseSpec>().unwrap_err().to_string();
    assert_eq!(
        said,
        "sslrootcert: its file cannot be read: entity not found"
    );
}
