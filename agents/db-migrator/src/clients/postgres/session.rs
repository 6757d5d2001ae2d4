//! One connection: lock, recipes, statements and ledger rows go through it.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use store::postgres::Address;
use tokio::time::Instant;
use tokio_postgres::{CancelToken, SimpleQueryMessage};

use super::{
    Link, batch, catalog, count, fill, lock, message,
    prepared::{Named, Prepared, ReadOften},
    recipes,
    shadow::Scratch,
    stamp::{self, Memory},
    values::query,
    watch::PostgresWatch,
};
use crate::{
    clients::{
        Batch, BatchOutcome, Counted, Own, Ran, Row, Session, TargetError, Transaction, Value,
        Watch, target::Shape,
    },
    domain::{Catalog, Dialect, Tenant, inverse::Blueprint, proof::TableRows, tenant::LEDGER},
};

/// What ends with a transaction: settings that its script changed. The owner's name stays.
pub(super) fn reset(name: Option<&str>) -> String {
    name.map_or_else(
        || String::from("RESET ALL"),
        |name| format!("RESET ALL; SET application_name = '{name}'"),
    )
}

/// One connection.
#[derive(Debug)]
pub(super) struct PostgresSession {
    pub(super) link: Link,
    /// What taking the lock needs, when that was foreseen.
    pub(super) second: Option<Link>,
    pub(super) prepared: Prepared,
    pub(super) named: Named,
    pub(super) backend: i64,
    pub(super) address: Address,
    /// Its name once it owns the database.
    pub(super) owner: Option<String>,
    pub(super) scratch: Option<Scratch>,
    /// What the catalog looked like; nothing for a shadow, whose catalog changes with every statement.
    pub(super) memory: Option<Memory>,
    pub(super) read_often: ReadOften,
    /// Whether it acts as another role than the one that logged in.
    pub(super) acts_for_another: bool,
    /// Whose schema it works in, when it is not the whole database.
    pub(super) tenant: Option<Tenant>,
}

impl PostgresSession {
    /// A statement with the ledger's schema of this connection.
    fn placed<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        match &self.tenant {
            Some(tenant) if sql.contains(LEDGER) => Cow::Owned(tenant.placed(sql)),
            _ => Cow::Borrowed(sql),
        }
    }

    fn all_placed<'a>(&self, all: &'a [Own]) -> Cow<'a, [Own]> {
        if self.tenant.is_none() {
            return Cow::Borrowed(all);
        }
        let placed = all.iter().map(|own| Own {
            sql: self.placed(&own.sql).into_owned(),
            parameters: own.parameters.clone(),
        });
        Cow::Owned(placed.collect())
    }

    async fn run_batch(&mut self, batch: Batch<'_>, guard: Option<Own>) -> BatchOutcome {
        let own = self.all_placed(batch.own).into_owned();
        let batch = Batch { own: &own, ..batch };
        let ends = [self.commit_text(), self.rollback_text()];
        let ends = ends.each_ref().map(String::as_str);
        let client = &self.link.client;
        message::run(client, &mut self.named, batch, guard.as_ref(), ends).await
    }

    fn commit_text(&self) -> String {
        format!("COMMIT; {}", reset(self.owner.as_deref()))
    }

    fn rollback_text(&self) -> String {
        format!("ROLLBACK; {}", reset(self.owner.as_deref()))
    }

    /// The row versions that the catalog consists of.
    async fn stamp(&mut self) -> Result<String, TargetError> {
        let client = &self.link.client;
        let own = Own {
            sql: stamp::query().into(),
            parameters: Vec::new(),
        };
        self.prepared.keep(client, &own).await?;
        let mut asked = self.prepared.query(client, &own).await;
        self.prepared.look_at(&asked);
        if matches!(asked, Err(TargetError::Forgotten)) {
            // Within a transaction, that has failed now.
            let again = query(client, &own.sql, &[]).await;
            asked = again.map_err(|_| TargetError::Forgotten);
        }
        let rows = asked?;
        rows.first()
            .ok_or(TargetError::Unreadable("a row"))?
            .text(0)
    }

    /// Reads it without those of the system catalogs that held nothing when the stamp was taken.
    async fn read_catalog(&mut self, stamp: Option<&str>) -> Result<Catalog, TargetError> {
        let tenant = self.tenant.as_ref();
        let query = |empty: &BTreeSet<_>| catalog::query(tenant, empty);
        let client = &self.link.client;
        let empty = stamp.map(stamp::empty).unwrap_or_default();
        let statements = self.read_often.text(client, empty, query).await?;
        let messages = client
            .simple_query(&catalog::with_empty_path(&statements))
            .await?;
        let read = catalog::read(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))?;
        self.read_often.read(messages.len());
        Ok(read.of(tenant))
    }
}

#[async_trait]
impl Session for PostgresSession {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    fn backend(&self) -> i64 {
        self.backend
    }

    /// Sees and ends backends, which only the role that logged in may do with those of its own.
    async fn lock(&mut self, run: &str, until: Instant) -> Result<(), TargetError> {
        if self.acts_for_another {
            self.execute("SET ROLE NONE").await?;
        }
        let taken = {
            let claim = lock::Claim {
                run,
                backend: self.backend,
                tenant: self.tenant.as_ref(),
            };
            let other = (&self.address, self.second.take());
            lock::take(&self.link.client, other, claim, until).await
        };
        if self.acts_for_another {
            self.execute("RESET ROLE").await?;
        }
        self.owner = Some(taken?);
        Ok(())
    }

    async fn begin(&mut self, transaction: Transaction) -> Result<(), TargetError> {
        Ok(self
            .link
            .client
            .batch_execute(&batch::begin(transaction))
            .await?)
    }

    async fn begin_asking(
        &mut self,
        transaction: Transaction,
        questions: &[Own],
    ) -> Result<Vec<Vec<Row>>, TargetError> {
        let questions = self.all_placed(questions).into_owned();
        let client = &self.link.client;
        self.prepared.learn(client, &questions).await?;
        let asked = batch::begin_asking(client, transaction, (&self.prepared, &questions)).await;
        self.prepared.look_at(&asked);
        asked
    }

    async fn commit(&mut self) -> Result<(), TargetError> {
        Ok(self.link.client.batch_execute(&self.commit_text()).await?)
    }

    async fn commit_with(&mut self, rows: &[Own]) -> Result<(), TargetError> {
        let rows = self.all_placed(rows).into_owned();
        let client = &self.link.client;
        self.prepared.learn(client, &rows).await?;
        let committed =
            batch::commit_with(client, (&self.prepared, &rows), self.commit_text()).await;
        self.prepared.look_at(&committed);
        committed
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        Ok(self
            .link
            .client
            .batch_execute(&self.rollback_text())
            .await?)
    }

    async fn batch(&mut self, batch: Batch<'_>) -> BatchOutcome {
        self.run_batch(batch, None).await
    }

    async fn batch_without_rows(&mut self, batch: Batch<'_>, tables: &[String]) -> BatchOutcome {
        self.run_batch(batch, Some(count::all_empty(tables))).await
    }

    async fn run(&mut self, statements: &[&str], questions: &[Own]) -> Ran {
        let questions = self.all_placed(questions).into_owned();
        let client = &self.link.client;
        let learnt = self.prepared.learn(client, &questions).await;
        let mut ran = batch::statements(client, statements, (&self.prepared, &questions)).await;
        self.prepared.look_at(&ran.answers);
        if ran.answers.is_ok() {
            ran.answers = learnt.and(ran.answers);
        }
        ran
    }

    async fn pipeline(&mut self, queries: &[Own]) -> Result<Vec<Vec<Row>>, TargetError> {
        let queries = self.all_placed(queries).into_owned();
        let client = &self.link.client;
        self.prepared.learn(client, &queries).await?;
        let answers = batch::pipeline(client, (&self.prepared, &queries)).await;
        self.prepared.look_at(&answers);
        answers
    }

    fn watch(&self) -> Option<Box<dyn Watch>> {
        let token: CancelToken = self.link.client.cancel_token();
        Some(Box::new(PostgresWatch::new(
            self.address.clone(),
            self.backend,
            token,
        )))
    }

    fn may_return(&self) -> bool {
        true
    }

    async fn execute(&mut self, sql: &str) -> Result<(), TargetError> {
        Ok(self.link.client.batch_execute(&self.placed(sql)).await?)
    }

    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, TargetError> {
        query(&self.link.client, &self.placed(sql), parameters).await
    }

    async fn catalog(&mut self) -> Result<Catalog, TargetError> {
        let stamp = match &self.memory {
            Some(_) => Some(self.stamp().await?),
            None => None,
        };
        let catalog = self.read_catalog(stamp.as_deref()).await?;
        if let (Some(memory), Some(stamp)) = (&self.memory, stamp) {
            memory.keep(stamp, &catalog);
        }
        Ok(catalog)
    }

    async fn shape(&mut self) -> Result<Arc<Shape>, TargetError> {
        let Some(memory) = self.memory.clone() else {
            return Ok(Arc::new(Shape::of(&self.read_catalog(None).await?)));
        };
        let stamp = self.stamp().await?;
        if let Some(known) = memory.recall(&stamp) {
            return Ok(known);
        }
        let catalog = self.read_catalog(Some(&stamp)).await?;
        Ok(memory.keep(stamp, &catalog))
    }

    async fn blueprint(&mut self) -> Result<Blueprint, TargetError> {
        let messages = self.link.client.simple_query(recipes::query()).await?;
        recipes::read(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))
    }

    fn about(&self, table: &str) -> Own {
        Own {
            sql: count::ABOUT.into(),
            parameters: vec![table.into()],
        }
    }

    async fn count(&mut self, all: &[Counted], most: u64) -> Result<Vec<TableRows>, TargetError> {
        count::count(&self.link.client, all, most).await
    }

    async fn rows(
        &mut self,
        tables: &[(String, Vec<String>)],
    ) -> Result<Vec<TableRows>, TargetError> {
        count::rows(&self.link.client, tables).await
    }

    async fn fill(&mut self, tables: &[(String, Vec<String>)]) -> Result<bool, TargetError> {
        match self.scratch.as_ref().and_then(Scratch::original) {
            Some(original) => {
                let tenant = self.tenant.as_ref();
                fill::fill((original, &self.link.client), tables, tenant).await
            }
            None => Ok(true),
        }
    }

    async fn close(self: Box<Self>) -> Result<(), TargetError> {
        self.link.close().await;
        match self.scratch {
            Some(scratch) => scratch.drop_database().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
