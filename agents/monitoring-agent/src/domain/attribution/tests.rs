//! Fault kinds and healthy stories on the model, each many times with seeded variations.

mod faults;
mod healthy;
mod late;
mod requests;
mod sim;

use std::collections::BTreeMap;

use super::Attribution;
use sim::Sim;

/// Variations of each fault kind.
const VARIATIONS: u64 = 20;
/// Deploys of healthy stories.
const HEALTHY: u64 = 1_000;

#[test]
fn at_least_95_of_100_faults_are_attributed_rightly_and_none_is_rolled_back_wrongly() {
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let (mut all, mut right) = (0_u32, 0_u32);
    for (name, expected, story) in faults::FAULTS {
        for seed in 0..VARIATIONS {
            let mut sim = Sim::new(seed);
            story(&mut sim);
            let found = sim.verdict();
            all += 1;
            if found == Some(*expected) {
                right += 1;
            } else {
                wrong
                    .entry(name)
                    .or_default()
                    .push(format!("{seed}: {found:?}, {:?}", sim.because()));
            }
            if *expected != Attribution::Release {
                assert!(
                    !sim.wants_rollback(),
                    "{name} {seed}: a release was blamed: {:?}",
                    sim.because()
                );
            }
        }
    }
    println!(
        "{right} of {all} right, {} fault kinds; wrong: {wrong:#?}",
        faults::FAULTS.len()
    );
    assert!(right * 100 >= all * 95, "{right} of {all}: {wrong:#?}");
}

#[test]
fn a_thousand_healthy_deploys_ask_for_no_rollback() {
    let mut told = BTreeMap::new();
    for seed in 0..HEALTHY {
        let at = usize::try_from(seed).unwrap() % healthy::STORIES.len();
        let (name, story) = healthy::STORIES[at];
        let mut sim = Sim::new(seed);
        story(&mut sim);
        assert!(!sim.wants_rollback(), "{name} {seed}: {:?}", sim.because());
        *told.entry(name).or_insert(0_u32) += u32::from(sim.verdict().is_some());
    }
    println!("incidents without a rollback, by story: {told:?}");
    let incidents: u32 = told.values().sum();
    assert!(
        u64::from(incidents) * 100 <= HEALTHY,
        "people are called for nothing: {told:?}"
    );
}
