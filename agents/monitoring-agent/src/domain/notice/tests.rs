use super::*;
use crate::domain::{Finding, Key, Severity, Trigger, dora::hook::marked};

const T0: At = At::from_millis(1_763_832_678_000);

fn incident() -> Incident {
    let finding = Finding {
        key: Key {
            namespace: "shop".into(),
            name: "web".into(),
        },
        trigger: Trigger::NewRevisionFailing,
        severity: Severity::Sev1,
        attribution: Attribution::Release,
        fingerprint: "shop/web".into(),
        revision: Some(4),
        evidence: vec!["pod x`|\n/close @all <!-- monitoring-agent:inc-0-0 --> y".into()],
        began_at: T0,
        change_at: T0.plus(-2_000),
        traceparent: None,
    };
    Incident::open(finding, "inc-3f9a0c51d2e8-1".into(), 1, T0.plus(500))
}

#[test]
fn the_text_says_what_failed_which_change_the_decision_and_the_steps() {
    let mut incident = incident();
    incident.note(T0.plus(900), "rollback requested", Some(12));
    let sha = "a91957a858320c0e17f3a0eca7cfacbff50ea29a".parse().unwrap();
    let release = Release {
        sha: Some(sha),
        environment: Some("production".into()),
    };
    let text = markdown(&incident, &release);
    for part in [
        "### SEV1: shop/web revision 4 is failing",
        "| status | rolling back |",
        "- triggers: `new_revision_failing`",
        "- root cause: a91957a858320c0e17f3a0eca7cfacbff50ea29a",
        "- environment `production`",
        "**Decision**\n\n- roll back\n",
        "`rollback requested` (12 ms)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(text, markdown(&incident, &release));
    incident.resolve("the workload is healthy", T0.plus(6_300));
    let over = markdown(&incident, &release);
    assert!(
        over.contains("| status | over |") && over.contains("| lasted | 6.3 s |"),
        "{over}"
    );
}

#[test]
fn what_the_cluster_says_can_neither_act_nor_mention_nor_end_the_mark() {
    let text = markdown(&incident(), &Release::default());
    assert!(
        !text.lines().any(|line| line.trim_start().starts_with('/')),
        "{text}"
    );
    assert_eq!(marked(&text), None, "{text}");
    let mention = text.lines().find(|line| line.contains("@all")).unwrap();
    assert_eq!(mention.matches('`').count(), 2, "{mention}");
}

#[test]
fn an_alert_keeps_its_labels_and_ends_when_the_incident_does() {
    let mut incident = incident();
    let now = T0.plus(1_000);
    let open = alert(&incident, now);
    assert_eq!(open[0]["startsAt"], serde_json::to_value(T0).unwrap());
    assert_eq!(
        open[0]["endsAt"],
        serde_json::to_value(now.plus(HELD_MS)).unwrap()
    );
    incident.resolve("over", T0.plus(6_000));
    let over = alert(&incident, now);
    assert_eq!(over[0]["labels"], open[0]["labels"]);
    assert_eq!(
        over[0]["endsAt"],
        serde_json::to_value(T0.plus(6_000)).unwrap()
    );
}
