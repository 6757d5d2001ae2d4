//! What a webhook gets, and when.

use futures::FutureExt as _;
use prometheus_client::encoding::text::encode;

use super::*;

#[tokio::test]
async fn delivers_every_event_in_order_with_the_headers() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process
        .configure("t", with_secrets(hook(&webhook, "c")))
        .await;
    process.progress("t", 0..5);
    webhook.gets(1).await;
    process.settle(&live, TaskState::Completed).await;
    let row = process.is_done("t", "c").await;
    assert_eq!((row.sent, row.failures), (7, 0));
    assert_eq!(webhook.numbers(), (2..=7).collect::<Vec<_>>());
    let received = webhook.received();
    assert_eq!(received[5].state(), Some("TASK_STATE_COMPLETED"));
    assert_eq!(received[0].body["statusUpdate"]["taskId"], "t");
    let agent = format!("agent-mesh/{}", env!("CARGO_PKG_VERSION"));
    for (name, expected) in [
        ("content-type", "application/a2a+json"),
        ("a2a-version", "1.0"),
        ("authorization", "Bearer credentials-77aa"),
        ("x-a2a-notification-token", "token-5d1c"),
        ("user-agent", &agent),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ] {
        assert!(
            received
                .iter()
                .all(|one| one.header(name) == Some(expected)),
            "{name}"
        );
    }
    let mut text = String::new();
    encode(&mut text, &process.metrics).unwrap();
    assert!(
        text.contains("agent_push_deliveries_total{outcome=\"ok\"} 6"),
        "{text}"
    );
    process.ends().await;
}

#[tokio::test]
async fn without_secrets_no_header_says_so() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.settle(&live, TaskState::Completed).await;
    let received = webhook.gets(1).await;
    for name in ["authorization", "x-a2a-notification-token"] {
        assert_eq!(received[0].header(name), None);
    }
}

#[tokio::test]
async fn an_event_is_repeated_until_it_is_acknowledged() {
    let process = Process::alone();
    let elsewhere = Webhook::start([]).await;
    let redirect = Answer::With(307, "location", elsewhere.url.clone());
    let busy = Answer::With(503, "retry-after", "0".into());
    let script = [Answer::Status(500), redirect, Answer::Never, busy];
    let webhook = Webhook::start(script).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.settle(&live, TaskState::Completed).await;
    let row = process.is_done("t", "c").await;
    assert_eq!(webhook.numbers(), [2, 2, 2, 2, 2]);
    assert_eq!((row.sent, row.last_error), (2, None));
    assert!(
        elsewhere.received().is_empty(),
        "redirects are not followed"
    );
    assert_eq!(
        (process.outcomes("error"), process.outcomes("timeout")),
        (3, 1)
    );
    assert_eq!(process.outcomes("ok"), 1);
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_given_up_and_others_are_not() {
    let process = Process::alone();
    let (gone, slow, fine) = (
        Webhook::start([Answer::Status(410)]).await,
        Webhook::start(vec![Answer::Never; 1_000]).await,
        Webhook::start([]).await,
    );
    let live = process.task("t").await;
    for (webhook, id) in [(&gone, "gone"), (&slow, "slow"), (&fine, "fine")] {
        process.configure("t", hook(webhook, id)).await;
    }
    process.progress("t", 0..3);
    fine.gets(1).await;
    process.settle(&live, TaskState::Failed).await;
    let received = fine.gets(4).await;
    assert_eq!(received[3].state(), Some("TASK_STATE_FAILED"));
    for _ in 0..3_000 {
        if process.row("t", "gone").await.unwrap().done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let row = process.row("t", "gone").await.unwrap();
    assert_eq!((row.done, row.sent, row.failures), (true, 1, 1));
    assert_eq!(row.last_error.as_deref(), Some("the webhook answered 410"));
    assert_eq!((gone.numbers(), process.outcomes("given_up")), (vec![2], 1));
    let slow = slow.numbers();
    assert!(
        !slow.is_empty() && slow.iter().all(|number| *number == 2),
        "{slow:?}"
    );
}

#[tokio::test]
async fn who_is_too_far_behind_gets_the_task() {
    let process = Process::alone();
    let webhook = Webhook::start([Answer::Status(500)]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    // More than the log keeps, in one write.
    process.tasks.amend("t", |record| {
        for step in 0..200 {
            record.advance("on", serde_json::json!(step));
        }
    });
    webhook.gets(2).await;
    process.settle(&live, TaskState::Completed).await;
    process.is_done("t", "c").await;
    assert_eq!(webhook.numbers(), [201, 201, 202]);
    assert_eq!(webhook.received()[1].body["task"]["id"], "t");
    assert_eq!(webhook.received()[2].state(), Some("TASK_STATE_COMPLETED"));
}

#[tokio::test]
async fn a_task_that_waits_is_followed_when_it_moves_on() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.settle(&live, TaskState::AuthRequired).await;
    webhook.gets(1).await;
    // Nothing runs; somebody changes the task in the store, as a cancellation does.
    let mut record = process.tasks.stored("t").await.unwrap().unwrap();
    record.enter(TaskState::Canceled, None);
    process.tasks.replace(&mut record).await.unwrap();
    process.push.wake();
    process.is_done("t", "c").await;
    let states: Vec<_> = webhook
        .received()
        .iter()
        .map(|one| one.state().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["TASK_STATE_AUTH_REQUIRED", "TASK_STATE_CANCELED"]);
}

#[tokio::test]
async fn a_configuration_comes_with_its_task_or_not_at_all() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let write = async |record: &Record| {
        let checked = process.push.check(hook(&webhook, "")).unwrap();
        process.push.write(checked, record).await.unwrap()
    };
    let mut record = Record {
        task: Task {
            id: "t".into(),
            ..Task::default()
        },
        owner: OWNER.into(),
        ..Record::default()
    };
    record.begin(TaskState::Working);
    let with = write(&record).await;
    process.tasks.create(&mut record, Some(with)).await.unwrap();
    // The next message with the same webhook is no second configuration, and loses nothing.
    record.enter(TaskState::InputRequired, None);
    record.enter(TaskState::Working, None);
    let with = write(&record).await;
    process.tasks.create(&mut record, Some(with)).await.unwrap();
    process.push.wake();
    webhook.gets(2).await;
    let rows = process.push.rows("t").await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].sent >= 1 && webhook.numbers().starts_with(&[2]));
    // A task that never comes has no worker for long.
    let lost = Record {
        task: Task {
            id: "lost".into(),
            ..Task::default()
        },
        ..Record::default()
    };
    write(&lost).await;
    assert_eq!(process.push.0.crew.count(), 2);
    for _ in 0..3_000 {
        if process.push.0.crew.count() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(process.push.0.crew.count(), 1);
}

#[tokio::test]
async fn what_was_deleted_gets_nothing_more() {
    let process = Process::alone();
    let webhook = Webhook::start([Answer::Never]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.progress("t", 0..3);
    webhook.gets(1).await;
    for _ in 0..2 {
        process.push.delete("t", "c").await.unwrap();
    }
    let other = Webhook::start([]).await;
    process.configure("t", hook(&other, "other")).await;
    process.settle(&live, TaskState::Completed).await;
    process.is_done("t", "other").await;
    assert_eq!(webhook.numbers(), [2]);
    assert!(process.row("t", "c").await.is_none());
}

#[tokio::test]
async fn a_full_agent_takes_no_more_and_an_empty_one_does_nothing() {
    let process = Process::alone();
    process.push.wake();
    assert_eq!(*process.push.0.pulse.borrow(), 0);
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "c")).await;
    process.push.wake();
    assert_eq!(*process.push.0.pulse.borrow(), 1);
    for other in 1..MAX_PENDING {
        process.push.0.crew.join(&other.to_string()).unwrap();
    }
    let record = process.tasks.get("t").await.unwrap().unwrap();
    let checked = |id| process.push.check(hook(&webhook, id)).unwrap();
    let fault = process.push.create(checked("new"), &record).await;
    assert_eq!(fault.unwrap_err().kind, Kind::Overloaded);
    let fresh = Record::default();
    let fault = process.push.write(checked("new"), &fresh).await;
    assert_eq!(fault.unwrap_err().kind, Kind::Overloaded);
    // What is there already may be configured anew.
    process.push.create(checked("c"), &record).await.unwrap();
    process.settle(&live, TaskState::Completed).await;
    webhook.gets(1).await;
}

#[tokio::test]
async fn nothing_is_told_from_what_is_shown_too_late() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let live = process.task("t").await;
    let checked = process.push.check(hook(&webhook, "c")).unwrap();
    let record = process.tasks.get("t").await.unwrap().unwrap();
    // The next turn is in the store with its configuration, but not shown yet.
    let mut next = Record::clone(&record);
    next.enter(TaskState::Working, None);
    let with = process.push.write(checked, &next).await.unwrap();
    process.push.0.store.submit(vec![with]).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    process.progress("t", 0..2);
    process.settle(&live, TaskState::Completed).await;
    process.is_done("t", "c").await;
    assert_eq!(webhook.numbers(), [3, 4]);
}

#[tokio::test]
async fn what_is_deleted_while_it_waits_for_a_place_gets_nothing() {
    let process = Process::alone();
    let webhook = Webhook::start([]).await;
    let places = &process.push.0.places;
    let held: Vec<_> = std::iter::from_fn(|| places.take(OWNER).now_or_never()).collect();
    let live = process.task("t").await;
    process.configure("t", hook(&webhook, "gone")).await;
    process.configure("t", hook(&webhook, "kept")).await;
    process.settle(&live, TaskState::Completed).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    process.push.delete("t", "gone").await.unwrap();
    drop(held);
    process.is_done("t", "kept").await;
    assert_eq!(webhook.numbers(), [2]);
}
