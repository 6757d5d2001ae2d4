//! Proves an inverse of each statement of a script that does not run in one transaction: such a script can stop half way.

use super::{Prover, Shadowed, migration::Proven};
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Dialect, Statement,
        concurrent::{Concurrent, concurrent},
        inverse::Blueprint,
        plan::PlannedScript,
        proof::{Inverse, Observed, Snapshot, judge},
        source::Script,
        statement::{Lock, classify},
        undo::{self, StepUndo, Undo, Way, insert::uninserted},
    },
    engine::{
        EngineError,
        invert::{Goal, search},
        shadow::{in_one_transaction, run, snapshot},
    },
};

/// What every object of our own is called like: no catalog shows it, so no search can find its way back.
const OWN: &str = "db_migrator";
const DROP_INDEX: &str = "DROP INDEX ";

/// The shadow before and after one statement, and how everything was made before it.
struct Moment {
    blueprint: Blueprint,
    before: Snapshot,
    after: Snapshot,
}

impl Prover<'_> {
    /// Adds the inverse of each statement to a migration whose up does not run in one transaction. The shadow is left
    /// after up.
    pub(super) async fn prove_undo(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        mut proven: Proven,
    ) -> Result<Proven, EngineError> {
        let Some(work) = self.works.get(at).cloned() else {
            return Ok(proven);
        };
        let up = &proven.planned.up;
        let hidden = up.steps.iter().enumerate().any(|(place, step)| {
            step.statement.text.contains(OWN) && !work.back.contains_key(&place)
        });
        if up.atomic || hidden {
            return Ok(proven);
        }
        if let Some(whole) = whole(&proven) {
            proven.planned.parts.undo = vec![whole];
            return Ok(proven);
        }
        let foreign_keys_off = up.foreign_keys_off;
        let statements = up.steps.iter().map(|step| step.statement.clone());
        let statements = statements.collect::<Vec<_>>();
        self.back_to(shadow, at, &proven).await?;
        let mut undo = Vec::new();
        for place in 0..statements.len() {
            self.job.context.check_canceled()?;
            let aids = (work.back.get(&place), work.authored.as_ref());
            let whole = (statements.as_slice(), foreign_keys_off);
            undo.extend(self.undo_of(shadow, (at, place), whole, aids).await?);
        }
        work.fill(shadow.session.as_mut()).await?;
        proven.planned.proof.evidence.extend(undo::warnings(&undo));
        proven.planned.parts.undo = undo;
        proven.spoiled = false;
        Ok(proven)
    }

    /// Runs one statement and proves what undoes it. The shadow is left after the statement.
    async fn undo_of(
        &mut self,
        shadow: &mut Shadowed,
        (at, place): (usize, usize),
        (statements, foreign_keys_off): (&[Statement], bool),
        (back, down): (Option<&String>, Option<&Script>),
    ) -> Result<Option<StepUndo>, EngineError> {
        let Some(statement) = statements.get(place) else {
            return Ok(None);
        };
        let session = shadow.session.as_mut();
        let moment = forth(session, statement, foreign_keys_off).await?;
        let found = candidates(session, statement, (&moment, back, down)).await?;
        let mut undo = if found.nothing {
            Undo::Nothing
        } else {
            Undo::Unproven(found.reason)
        };
        for script in found.scripts {
            let both = (statement, foreign_keys_off);
            match prove(shadow, both, &script, &moment).await? {
                Ok(()) => {
                    undo = Undo::By(one(&script));
                    break;
                }
                Err(reason) => {
                    undo = Undo::Unproven(reason);
                    let whole = (statements, foreign_keys_off);
                    self.again_after(shadow, (at, place), whole).await?;
                }
            }
        }
        Ok(Some(StepUndo {
            ordinal: i64::try_from(place + 1).unwrap_or(i64::MAX),
            what: statement.what(),
            undo,
            around: (
                moment.after.catalog.fingerprint(),
                moment.before.catalog.fingerprint(),
            ),
        }))
    }

    /// Leaves the shadow as it was before the migration.
    async fn back_to(
        &mut self,
        shadow: &mut Shadowed,
        at: usize,
        proven: &Proven,
    ) -> Result<(), EngineError> {
        let down = proven.inverse.as_ref();
        let down = down.filter(|_| proven.planned.proof.verdict.is_proven() && !proven.spoiled);
        if let Some(down) = down {
            run(shadow.session.as_mut(), down).await?;
        } else {
            self.renew(shadow, at).await?;
        }
        Ok(())
    }

    /// A shadow right after one statement of the migration: a candidate that failed spoiled the old one.
    async fn again_after(
        &mut self,
        shadow: &mut Shadowed,
        (at, place): (usize, usize),
        (statements, foreign_keys_off): (&[Statement], bool),
    ) -> Result<(), EngineError> {
        self.renew(shadow, at).await?;
        for statement in statements.iter().take(place + 1) {
            step(shadow.session.as_mut(), statement, foreign_keys_off).await?;
        }
        Ok(())
    }
}

/// A script of one statement is undone by what undoes the migration: that is proven already.
fn whole(proven: &Proven) -> Option<StepUndo> {
    let planned = &proven.planned;
    let [only] = planned.up.steps.as_slice() else {
        return None;
    };
    let around = (
        planned.fingerprint_after.clone(),
        planned.fingerprint_before.clone(),
    );
    let undo = match &planned.down {
        _ if !planned.proof.verdict.is_proven() => return None,
        None => Undo::Nothing,
        Some(down) if down.atomic || down.steps.len() == 1 => Undo::By(joined(down)),
        Some(_) => return None,
    };
    Some(StepUndo {
        ordinal: 1,
        what: only.statement.what(),
        undo,
        around,
    })
}

/// A script that runs as a whole, as one text.
fn joined(script: &PlannedScript) -> Way {
    let statements = script.steps.iter().map(|step| &step.statement);
    let run = statements.filter(|statement| !statement.foreign_key_switch);
    let run = run.collect::<Vec<_>>();
    Way {
        text: run
            .iter()
            .map(|statement| statement.text.as_str())
            .collect::<Vec<_>>()
            .join(";\n"),
        transactional: run.iter().all(|statement| statement.transactional),
        foreign_keys_off: script.foreign_keys_off,
        lock: run
            .iter()
            .map(|statement| statement.lock)
            .max()
            .unwrap_or(Lock::None),
    }
}

fn one(script: &Script) -> Way {
    joined(&crate::engine::shadow::unproven(script))
}

/// Runs one statement as it would run on the database.
async fn step(
    session: &mut dyn Session,
    statement: &Statement,
    foreign_keys_off: bool,
) -> Result<(), TargetError> {
    if statement.foreign_key_switch {
        Ok(())
    } else if statement.transactional {
        in_one_transaction(session, &[&statement.text], foreign_keys_off).await
    } else {
        session.execute(&statement.text).await
    }
}

async fn forth(
    session: &mut dyn Session,
    statement: &Statement,
    foreign_keys_off: bool,
) -> Result<Moment, TargetError> {
    let blueprint = session.blueprint().await?;
    let before = snapshot(session).await?;
    step(session, statement, foreign_keys_off).await?;
    Ok(Moment {
        blueprint,
        before,
        after: snapshot(session).await?,
    })
}

/// What may undo a statement.
#[derive(Debug, Default)]
struct Candidates {
    /// Nothing has to.
    nothing: bool,
    scripts: Vec<Script>,
    /// Why there is none.
    reason: String,
}

/// What brings back what is retained; a statement of the author's down that fits; a way that the catalogs show.
async fn candidates(
    session: &mut dyn Session,
    statement: &Statement,
    (moment, back, down): (&Moment, Option<&String>, Option<&Script>),
) -> Result<Candidates, TargetError> {
    let dialect = session.dialect();
    if let Some(text) = back {
        return Ok(Candidates {
            scripts: vec![ours(text)],
            ..Candidates::default()
        });
    }
    if moment.before == moment.after {
        let writes = writes(statement);
        return Ok(Candidates {
            nothing: !writes,
            reason: String::from("it may change rows, and changes none on the shadow"),
            ..Candidates::default()
        });
    }
    let mut found = Candidates::default();
    let authored = down.iter().flat_map(|down| &down.statements);
    let turned = uninserted(&statement.text, &moment.after.catalog, dialect)
        .and_then(|text| classify(text, dialect).ok());
    for step in authored.chain(&turned) {
        if fits(step, statement) && leads_back(session, step, moment).await? {
            found
                .scripts
                .push(concurrently(statement, alone(step.clone()), dialect));
            break;
        }
    }
    let rows_only = moment.before.catalog.fingerprint() == moment.after.catalog.fingerprint();
    if rows_only {
        found.reason = String::from(
            "neither a statement of its down nor one of ours restores these rows alone",
        );
        return Ok(found);
    }
    let renames = statement.rename.iter().cloned().collect::<Vec<_>>();
    let goal = Goal {
        blueprint: &moment.blueprint,
        before: &moment.before,
        renames: &renames,
    };
    match search(session, &goal).await? {
        Ok(script) => found.scripts.push(concurrently(statement, script, dialect)),
        Err(differences) => {
            let left = differences.iter().take(3).map(ToString::to_string);
            let left = left.collect::<Vec<_>>().join(", ");
            found.reason = format!("every way back leaves {left}");
        }
    }
    Ok(found)
}

/// Whether a statement writes rows, so that a shadow on which it changes none proves nothing.
fn writes(statement: &Statement) -> bool {
    const WRITING: [&str; 8] = [
        "INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "DO", "CALL",
    ];
    let first = statement.kind.split(' ').next().unwrap_or_default();
    WRITING.contains(&first)
        || (first == "WITH" && WRITING.iter().any(|word| has_word(&statement.text, word)))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// Whether a statement of a down is about what the statement of the up is about.
fn fits(down: &Statement, up: &Statement) -> bool {
    let last = |name: &str| {
        let name = name.rsplit('.').next().unwrap_or(name);
        name.replace('"', "").to_ascii_lowercase()
    };
    down.transactional && !up.object.is_empty() && last(&down.object) == last(&up.object)
}

/// Whether a statement restores catalog and rows; tried in a transaction that is dropped.
async fn leads_back(
    session: &mut dyn Session,
    statement: &Statement,
    moment: &Moment,
) -> Result<bool, TargetError> {
    session.begin(Transaction::default()).await?;
    let ran = session.execute(&statement.text).await;
    let restored = match ran {
        Ok(()) => Ok(snapshot(session).await? == moment.before),
        Err(TargetError::Sql { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    session.rollback().await?;
    restored
}

/// An index that is built without stopping anybody is dropped likewise.
fn concurrently(statement: &Statement, script: Script, dialect: Dialect) -> Script {
    let built = matches!(
        concurrent(&statement.text),
        Some(Concurrent::CreateIndex { .. })
    );
    let dropped = match script.statements.as_slice() {
        [only] if built && dialect == Dialect::Postgres => {
            let (drop, index) = only
                .text
                .split_at_checked(DROP_INDEX.len())
                .unwrap_or_default();
            drop.eq_ignore_ascii_case(DROP_INDEX).then_some(index)
        }
        _ => None,
    };
    let gently = dropped
        .and_then(|index| classify(format!("DROP INDEX CONCURRENTLY {index}"), dialect).ok());
    gently.map_or(script, alone)
}

/// A script of one statement.
fn alone(statement: Statement) -> Script {
    Script::of(vec![statement])
}

/// What brings back what is retained, in one transaction.
fn ours(text: &str) -> Script {
    let statement = Statement {
        commits_alone: false,
        transactional: true,
        ..crate::domain::expand::own_statement(text)
    };
    alone(statement)
}

/// Back and forth again: the same judgement as on a whole migration.
async fn prove(
    shadow: &mut Shadowed,
    (statement, foreign_keys_off): (&Statement, bool),
    script: &Script,
    moment: &Moment,
) -> Result<Result<(), String>, EngineError> {
    let session = shadow.session.as_mut();
    let whole = script.is_atomic() || script.statements.len() == 1;
    if !whole {
        return Ok(Err(String::from("it takes more than one transaction")));
    }
    if let Err(error) = run(session, script).await {
        return Ok(Err(crate::engine::shadow::refusal(error)?));
    }
    let restored = snapshot(session).await?;
    let second_up = match step(session, statement, foreign_keys_off).await {
        Ok(()) => Ok(session.catalog().await?),
        Err(error) => Err(crate::engine::shadow::refusal(error)?),
    };
    let observed = Observed {
        before: moment.before.clone(),
        after: moment.after.clone(),
        down: Some(Ok(restored)),
        second_up: Some(second_up),
        unseen_rows: shadow.unseen_rows.clone(),
        renames: statement.rename.iter().cloned().collect(),
        inverse: Inverse::Synthesised,
        writes: if writes(statement) {
            vec![statement.what()]
        } else {
            Vec::new()
        },
    };
    let proof = judge(&observed);
    Ok(if proof.verdict.is_proven() {
        Ok(())
    } else {
        Err(proof.evidence.join("; "))
    })
}
