use super::*;

const T0: At = At::from_millis(1_000_000_000);

#[test]
fn a_change_of_configuration_is_one_of_its_data() {
    let mut surroundings = Surroundings::default();
    let config = |digest| {
        Surrounding::Config(Config {
            uid: "c".into(),
            namespace: "shop".into(),
            name: "settings".into(),
            digest,
        })
    };
    let template = Template {
        needs: BTreeSet::from([Reference {
            kind: ReferenceKind::ConfigMap,
            name: "settings".into(),
        }]),
        ..Template::default()
    };
    assert!(
        !surroundings.apply(config(1), T0),
        "the first look is no change"
    );
    assert!(!surroundings.apply(config(1), T0.plus(5)));
    assert_eq!(surroundings.changed_config("shop", &template), None);
    assert!(surroundings.apply(config(2), T0.plus(10)));
    let (_, at) = surroundings.changed_config("shop", &template).unwrap();
    assert_eq!(at, T0.plus(10));
    assert_eq!(surroundings.changed_config("other", &template), None);
    assert_eq!(
        surroundings.changed_config("shop", &Template::default()),
        None
    );
}

#[test]
fn what_a_list_of_its_kind_and_namespace_leaves_out_is_gone() {
    let mut surroundings = Surroundings::default();
    let target = Key::deployment("shop", "web");
    let autoscaler = Autoscaler {
        uid: "h".into(),
        target: target.clone(),
        limited: true,
        ..Autoscaler::default()
    };
    surroundings.apply(Surrounding::Autoscaler(autoscaler), T0);
    let list = |kind, namespace: &str, ids: &[&str]| {
        Surrounding::Listed(Listed {
            kind,
            namespace: Some(namespace.into()),
            ids: ids.iter().map(ToString::to_string).collect(),
        })
    };
    for kept in [
        list(SurroundingKind::Budget, "shop", &[]),
        list(SurroundingKind::Autoscaler, "other", &[]),
        list(SurroundingKind::Autoscaler, "shop", &["h"]),
    ] {
        surroundings.apply(kept, T0);
        assert!(surroundings.limited(&target).is_some());
    }
    surroundings.apply(list(SurroundingKind::Autoscaler, "shop", &[]), T0);
    assert_eq!(surroundings.limited(&target), None);
}

#[test]
fn a_request_fits_the_largest_node_or_none() {
    let mut surroundings = Surroundings::default();
    assert!(
        surroundings.fits_a_node("cpu", 1),
        "nothing is known of nodes"
    );
    let node = Node {
        name: "n1".into(),
        allocatable: BTreeMap::from([("cpu".into(), 4_000)]),
        ..Node::default()
    };
    surroundings.apply(Surrounding::Node(node), T0);
    assert!(surroundings.fits_a_node("cpu", 4_000));
    assert!(!surroundings.fits_a_node("cpu", 4_001));
    assert!(
        !surroundings.fits_a_node("gpu", 1),
        "no node has this resource"
    );
}
