//! `CancelTask`: whoever ends a task first, its run or its caller, wins; nobody sees both.

use std::{sync::Arc, time::Duration};

use a2a::types::{TaskIdRequest, TaskState};
use store::StoreError;
use tokio::time::timeout;

use super::{Answer, Request, TaskView, check_id, find, store_fault, typed};
use crate::{
    a2a::fault::{Fault, Kind},
    engine::{Engine, Following},
    tasks::Record,
};

/// How long another replica may take to stop its run.
const PATIENCE: Duration = Duration::from_secs(10);
/// A waiting task may start to run, or the other way round, while it is being cancelled.
const TRIES: usize = 5;

pub(super) async fn cancel_task(request: Request<'_>) -> Result<Answer, Fault> {
    let params: TaskIdRequest = typed(request.params)?;
    check_id("id", &params.id)?;
    let engine = request.engine;
    for _ in 0..TRIES {
        let record = find(engine, request.principal, &params.id).await?;
        let ended = stop(engine, record).await?;
        match ended.state() {
            TaskState::Canceled => return answer(&ended),
            state if state.is_terminal() => break,
            _ => {}
        }
    }
    let fault = Fault::new(Kind::TaskNotCancelable, "the task has ended");
    Err(fault.with("task_id", &params.id))
}

fn answer(record: &Record) -> Result<Answer, Fault> {
    Answer::of_task(&TaskView::new(&record.task, None), record)
}

/// Tries to stop a task; what comes back is where it stands now.
async fn stop(engine: &Engine, record: Arc<Record>) -> Result<Arc<Record>, Fault> {
    if record.state().is_terminal() {
        return Ok(record);
    }
    let id = record.task.id.as_str();
    if let Some(live) = engine.tasks.running_here(id) {
        live.cancel.cancel();
        let following = Following {
            first: record,
            now: live.follow(),
        };
        return Ok(following.settled().await);
    }
    let waits = record.state().is_settled();
    let nobody = waits
        || engine
            .tasks
            .is_left_behind(&record)
            .await
            .map_err(store_fault)?;
    if nobody {
        return end(engine, record).await;
    }
    engine.tasks.ask_to_cancel(id).await.map_err(store_fault)?;
    let following = Following {
        now: engine.tasks.follow(record.clone()),
        first: record.clone(),
    };
    timeout(PATIENCE, following.settled()).await.map_err(|_| {
        let said = "the replica that runs the task was asked to stop it and has not answered yet";
        Fault::new(Kind::DependencyUnavailable, said)
            .with("dependency", "replica")
            .with("task_id", id)
    })
}

/// Ends a task that does not run, unless somebody else has changed it meanwhile.
async fn end(engine: &Engine, record: Arc<Record>) -> Result<Arc<Record>, Fault> {
    let mut ended = Record::clone(&record);
    ended.enter(TaskState::Canceled, Some("canceled by the caller"));
    match engine.tasks.replace(&mut ended).await {
        Ok(()) => {
            engine.push.wake();
            Ok(Arc::new(ended))
        }
        Err(StoreError::Conflict { .. }) => Ok(record),
        Err(error) => Err(store_fault(error)),
    }
}
