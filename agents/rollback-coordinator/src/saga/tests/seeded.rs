//! Seeded rollbacks against the embedded cluster: the coordinator is killed at calls that the seed chooses, while Argo CD
//! heals, somebody aborts, or another mesh takes the workload. `ROLLBACK_RUNS` says how many; the figures are printed.

#![expect(
    clippy::large_futures,
    clippy::too_many_lines,
    reason = "a run is one story, told from its beginning to its end"
)]

mod scene;

use std::sync::atomic::{AtomicBool, AtomicU64};

use cluster::{Cluster, ClusterArgs, Options, Patch};
use cluster_model::{Model, Settings as ModelSettings};
use futures::{StreamExt, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use shared::testing::FakeAgent;

use super::*;
use crate::{
    clients::{Kubernetes, KubernetesObjects, Objects, RolloutControl},
    domain::{
        Change, Kind, PauseState, Workload, WorkloadId,
        gitops::Manager,
        hold::{HELD_ANNOTATION, ObjectRef, text},
    },
    fake::{
        fuse::{Fuse, Mortal},
        objects::MemoryObjects,
    },
    guard::{Grip, Guard, Settings, lease_of, sweep::Sweep},
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, Planner},
};

use scene::{FOR_EVER, LOOK, PATIENCE, Run, Seed};

/// Runs when nobody says how many.
const RUNS: u64 = 40;
/// Runs at once.
const TOGETHER: usize = 8;
/// A rollback makes fewer calls than this.
const CALLS: u64 = 90;

/// What all runs came to.
#[derive(Debug, Default)]
struct Figures {
    kills: AtomicU64,
    rolled_back: AtomicU64,
    compensated: AtomicU64,
    overtaken: AtomicU64,
}

/// One rollback with all that its seed has in store for it.
async fn play(cluster: &Cluster, seed: u64, figures: &Figures) {
    let mut chance = Seed(seed);
    let run = Run::prepare(cluster, seed, chance.one_in(2)).await;
    let story = async {
        let overtaken = rollback(&run, &mut chance, figures).await;
        if overtaken {
            figures.overtaken.fetch_add(1, Ordering::Relaxed);
        } else {
            aftermath(&run, &mut chance, figures).await;
        }
    };
    let told = async {
        tokio::select! {
            () = story => {}
            () = run.argo() => {}
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("a run that ends");
    let options = Options::default();
    cluster
        .delete::<Namespace>(None, &run.id.namespace, &options)
        .await
        .unwrap();
}

/// Kills the rollback again and again, until a process is left alone; says whether another mesh overtook it.
async fn rollback(run: &Run, chance: &mut Seed, figures: &Figures) -> bool {
    for _ in 0..chance.below(5) {
        let calls = i64::try_from(chance.below(CALLS)).unwrap();
        let fuse = Fuse::new(calls, chance.one_in(2));
        // One that lives may end before its death: then nobody runs the task again.
        if run.once(&fuse).await.is_some() {
            return false;
        }
        figures.kills.fetch_add(1, Ordering::Relaxed);
        let Some(journal) = run.journal().await else {
            continue;
        };
        if chance.one_in(3) {
            History(run.store.clone())
                .abort("task-1", "operator")
                .await
                .unwrap();
        }
        let locked = run.objects.get(&lease_of(&run.id)).await.unwrap().is_some();
        if locked && journal.is_open() && chance.one_in(8) {
            overtake(run, &journal).await;
            return true;
        }
    }
    run.once(&Fuse::new(FOR_EVER, false)).await.unwrap().ok();
    false
}

/// Another mesh takes the workload while the coordinator is dead: it comes back, and writes nothing more.
async fn overtake(run: &Run, journal: &Journal) {
    let seed = run.seed;
    let theirs = run.take_over().await;
    let before = run.workload().await;
    run.once(&Fuse::new(FOR_EVER, false))
        .await
        .unwrap()
        .unwrap_err();
    let after = run.workload().await;
    // Argo CD may go on meanwhile where nothing was paused yet.
    let same = |web: &Workload| (web.template.clone(), web.replicas, web.paused);
    assert_eq!(
        same(&before),
        same(&after),
        "seed {seed}: two write one workload"
    );
    let ended = run.journal().await.unwrap();
    assert!(!ended.is_open(), "seed {seed}");
    let begun = journal.next() != Some(Step::Lock);
    let outcome = if begun {
        Outcome::Stuck
    } else {
        Outcome::Compensated
    };
    assert_eq!(ended.outcome, outcome, "seed {seed}");
    let (context, _) = run.peers().context();
    theirs.check(&context).await.unwrap();
    let lease = run.objects.get(&lease_of(&run.id)).await.unwrap().unwrap();
    assert_eq!(
        text(&lease, "/spec/holderIdentity"),
        Some("theirs"),
        "seed {seed}"
    );
}

/// What holds after every rollback, and after Git moved.
async fn aftermath(run: &Run, chance: &mut Seed, figures: &Figures) {
    let seed = run.seed;
    let journal = run.journal().await.expect("a journal");
    let web = run.workload().await;
    assert_eq!((web.replicas, web.paused), (2, false), "seed {seed}");
    let lease = run.objects.get(&lease_of(&run.id)).await.unwrap().unwrap();
    assert_eq!(
        text(&lease, "/spec/holderIdentity"),
        Some(""),
        "seed {seed}: the lock is free"
    );
    let reverted = run.reverted.lock().unwrap().len();
    match journal.outcome {
        Outcome::RolledBack => {
            figures.rolled_back.fetch_add(1, Ordering::Relaxed);
            assert_eq!(web.template, run.good, "seed {seed}");
            assert_eq!(
                web.current().unwrap().number,
                3,
                "seed {seed}: restored once"
            );
            assert_eq!(reverted, usize::from(run.stateful), "seed {seed}: one key");
            assert!(
                run.is_paused(),
                "seed {seed}: Git still holds the bad revision"
            );
        }
        Outcome::Compensated => {
            figures.compensated.fetch_add(1, Ordering::Relaxed);
            assert_eq!(web.template, run.bad, "seed {seed}");
            assert_eq!(reverted, 0, "seed {seed}");
        }
        other => panic!(
            "seed {seed}: ended as {other:?}, Argo CD healed {:?} times: {:?}",
            run.undone, journal.entries
        ),
    }
    run.git_is_good.store(true, Ordering::SeqCst);
    let released = async {
        loop {
            let calls = i64::try_from(chance.below(30)).unwrap();
            if !run.sweep(&Fuse::new(calls, chance.one_in(2))).await {
                figures.kills.fetch_add(1, Ordering::Relaxed);
            }
            if History(run.store.clone())
                .holding()
                .await
                .unwrap()
                .is_empty()
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, released)
        .await
        .expect("GitOps is never left paused");
    let spec = &run.application()["spec"];
    assert_eq!(
        *spec,
        json!({"syncPolicy": {"automated": {"selfHeal": true}}}),
        "seed {seed}"
    );
    let annotations = &run.application()["metadata"]["annotations"];
    assert_eq!(annotations.get(HELD_ANNOTATION), None, "seed {seed}");
    assert_eq!(
        run.undone.load(Ordering::SeqCst),
        0,
        "seed {seed}: Argo CD undid the rollback"
    );
    let pause = run.journal().await.unwrap().gitops;
    assert!(
        pause.is_none_or(|pause| pause.state == PauseState::Resumed),
        "seed {seed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_rollbacks_that_are_killed_end_well() {
    let runs = std::env::var("ROLLBACK_RUNS").map_or(RUNS, |text| text.parse().unwrap());
    let first = std::env::var("ROLLBACK_SEED").map_or(0, |text| text.parse().unwrap());
    let settings = ModelSettings {
        ready_after: Duration::from_millis(10),
        stop_after: Duration::from_millis(5),
        ..ModelSettings::default()
    };
    let model = Model::bind("127.0.0.1:0".parse().unwrap(), settings)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    model.write_kubeconfig(&file).unwrap();
    tokio::spawn(model.serve(std::future::pending()));
    let source = format!("kubeconfig:{}#cluster-model", file.display());
    let args = ClusterArgs {
        cluster: source.parse().unwrap(),
    };
    let cluster = Cluster::connect(&args).unwrap();
    let figures = Figures::default();
    let began = Instant::now();
    stream::iter(first..first + runs)
        .for_each_concurrent(TOGETHER, |seed| play(&cluster, seed, &figures))
        .await;
    println!("{runs} runs in {:?}: {figures:?}", began.elapsed());
}
