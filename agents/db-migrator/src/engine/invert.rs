//! Searches the shadow for statements that undo a migration.

use std::collections::BTreeSet;

use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Dialect,
        catalog::Difference,
        inverse::{
            Blueprint, Stage, Step, reversed, step_aside, steps, tables::needs_keys_off, unblock,
        },
        proof::Snapshot,
        sha256_hex,
        source::Script,
        statement::{Rename, Statement, classify},
    },
};

/// Most times that the catalog is read again: every round leads further or is the last.
const MAX_ROUNDS: usize = 40;

/// What an inverse has to lead back to.
#[derive(Debug)]
pub(super) struct Goal<'a> {
    /// How everything was made.
    pub(super) blueprint: &'a Blueprint,
    /// What it was.
    pub(super) before: &'a Snapshot,
    /// What the up script renames.
    pub(super) renames: &'a [Rename],
}

/// Statements that remove what a blueprint does not have. The shadow is left as it was.
pub(super) async fn removed(
    session: &mut dyn Session,
    goal: &Blueprint,
) -> Result<Vec<String>, TargetError> {
    session.begin(Transaction::default()).await?;
    let mut search = Search {
        session,
        done: Vec::new(),
    };
    let found = search.approach(goal).await;
    let Search { session, done } = search;
    session.rollback().await?;
    found?;
    Ok(done.into_iter().map(|statement| statement.text).collect())
}

/// Statements that restore the catalog, or what they would leave different. The shadow is left as it was.
pub(super) async fn search(
    session: &mut dyn Session,
    goal: &Goal<'_>,
) -> Result<Result<Script, Vec<Difference>>, TargetError> {
    session
        .begin(Transaction {
            foreign_keys_off: session.dialect() == Dialect::Sqlite,
            ..Transaction::default()
        })
        .await?;
    let found = find(session, goal).await;
    session.rollback().await?;
    found
}

async fn find(
    session: &mut dyn Session,
    goal: &Goal<'_>,
) -> Result<Result<Script, Vec<Difference>>, TargetError> {
    let dialect = session.dialect();
    let mut search = Search {
        session,
        done: Vec::new(),
    };
    if dialect == Dialect::Sqlite {
        search
            .try_all(&mut reversed(goal.renames, goal.blueprint))
            .await?;
    }
    search.approach(goal.blueprint).await?;
    let done = search.done;
    let catalog = session.catalog().await?;
    let wanted = &goal.before.catalog;
    if catalog.fingerprint() == wanted.fingerprint() {
        return Ok(Ok(script(done, dialect)));
    }
    Ok(Err(wanted.differences(&catalog)))
}

struct Search<'a> {
    session: &'a mut dyn Session,
    done: Vec<Statement>,
}

impl Search<'_> {
    /// Rounds of steps until nothing is left or nothing works any more.
    async fn approach(&mut self, goal: &Blueprint) -> Result<(), TargetError> {
        let mut seen = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let current = self.session.blueprint().await?;
            let open = steps(&current, goal);
            if open.is_empty() || !seen.insert(sha256_hex(&format!("{:?}", current.recipes))) {
                return Ok(());
            }
            if !self.round(&current, goal, open).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tries what makes sense now; renames alone while they work, because everything else goes by names.
    async fn round(
        &mut self,
        current: &Blueprint,
        goal: &Blueprint,
        open: Vec<Step>,
    ) -> Result<bool, TargetError> {
        let renames = of(&open, &[Stage::Rename]);
        if !renames.is_empty() {
            if self.try_all(&mut renames.clone()).await?
                || self
                    .try_all(&mut of(&open, &[Stage::Drop, Stage::Rename]))
                    .await?
            {
                return Ok(true);
            }
            if let Some(step) = step_aside(&renames)
                && self.try_all(&mut vec![step]).await?
            {
                return Ok(true);
            }
        }
        let mut rest = of(&open, &[Stage::Drop, Stage::Make]);
        if self.try_all(&mut rest).await? {
            return Ok(true);
        }
        let mut removed = unblock(current, goal, &open);
        self.try_all(&mut removed).await
    }

    /// Tries steps again and again until none of them works any more; says whether any did.
    async fn try_all(&mut self, open: &mut Vec<Step>) -> Result<bool, TargetError> {
        let mut any = false;
        loop {
            let mut left = Vec::new();
            let before = open.len();
            for step in open.drain(..) {
                if !self.attempt(&step).await? {
                    left.push(step);
                }
            }
            any |= left.len() < before;
            if left.is_empty() || left.len() == before {
                return Ok(any);
            }
            *open = left;
        }
    }

    async fn attempt(&mut self, step: &Step) -> Result<bool, TargetError> {
        let dialect = self.session.dialect();
        for way in &step.ways {
            let classified = way
                .iter()
                .map(|text| classify(text.clone(), dialect))
                .collect::<Result<Vec<_>, _>>();
            // What no migration may contain, no inverse may either.
            let Ok(classified) = classified else { continue };
            if self.works(&classified).await? {
                self.done.extend(classified);
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn works(&mut self, statements: &[Statement]) -> Result<bool, TargetError> {
        self.session.execute("SAVEPOINT attempt").await?;
        for statement in statements {
            match self.session.execute(&statement.text).await {
                Ok(()) => {}
                Err(TargetError::Sql { .. } | TargetError::LockTimeout) => {
                    self.session
                        .execute("ROLLBACK TO attempt; RELEASE attempt")
                        .await?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.session.execute("RELEASE attempt").await?;
        Ok(true)
    }
}

fn of(steps: &[Step], stages: &[Stage]) -> Vec<Step> {
    let wanted = steps.iter().filter(|step| stages.contains(&step.stage));
    wanted.cloned().collect()
}

fn script(mut statements: Vec<Statement>, dialect: Dialect) -> Script {
    let keys_off = dialect == Dialect::Sqlite
        && statements
            .iter()
            .any(|statement| needs_keys_off(&statement.text));
    if keys_off && let Ok(switch) = classify("PRAGMA foreign_keys = OFF".into(), dialect) {
        statements.insert(0, switch);
    }
    Script::of(statements)
}
