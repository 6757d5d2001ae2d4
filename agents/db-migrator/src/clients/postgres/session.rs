//! One connection: lock, recipes, statements and ledger rows go through it.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use store::postgres::Address;
use tokio::time::Instant;
use tokio_postgres::{CancelToken, SimpleQueryMessage};

use super::{
    Link, batch, catalog, fill, lock, recipes,
    shadow::Scratch,
    stamp::{self, Memory},
    values::query,
    watch::PostgresWatch,
};
use crate::{
    clients::{
        Batch, BatchOutcome, Own, Row, Session, TargetError, Transaction, Value, Watch,
        target::Shape,
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

/// Names in one question: far below the 65,535 parameters of the protocol.
const MAX_NAMES: usize = 1_000;

/// One connection.
#[derive(Debug)]
pub(super) struct PostgresSession {
    pub(super) link: Link,
    pub(super) backend: i64,
    pub(super) address: Address,
    /// Its name once it owns the database.
    pub(super) owner: Option<String>,
    pub(super) scratch: Option<Scratch>,
    /// What the catalog looked like; nothing for a shadow, whose catalog changes with every statement.
    pub(super) memory: Option<Memory>,
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

    /// The row versions that the catalog consists of.
    async fn stamp(&self) -> Result<String, TargetError> {
        let rows = query(&self.link.client, stamp::query(), &[]).await?;
        rows.first()
            .ok_or(TargetError::Unreadable("a row"))?
            .text(0)
    }

    async fn read_catalog(&self) -> Result<Catalog, TargetError> {
        let tenant = self.tenant.as_ref();
        let sql = catalog::query(tenant);
        let messages = self.link.client.simple_query(&sql).await?;
        let read = catalog::read(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }));
        Ok(read?.of(tenant))
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
            lock::take(&self.link.client, &self.address, claim, until).await
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

    async fn commit(&mut self) -> Result<(), TargetError> {
        let sql = format!("COMMIT; {}", reset(self.owner.as_deref()));
        Ok(self.link.client.batch_execute(&sql).await?)
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        let sql = format!("ROLLBACK; {}", reset(self.owner.as_deref()));
        Ok(self.link.client.batch_execute(&sql).await?)
    }

    async fn batch(&mut self, batch: Batch<'_>) -> BatchOutcome {
        let own = self.all_placed(batch.own);
        let batch = Batch { own: &own, ..batch };
        batch::run(&self.link.client, batch, &reset(self.owner.as_deref())).await
    }

    async fn run(&mut self, statements: &[&str]) -> Vec<Result<(), TargetError>> {
        batch::statements(&self.link.client, statements).await
    }

    async fn pipeline(&mut self, queries: &[Own]) -> Result<Vec<Vec<Row>>, TargetError> {
        batch::pipeline(&self.link.client, &self.all_placed(queries)).await
    }

    /// A table without a block holds no row.
    async fn empty(&mut self, tables: &[String]) -> Result<Vec<String>, TargetError> {
        let mut found = Vec::new();
        for some in tables.chunks(MAX_NAMES) {
            let places = (1..=some.len()).map(|at| format!("(${at}::text)"));
            let sql = format!(
                "SELECT named.name FROM (VALUES {}) AS named (name) JOIN pg_class c ON c.oid = to_regclass(named.name) \
                 WHERE c.relkind = 'r' AND NOT c.relhassubclass AND pg_relation_size(c.oid) = 0",
                places.collect::<Vec<_>>().join(", ")
            );
            let parameters = some.iter().map(|table| table.as_str().into());
            let rows = self.query(&sql, &parameters.collect::<Vec<_>>()).await?;
            for row in rows {
                found.push(row.text(0)?);
            }
        }
        Ok(found)
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
        let catalog = self.read_catalog().await?;
        if let (Some(memory), Some(stamp)) = (&self.memory, stamp) {
            memory.keep(stamp, &catalog);
        }
        Ok(catalog)
    }

    async fn shape(&mut self) -> Result<Arc<Shape>, TargetError> {
        let Some(memory) = self.memory.clone() else {
            return Ok(Arc::new(Shape::of(&self.read_catalog().await?)));
        };
        let stamp = self.stamp().await?;
        if let Some(known) = memory.recall(&stamp) {
            return Ok(known);
        }
        Ok(memory.keep(stamp, &self.read_catalog().await?))
    }

    async fn blueprint(&mut self) -> Result<Blueprint, TargetError> {
        let messages = self.link.client.simple_query(recipes::query()).await?;
        recipes::read(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))
    }

    /// As the catalog names them, without reading all of it.
    async fn columns(
        &mut self,
        tables: &[String],
    ) -> Result<Vec<(String, Vec<String>)>, TargetError> {
        const COLUMNS: &str = "SELECT quote_ident(a.attname) FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
            AND NOT a.attisdropped AND a.attgenerated = '' WHERE c.oid = to_regclass($1) AND c.relkind = 'r'";
        let queries = tables.iter().map(|table| Own {
            sql: COLUMNS.into(),
            parameters: vec![table.as_str().into()],
        });
        let answers = self.pipeline(&queries.collect::<Vec<_>>()).await?;
        let mut found = Vec::new();
        for (table, rows) in tables.iter().zip(answers) {
            let names = rows.iter().map(|row| row.optional_text(0));
            let names = names.collect::<Result<Vec<_>, _>>()?;
            if !names.is_empty() {
                let mut columns = names.into_iter().flatten().collect::<Vec<_>>();
                columns.sort();
                found.push((table.clone(), columns));
            }
        }
        Ok(found)
    }

    /// One query for all tables.
    async fn rows(
        &mut self,
        tables: &[(String, Vec<String>)],
    ) -> Result<Vec<TableRows>, TargetError> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let sql = tables
            .iter()
            .enumerate()
            .map(|(at, (table, columns))| digest_query(at, table, columns))
            .collect::<Vec<_>>()
            .join(" UNION ALL ");
        let rows = query(&self.link.client, &format!("{sql} ORDER BY 1"), &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(TableRows {
                    rows: u64::try_from(row.integer(1)?).unwrap_or_default(),
                    digest: row.text(2)?,
                })
            })
            .collect()
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

/// The sum of the rows' hashes does not depend on their order.
fn digest_query(at: usize, table: &str, columns: &[String]) -> String {
    let hash = if columns.is_empty() {
        "0"
    } else {
        "hashtextextended(db_migrator_row::text, 0)"
    };
    let columns = columns.join(", ");
    format!(
        "SELECT {at}::bigint, count(*)::bigint, coalesce(sum({hash}::numeric), 0)::text FROM (SELECT {columns} FROM {table}) AS db_migrator_row"
    )
}
