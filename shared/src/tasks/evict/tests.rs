use std::sync::Arc;

use a2a::types::TaskState;
use store::{Entry, Scan, Store, Write, memory::MemoryStore};

use super::{CONFIGS, KEYS, Retention, TASKS, Tasks};
use crate::tasks::Record;

/// Far enough ahead that nothing is too old.
const NEVER: &str = "1970-01-01T00:00:00Z";
const ALWAYS: &str = "9999-01-01T00:00:00Z";

fn entry(key: &str, scope: &str, sort: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        scope: scope.to_owned(),
        sort: sort.to_owned(),
        version: 0,
        body: Vec::new(),
    }
}

/// Tasks `t1`, `t2`, ... in these states, the first one the oldest, each with a key and a push configuration.
async fn tasks(states: &[TaskState]) -> (Tasks, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::default());
    for (number, state) in (1..).zip(states) {
        let id = format!("t{number}");
        let mut record = Record::default();
        record.task.id.clone_from(&id);
        record.begin(*state);
        let mut writes = record.writes();
        let sort = format!("2026-01-0{number}T00:00:00Z");
        for write in &mut writes {
            if let Write::Insert { collection, entry } = write
                && *collection == TASKS
            {
                entry.sort.clone_from(&sort);
            }
        }
        for (collection, key) in [
            (KEYS, format!("k{number}")),
            (CONFIGS, format!("c{number}")),
        ] {
            writes.push(Write::Insert {
                collection,
                entry: entry(&key, &id, &sort),
            });
        }
        store.submit(writes).await.unwrap();
    }
    (Tasks::new(store.clone()), store)
}

async fn left(store: &MemoryStore, collection: &'static str) -> Vec<String> {
    let scan = Scan {
        collection,
        limit: 100,
        ..Scan::default()
    };
    let entries = store.scan(scan).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

fn retention(tasks_before: &str, keys_before: &str, max_tasks: u64) -> Retention {
    Retention {
        tasks_before: tasks_before.to_owned(),
        keys_before: keys_before.to_owned(),
        max_tasks,
    }
}

const ENDED: TaskState = TaskState::Completed;

#[tokio::test]
async fn old_ended_tasks_go_with_their_push_configurations_and_their_keys_stay() {
    let (tasks, store) = tasks(&[ENDED, TaskState::Failed, TaskState::Canceled]).await;
    let removed = tasks
        .evict(&retention("2026-01-03T00:00:00Z", NEVER, 100))
        .await
        .unwrap();
    assert_eq!(removed, 2);
    assert_eq!(left(&store, TASKS).await, ["t3"]);
    assert_eq!(left(&store, CONFIGS).await, ["c3"]);
    assert_eq!(left(&store, KEYS).await, ["k1", "k2", "k3"]);
}

#[tokio::test]
async fn what_runs_or_waits_for_an_approval_stays_however_old() {
    let states = [TaskState::Working, TaskState::AuthRequired, ENDED];
    let (tasks, store) = tasks(&states).await;
    assert_eq!(tasks.evict(&retention(ALWAYS, ALWAYS, 0)).await.unwrap(), 1);
    assert_eq!(left(&store, TASKS).await, ["t1", "t2"]);
    assert_eq!(left(&store, CONFIGS).await, ["c1", "c2"]);
    assert_eq!(left(&store, KEYS).await, Vec::<String>::new());
}

#[tokio::test]
async fn above_the_limit_the_oldest_ended_ones_go_first() {
    let states = [TaskState::Working, ENDED, ENDED, ENDED, ENDED];
    let (tasks, store) = tasks(&states).await;
    assert_eq!(tasks.evict(&retention(NEVER, NEVER, 3)).await.unwrap(), 2);
    assert_eq!(left(&store, TASKS).await, ["t1", "t4", "t5"]);
    // Four keys for each task that may be there.
    assert_eq!(left(&store, KEYS).await.len(), 5);
    assert_eq!(tasks.evict(&retention(NEVER, NEVER, 1)).await.unwrap(), 2);
    assert_eq!(left(&store, TASKS).await, ["t1"]);
    assert_eq!(left(&store, KEYS).await, ["k2", "k3", "k4", "k5"]);
}
