//! What undoes a script that stopped half way, statement by statement.

pub mod insert;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepState, sha256_hex, statement::Lock};

/// What undoes one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// It changes nothing that would have to be undone.
    Nothing,
    /// Proven on a shadow: it restored catalog and rows, and the statement ran again after it.
    By(Way),
    /// Nothing that is proven, and why.
    Unproven(String),
}

/// Statements that undo one statement: all of them in one transaction, or a single one that no transaction may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The SQL.
    pub text: String,
    /// Whether it may run inside a transaction.
    pub transactional: bool,
    /// Whether SQLite's foreign keys are off meanwhile.
    pub foreign_keys_off: bool,
    /// The strongest lock it takes.
    pub lock: Lock,
}

/// The inverse of one statement of a script that does not run in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUndo {
    /// Place of the statement within its script, from 1.
    pub ordinal: i64,
    /// Its keywords and object.
    pub what: String,
    /// What undoes it.
    pub undo: Undo,
    /// Fingerprints of the catalog: with the statement, and without it.
    pub around: (String, String),
}

impl StepUndo {
    /// `statement 3 (INSERT log)`.
    pub fn named(&self) -> String {
        format!("statement {} ({})", self.ordinal, self.what)
    }
}

/// What a plan says about statements without a proven inverse, one sentence each.
pub fn warnings(undo: &[StepUndo]) -> Vec<String> {
    let unproven = undo.iter().filter_map(|step| match &step.undo {
        Undo::Unproven(reason) => Some((step, reason)),
        Undo::Nothing | Undo::By(_) => None,
    });
    unproven
        .map(|(step, reason)| {
            format!(
                "when it stops half way after {}, it can only be finished forward: no inverse of that statement is proven ({reason})",
                step.named()
            )
        })
        .collect()
}

/// Why a plan cannot promise to revert this script when it fails; the last statement does not matter, because nothing
/// fails after it.
pub fn unrevertible(undo: &[StepUndo]) -> Option<String> {
    let (_, earlier) = undo.split_last()?;
    warnings(earlier).into_iter().next()
}

/// SHA-256 over all inverses: a plan's digest covers what would run after a failure.
pub fn hash(undo: &[StepUndo]) -> Option<String> {
    let texts = undo.iter().map(|step| match &step.undo {
        Undo::By(way) => way.text.as_str(),
        Undo::Nothing => "",
        Undo::Unproven(_) => "-",
    });
    (!undo.is_empty()).then(|| sha256_hex(&texts.collect::<Vec<_>>().join(";\n")))
}

/// One statement of a script that stopped half way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfStep {
    /// Where it stands.
    pub state: StepState,
    /// What undoes it.
    pub undo: StepUndo,
}

/// A script that stopped half way, newest statement first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Halfway {
    /// Its statements.
    pub steps: Vec<HalfStep>,
}

impl Halfway {
    /// The statements that took effect or are in doubt, newest first.
    pub fn open(&self) -> impl Iterator<Item = &HalfStep> {
        self.steps
            .iter()
            .filter(|step| !matches!(step.state, StepState::Pending | StepState::Reverted))
    }

    /// Statements that took effect and still hold.
    pub fn applied(&self) -> u64 {
        let applied = |step: &&HalfStep| step.state != StepState::Intent;
        self.open().filter(applied).count() as u64
    }

    /// The newest statement that stands and has no proven inverse.
    pub fn blocked(&self) -> Option<(&StepUndo, &str)> {
        self.open().find_map(|step| match &step.undo.undo {
            Undo::Unproven(reason) => Some((&step.undo, reason.as_str())),
            Undo::Nothing | Undo::By(_) => None,
        })
    }

    /// What would be run, newest first.
    pub fn ways(&self) -> Vec<(String, Lock)> {
        let ways = self.open().filter_map(|step| match &step.undo.undo {
            Undo::By(way) => Some((way.text.clone(), way.lock)),
            Undo::Nothing | Undo::Unproven(_) => None,
        });
        ways.collect()
    }

    /// The fingerprint that the catalog has to have now; `None` while a statement is in doubt.
    pub fn expected(&self) -> Option<&str> {
        let newest = self.open().next();
        match newest {
            Some(step) if step.state == StepState::Applied => Some(&step.undo.around.0),
            Some(_) => None,
            None => self.steps.last().map(|step| step.undo.around.1.as_str()),
        }
    }
}

/// A migration that stopped half way, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HalfwayReport {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Statements that took effect and still hold.
    pub applied: u64,
    /// Statements of its up.
    pub statements: u64,
    /// Whether a rollback undoes it statement by statement; otherwise the next `apply_migration` finishes it.
    pub can_undo: bool,
    /// The statement that stands in the way: `statement 3 (INSERT log): reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
}

impl HalfwayReport {
    /// What a rollback does with it.
    pub fn good_news(&self) -> String {
        format!(
            "{} {} stopped half way with {} of {} statements: each has an inverse that was proven on a shadow, and nothing was written to what they drop",
            self.version, self.name, self.applied, self.statements
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(ordinal: i64, state: StepState, undo: Undo) -> HalfStep {
        HalfStep {
            state,
            undo: StepUndo {
                ordinal,
                what: "INSERT log".into(),
                undo,
                around: (format!("f{ordinal}"), format!("f{}", ordinal - 1)),
            },
        }
    }

    fn by(text: &str) -> Undo {
        Undo::By(Way {
            text: text.into(),
            transactional: true,
            foreign_keys_off: false,
            lock: Lock::AccessExclusive,
        })
    }

    #[test]
    fn undoes_what_stands_newest_first() {
        let halfway = Halfway {
            steps: vec![
                step(4, StepState::Pending, Undo::Unproven("no".into())),
                step(3, StepState::Applied, by("c")),
                step(2, StepState::Applied, Undo::Nothing),
                step(1, StepState::Applied, by("a")),
            ],
        };
        let texts = halfway.ways().into_iter().map(|(text, _)| text);
        assert_eq!(texts.collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!((halfway.applied(), halfway.blocked()), (3, None));
        assert_eq!(halfway.expected(), Some("f3"));
    }

    #[test]
    fn knows_no_catalog_while_a_statement_is_in_doubt() {
        for state in [StepState::Intent, StepState::Reverting] {
            let halfway = Halfway {
                steps: vec![
                    step(2, state, by("b")),
                    step(1, StepState::Applied, by("a")),
                ],
            };
            assert_eq!(halfway.expected(), None);
        }
        let undone = Halfway {
            steps: vec![
                step(2, StepState::Reverted, by("b")),
                step(1, StepState::Reverted, by("a")),
            ],
        };
        assert_eq!((undone.expected(), undone.applied()), (Some("f0"), 0));
    }

    #[test]
    fn names_the_statement_that_has_no_inverse() {
        let steps = [
            step(1, StepState::Applied, by("a")),
            step(2, StepState::Applied, Undo::Unproven("rows".into())),
            step(3, StepState::Pending, Undo::Unproven("last".into())),
        ];
        let undo = steps.clone().map(|step| step.undo);
        assert!(
            unrevertible(&undo)
                .unwrap()
                .contains("statement 2 (INSERT log)")
        );
        assert_eq!(
            unrevertible(&undo[1..2]),
            None,
            "nothing fails after the last"
        );
        let halfway = Halfway {
            steps: steps.into_iter().rev().collect(),
        };
        assert_eq!(halfway.blocked().unwrap().0.ordinal, 2);
    }
}
