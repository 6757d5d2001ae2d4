//! Looks at a session's backend from a second connection.

use async_trait::async_trait;
use store::postgres::Address;
use tokio_postgres::{CancelToken, Client};

use super::{
    super::{
        question::Row,
        target::TargetError,
        watch::{Sample, Watch},
    },
    Link, connect,
    values::{integer, query},
};
use crate::domain::{progress::Phase, waiting::Blocker};

/// Application and state are hidden from roles without `pg_read_all_stats`, unless they are their own sessions.
const BLOCKER: &str = "a.pid::bigint, coalesce(nullif(a.application_name, ''), 'without a name'), coalesce(a.state, 'hidden'), \
    greatest(0, extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start, clock_timestamp())))::bigint";

/// The phase of the command that a backend runs.
const PHASES: &str = "SELECT command || ': ' || phase, CASE WHEN lockers_total > lockers_done THEN lockers_done WHEN tuples_total > 0 THEN tuples_done \
      WHEN blocks_total > 0 THEN blocks_done ELSE partitions_done END::bigint, \
    CASE WHEN lockers_total > lockers_done THEN lockers_total WHEN tuples_total > 0 THEN tuples_total WHEN blocks_total > 0 THEN blocks_total \
      ELSE partitions_total END::bigint FROM pg_stat_progress_create_index WHERE pid = $1 \
    UNION ALL SELECT command || ': ' || phase, heap_blks_scanned, heap_blks_total FROM pg_stat_progress_cluster WHERE pid = $1 \
    UNION ALL SELECT 'VACUUM: ' || phase, heap_blks_scanned, heap_blks_total FROM pg_stat_progress_vacuum WHERE pid = $1 \
    UNION ALL SELECT 'ANALYZE: ' || phase, sample_blks_scanned, sample_blks_total FROM pg_stat_progress_analyze WHERE pid = $1";

/// The second connection; it is opened when it is first needed.
pub(super) struct PostgresWatch {
    address: Address,
    backend: i64,
    token: CancelToken,
    link: Option<Link>,
}

impl std::fmt::Debug for PostgresWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresWatch")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl PostgresWatch {
    pub(super) fn new(address: Address, backend: i64, token: CancelToken) -> Self {
        Self {
            address,
            backend,
            token,
            link: None,
        }
    }

    async fn client(&mut self) -> Result<&Client, TargetError> {
        if self
            .link
            .as_ref()
            .is_none_or(|link| link.client.is_closed())
        {
            self.link = Some(connect(&self.address, "watch").await?);
        }
        self.link
            .as_ref()
            .map(|link| &link.client)
            .ok_or(TargetError::Stopped)
    }
}

fn blockers(rows: &[Row]) -> Result<Vec<Blocker>, TargetError> {
    rows.iter()
        .map(|row| {
            Ok(Blocker {
                pid: row.integer(0)?,
                application: row.text(1)?,
                state: row.text(2)?,
                seconds: row.integer(3)?,
            })
        })
        .collect()
}

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[async_trait]
impl Watch for PostgresWatch {
    async fn open(&mut self) -> Result<(), TargetError> {
        self.client().await.map(drop)
    }

    async fn sample(&mut self) -> Result<Sample, TargetError> {
        const BEHIND: &str = "SELECT count(*) FROM pg_locks w WHERE NOT w.granted AND w.pid <> $1 AND $1 = ANY (pg_blocking_pids(w.pid))";
        let backend = self.backend;
        let client = self.client().await?;
        let in_the_way = format!(
            "SELECT {BLOCKER} FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids($1::int)) ORDER BY 4 DESC"
        );
        let parameters = [backend.into()];
        let blockers = blockers(&query(client, &in_the_way, &parameters).await?)?;
        let blocked = if blockers.is_empty() {
            0
        } else {
            number(integer(client, BEHIND, &parameters).await?)
        };
        let phase = match query(client, PHASES, &parameters).await?.first() {
            Some(row) => Some(Phase {
                name: row.text(0)?,
                done: number(row.integer(1)?),
                total: number(row.integer(2)?),
            }),
            None => None,
        };
        Ok(Sample {
            blockers,
            blocked,
            phase,
        })
    }

    async fn old_transactions(&mut self) -> Result<Vec<Blocker>, TargetError> {
        let backend = self.backend;
        let sql = format!(
            "SELECT {BLOCKER} FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid NOT IN ($1, pg_backend_pid()) \
             AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL) AND a.backend_type = 'client backend' \
             AND a.xact_start < clock_timestamp() - interval '1 second' ORDER BY 4 DESC"
        );
        blockers(&query(self.client().await?, &sql, &[backend.into()]).await?)
    }

    async fn cancel(&mut self) -> Result<(), TargetError> {
        Ok(self.address.cancel(&self.token).await?)
    }
}
