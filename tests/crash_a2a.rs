//! kill -9 fifty times under A2A traffic: what was acknowledged is done, what is done is done once, and every stream
//! tells the same story. `MESH_CRASH_SEED` chooses other moments for the kills.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::large_futures,
    clippy::print_stdout,
    clippy::similar_names,
    reason = "tests fail loudly, and say which moments they chose"
)]

#[path = "crash_a2a/host.rs"]
mod host;
#[path = "crash_a2a/streams.rs"]
mod streams;
#[path = "crash_a2a/traffic.rs"]
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use a2a::types::TaskState;
use host::Host;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use traffic::{Agent, Note, Walk};

const KILLS: usize = 50;
const NOTERS: usize = 3;
const WALKERS: usize = 6;
/// So much is done whatever the machine's speed, so that the checks have something to check.
const LEAST: usize = 10;
/// No figure of merit: a task that is never finished must not hang the test for ever.
const STUCK: Duration = Duration::from_mins(2);

/// Numbers that only depend on the seed (Steele and others, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Kills at random moments: while the agent starts, while it takes up what it left, and in the middle of its work.
async fn storm(host: &mut Host, random: &mut SplitMix) {
    for _ in 0..KILLS {
        sleep(Duration::from_millis(30 + random.next() % 270)).await;
        host.kill_and_restart().await;
    }
}

/// What all workers did, once each has done enough and nobody is to go on.
async fn join<T>(workers: Vec<tokio::task::JoinHandle<Vec<T>>>) -> Vec<T> {
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_double_nothing_and_break_no_stream() {
    let seed = std::env::var("MESH_CRASH_SEED").map_or(2026, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::start(folder.path());
    let agent = Agent::at(host.url());
    let stop = CancellationToken::new();
    let writers = (0..NOTERS)
        .map(|worker| tokio::spawn(traffic::notes(agent.clone(), worker, stop.clone())))
        .collect();
    let walkers = (0..WALKERS)
        .map(|worker| tokio::spawn(traffic::walks(agent.clone(), worker, stop.clone())))
        .collect();
    storm(&mut host, &mut SplitMix(seed)).await;
    stop.cancel();
    let check = async {
        let (notes, walks) = (join(writers).await, join(walkers).await);
        println!("{} notes, {} walks", notes.len(), walks.len());
        let noted = notes_are_kept(&agent, &notes).await;
        journal_has_each_effect_once(&host.journal(), &noted);
        walks_are_told_alike(&agent, &walks).await;
        let ids: BTreeSet<_> = noted
            .values()
            .chain(walks.iter().map(|walk| &walk.task))
            .collect();
        assert_eq!(ids.len(), notes.len() + walks.len(), "a task serves two");
        assert_eq!(agent.tasks().await, ids.len(), "tasks that nobody knows of");
    };
    let checked = timeout(STUCK, check).await;
    assert!(
        checked.is_ok(),
        "some task never ended, seed {seed}:\n{}",
        host.log()
    );
}

/// Every acknowledged note exists, is done, and is found again by the same message. The task of each key.
async fn notes_are_kept(agent: &Agent, notes: &[Note]) -> BTreeMap<String, String> {
    let mut tasks = BTreeMap::new();
    for note in notes {
        let again = agent.send(&note.request).await;
        assert_eq!(again, note.task, "the task of the message of {}", note.key);
        let events = streams::follow(agent, streams::Start::Task(again)).await;
        let state = streams::state(&events.last().unwrap().event);
        assert_eq!(state, Some(TaskState::Completed), "{}", note.key);
        tasks.insert(note.key.clone(), note.task.clone());
    }
    assert_eq!(tasks.len(), notes.len(), "every note has a key of its own");
    tasks
}

/// Every key has one effect, by its own task, and there are no others.
fn journal_has_each_effect_once(journal: &str, noted: &BTreeMap<String, String>) {
    let lines: Vec<Vec<&str>> = journal
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    let effects: Vec<(String, String)> = lines
        .iter()
        .filter(|line| line[0] == "done")
        .map(|line| (line[2].to_owned(), line[1].to_owned()))
        .collect();
    let begun = lines.len() - effects.len();
    println!("{} effects of {begun} runs", effects.len());
    let distinct: BTreeMap<String, String> = effects.iter().cloned().collect();
    assert_eq!(&distinct, noted);
    assert_eq!(effects.len(), noted.len(), "an effect happened twice");
}

/// Both streams of each walk agree with themselves, with each other, and with the task as it stands.
async fn walks_are_told_alike(agent: &Agent, walks: &[Walk]) {
    let mut snapshots = 0;
    for walk in walks {
        let stands = agent.task(&walk.task).await;
        assert_eq!(stands.status.state, TaskState::Completed, "{}", walk.task);
        let [first, second] = walk.told.each_ref().map(|told| {
            streams::check(told).unwrap_or_else(|wrong| panic!("{}: {wrong}", walk.task))
        });
        for (id, view) in &first.views {
            let other = second.views.get(id);
            assert!(
                other.is_none_or(|other| other == view),
                "{} at {id}: {view:?} and {other:?}",
                walk.task
            );
        }
        for story in [&first, &second] {
            assert_eq!(story.end, streams::View::of(&stands), "{}", walk.task);
            snapshots += story.snapshots;
        }
        streams::check_updates(&walk.told).unwrap_or_else(|wrong| panic!("{}: {wrong}", walk.task));
    }
    println!("{snapshots} snapshots in {} streams", 2 * walks.len());
}
