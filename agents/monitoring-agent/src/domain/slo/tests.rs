use serde_json::{Value, json};

use super::{
    statistics::{chance_of_larger, chance_of_more, median, upper_tail, wilson_lower},
    verdict::{Samples, judge, plan},
    *,
};
use crate::domain::{Thresholds, WorkloadKind, requests::RequestSign};

const T0: At = At::from_millis(1_793_000_000_000);

fn document() -> Value {
    json!({"apiVersion": "openslo/v1", "kind": "SLO",
        "metadata": {"name": "web-availability", "annotations": {"ossa.io/workload": "shop/Deployment/web",
            "ossa.io/latency-p95-query": "histogram_quantile(0.95, sum by (le) (rate(seconds_bucket[{{.window}}])))"}},
        "spec": {"service": "web", "budgetingMethod": "Occurrences", "timeWindow": [{"duration": "30d", "isRolling": true}],
            "indicator": {"spec": {"ratioMetric": {"counter": true,
                "bad": {"metricSource": {"type": "Prometheus", "spec": {"query": "sum(rate(requests_total{code=~\"5..\"}[{{.window}}]))"}}},
                "total": {"metricSource": {"type": "Prometheus", "spec": {"query": "sum(rate(requests_total[{{.window}}]))"}}}}}},
            "objectives": [{"target": 0.999}]}})
}

fn objective() -> Objective {
    parse(&document()).unwrap().unwrap()
}

fn counts(bad: f64, total: f64) -> Counts {
    Counts { bad, total }
}

#[test]
fn an_openslo_document_is_read_and_what_it_lacks_is_named() {
    let web = objective();
    assert_eq!(
        (web.workload.kind, web.workload.name.as_str()),
        (WorkloadKind::Deployment, "web")
    );
    assert_eq!((web.target, web.period_ms), (0.999, 30 * DAY));
    let query = objective::with_window(&web.total, HOUR);
    assert_eq!(query, "sum(rate(requests_total[3600s]))");
    for (pointer, value, field) in [
        ("/apiVersion", json!("openslo/v2alpha"), "apiVersion"),
        (
            "/metadata/annotations/ossa.io~1workload",
            json!("shop/Pod/web"),
            "metadata.annotations.ossa.io/workload",
        ),
        (
            "/spec/objectives/0/target",
            json!(1.0),
            "spec.objectives[0].target",
        ),
        (
            "/spec/timeWindow/0/duration",
            json!("1M"),
            "spec.timeWindow[0].duration",
        ),
        (
            "/spec/indicator/spec/ratioMetric/total/metricSource/spec/query",
            json!("up"),
            "spec.indicator.spec.ratioMetric",
        ),
    ] {
        let mut document = document();
        *document.pointer_mut(pointer).unwrap() = value;
        let error = parse(&document).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
        assert!(error.contains("web-availability"), "{error}");
    }
    assert_eq!(parse(&json!({"kind": "Service"})).unwrap(), None);
}

#[test]
fn the_thresholds_are_those_of_the_workbook() {
    let rates = RULES.map(|rule| rule.threshold(30 * DAY));
    for (rate, expected) in rates.into_iter().zip([14.4, 6.0, 3.0, 1.0]) {
        assert!((rate - expected).abs() < 1e-9, "{rate}");
    }
}

/// A full outage uses 2 % of the budget of 99.9 % after 0.0144 h, which is 52 s.
#[test]
fn a_full_outage_is_urgent_after_about_52_seconds() {
    let fires = |seconds: f64| {
        let long = counts(seconds * 100.0, 360_000.0);
        let short = counts(seconds * 100.0, 30_000.0);
        burn(&RULES[0], (long, short), &objective()).firing
    };
    assert!(!fires(51.0));
    assert!(fires(54.0));
}

#[test]
fn two_failures_of_a_quiet_service_prove_nothing() {
    let quiet = |bad| {
        burn(
            &RULES[0],
            (counts(bad, 360.0), counts(bad, 30.0)),
            &objective(),
        )
    };
    let two = quiet(2.0);
    assert!(two.long > 5.0 && !two.firing, "{two:?}");
    assert!(!quiet(6.0).firing, "16.7 in the middle, 8.7 at least");
    assert!(quiet(12.0).firing);
}

#[test]
fn what_is_over_does_not_fire_although_the_long_window_remembers_it() {
    let over = (counts(30_000.0, 360_000.0), counts(0.0, 30_000.0));
    assert!(!burn(&RULES[0], over, &objective()).firing);
}

#[test]
fn the_budget_can_be_overdrawn() {
    let left = budget(counts(1_500.0, 1_000_000.0), &objective());
    assert!((left.left + 0.5).abs() < 1e-9 && (left.bad_left + 500.0).abs() < 1e-6);
    assert_eq!(standing(&left, &[]), Standing::Exhausted);
    let none = budget(counts(0.0, 0.0), &objective());
    assert_eq!(standing(&none, &[]), Standing::NoData);
}

/// Fisher's lady tasting tea: 3 of 4 right by chance with 17/70.
#[test]
fn fishers_exact_test_gives_his_own_example_and_meets_its_approximation() {
    let tea = chance_of_more((1.0, 4.0), (3.0, 4.0));
    assert!((tea - 17.0 / 70.0).abs() < 1e-9, "{tea}");
    let exact = chance_of_more((40.0, 9_999.0), (70.0, 10_000.0));
    let normal = chance_of_more((40.0, 10_001.0), (70.0, 10_001.0));
    assert!(
        (exact - normal).abs() < 0.002 && exact < 0.01,
        "{exact} {normal}"
    );
    assert!(chance_of_more((5.0, 100.0), (5.0, 100.0)) > 0.5);
    assert!((chance_of_more((0.0, 10.0), (0.0, 10.0)) - 1.0).abs() < 1e-12);
}

#[test]
fn wilsons_bound_and_the_normal_tail_have_their_known_values() {
    assert!((wilson_lower(8.0, 10.0) - 0.540_79).abs() < 1e-4);
    assert!(wilson_lower(0.0, 10.0).abs() < 1e-12);
    for (z, tail) in [
        (0.0, 0.5),
        (1.644_854, 0.05),
        (1.959_964, 0.025),
        (-1.0, 0.841_345),
    ] {
        assert!((upper_tail(z) - tail).abs() < 1e-6, "{z}");
    }
}

/// The permeability constants of Hollander and Wolfe, as the manual of R's `wilcox.test` has them: U = 35.
#[test]
fn mann_whitney_agrees_with_the_manual_of_r() {
    let at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    let weeks = [1.15, 0.88, 0.90, 0.74, 1.21];
    let pairs = at_term
        .iter()
        .flat_map(|a| weeks.iter().map(move |w| a > w));
    let u = pairs.filter(|larger| *larger).count();
    assert_eq!(u, 35);
    let z = (35.0 - 25.0 - 0.5) / (50.0_f64 / 12.0 * 16.0).sqrt();
    let chance = chance_of_larger(&weeks, &at_term);
    assert!((chance - upper_tail(z)).abs() < 1e-12 && (chance - 0.1223).abs() < 1e-3);
    assert!((chance_of_larger(&[1.0; 9], &[1.0; 9]) - 1.0).abs() < 1e-12);
    assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
    assert_eq!(median(&[]), None);
}

/// A service of 100 requests a second whose release fails a share of them since two minutes.
fn released(share: f64) -> Samples {
    let bad = 12_000.0 * share;
    Samples {
        rules: vec![(counts(bad, 360_000.0), counts(bad, 30_000.0)); 4],
        period: counts(bad, 250_000_000.0),
        recent: counts(bad, 30_000.0),
        after: counts(bad, 12_000.0),
        before: counts(3.0, 360_000.0),
        ..Samples::default()
    }
}

fn trouble(samples: &Samples) -> Option<crate::domain::Requests> {
    judge(&objective(), samples, T0, &Thresholds::default()).trouble
}

#[test]
fn a_release_that_fails_requests_is_worse_than_what_was_before() {
    let burning = trouble(&released(0.6)).unwrap();
    assert_eq!(burning.sign, RequestSign::FastBurn);
    assert_eq!(burning.worse_than_before, Some(true));
    assert!(
        burning.evidence[0].contains("24.00 % of 30000"),
        "{burning:?}"
    );
    assert_eq!(trouble(&released(0.000_2)), None);
    let same = Samples {
        before: counts(216_000.0, 360_000.0),
        ..released(0.6)
    };
    let before_too = trouble(&same).unwrap();
    assert_eq!(
        before_too.worse_than_before,
        Some(false),
        "it failed before"
    );
    let first = Samples {
        before: counts(0.0, 0.0),
        ..released(0.6)
    };
    assert_eq!(trouble(&first).unwrap().worse_than_before, None);
}

#[test]
fn latency_counts_when_it_doubles_and_is_no_chance() {
    let wave = |base: f64| {
        (0..20)
            .map(|i| base + f64::from(i % 5) * 0.004)
            .collect::<Vec<_>>()
    };
    let slow = |now: Vec<f64>| Samples {
        latency: now,
        latency_before: wave(0.1),
        ..released(0.0)
    };
    let sign = |now| trouble(&slow(now)).map(|requests| requests.sign);
    assert_eq!(sign(wave(0.25)), Some(RequestSign::Latency));
    assert_eq!(sign(wave(0.15)), None, "not twice as long");
    assert_eq!(sign(wave(0.25)[..4].to_vec()), None, "too few samples");
}

#[test]
fn windows_follow_the_change() {
    let thresholds = Thresholds::default();
    let changed = T0.plus(-120_000);
    let lately = plan(&objective(), T0, Some(changed), &thresholds);
    assert_eq!(
        (lately.after.window_ms, lately.before.at),
        (120_000, changed)
    );
    let long_ago = plan(&objective(), T0, Some(T0.plus(-DAY)), &thresholds);
    assert_eq!(long_ago.after.window_ms, 5 * MINUTE);
    assert_eq!(long_ago.before.at, T0.plus(-5 * MINUTE));
    assert_eq!(long_ago.latency_before.at, T0.plus(-10 * MINUTE));
}
