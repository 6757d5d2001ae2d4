use super::*;
use crate::domain::{Attribution, Change, Finding, Key, Severity, Trigger, incident::Rollback};

const T0: At = At::from_millis(1_793_000_000_000);

fn incident() -> Incident {
    let finding = Finding {
        key: Key::deployment("shop", "web"),
        fingerprint: "f".into(),
        trigger: Trigger::NewRevisionFailing,
        severity: Severity::Sev1,
        attribution: Attribution::Release,
        subject: None,
        because: "only pods of the new revision are bad".into(),
        revision: Some(2),
        change_at: T0,
        change: Change {
            at: T0,
            revision: Some(2),
            previous: Some(1),
            fields: [Field::Images].into(),
            images: vec![ImageChange {
                container: "web".into(),
                from: Some("web:1".into()),
                to: Some("web:2<script>alert(1)</script>|".into()),
            }],
            ..Change::default()
        },
        began_at: T0.plus(1_200),
        evidence: vec!["pod web-2-x of the current revision: crash_loop".into()],
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let mut incident = Incident::open(finding, "inc-0ccd47d387f7-1".into(), 1, T0.plus(1_900));
    incident.rollback = Some(Rollback {
        to_revision: 1,
        idempotency_key: incident.id.clone(),
        plan_digest: "d".into(),
        needs_approval: false,
        rollback_id: Some("task-9".into()),
    });
    incident.note(T0.plus(3_100), "rollback done", Some(1_150));
    incident.resolve("the workload is healthy", T0.plus(4_200));
    incident
}

#[test]
fn the_draft_has_times_change_decision_and_proof() {
    let text = Postmortem::of(&incident()).markdown();
    for part in [
        "# Post-mortem draft: inc-0ccd47d387f7-1",
        "it was over 3.0 s after its first sign",
        "(700 ms after the first sign)",
        "(1.2 s after the detection)",
        "| Differs in | images |",
        "A rollback to revision 1 was asked of rollback-coordinator",
        "| rollback done | 1.1 s |",
        "\"trace_id\": \"0af7651916cd43dd8448eb211c80319c\"",
        "\"task_id\": \"task-9\"",
        "verify_audit_trail",
        "- What went well?",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn what_comes_from_elsewhere_stays_text() {
    let draft = Postmortem::of(&incident());
    let html = draft.html();
    assert!(!html.contains("<script>"), "{html}");
    assert!(html.contains("&lt;script&gt;"));
    let text = draft.markdown();
    assert!(
        text.contains("web:2\\<script\\>alert(1)\\</script\\>\\|"),
        "{text}"
    );
}

#[test]
fn an_incident_that_goes_on_without_a_rollback_says_so() {
    let mut open = incident();
    open.rollback = None;
    open.traceparent = None;
    open.attribution = Attribution::Node;
    open.status = crate::domain::Status::NeedsHuman;
    open.resolved_at = None;
    let text = Postmortem::of(&open).markdown();
    assert!(text.contains("it is not over"));
    assert!(text.contains("No rollback was asked for"));
    assert!(!text.contains("## Proof"));
}
