use proptest::prelude::*;

use crate::domain::dora::{
    Facts, Project, Question, Sha,
    clock::{self, DAY, Ms},
    fact::{
        Deploying, First, Issue, IssueWord, Merge, MergeWord, Place, Push, Rollout, RolloutWord,
        Span, Status, Trouble, TroubleWord,
    },
    level::Level,
    measure,
    report::{Definition, Interval, Report},
};

const HOUR: Ms = 3_600_000;

fn t0() -> Ms {
    clock::parse("2026-11-02T00:00:00Z").unwrap()
}

fn sha(n: u8) -> Sha {
    format!("{n:02x}").repeat(20).parse().unwrap()
}

fn deployed(id: u64, environment: &str, commit: u8, status: Status, at: Ms) -> Facts {
    let place = Place {
        at,
        environment: environment.into(),
        slug: Some(environment.into()),
        tier: if environment.starts_with("prod") {
            "production"
        } else {
            "staging"
        }
        .into(),
        sha: Some(sha(commit)),
        git_ref: Some("main".into()),
        job: Some(1_000 + id),
    };
    let seen = [
        (Status::Running, Span(at - 60_000, at - 60_000)),
        (status, Span(at, at)),
    ];
    let mut facts = Facts::default();
    let deploying = Deploying {
        place: Some(place),
        seen: seen.into_iter().collect(),
    };
    facts.deployments.insert(id, deploying);
    facts
}

fn merged(number: u64, commit: u8, at: Ms) -> Facts {
    let word = MergeWord {
        at,
        target: "main".into(),
        source: format!("feature-{number}"),
        merge_commit: Some(sha(commit)),
        head: None,
        remedy: false,
    };
    let mut facts = Facts::default();
    let merge = Merge {
        created: First(Some(at - HOUR)),
        merged: First(Some(at)),
        first_commit: First(Some(at - 2 * HOUR)),
        word: Some(word),
    };
    facts.merges.insert(number, merge);
    facts
}

fn pushed(before: u8, after: u8, commits: &[u8], at: Ms) -> Facts {
    let push = Push {
        before: Some(sha(before)),
        total: commits.len() as u64,
        commits: commits.iter().map(|n| (sha(*n), at)).collect(),
    };
    let mut facts = Facts::default();
    facts
        .pushes
        .insert(format!("main {} {}", sha(after), sha(before)), push);
    facts
}

fn incident(number: u64, began: Ms, closed: Option<Ms>) -> Facts {
    let word = IssueWord {
        at: closed.unwrap_or(began),
        closed: closed.is_some(),
        closed_at: closed,
        duplicate: false,
        blames: None,
        of_agent: None,
    };
    let mut facts = Facts::default();
    let issue = Issue {
        created: First(Some(began)),
        closing: closed,
        word: Some(word),
    };
    facts.issues.insert(number, issue);
    facts
}

fn rollout(revision: u64, template: &str, env: Option<&str>, completed: Option<Ms>) -> Facts {
    let word = RolloutWord {
        at: completed.unwrap_or_default(),
        namespace: "shop".into(),
        deployment: "web".into(),
        app: env.map(|_| "root-test".into()),
        env: env.map(Into::into),
        sha: None,
        template: template.into(),
    };
    let mut facts = Facts::default();
    let rollout = Rollout {
        revision,
        completed: First(completed),
        failed: First(None),
        word: Some(word),
    };
    facts.rollouts.insert(format!("uid/{revision}"), rollout);
    facts
}

fn trouble(revision: u64, change: Ms, began: Ms, resolved: Option<Ms>, release: bool) -> Facts {
    let word = TroubleWord {
        at: resolved.unwrap_or(began),
        resolved,
        namespace: "shop".into(),
        deployment: "web".into(),
        revision: Some(revision),
        change,
        release,
    };
    let mut facts = Facts::default();
    let trouble = Trouble {
        began: First(Some(began)),
        word: Some(word),
    };
    facts
        .troubles
        .insert(format!("inc-{revision}-{began}"), trouble);
    facts
}

fn all(parts: impl IntoIterator<Item = Facts>) -> Facts {
    let mut facts = Facts::default();
    parts.into_iter().for_each(|part| facts.absorb(part));
    facts
}

fn question(definition: Definition) -> Question {
    Question {
        from: t0(),
        to: t0() + 10 * DAY,
        tier: "production".into(),
        definition,
        interval: Interval::Daily,
    }
}

fn report(facts: &Facts, definition: Definition) -> Report {
    let project = Project {
        name: "root/test".into(),
        facts: facts.clone(),
    };
    measure(&[project], &question(definition))
}

fn left_out(report: &Report) -> Vec<(&str, u64)> {
    report
        .left_out
        .iter()
        .map(|out| (out.reason.as_str(), out.count))
        .collect()
}

#[test]
fn frequency_counts_finished_deployments_to_the_tier_with_their_days() {
    let facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + DAY),
        deployed(2, "prod", 2, Status::Success, t0() + 2 * DAY),
        deployed(3, "prod", 2, Status::Success, t0() + 3 * DAY),
        deployed(4, "prod", 3, Status::Failed, t0() + 4 * DAY),
        deployed(5, "staging", 3, Status::Success, t0() + 4 * DAY),
        deployed(6, "prod", 3, Status::Success, t0() + 10 * DAY),
    ]);
    let gitlab = report(&facts, Definition::Gitlab).deployment_frequency;
    assert_eq!(
        (gitlab.numerator, gitlab.denominator, gitlab.value),
        (3, 10, Some(0.3))
    );
    assert_eq!(gitlab.cluster, Some(Level::High));
    let strict = report(&facts, Definition::Strict);
    assert_eq!(strict.deployment_frequency.numerator, 2);
    assert_eq!(
        left_out(&strict)[..2],
        [("failed", 1), ("same_commit_as_in_force", 1)]
    );
    assert_eq!(strict.series.len(), 10);
    assert_eq!(
        strict
            .series
            .iter()
            .map(|point| point.deployments)
            .sum::<u64>(),
        2
    );
}

#[test]
fn a_deployment_brings_what_lies_between_its_commit_and_the_one_before() {
    let facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + DAY),
        deployed(2, "prod", 3, Status::Success, t0() + 3 * DAY),
        // Merged before the first deployment, into what it deployed.
        merged(10, 1, t0()),
        merged(11, 2, t0() + DAY + HOUR),
        merged(12, 3, t0() + 2 * DAY),
        // Merged in time, but not deployed.
        merged(13, 4, t0() + 2 * DAY + HOUR),
        pushed(1, 2, &[2], t0() + DAY + HOUR),
        pushed(2, 3, &[3], t0() + 2 * DAY),
        pushed(3, 4, &[4], t0() + 2 * DAY + HOUR),
    ]);
    let lead = report(&facts, Definition::Strict).lead_time_for_changes;
    // 24 h, 47 h and 24 h.
    assert_eq!((lead.numerator, lead.denominator), (3, 3));
    assert_eq!(lead.value, Some(86_400.0));
    assert_eq!(lead.cluster, Some(Level::Elite));
    let devlake = report(&facts, Definition::Devlake).lead_time_for_changes;
    assert_eq!(devlake.value, Some(86_400.0 + 2.0 * 3_600.0));
    // Without pushes the order of merges says the same.
    let mut without = facts;
    without.pushes.clear();
    assert_eq!(
        report(&without, Definition::Strict)
            .lead_time_for_changes
            .numerator,
        3
    );
}

#[test]
fn minutes_are_rounded_up_part_by_part_as_devlake_does() {
    let facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + DAY + 1),
        merged(10, 1, t0()),
    ]);
    let gitlab = report(&facts, Definition::Gitlab)
        .lead_time_for_changes
        .value;
    assert_eq!(gitlab, Some(86_400.001));
    let devlake = report(&facts, Definition::Devlake)
        .lead_time_for_changes
        .value;
    assert_eq!(devlake, Some(86_460.0 + 7_200.0));
}

#[test]
fn the_first_environment_counts_once_except_for_gitlab() {
    let facts = all([
        deployed(1, "prod-eu", 1, Status::Success, t0() + DAY),
        deployed(2, "prod-us", 1, Status::Success, t0() + 3 * DAY),
        merged(10, 1, t0()),
    ]);
    let gitlab = report(&facts, Definition::Gitlab).lead_time_for_changes;
    assert_eq!((gitlab.denominator, gitlab.value), (2, Some(172_800.0)));
    let strict = report(&facts, Definition::Strict).lead_time_for_changes;
    assert_eq!((strict.denominator, strict.value), (1, Some(86_400.0)));
}

#[test]
fn two_incidents_on_one_deployment_make_gitlabs_rate_exceed_one_and_no_others() {
    let facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + DAY),
        incident(1, t0() + DAY + HOUR, Some(t0() + DAY + 2 * HOUR)),
        incident(2, t0() + DAY + HOUR, Some(t0() + DAY + 4 * HOUR)),
    ]);
    let gitlab = report(&facts, Definition::Gitlab);
    assert_eq!(gitlab.change_failure_rate.value, Some(2.0));
    assert_eq!(gitlab.time_to_restore.value, Some(7_200.0));
    let devlake = report(&facts, Definition::Devlake);
    assert_eq!(devlake.change_failure_rate.value, Some(1.0));
    assert_eq!(devlake.time_to_restore.value, Some(3.0 * 3_600.0));
    let strict = report(&facts, Definition::Strict);
    assert_eq!(strict.change_failure_rate.value, Some(1.0));
    // One failed deployment, over when its last incident was.
    assert_eq!(
        (
            strict.time_to_restore.numerator,
            strict.time_to_restore.value
        ),
        (1, Some(4.0 * 3_600.0))
    );
}

#[test]
fn an_incident_that_no_deployment_explains_is_left_out_with_the_reason() {
    let mut facts = all([
        incident(1, t0(), None),
        deployed(1, "prod", 1, Status::Success, t0() + HOUR),
        incident(2, t0() + 9 * DAY, None),
        incident(3, t0() + 2 * HOUR, None),
    ]);
    facts
        .issues
        .get_mut(&3)
        .unwrap()
        .word
        .as_mut()
        .unwrap()
        .duplicate = true;
    let strict = report(&facts, Definition::Strict);
    assert_eq!(strict.change_failure_rate.value, Some(0.0));
    let reasons = left_out(&strict);
    for reason in [
        "no_deployment_before_it",
        "no_deployment_within_7_days_before_it",
        "duplicate_incident",
    ] {
        assert!(reasons.contains(&(reason, 1)), "{reason}: {reasons:?}");
    }
    assert_eq!(
        report(&facts, Definition::Devlake)
            .change_failure_rate
            .value,
        Some(1.0)
    );
}

#[test]
fn the_commit_that_an_incident_names_is_blamed() {
    let mut facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + HOUR),
        deployed(2, "prod", 2, Status::Success, t0() + 2 * HOUR),
        incident(1, t0() + 3 * HOUR, Some(t0() + 4 * HOUR)),
    ]);
    facts
        .issues
        .get_mut(&1)
        .unwrap()
        .word
        .as_mut()
        .unwrap()
        .blames = Some(sha(1));
    assert_eq!(
        report(&facts, Definition::Strict).time_to_restore.value,
        Some(3.0 * 3_600.0)
    );
    assert_eq!(
        report(&facts, Definition::Devlake).time_to_restore.value,
        Some(2.0 * 3_600.0)
    );
}

#[test]
fn a_return_to_an_earlier_commit_is_rework_and_brings_nothing() {
    let facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + HOUR),
        deployed(2, "prod", 2, Status::Success, t0() + 2 * HOUR),
        deployed(3, "prod", 1, Status::Success, t0() + 3 * HOUR),
        merged(10, 1, t0()),
        merged(11, 2, t0() + HOUR),
    ]);
    let strict = report(&facts, Definition::Strict);
    assert_eq!(
        (strict.rework_rate.numerator, strict.rework_rate.denominator),
        (1, 3)
    );
    assert_eq!(strict.lead_time_for_changes.denominator, 2);
}

#[test]
fn rollouts_count_where_gitlab_sends_none_and_restarts_do_not() {
    let cluster = all([
        rollout(1, "a", None, Some(t0() + HOUR)),
        rollout(2, "a", None, Some(t0() + 2 * HOUR)),
        rollout(3, "b", None, Some(t0() + 3 * HOUR)),
        rollout(4, "a", None, Some(t0() + 4 * HOUR)),
    ]);
    let strict = report(&cluster, Definition::Strict);
    assert_eq!(strict.sources.cluster, 3);
    assert_eq!(left_out(&strict)[0], ("restart_without_a_change", 1));
    assert_eq!(strict.rework_rate.numerator, 1);
    assert_eq!(
        report(&cluster, Definition::Gitlab)
            .deployment_frequency
            .numerator,
        0
    );

    let both = all([
        deployed(1, "prod", 1, Status::Success, t0() + HOUR),
        rollout(1, "a", Some("prod"), Some(t0() + HOUR)),
        rollout(2, "b", Some("prod-us"), Some(t0() + 2 * HOUR)),
    ]);
    let strict = report(&both, Definition::Strict);
    assert_eq!((strict.sources.gitlab, strict.sources.cluster), (1, 1));
    assert_eq!(left_out(&strict)[0], ("gitlab_reports_this_environment", 1));
}

#[test]
fn a_release_that_was_rolled_back_before_it_was_complete_is_a_failed_one() {
    let facts = all([
        rollout(1, "a", None, Some(t0() + HOUR)),
        rollout(2, "b", None, None),
        trouble(
            2,
            t0() + 2 * HOUR,
            t0() + 2 * HOUR + 1_000,
            Some(t0() + 2 * HOUR + 6_000),
            true,
        ),
        trouble(1, t0() + HOUR, t0() + 5 * HOUR, None, false),
    ]);
    let strict = report(&facts, Definition::Strict);
    let rate = &strict.change_failure_rate;
    assert_eq!((rate.numerator, rate.denominator), (1, 2));
    assert_eq!(strict.time_to_restore.value, Some(5.0));
    assert!(left_out(&strict).contains(&("not_caused_by_a_release", 1)));
}

#[test]
fn an_incident_of_the_agent_and_its_issue_are_one() {
    let mut facts = all([
        deployed(1, "prod", 1, Status::Success, t0() + HOUR),
        rollout(1, "a", Some("prod"), Some(t0() + HOUR - 10_000)),
        trouble(
            1,
            t0() + HOUR - 30_000,
            t0() + HOUR - 20_000,
            Some(t0() + 2 * HOUR),
            true,
        ),
        incident(7, t0() + HOUR, Some(t0() + 3 * HOUR)),
    ]);
    let id = facts.troubles.keys().next().unwrap().clone();
    facts
        .issues
        .get_mut(&7)
        .unwrap()
        .word
        .as_mut()
        .unwrap()
        .of_agent = Some(id);
    let strict = report(&facts, Definition::Strict);
    assert_eq!(
        (
            strict.change_failure_rate.numerator,
            strict.change_failure_rate.denominator
        ),
        (1, 1)
    );
    assert_eq!(strict.time_to_restore.numerator, 1);
    // GitLab sees the issue alone.
    assert_eq!(
        report(&facts, Definition::Gitlab)
            .change_failure_rate
            .numerator,
        1
    );
}

#[test]
fn a_job_counts_once_whether_its_deployment_is_announced_or_not() {
    let mut facts = deployed(1, "prod", 1, Status::Success, t0() + HOUR);
    let job = facts.deployments[&1].clone();
    facts.jobs.insert(1_001, job.clone());
    let mut other = job;
    other.place.as_mut().unwrap().sha = Some(sha(2));
    other.seen = [(Status::Success, Span(t0() + 2 * HOUR, t0() + 2 * HOUR))].into();
    facts.jobs.insert(1_002, other);
    let sources = report(&facts, Definition::Gitlab).sources;
    assert_eq!((sources.gitlab, sources.job), (1, 1));
}

/// Events of a small project, each as the facts that it would leave.
fn events() -> impl Strategy<Value = Vec<Facts>> {
    let moment = (0..240_i64).prop_map(|hours| t0() + hours * HOUR);
    let status = prop_oneof![
        Just(Status::Running),
        Just(Status::Success),
        Just(Status::Failed),
        Just(Status::Canceled)
    ];
    let environment = prop_oneof![Just("prod"), Just("prod-us"), Just("staging")];
    let one = prop_oneof![
        4 => (1..12_u64, environment, 1..9_u8, status, moment.clone())
            .prop_map(|(id, environment, commit, status, at)| deployed(id, environment, commit, status, at)),
        2 => (1..9_u64, 1..9_u8, moment.clone()).prop_map(|(number, commit, at)| merged(number, commit, at)),
        2 => (1..9_u8, moment.clone()).prop_map(|(n, at)| pushed(n - 1, n, &[n], at)),
        2 => (1..6_u64, moment.clone(), proptest::option::of(moment.clone()))
            .prop_map(|(number, began, closed)| incident(number, began, closed)),
        2 => (1..6_u64, 0..3_u8, proptest::option::of(moment.clone()))
            .prop_map(|(revision, template, at)| rollout(revision, &template.to_string(), None, at)),
        1 => (1..6_u64, moment.clone(), proptest::option::of(moment), any::<bool>())
            .prop_map(|(revision, at, end, release)| trouble(revision, at, at, end, release)),
    ];
    proptest::collection::vec(one, 1..60)
}

proptest! {
    #[test]
    fn order_duplicates_and_grouping_change_no_number(
        (events, shuffled) in events().prop_flat_map(|events| {
            let twice: Vec<Facts> = events.iter().chain(events.iter().take(20)).cloned().collect();
            (Just(events), Just(twice).prop_shuffle())
        }),
        cut in 0..60_usize,
    ) {
        let once = all(events);
        let (left, right) = shuffled.split_at(cut.min(shuffled.len()));
        let mut grouped = all(right.to_vec());
        grouped.absorb(all(left.to_vec()));
        prop_assert_eq!(&once, &grouped);
        let through: Facts = all(once.clone().drawers().into_values());
        prop_assert_eq!(&once, &through);
        let text = serde_json::to_string(&once).unwrap();
        prop_assert_eq!(&once, &serde_json::from_str::<Facts>(&text).unwrap());
        for definition in Definition::ALL {
            let report = report(&once, definition);
            prop_assert_eq!(&report, &self::report(&grouped, definition));
            let rate = report.change_failure_rate;
            if definition != Definition::Gitlab {
                prop_assert!(rate.numerator <= rate.denominator, "{:?}", rate);
            }
            prop_assert!(report.rework_rate.numerator <= report.rework_rate.denominator);
            let counted: u64 = report.series.iter().map(|point| point.deployments).sum();
            prop_assert_eq!(counted, report.deployment_frequency.numerator);
        }
    }
}
