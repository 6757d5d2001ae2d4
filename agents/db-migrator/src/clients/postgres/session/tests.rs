//! Leaving out the catalogs that hold nothing leaves out nothing.

use super::*;
use crate::{
    clients::postgres::PostgresTarget,
    domain::split::split,
    tests::completeness::{BASE, CHANGES, server},
};

/// A reading whose query is planned for it.
async fn read(session: &mut PostgresSession, stamp: Option<&str>) -> Catalog {
    session.read_often = ReadOften::default();
    let forget = "DEALLOCATE ALL";
    session.link.client.batch_execute(forget).await.unwrap();
    session.prepared = Prepared::default();
    session.read_catalog(stamp).await.unwrap()
}

/// How many of the catalogs were left out.
async fn compared(session: &mut PostgresSession, after: &str) -> usize {
    let stamp = session.stamp().await.unwrap();
    let (all, some) = (read(session, None).await, read(session, Some(&stamp)).await);
    let lacking = some.differences(&all);
    assert!(lacking.is_empty(), "{after}: {lacking:?}");
    stamp::empty(&stamp).len()
}

async fn reads_everything(version: u32) {
    let url = server(version).create_database("left_out").unwrap();
    let target = PostgresTarget::new(url.parse().unwrap(), None);
    let link = super::super::connect(&target.address, "test")
        .await
        .unwrap();
    let mut session = target.session(link, None).await.unwrap();
    let app = "DO $$ BEGIN CREATE ROLE app; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    session.execute(app).await.unwrap();
    let mut left_out = vec![compared(&mut session, "nothing").await];
    for statement in split(BASE, Dialect::Postgres).unwrap() {
        session.execute(&statement).await.unwrap();
        left_out.push(compared(&mut session, &statement).await);
    }
    for change in CHANGES {
        session.begin(Transaction::default()).await.unwrap();
        session.execute(change).await.unwrap();
        left_out.push(compared(&mut session, change).await);
        session.rollback().await.unwrap();
    }
    session.link.close().await;
    let (first, least) = (left_out.first(), left_out.iter().min());
    println!("PostgreSQL {version}: {first:?} catalogs left out at first, {least:?} at last");
    assert!(first > least, "{left_out:?}");
}

#[tokio::test]
async fn reads_everything_of_15() {
    reads_everything(15).await;
}

#[tokio::test]
async fn reads_everything_of_17() {
    reads_everything(17).await;
}

#[tokio::test]
async fn reads_everything_of_18() {
    reads_everything(18).await;
}
