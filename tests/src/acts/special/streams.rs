//! Several streams of one task.

use serde_json::Value;

use super::{
    super::{
        assertions::select,
        runner::chain,
        target::Target,
        wire::{Events, Reply},
    },
    message, task,
};

async fn start(target: &Target) -> Result<String, String> {
    let sent = message("tck-long-running several streams", true);
    let answer = target.endpoint.call("SendMessage", sent).await;
    let answer = answer.map_err(chain)?;
    let id = select(&answer.body, "result.task.id");
    id.first()
        .and_then(|id| id.as_str())
        .map(str::to_owned)
        .ok_or_else(|| format!("no task came but {}", answer.body))
}

async fn subscribe(target: &Target, id: &str) -> Result<Events, String> {
    match target
        .endpoint
        .open("SubscribeToTask", task(id))
        .await
        .map_err(chain)?
    {
        Reply::Events(events) => Ok(events),
        Reply::Answer(answer) => Err(format!("no stream came but {}", answer.body)),
    }
}

async fn results(events: &mut Events) -> Result<Vec<Value>, String> {
    let envelopes = events.rest().await.map_err(chain)?;
    Ok(envelopes
        .iter()
        .filter_map(|envelope| envelope.get("result").cloned())
        .collect())
}

fn ends(events: &[Value]) -> Result<(), String> {
    let state = events
        .last()
        .and_then(|event| select(event, "statusUpdate.status.state").first().copied());
    match state.and_then(Value::as_str) {
        Some("TASK_STATE_COMPLETED") => Ok(()),
        _ => Err(format!(
            "the stream does not end with the task: {:?}",
            events.last()
        )),
    }
}

pub(super) async fn two_see_the_same(target: &Target) -> Result<(), String> {
    let id = start(target).await?;
    let mut one = subscribe(target, &id).await?;
    let mut other = subscribe(target, &id).await?;
    let (one, other) = (results(&mut one).await?, results(&mut other).await?);
    ends(&one)?;
    // The first event is the task as it stood then; what follows must be the same from there on.
    let updates = |events: &[Value]| events.iter().skip(1).cloned().collect::<Vec<_>>();
    let (one, other) = (updates(&one), updates(&other));
    if other.is_empty() || !one.ends_with(&other) {
        return Err(format!("one stream has {one:?}, the other {other:?}"));
    }
    Ok(())
}

pub(super) async fn closing_one_spares_the_other(target: &Target) -> Result<(), String> {
    let id = start(target).await?;
    let mut one = subscribe(target, &id).await?;
    let mut other = subscribe(target, &id).await?;
    one.next()
        .await
        .map_err(chain)?
        .ok_or("the stream is empty")?;
    drop(one);
    ends(&results(&mut other).await?)
}

pub(super) async fn a_lost_one_is_resumed(target: &Target) -> Result<(), String> {
    let sent = message("tck-long-running lost stream", false);
    let reply = target.endpoint.open("SendStreamingMessage", sent).await;
    let Reply::Events(mut events) = reply.map_err(chain)? else {
        return Err("no stream came".into());
    };
    let first = events
        .next()
        .await
        .map_err(chain)?
        .ok_or("the stream is empty")?;
    drop(events);
    let id = select(&first, "result.task.id");
    let id = id.first().and_then(|id| id.as_str());
    let id = id.ok_or_else(|| format!("the first event is not the task: {first}"))?;
    let resumed = results(&mut subscribe(target, id).await?).await?;
    if select(resumed.first().unwrap_or(&Value::Null), "task.status.state").is_empty() {
        return Err(format!(
            "the resumed stream begins with {:?}",
            resumed.first()
        ));
    }
    ends(&resumed)
}
