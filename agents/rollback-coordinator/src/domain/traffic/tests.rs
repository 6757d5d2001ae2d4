use super::*;

fn service(name: &str, selector: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": selector}})
}

fn id(kind: RouteKind) -> ObjectId {
    ObjectId {
        group: "g".into(),
        kind: kind.names().1.into(),
        namespace: "shop".into(),
        name: "web".into(),
    }
}

fn found(kind: RouteKind, route: &Value, rules: &[Value]) -> Vec<Split> {
    let services = [
        service("web", &json!({"app": "web", "track": "stable"})),
        service("web-canary", &json!({"app": "web", "track": "canary"})),
        service("all", &json!({"app": "web"})),
        service("external", &Value::Null),
    ];
    let labels = json!({"app": "web", "track": "canary", "version": "v2"});
    let pods = Pods {
        services: &services,
        rules,
        labels: labels.as_object().unwrap().clone(),
    };
    splits(kind, &id(kind), route, &pods)
}

#[test]
fn finds_the_rules_of_an_http_route_that_split_traffic() {
    let route = json!({"spec": {"rules": [
        {"backendRefs": [{"name": "web", "port": 80, "weight": 80}, {"name": "web-canary", "weight": 20}]},
        {"backendRefs": [{"name": "web-canary"}]},
        {"backendRefs": [{"name": "web"}, {"name": "external"}]},
        {"backendRefs": [{"name": "web"}, {"name": "web-canary", "weight": 0}]},
        {"backendRefs": [{"name": "all"}, {"name": "web-canary"}]},
    ]}});
    let all = found(RouteKind::HttpRoute, &route, &[]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].rule, all[0].before()), (0, vec![80, 20]));
    assert_eq!(all[0].now(&route), Some(vec![80, 20]));
    let operations = all[0].operations(&[100, 0]);
    assert_eq!(
        operations[1],
        json!({"op": "add", "path": "/spec/rules/0/backendRefs/1/weight", "value": 0})
    );
    let other = json!({"spec": {"rules": [{"backendRefs": [{"name": "web"}, {"name": "other"}]}]}});
    assert_eq!(all[0].now(&other), None);
}

#[test]
fn finds_subsets_of_a_virtual_service() {
    let route = json!({"spec": {"http": [{"route": [
        {"destination": {"host": "all.shop.svc.cluster.local", "subset": "v1"}, "weight": 90},
        {"destination": {"host": "all", "subset": "v2"}, "weight": 10},
        {"destination": {"host": "all", "subset": "unknown"}},
    ]}]}});
    let rule = json!({"spec": {"host": "all", "subsets": [
        {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
    ]}});
    let all = found(RouteKind::VirtualService, &route, &[rule]);
    assert_eq!(all[0].before(), [90, 10, 0]);
    let bad: Vec<bool> = all[0].backends.iter().map(|one| one.bad).collect();
    assert_eq!(bad, [false, true, false]);
    assert_eq!(all[0].with_share(0), [100, 0, 0]);
    assert!(
        found(RouteKind::VirtualService, &route, &[]).is_empty(),
        "nobody says what a subset is"
    );
}

fn split(weights: &[(u32, bool)]) -> Split {
    let backends = weights.iter().map(|(weight, bad)| Backend {
        service: "s".into(),
        subset: None,
        weight: *weight,
        bad: *bad,
    });
    Split {
        kind: RouteKind::HttpRoute,
        route: id(RouteKind::HttpRoute),
        rule: 0,
        backends: backends.collect(),
    }
}

#[test]
fn a_shift_keeps_the_sum_and_never_adds_to_the_bad_version() {
    for weights in [
        vec![(80, false), (20, true)],
        vec![(0, false), (100, true)],
        vec![(0, false), (0, false), (7, true)],
        vec![(33, false), (33, false), (17, true), (17, true)],
        vec![(1, false), (1_000_000, true)],
    ] {
        let split = split(&weights);
        let sum = |weights: &[u32]| weights.iter().map(|weight| u64::from(*weight)).sum::<u64>();
        let mut last = bad_sum(&split, &split.before());
        for share in (0..=100).rev() {
            let after = split.with_share(share);
            assert_eq!(
                sum(&after),
                sum(&split.before()),
                "{weights:?} at {share} %"
            );
            let bad = bad_sum(&split, &after);
            assert!(bad <= last, "{weights:?} at {share} %");
            last = bad;
        }
        assert_eq!(last, 0);
    }
    assert_eq!(split(&[(80, false), (20, true)]).with_share(50), [90, 10]);
    assert_eq!(
        split(&[(60, false), (20, false), (20, true)]).with_share(0),
        [75, 25, 0]
    );
}

#[test]
fn a_shift_goes_on_where_it_stood() {
    let split = split(&[(80, false), (20, true)]);
    let shift = Shift::new(
        vec![split.clone()],
        Some((&[25, 50, 50, 0, 100], 10)),
        Vec::new(),
    )
    .unwrap();
    assert_eq!(shift.shares, [50, 25, 0]);
    let mut now = split.before();
    let mut seen = Vec::new();
    while let Some(next) = shift.next(&split, &now) {
        seen.push(next.clone());
        now = next;
    }
    assert_eq!(seen, [[90, 10], [95, 5], [100, 0]]);
    assert_eq!(
        shift.next(&split, &[93, 7]),
        Some(vec![95, 5]),
        "somebody moved it further"
    );
    let at_once = Shift::new(vec![split.clone()], None, Vec::new()).unwrap();
    assert_eq!(at_once.next(&split, &split.before()), Some(vec![100, 0]));
    assert!(Shift::new(Vec::new(), None, Vec::new()).is_none());
}
