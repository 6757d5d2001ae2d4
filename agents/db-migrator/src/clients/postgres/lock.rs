//! The run lock, and the end of every backend that a former owner left behind.

use std::time::Duration;

use futures::join;
use sha2::{Digest, Sha256};
use store::postgres::Address;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::{
    super::target::TargetError,
    Link, connect,
    values::{integer, query},
};
use crate::domain::{Tenant, tenant::LEDGER};

const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_millis(250);
/// How long the end of an orphan is awaited.
const END: Duration = Duration::from_secs(5);
const END_POLL: Duration = Duration::from_millis(5);

/// A session's name before it owns the database: it may only read, and wait for the lock. At most 63 bytes count.
pub(super) fn application_name(run: &str) -> String {
    name("db-migrator", run)
}

/// Who takes the lock, and of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) run: &'a str,
    pub(super) backend: i64,
    pub(super) tenant: Option<&'a Tenant>,
}

/// The name of the one session that owns the database, or a tenant's schema in it: the next owner recognises an orphan by
/// it. That of a run is written without hyphens behind a tenant's mark, so that all of it counts.
fn owner_name(run: &str, tenant: Option<&Tenant>) -> String {
    match tenant {
        None => name("db-migrator-owner", run),
        Some(tenant) => {
            let role = format!("db-migrator-owner:{}", tenant.mark());
            name(&role, &run.replace('-', ""))
        }
    }
}

fn name(role: &str, run: &str) -> String {
    format!("{role}/{run}")
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "-_./:".contains(*letter))
        .take(63)
        .collect()
}

/// 64 bits of database and ledger, so that two ledgers of one database do not wait for each other.
fn key(database: &str, tenant: Option<&Tenant>) -> i64 {
    let ledger = tenant.map_or(LEDGER, Tenant::ledger);
    let bound = format!("db-migrator/lock/v2\n{database}\n{ledger}");
    Sha256::digest(bound.as_bytes())
        .first_chunk::<8>()
        .map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Takes the run lock and ends what former owners left. `second` is another connection to the same address, if there is
/// one already. Answers with the name that the session has from then on.
///
/// Polls: a waiting `pg_advisory_lock` holds a snapshot that `CREATE INDEX CONCURRENTLY` waits for, a deadlock.
pub(super) async fn take(
    client: &Client,
    (address, second): (&Address, Option<Link>),
    claim: Claim<'_>,
    until: Instant,
) -> Result<String, TargetError> {
    let rows = query(
        client,
        "SELECT current_database()::text, pg_is_in_recovery()::int::bigint",
        &[],
    )
    .await?;
    let row = rows.first().ok_or(TargetError::Unreadable("a row"))?;
    if row.integer(1)? != 0 {
        return Err(TargetError::Standby);
    }
    let second = match second {
        Some(second) => second,
        None => connect(address, claim.run).await?,
    };
    refuse_pooler(client, &second.client, claim.backend).await?;
    // Nobody else may be connected while the database is copied.
    let database = row.text(0)?;
    let (owner, ()) = join!(own(client, &database, claim, until), second.close());
    owner
}

async fn own(
    client: &Client,
    database: &str,
    claim: Claim<'_>,
    until: Instant,
) -> Result<String, TargetError> {
    let Claim { run, tenant, .. } = claim;
    let (key, owner) = (key(database, tenant), owner_name(run, tenant));
    let mut pause = FIRST_POLL;
    while integer(
        client,
        "SELECT pg_try_advisory_lock($1)::int::bigint",
        &[key.into()],
    )
    .await?
        == 0
    {
        // An earlier incarnation of this very run has nothing more to say; other runs are waited for.
        end(client, &owner, run).await?;
        if Instant::now() + pause > until {
            return Err(TargetError::Busy);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_POLL);
    }
    client
        .batch_execute(&format!("SET application_name = '{owner}'"))
        .await?;
    // Whoever else bears an owner's name lost the lock without ending.
    end(client, &format!("{}%", owner_name("", tenant)), run).await?;
    Ok(owner)
}

/// Behind a pooler in transaction mode an idle session's backend serves others: a second session that opens a
/// transaction is given it, or takes another one away.
async fn refuse_pooler(client: &Client, second: &Client, backend: i64) -> Result<(), TargetError> {
    const BACKEND: &str = "SELECT pg_backend_pid()::bigint";
    second.batch_execute("BEGIN").await?;
    let shared = integer(second, BACKEND, &[]).await? == backend;
    let moved = !shared && integer(client, BACKEND, &[]).await? != backend;
    second.batch_execute("ROLLBACK").await?;
    if shared || moved {
        Err(TargetError::Pooled)
    } else {
        Ok(())
    }
}

/// Ends the other backends of this database whose name is like `owner`, with their parallel workers, and waits until
/// they are gone.
async fn end(client: &Client, owner: &str, run: &str) -> Result<(), TargetError> {
    const OTHERS: &str = "FROM pg_stat_activity a WHERE a.datname = current_database() AND a.application_name LIKE $1 AND a.pid <> pg_backend_pid()";
    let pattern = [owner.replace('_', "\\_").into()];
    let terminate = format!(
        "SELECT a.application_name::text, pg_terminate_backend(a.pid)::int::bigint {OTHERS}"
    );
    let ended = query(client, &terminate, &pattern).await?;
    for row in &ended {
        let orphan = row.text(0)?;
        tracing::warn!(run, orphan, "ended the backend of a former owner");
    }
    let left = format!("SELECT count(*) {OTHERS}");
    let until = Instant::now() + END;
    while !ended.is_empty() && integer(client, &left, &pattern).await? > 0 {
        if Instant::now() > until {
            return Err(TargetError::Busy);
        }
        sleep(END_POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_short_and_without_quotes() {
        assert_eq!(application_name("it's %"), "db-migrator/its");
        assert_eq!(owner_name(&"x".repeat(90), None).len(), 63);
        assert!(owner_name("a", None).starts_with("db-migrator-owner/"));
    }

    /// An owner ends what bears a name like its own: no other tenant's owner may.
    #[test]
    fn keeps_the_names_of_owners_apart() {
        let run = "0198f2c4-6b1e-7c1a-9d5e-3a1f0f4f6f01";
        let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
        let mine = owner_name(run, Some(&one));
        assert!(mine.len() <= 63 && mine.ends_with("3a1f0f4f6f01"), "{mine}");
        assert!(mine.starts_with(&owner_name("", Some(&one))));
        assert!(!mine.starts_with(&owner_name("", Some(&two))));
        assert!(!mine.starts_with(&owner_name("", None)));
        assert!(!owner_name(run, None).starts_with(&owner_name("", Some(&one))));
    }

    #[test]
    fn binds_the_key_to_the_database() {
        assert_ne!(key("a", None), key("b", None));
        assert_eq!(key("a", None), key("a", None));
        let (one, two) = (Tenant::new("one").unwrap(), Tenant::new("two").unwrap());
        assert_ne!(key("a", Some(&one)), key("a", Some(&two)));
        assert_ne!(key("a", Some(&one)), key("a", None));
    }
}
