//! Turns what an author wrote into the parts that run: expand now, backfill next, contract later.

use std::collections::BTreeMap;

use shared::SkillError;

use super::{
    EngineError, facts,
    shadow::{in_one_transaction, run},
};
use crate::{
    clients::{Session, TargetError},
    domain::{
        Migration, Statement,
        expand::{
            Backfill, Change, Expansion, NotOnline, backfill, change,
            directive::{self, Action, Online},
            own_script, own_statement, rewritten,
        },
        plan::{Parts, PlannedScript},
        source::Script,
        statement::Rename,
    },
};

/// A migration to be proven, and what it leaves for later runs.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) migration: Migration,
    pub(super) parts: Parts,
    /// What brings back what single statements of its staged up take away, by their place from 0.
    pub(super) back: BTreeMap<usize, String>,
    /// The down as its author wrote it.
    pub(super) authored: Option<Script>,
}

impl Work {
    pub(super) fn new(migration: &Migration) -> Self {
        Self {
            migration: migration.clone(),
            parts: Parts::default(),
            back: BTreeMap::new(),
            authored: migration.down.clone(),
        }
    }

    /// Replaces directives by what they stand for; facts come from the shadow, where the migrations before this one ran.
    pub(super) async fn prepare(&mut self, session: &mut dyn Session) -> Result<(), EngineError> {
        if self.migration.version.contracted().is_some() {
            return Ok(());
        }
        let migration = &self.migration;
        let refused = |error| refusal(migration, &error);
        let online = directive::read(&migration.up, session.dialect()).map_err(refused)?;
        let mut expansion = Expansion {
            contract: migration.contract.as_ref().map_or_else(Vec::new, texts),
            contract_down: migration.contract_down.as_ref().map(texts),
            ..Expansion::default()
        };
        if online.iter().any(Option::is_some) {
            let (up, down) = expand(session, migration, &online, &mut expansion).await?;
            self.migration = rewritten(migration, up, down);
        }
        let more = !expansion.is_empty() || self.migration.backfill.is_some();
        self.parts.expansion = more.then_some(expansion);
        Ok(())
    }

    /// Runs up and the backfills on a shadow.
    pub(super) async fn up(
        &mut self,
        session: &mut dyn Session,
    ) -> Result<PlannedScript, EngineError> {
        let planned = run(session, &self.migration.up).await?;
        self.authored_backfill(session).await?;
        self.fill(session).await?;
        Ok(planned)
    }

    /// Brings the rows of the shadow along, all at once.
    pub(super) async fn fill(&self, session: &mut dyn Session) -> Result<(), TargetError> {
        let backfills = self
            .parts
            .expansion
            .iter()
            .flat_map(|expansion| &expansion.backfills);
        let texts = backfills.map(Backfill::whole).collect::<Vec<_>>();
        if texts.is_empty() {
            return Ok(());
        }
        let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
        in_one_transaction(session, &texts, false).await
    }

    /// The author's backfill with the key of its table, which up may only just have made.
    async fn authored_backfill(&mut self, session: &mut dyn Session) -> Result<(), EngineError> {
        let (Some(text), Some(expansion)) = (&self.migration.backfill, &mut self.parts.expansion)
        else {
            return Ok(());
        };
        let file = format!("{} {}", self.migration.version, self.migration.name);
        let read =
            backfill::read(text, &file, session.dialect()).map_err(|error| failed(&error))?;
        let key = facts::key(session, &read.table, read.key.as_deref()).await?;
        let key = key.ok_or_else(|| {
            failed(&NotOnline {
                what: format!("the backfill of {file}"),
                reason: format!(
                    "{} needs a primary key, or a header with key= and columns that are NOT NULL",
                    read.table
                ),
            })
        })?;
        let backfill = Backfill {
            table: read.table,
            alias: read.alias,
            head: read.head,
            condition: read.condition,
            key,
            batch: read.batch,
        };
        if !expansion.backfills.contains(&backfill) {
            expansion.backfills.push(backfill);
        }
        Ok(())
    }

    /// Rows that the shadow does not hold; none matter to a swap of our own, which touches no row.
    pub(super) fn unseen(&self, unseen: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        if self.parts.retained.is_empty() {
            unseen.clone()
        } else {
            BTreeMap::new()
        }
    }

    /// What its up renames.
    pub(super) fn renames(&self) -> Vec<Rename> {
        let statements = &self.migration.up.statements;
        statements
            .iter()
            .filter_map(|statement| statement.rename.clone())
            .collect()
    }

    /// Columns that hold what another column holds too: a rollback loses nothing with them.
    pub(super) fn derives(&self, table: &str, column: Option<&String>) -> bool {
        let changes = self
            .parts
            .expansion
            .iter()
            .flat_map(|expansion| &expansion.changes);
        let plain = |name: &str| name.replace('"', "");
        changes.into_iter().any(|change| {
            plain(&change.table) == plain(table)
                && column.is_some_and(|column| plain(column) == plain(&change.new))
        })
    }
}

fn texts(script: &Script) -> Vec<String> {
    script
        .statements
        .iter()
        .map(|statement| statement.text.clone())
        .collect()
}

fn refusal(migration: &Migration, error: &NotOnline) -> EngineError {
    EngineError::Skill(SkillError::failed(format!(
        "{} {} cannot run online: {error}",
        migration.version, migration.name
    )))
}

fn failed(error: &NotOnline) -> EngineError {
    EngineError::Skill(SkillError::failed(error.to_string()))
}

/// The script with every directive replaced, and its way back.
async fn expand(
    session: &mut dyn Session,
    migration: &Migration,
    online: &[Option<Online>],
    expansion: &mut Expansion,
) -> Result<(Script, Option<Script>), EngineError> {
    let (mut up, mut down, mut all) = (Vec::<Statement>::new(), Vec::new(), true);
    for (statement, online) in migration.up.statements.iter().zip(online) {
        let Some(online) = online else {
            all = false;
            up.push(Statement {
                commits_alone: true,
                ..statement.clone()
            });
            continue;
        };
        let (forth, back) = parts(session, migration, online, expansion).await?;
        up.extend(forth.into_iter().map(own_statement));
        down.push(back);
    }
    let more = !all || migration.contract.is_some();
    if more && !expansion.changes.is_empty() {
        return Err(refusal(
            migration,
            &NotOnline {
                what: format!("{} {}", migration.version, migration.name),
                reason: "a column that changes online needs a migration of its own, without a contract of the author's".into(),
            },
        ));
    }
    let own = down.into_iter().rev().flatten().collect::<Vec<_>>();
    let down = if all && (migration.down.is_none() || !expansion.changes.is_empty()) {
        Some(at_once(own))
    } else {
        migration.down.clone()
    };
    Ok((Script::of(up), down))
}

async fn parts(
    session: &mut dyn Session,
    migration: &Migration,
    online: &Online,
    expansion: &mut Expansion,
) -> Result<(Vec<String>, Vec<String>), EngineError> {
    let column = match &online.action {
        Action::Type { column, .. }
        | Action::Rename { column, .. }
        | Action::NotNull { column } => column.clone(),
        Action::Constraint { .. } => {
            return change::constraint(online, &crate::domain::expand::ColumnFacts::default())
                .map_err(|error| refusal(migration, &error));
        }
    };
    let facts = facts::column(session, &online.table, &column)
        .await?
        .ok_or_else(|| {
            refusal(
                migration,
                &NotOnline {
                    what: format!("{}.{column}", online.table),
                    reason: "there is no such column before this migration".into(),
                },
            )
        })?;
    if matches!(online.action, Action::NotNull { .. }) {
        return change::constraint(online, &facts).map_err(|error| refusal(migration, &error));
    }
    let change = Change::new(online, &facts).map_err(|error| refusal(migration, &error))?;
    let both = (change.expand(), change.abort());
    expansion.backfills.push(change.backfill(&facts.key));
    expansion.changes.push(change);
    Ok(both)
}

/// A script of our own in one transaction.
pub(super) fn at_once(texts: Vec<String>) -> Script {
    let mut script = own_script(texts);
    for statement in &mut script.statements {
        statement.commits_alone = false;
    }
    script
}
