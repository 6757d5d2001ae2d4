//! Scratch databases on the target's own server, which no crash leaves behind for long.

use sha2::{Digest, Sha256};
use store::postgres::Address;
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

use super::{Link, Session, Shadow, TargetError, connect};

/// A scratch database. The run's session on the real database holds an advisory lock for its name: a scratch database
/// whose lock is free has no owner any more, and whoever makes the next one drops it.
#[derive(Debug)]
pub(super) struct Scratch {
    address: Address,
    run: String,
    original: Option<Link>,
    name: String,
}

impl Scratch {
    /// Makes one, and sweeps what crashed runs on the same database left. `live` makes it, because a copy is possible
    /// only while nobody else is connected.
    pub(super) async fn create(
        (address, owner): (&Address, Option<&str>),
        kind: Shadow,
        run: &str,
        live: &mut dyn Session,
    ) -> Result<(Self, Address), TargetError> {
        let oid = live
            .query(
                "SELECT oid::bigint FROM pg_database WHERE datname = current_database()",
                &[],
            )
            .await?;
        let prefix = format!(
            "db_migrator_shadow_{}_",
            oid.first()
                .ok_or(TargetError::Unreadable("a row"))?
                .integer(0)?
        );
        sweep(live, owner, &prefix).await?;
        let name = format!("{prefix}{}", Uuid::new_v4().simple());
        try_lock(live, &name).await?;
        let template = template(live, kind).await?;
        let by = owner.map_or_else(String::new, |owner| format!(" OWNER \"{owner}\""));
        let sql = format!("CREATE DATABASE {name} {template}{by}");
        as_login(live, owner, &sql).await.map_err(explain)?;
        let mut scratch = Self {
            address: address.clone(),
            run: format!("shadow/{run}"),
            original: None,
            name,
        };
        if kind == Shadow::Empty {
            scratch.original = Some(connect(address, &scratch.run).await?);
        }
        let mut own = address.clone();
        own.config_mut().dbname(&scratch.name);
        Ok((scratch, own))
    }

    /// The connection to the database that is shadowed. A copy has none: it would forbid the next copy.
    pub(super) fn original(&self) -> Option<&Client> {
        self.original.as_ref().map(|link| &link.client)
    }

    /// Drops the database, whoever is connected.
    pub(super) async fn drop_database(self) -> Result<(), TargetError> {
        let [forced, plain] = drops(&self.name);
        let link = match self.original {
            Some(link) => link,
            None => connect(&self.address, &self.run).await?,
        };
        let client = &link.client;
        // Only the role that logged in may end the backends of its own that are still there.
        let dropped = match client.batch_execute("SET ROLE NONE").await {
            Ok(()) => match client.batch_execute(&forced).await {
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    client.batch_execute(&plain).await
                }
                dropped => dropped,
            },
            refused => refused,
        };
        link.close().await;
        Ok(dropped?)
    }
}

/// How a database is dropped whoever is connected, and how when that is refused: the server's own vacuum worker may be in
/// it, whom only a superuser may end. Without `FORCE` the server sends it away itself.
fn drops(name: &str) -> [String; 2] {
    let plain = format!("DROP DATABASE IF EXISTS {name}");
    [format!("{plain} WITH (FORCE)"), plain]
}

/// Whoever logged in may make databases and end its own backends; who owns the schema need not.
async fn as_login(
    live: &mut dyn Session,
    owner: Option<&str>,
    sql: &str,
) -> Result<(), TargetError> {
    if owner.is_none() {
        return live.execute(sql).await;
    }
    live.execute("SET ROLE NONE").await?;
    let done = live.execute(sql).await;
    live.execute("RESET ROLE").await?;
    done
}

fn key(name: &str) -> i64 {
    Sha256::digest(name.as_bytes())
        .first_chunk::<8>()
        .map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

async fn try_lock(live: &mut dyn Session, name: &str) -> Result<bool, TargetError> {
    let answer = live
        .query(
            "SELECT pg_try_advisory_lock($1)::int::bigint",
            &[key(name).into()],
        )
        .await?;
    Ok(answer
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)?
        == 1)
}

async fn sweep(
    live: &mut dyn Session,
    owner: Option<&str>,
    prefix: &str,
) -> Result<(), TargetError> {
    let all = live
        .query(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1)",
            &[prefix.into()],
        )
        .await?;
    for row in all {
        let name = row.text(0)?;
        if try_lock(live, &name).await? {
            let [forced, plain] = drops(&name);
            match as_login(live, owner, &forced).await {
                Err(TargetError::Sql { code, .. })
                    if code == SqlState::INSUFFICIENT_PRIVILEGE.code() =>
                {
                    as_login(live, owner, &plain).await?;
                }
                dropped => dropped?,
            }
            live.query(
                "SELECT pg_advisory_unlock($1)::int::bigint",
                &[key(&name).into()],
            )
            .await?;
        }
    }
    Ok(())
}

/// An empty database has the encoding and locale of its original, a copy everything.
async fn template(live: &mut dyn Session, kind: Shadow) -> Result<String, TargetError> {
    const SAME_LOCALE: &str = "SELECT format('TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L', pg_encoding_to_char(encoding), datcollate, datctype) \
        FROM pg_database WHERE datname = current_database()";
    const COPY: &str = "SELECT format('TEMPLATE %I', current_database())";
    let sql = if kind == Shadow::Copy {
        COPY
    } else {
        SAME_LOCALE
    };
    live.query(sql, &[])
        .await?
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .text(0)
}

fn explain(error: TargetError) -> TargetError {
    match &error {
        TargetError::Sql { code, .. } if code == "42501" => TargetError::NoShadow("the role may not create databases: grant it CREATEDB".into()),
        TargetError::Sql { code, .. } if code == "55006" => TargetError::NoShadow(
            "the schema does not come from the ledger alone, and a copy is impossible while other sessions are connected".into(),
        ),
        _ => error,
    }
}
