//! Runs a history on an empty shadow, to see whether it leads to the catalog that is there.

use std::sync::Arc;

use async_trait::async_trait;
use shared::{SkillError, ToolCall};
use tokio::time::Instant;

use crate::{
    clients::{Database, Session, Shadow, Target, TargetError},
    domain::{Catalog, Dialect, Migration, PlannedMigration, staging::Retention},
    engine::{
        Job,
        online::Work,
        shadow::{refusal, run},
    },
};

/// What another tool ran of a migration: its up alone, as it is written.
fn ran(migration: &Migration) -> Work {
    Work::new(&Migration {
        contract: None,
        contract_down: None,
        backfill: None,
        ..migration.clone()
    })
}

/// A target whose shadows start with nothing.
#[derive(Debug)]
struct FromNothing(Arc<dyn Target>);

#[async_trait]
impl Target for FromNothing {
    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn shadows(&self) -> &'static [Shadow] {
        &[Shadow::Empty]
    }

    async fn connect(&self, run: &str) -> Result<Box<dyn Session>, TargetError> {
        self.0.connect(run).await
    }

    async fn shadow(
        &self,
        kind: Shadow,
        run: &str,
        live: &mut dyn Session,
    ) -> Result<Box<dyn Session>, TargetError> {
        self.0.shadow(kind, run, live).await
    }
}

/// Where a history leads.
#[derive(Debug)]
pub(super) struct Replayed {
    /// The catalog of the empty shadow.
    pub(super) empty: Catalog,
    /// The catalog after the last migration that ran.
    pub(super) last: Catalog,
    /// Its fingerprint after each migration that ran.
    pub(super) fingerprints: Vec<String>,
    /// Which migration failed, and why.
    pub(super) failure: Option<String>,
}

impl Job<'_> {
    /// Runs the ups of these migrations on an empty shadow.
    pub(super) async fn replay(
        &self,
        session: &mut dyn Session,
        migrations: &[&Migration],
    ) -> Result<Replayed, SkillError> {
        let call = ToolCall::read(session.dialect().prove_action(), [self.resource()]);
        let replayed = async {
            let mut shadow = self
                .database
                .target
                .shadow(Shadow::Empty, self.run(), session)
                .await?;
            let replayed = self.replay_on(shadow.as_mut(), migrations).await;
            shadow.close().await?;
            replayed
        };
        let replayed = self.audited(call, replayed).await;
        replayed.map_err(|error| error.into_skill(self))
    }

    async fn replay_on(
        &self,
        shadow: &mut dyn Session,
        migrations: &[&Migration],
    ) -> Result<Replayed, TargetError> {
        let empty = shadow.catalog().await?;
        let mut replayed = Replayed {
            last: empty.clone(),
            empty,
            fingerprints: Vec::new(),
            failure: None,
        };
        for (done, migration) in migrations.iter().enumerate() {
            self.context.progress(
                &format!("replaying {} {}", migration.version, migration.name),
                done as u64,
                migrations.len() as u64,
            );
            if let Err(error) = run(shadow, &migration.up).await {
                let reason = refusal(error)?;
                replayed.failure = Some(format!(
                    "{} {} fails on an empty database: {reason}",
                    migration.version, migration.name
                ));
                break;
            }
            replayed.last = shadow.catalog().await?;
            replayed.fingerprints.push(replayed.last.fingerprint());
            if Instant::now() >= self.until() || self.context.check_canceled().is_err() {
                return Err(TargetError::Stopped);
            }
        }
        Ok(replayed)
    }

    /// Runs these migrations up, down and up from an empty database on.
    pub(super) async fn prove_from_nothing(
        &self,
        session: &mut dyn Session,
        empty: Catalog,
        migrations: &[&Migration],
    ) -> Result<Vec<PlannedMigration>, SkillError> {
        let database = Database {
            target: Arc::new(FromNothing(self.database.target.clone())),
            ..self.database.clone()
        };
        let job = Job {
            database: &database,
            ..*self
        };
        let works = migrations.iter().map(|migration| ran(migration)).collect();
        let keeps = Retention::parse("none").unwrap_or_default();
        job.prove(session, (Vec::new(), empty), works, keeps).await
    }
}
