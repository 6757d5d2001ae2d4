//! A failing release on a real control plane is taken back, whatever is wrong with it; the agents have the rights that
//! are rendered for them and no others.

#![expect(
    clippy::print_stdout,
    clippy::large_futures,
    reason = "the figures of a test are for people"
)]

use futures::future::join_all;
use tests::e2e::{Fault, Scene, Told, tell};

#[tokio::test(flavor = "multi_thread")]
async fn takes_back_whatever_fails() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    println!("control plane ready after {:?}", scene.plane.took());
    println!(
        "{:<16}{:>10}{:>10}{:>10}{:>10}",
        "fault", "sign", "trigger", "patched", "recovered"
    );
    let told = join_all(faults().map(|fault| tell(&scene, fault, 0))).await;
    let mut failed = Vec::new();
    for (fault, told) in faults().zip(told) {
        match told {
            Ok(told) => report(&told),
            Err(error) => {
                println!("{:<16}{error:#}", fault.name());
                failed.push(fault);
            }
        }
    }
    assert!(failed.is_empty(), "not taken back: {failed:?}");
    scene.mesh.stop().await
}

/// The fault that `E2E_FAULT` names, or all.
fn faults() -> impl Iterator<Item = Fault> {
    let wanted = std::env::var("E2E_FAULT").ok();
    let fits = move |fault: &Fault| wanted.as_deref().is_none_or(|name| name == fault.name());
    Fault::ALL.into_iter().filter(fits)
}

fn report(told: &Told) {
    println!(
        "{:<16}{:>9.2}s{:>9.2}s{:>9.2}s{:>9.2}s",
        told.fault.name(),
        told.release_to_sign.as_secs_f64(),
        told.sign_to_trigger.as_secs_f64(),
        told.trigger_to_patched.as_secs_f64(),
        told.sign_to_recovered.as_secs_f64(),
    );
}
