//! Runs scripts on a shadow as they would run on the database.

use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{Catalog, PlannedStep, plan::PlannedScript, proof::Snapshot, source::Script},
};

/// The database's own refusal as a sentence; any other error is not about the script.
pub(super) fn refusal(error: TargetError) -> Result<String, TargetError> {
    match error {
        TargetError::Sql { code, message } => Ok(format!("{message} ({code})")),
        other => Err(other),
    }
}

/// Applies a script once more.
pub(super) async fn again(
    session: &mut dyn Session,
    script: &Script,
) -> Result<Result<Catalog, String>, TargetError> {
    match run(session, script).await {
        Ok(_) => Ok(Ok(session.catalog().await?)),
        Err(error) => refusal(error).map(Err),
    }
}

/// Catalog and rows as they are.
pub(super) async fn snapshot(session: &mut dyn Session) -> Result<Snapshot, TargetError> {
    let catalog = session.catalog().await?;
    let tables = catalog.tables();
    let rows = session.rows(&tables).await?;
    Ok(Snapshot {
        catalog,
        rows: tables
            .into_iter()
            .map(|(table, _)| table)
            .zip(rows)
            .collect(),
    })
}

/// What a down that failed would have been: shown, never run without an approval.
pub(super) fn unproven(script: &Script) -> PlannedScript {
    let steps = script.statements.iter().map(|statement| PlannedStep {
        statement: statement.clone(),
        around: None,
    });
    PlannedScript {
        steps: steps.collect(),
        atomic: script.is_atomic(),
        foreign_keys_off: script.foreign_keys_off(),
    }
}

/// Runs a script on a shadow as it would run on the database, noting fingerprints around what cannot be undone.
pub(super) async fn run(
    session: &mut dyn Session,
    script: &Script,
) -> Result<PlannedScript, TargetError> {
    let mut planned = unproven(script);
    if planned.atomic {
        let texts = script
            .statements
            .iter()
            .filter(|statement| !statement.foreign_key_switch)
            .map(|statement| statement.text.as_str())
            .collect::<Vec<_>>();
        in_one_transaction(session, &texts, planned.foreign_keys_off).await?;
        return Ok(planned);
    }
    for step in &mut planned.steps {
        if step.statement.transactional {
            in_one_transaction(session, &[&step.statement.text], planned.foreign_keys_off).await?;
        } else {
            let before = session.catalog().await?.fingerprint();
            session.execute(&step.statement.text).await?;
            step.around = Some((before, session.catalog().await?.fingerprint()));
        }
    }
    Ok(planned)
}

pub(super) async fn in_one_transaction(
    session: &mut dyn Session,
    texts: &[&str],
    foreign_keys_off: bool,
) -> Result<(), TargetError> {
    session
        .begin(Transaction {
            foreign_keys_off,
            ..Transaction::default()
        })
        .await?;
    for text in texts {
        if let Err(error) = session.execute(text).await {
            session.rollback().await?;
            return Err(error);
        }
    }
    let committed = session.commit().await;
    if committed.is_err() {
        session.rollback().await?;
    }
    committed
}

/// Statements of the ledger, replayed.
pub(super) async fn run_texts(
    session: &mut dyn Session,
    texts: &[&str],
    atomic: bool,
) -> Result<(), TargetError> {
    if atomic {
        return in_one_transaction(session, texts, false).await;
    }
    for text in texts {
        session.execute(text).await?;
    }
    Ok(())
}
