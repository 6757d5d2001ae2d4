//! What a shadow run and the ledger say about whole migrations.

use super::{
    Choice, Facts, Hit, LintReport, ProofFact, View, report,
    script::{Half, Parsed},
};
use crate::domain::{Dialect, Verdict};

/// All rules of this family.
pub(super) fn check(
    scripts: &[Parsed<'_>],
    facts: &Facts,
    choice: &Choice,
    report: &mut LintReport,
) {
    let mut add = |version: &str, half: Half, rule, message: String| {
        let at = place(scripts, version, half).or_else(|| place(scripts, version, Half::Up));
        if let Some(at) = at {
            let view = View {
                dialect: Dialect::Postgres,
                scripts,
                at,
                facts,
            };
            report::settle(&view, vec![Hit::of_file(rule, message)], choice, report);
        }
    };
    for proof in &facts.proofs {
        if let Some(rule) = rule(proof) {
            let half = if proof.verdict == Verdict::Irreversible {
                Half::Up
            } else {
                Half::Down
            };
            add(&proof.version, half, rule, proof.evidence.join("; "));
        }
    }
    if let Some((version, edited, sentence)) = &facts.conflict {
        let rule = if *edited {
            "changed-after-apply"
        } else {
            "non-linear"
        };
        add(version, Half::Up, rule, sentence.clone());
    }
    if let Some((version, message)) = mixed(scripts) {
        add(&version, Half::Up, "mixed-version-formats", message);
    }
}

fn rule(proof: &ProofFact) -> Option<&'static str> {
    let in_chain = proof
        .evidence
        .iter()
        .any(|sentence| sentence.contains("works alone but not"));
    match proof.verdict {
        _ if proof.replaced && in_chain => Some("down-breaks-in-chain"),
        _ if proof.replaced => Some("down-does-not-restore"),
        // What another tool applied is in no plan.
        Verdict::Reversible | Verdict::Unproven => None,
        Verdict::OrderOnly => Some("down-reorders-columns"),
        Verdict::Wrong if in_chain => Some("down-breaks-in-chain"),
        Verdict::Wrong => Some("down-does-not-restore"),
        Verdict::Lossy => Some("down-loses-data"),
        Verdict::Irreversible => Some("no-way-back"),
    }
}

fn place(scripts: &[Parsed<'_>], version: &str, half: Half) -> Option<usize> {
    scripts.iter().position(|parsed| {
        parsed.script.half == half
            && parsed
                .script
                .version
                .as_ref()
                .is_some_and(|own| own.as_str() == version || own.has_run(version))
    })
}

/// The first version that the alphabet puts elsewhere than its number does.
fn mixed(scripts: &[Parsed<'_>]) -> Option<(String, String)> {
    let versions = scripts
        .iter()
        .filter(|parsed| parsed.is_up())
        .filter_map(|parsed| parsed.script.version.as_ref())
        .collect::<Vec<_>>();
    versions.windows(2).find_map(|pair| {
        let [before, after] = pair else { return None };
        (before.as_str() > after.as_str()).then(|| {
            let message = format!("{after} comes after {before}, but the alphabet puts it before");
            (after.to_string(), message)
        })
    })
}
