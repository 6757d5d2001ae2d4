//! Every kind of migration in every situation, on a real PostgreSQL: what comes of asking for the rollback of its release.
//! No row may be lost, no pod may run on a schema that does not fit it, and what is refused changes nothing.
//! `MATRIX_SCENE` plays the scenes whose names contain it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::large_futures,
    clippy::print_stdout,
    clippy::similar_names,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    reason = "tests fail loudly, and their figures are for people"
)]

#[path = "stateful_matrix/app.rs"]
mod app;
#[path = "stateful_matrix/contracting.rs"]
mod contracting;
#[path = "stateful_matrix/expanding.rs"]
mod expanding;
#[path = "stateful_matrix/look.rs"]
mod look;
#[path = "stateful_matrix/play.rs"]
mod play;
#[path = "stateful_matrix/release.rs"]
mod release;
#[path = "stateful_matrix/scene.rs"]
mod scene;
#[path = "stateful_matrix/stage.rs"]
mod stage;

use tokio::time::Instant;

use futures::{StreamExt as _, stream};
use scene::Scene;
use stage::Stage;

/// Scenes at the same time: two for each processor of a small machine.
const AT_ONCE: usize = 4;
/// Scenes that the matrix has at least.
const SCENES: usize = 40;

fn scenes() -> Vec<&'static Scene> {
    let all = [expanding::SCENES, contracting::SCENES];
    all.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_and_nobody_runs_on_a_schema_that_does_not_fit() {
    let wanted = std::env::var("MATRIX_SCENE").unwrap_or_default();
    let scenes = scenes();
    assert!(scenes.len() >= SCENES, "{} scenes", scenes.len());
    let names = scenes.iter().map(|scene| scene.name);
    let names: Vec<&str> = names.chain([play::WATCHED.name]).collect();
    let stage = Stage::start(&names).await.unwrap();
    let old = play::prepare(&stage).await.unwrap();
    play::watch(&stage).await.expect("who looks on sees it");
    let began = Instant::now();
    let chosen = scenes
        .into_iter()
        .filter(|scene| scene.name.contains(&wanted));
    let played = stream::iter(chosen).map(|scene| {
        let (stage, old) = (&stage, &old);
        async move {
            let began = Instant::now();
            let played = play::within(stage, scene, old).await;
            let problem = played.err().map(|error| format!("{error:#}"));
            println!(
                "{:<36}{:>6.1?} {}",
                scene.name,
                began.elapsed(),
                problem.as_deref().unwrap_or("as it has to")
            );
            problem.map(|problem| format!("{}: {problem}", scene.name))
        }
    });
    let failed: Vec<String> = played
        .buffer_unordered(AT_ONCE)
        .filter_map(|problem| async move { problem })
        .collect()
        .await;
    println!("all in {:.1?}", began.elapsed());
    assert!(failed.is_empty(), "{} scenes: {failed:#?}", failed.len());
    stage.stop().await.unwrap();
}
